// The options of a cache and of its methods: defaults and checks.
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import { checkOptionNames, readOptions } from "../base/option_names.ts";
import { KIB, MIB, parseSize, parseTime } from "../base/units.ts";
import { type PersistOptions, type ResolvedPersist, resolvePersist } from "../persist/options.ts";
import { DEFAULT_VALUE_POLICY } from "../policy/registry.ts";
import type { SharedCacheOptions } from "../remote/options.ts";
import type { StoreOptions, WriteBackOptions } from "../store/options.ts";
import type { Serializer } from "./serializer/serializer.ts";

/** Which decoded values each thread keeps. */
export interface NearOptions {
  /** Approximate limit per thread: bytes or text such as "8MiB" (default 8 MiB). */
  readonly max?: number | string;
  /**
   * Also keep plain objects and arrays, deeply frozen: all calls of `get` in a thread then return
   * the same object (default false).
   */
  readonly frozen?: boolean;
}

/** Options of `set`, `setMany` and `touch`; the defaults are those of the cache. */
export interface SetOptions {
  /** How long the value is fresh: ms, text such as "10m", or Infinity. */
  readonly ttl?: number | string | undefined;
  /** How long after that `fetch` may return it while it loads a new one: ms or text. */
  readonly staleWhileRevalidate?: number | string | undefined;
}

/** Options of `get` and `getMany`. */
export interface GetOptions {
  /** Also return a stale value, which is kept for `staleWhileRevalidate` (default false). */
  readonly allowStale?: boolean | undefined;
}

/** Options of `fetch`, with the lifetime of the loaded value. */
export interface FetchOptions extends SetOptions {
  /** Load even if there is a value (default false). */
  readonly forceRefresh?: boolean | undefined;
  /** Ends this call with the signal's reason; other callers go on waiting for the load. */
  readonly signal?: AbortSignal | undefined;
}

/** How long a value is stored. */
export interface Lifetime {
  /** ms for which it is fresh; Infinity: for ever. */
  readonly ttlMs: number;
  /** ms after that for which it is stale. */
  readonly staleMs: number;
}

/** The options of `fetch` with defaults, checked. */
export interface FetchPlan extends Lifetime {
  readonly forceRefresh: boolean;
  readonly signal: AbortSignal | undefined;
}

/** Options of `Cache.create` that hold for all threads. */
export interface CacheOptions {
  /**
   * Limit of memory in use, with all overhead: bytes or text such as "512MiB" (default 64 MiB).
   */
  readonly memoryMax?: number | string;
  /**
   * What `resize` must be able to raise `memoryMax` to, at most 64 times as much: bytes or text
   * such as "20GiB" (default `memoryMax`). Above 4 GiB, "auto" makes more shards.
   */
  readonly limitMax?: number | string;
  /**
   * How many arenas the cache consists of, 1 to 64. Each is at most 4 GiB, and has a lock, index
   * and policy of its own (default "auto": as many as `memoryMax`, `limitMax` or `threads` need, or
   * as the files of `persist` have).
   */
  readonly shards?: "auto" | number;
  /** Threads that will write at the same time, for `shards: "auto"`: 1 to 192 (default 1). */
  readonly threads?: number;
  /** How long values are fresh: ms or text such as "10m" (default Infinity: until evicted). */
  readonly ttl?: number | string;
  /** How long after that `fetch` may return a value while it loads a new one (default 0). */
  readonly staleWhileRevalidate?: number | string;
  /** Compresses new values: "lz4", "zstd" or another of `zcache codecs` (default "lz4"). */
  readonly codec?: string;
  /** `level` is the codec's own (default: 3 for zstd). */
  readonly codecOptions?: { readonly level?: number };
  /** Recompress idle values with zstd in the background if that saves memory (default true). */
  readonly tiers?: boolean;
  /**
   * Train a dictionary from the values if that saves memory: true, false, or its maximum size,
   * 1 KiB to 112 KiB (default true: 64 KiB).
   */
  readonly dictionary?: boolean | number | string;
  /** Name of the eviction policy (default "adaptive"). */
  readonly policy?: string;
  /** Bytes of a page of the store; longer values are stored in several (default 8 KiB). */
  readonly pageSize?: number;
  /** A file for values that exceed memory. */
  readonly writeBack?: WriteBackOptions;
  /** Start with the values of the previous process, however that ended (default false). */
  readonly persist?: boolean | PersistOptions;
  /** Keep decoded values that are read often in each thread (default false). */
  readonly near?: boolean | NearOptions;
  /**
   * What to do with instances of application classes: "refuse" them, or store their own properties
   * and return a "plain" object (default "refuse").
   */
  readonly classes?: "refuse" | "plain";
  /**
   * "auto" returns unused memory to the system in the background, if the optional package `koffi`
   * or `node:ffi` is available (default "auto").
   */
  readonly giveBack?: "auto" | "off";
  /**
   * "auto" lowers the limit while the control group or the machine runs short of memory, and raises
   * it again afterwards (default "off").
   */
  readonly pressure?: "auto" | "off";
  /**
   * "auto" asks the system for huge pages, if the optional package `koffi` or `node:ffi` is
   * available (default "off").
   */
  readonly hugePages?: "auto" | "off";
  /** Share the values with other machines through a Valkey or Redis cluster (docs/remote.md). */
  readonly remote?: SharedCacheOptions;
  /** Interval of background work in ms (default 100); 0: none. */
  readonly backgroundMs?: number;
}

/** Options of `Cache.create` and `Cache.attach` that hold for one thread. */
export interface LocalOptions {
  /** Turns structured values into bytes (default: `node:v8`'s structured clone). */
  readonly serializer?: Serializer;
}

/** The options that threads share, with defaults, checked; plain data for `postMessage`. */
export interface ResolvedCacheOptions {
  readonly ttlMs: number;
  readonly staleMs: number;
  readonly tiers: boolean;
  /** 0: no dictionary. */
  readonly dictionaryBytes: number;
  /** 0: no near cache. */
  readonly nearBytes: number;
  readonly nearFrozen: boolean;
  /** 0: no background work. */
  readonly backgroundMs: number;
  readonly classes: "refuse" | "plain";
  readonly codec: string;
  readonly codecOptions: { readonly level?: number };
  readonly persist: ResolvedPersist | undefined;
}

const KEYS: readonly (keyof CacheOptions | keyof LocalOptions)[] = [
  "memoryMax",
  "limitMax",
  "shards",
  "threads",
  "ttl",
  "staleWhileRevalidate",
  "codec",
  "codecOptions",
  "tiers",
  "dictionary",
  "policy",
  "pageSize",
  "writeBack",
  "persist",
  "near",
  "classes",
  "giveBack",
  "pressure",
  "hugePages",
  "remote",
  "backgroundMs",
  "serializer",
];

const DEFAULT_CODEC = "lz4";
const ZSTD_LEVEL = 3;
const DICTIONARY_BYTES = 64 * KIB;
const NEAR_BYTES = 8 * MIB;

const SET_KEYS: readonly (keyof SetOptions)[] = ["ttl", "staleWhileRevalidate"];
const FETCH_KEYS: readonly (keyof FetchOptions)[] = [...SET_KEYS, "forceRefresh", "signal"];
const GET_KEYS: readonly (keyof GetOptions)[] = ["allowStale"];
const NEAR_KEYS: readonly (keyof NearOptions)[] = ["max", "frozen"];
const LOCAL_KEYS: readonly (keyof LocalOptions)[] = ["serializer"];

/** The options of `set`; each getter runs once. @throws ZcacheError ERR_OPTION */
export function lifetimeOf(
  options: SetOptions | number | string | undefined,
  defaults: Lifetime,
): Lifetime {
  if (options === undefined) return defaults;
  if (typeof options === "number" || typeof options === "string") {
    return { ttlMs: ttlOf(options), staleMs: defaults.staleMs };
  }
  checkOptionNames(options, SET_KEYS, "set");
  return lifetimeIn(options, defaults);
}

/** The options of `fetch`; each getter runs once. @throws ZcacheError ERR_OPTION */
export function fetchPlanOf(options: FetchOptions, defaults: Lifetime): FetchPlan {
  checkOptionNames(options, FETCH_KEYS, "fetch");
  const { forceRefresh = false, signal } = options;
  const { ttlMs, staleMs } = lifetimeIn(options, defaults);
  return {
    ttlMs,
    staleMs,
    forceRefresh: booleanOf("forceRefresh", forceRefresh),
    signal: signal === undefined ? undefined : signalOf(signal),
  };
}

function signalOf(signal: AbortSignal): AbortSignal {
  const { aborted, addEventListener } = (signal ?? {}) as Partial<AbortSignal>;
  if (typeof aborted === "boolean" && typeof addEventListener === "function") return signal;
  throw new ZcacheError("ERR_OPTION", `signal ${describe(signal)}: must be an AbortSignal`);
}

/** The option of `get`. @throws ZcacheError ERR_OPTION */
export function allowStaleOf(options: GetOptions | undefined): boolean {
  if (options === undefined) return false;
  checkOptionNames(options, GET_KEYS, "get");
  return booleanOf("allowStale", options.allowStale ?? false);
}

function lifetimeIn({ ttl, staleWhileRevalidate }: SetOptions, defaults: Lifetime): Lifetime {
  return {
    ttlMs: ttl === undefined ? defaults.ttlMs : ttlOf(ttl),
    staleMs: staleWhileRevalidate === undefined ? defaults.staleMs : staleOf(staleWhileRevalidate),
  };
}

/** The options of `attach`; each getter runs once. @throws ZcacheError ERR_OPTION */
export function localOptionsOf(options: LocalOptions): LocalOptions {
  checkOptionNames(options, LOCAL_KEYS, "Cache.attach");
  const { serializer } = options;
  checkSerializer(serializer);
  return serializer === undefined ? {} : { serializer };
}

/** A copy of the options, for which each getter has run once. @throws ZcacheError ERR_OPTION */
export function readCacheOptions<O extends CacheOptions & LocalOptions>(options: O): O {
  return readOptions(options, KEYS, "a cache");
}

/** @throws ZcacheError ERR_OPTION naming the option and what is allowed */
export function resolveCacheOptions(options: CacheOptions & LocalOptions): ResolvedCacheOptions {
  checkOptionNames(options, KEYS, "a cache");
  checkSerializer(options.serializer);
  const { near, backgroundMs = 100 } = options;
  if (!(Number.isFinite(backgroundMs) && backgroundMs >= 0)) {
    throw wrong("backgroundMs", backgroundMs, "a number of ms, 0 or more");
  }
  const nearOptions = nearOf(near ?? false);
  return {
    ttlMs: ttlOf(options.ttl ?? Number.POSITIVE_INFINITY),
    staleMs: staleOf(options.staleWhileRevalidate),
    tiers: booleanOf("tiers", options.tiers ?? true),
    dictionaryBytes: dictionaryOf(options.dictionary ?? true),
    nearBytes: parseSize(nearOptions.max ?? NEAR_BYTES, "near.max"),
    nearFrozen: booleanOf("near.frozen", nearOptions.frozen ?? false),
    backgroundMs,
    classes: classesOf(options.classes ?? "refuse"),
    codec: textOf("codec", options.codec ?? DEFAULT_CODEC),
    codecOptions: codecOptionsOf(options),
    persist: resolvePersist(options.persist, options.writeBack?.path),
  };
}

function nearOf(near: boolean | NearOptions): NearOptions {
  if (typeof near === "boolean") return near ? {} : { max: 0 };
  if (typeof near !== "object" || near === null) {
    throw wrong("near", near, "true, false, or an object with max and frozen");
  }
  return readOptions(near, NEAR_KEYS, "near");
}

/** @param ttl may be Infinity @returns ms @throws ZcacheError ERR_OPTION */
export function ttlOf(ttl: number | string): number {
  return ttl === Number.POSITIVE_INFINITY ? ttl : parseTime(ttl, "ttl");
}

/** @throws ZcacheError ERR_OPTION if it is not a serializer */
export function checkSerializer(serializer: Serializer | undefined): void {
  if (serializer === undefined) return;
  // JavaScript code may pass null.
  const { encode, decode } = (serializer ?? {}) as Partial<Serializer>;
  if (typeof encode === "function" && typeof decode === "function") return;
  throw wrong("serializer", serializer, "an object with the functions encode and decode");
}

/** With a dictionary, zstd level 3 saves 3 % more than level 1 and takes little longer. */
function codecOptionsOf({ codec, codecOptions }: CacheOptions): { readonly level?: number } {
  return codecOptions ?? (codec === "zstd" ? { level: ZSTD_LEVEL } : {});
}

/** The options of the store under a cache. */
export function storeOptionsOf(options: CacheOptions): StoreOptions {
  const {
    codec = DEFAULT_CODEC,
    memoryMax,
    limitMax,
    shards,
    threads,
    writeBack,
    tiers = true,
    giveBack,
    pressure,
    hugePages,
  } = options;
  const dense = { codec: "zstd", codecOptions: { level: ZSTD_LEVEL } };
  return {
    content: "values",
    codec,
    pageSize: options.pageSize ?? 8 * KIB,
    codecOptions: codecOptionsOf(options),
    // Little memory is kept free: a put that finds no space evicts by itself. That is slow if
    // values go to a file first, so the default watermarks hold with `writeBack`.
    ...(writeBack === undefined ? { lowWatermark: 0.5, highWatermark: 1 } : { writeBack }),
    ...(memoryMax === undefined ? {} : { memoryMax }),
    ...(limitMax === undefined ? {} : { limitMax }),
    ...(shards === undefined ? {} : { shards }),
    ...(threads === undefined ? {} : { threads }),
    ...(giveBack === undefined ? {} : { giveBack }),
    ...(pressure === undefined ? {} : { pressure }),
    ...(hugePages === undefined ? {} : { hugePages }),
    policy: options.policy ?? DEFAULT_VALUE_POLICY,
    ...(tiers && codec !== dense.codec ? { recompress: dense } : {}),
  };
}

/** @returns ms @throws ZcacheError ERR_OPTION */
export function staleOf(time: number | string | undefined): number {
  return time === undefined || time === 0 ? 0 : parseTime(time, "staleWhileRevalidate");
}

function dictionaryOf(option: boolean | number | string): number {
  if (typeof option === "boolean") return option ? DICTIONARY_BYTES : 0;
  const bytes = parseSize(option, "dictionary");
  if (bytes >= KIB && bytes <= 112 * KIB) return bytes;
  throw wrong("dictionary", option, "true, false, or a size from 1 KiB to 112 KiB");
}

function booleanOf(name: string, value: unknown): boolean {
  if (typeof value === "boolean") return value;
  throw wrong(name, value, "true or false");
}

function classesOf(option: unknown): "refuse" | "plain" {
  if (option === "refuse" || option === "plain") return option;
  throw wrong("classes", option, '"refuse" or "plain"');
}

function textOf(name: string, value: unknown): string {
  if (typeof value === "string") return value;
  throw wrong(name, value, "a name");
}

function wrong(name: string, value: unknown, allowed: string): ZcacheError {
  return new ZcacheError("ERR_OPTION", `${name} ${describe(value)}: must be ${allowed}`);
}
