// The options of a cache: what they are, what stands in for those left out, what is refused.
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import { checkOptionNames, readOptions } from "../base/option_names.ts";
import { KIB, MIB, parseSize, parseTime } from "../base/units.ts";
import { type PersistOptions, type ResolvedPersist, resolvePersist } from "../persist/options.ts";
import type { StoreOptions, WriteBackOptions } from "../store/options.ts";
import type { Serializer } from "./serializer/serializer.ts";

export interface NearOptions {
  /** Bytes of values that a thread keeps, about (default 8 MiB). */
  readonly max?: number | string;
  /**
   * Also keep values of plain objects and arrays: `get` gives everybody the same frozen one then
   * (default false).
   */
  readonly frozen?: boolean;
}

export interface SetOptions {
  /** How long the value lives: ms or text such as "10m". */
  readonly ttl?: number | string | undefined;
  /** How long after that `fetch` may still give it while it loads a new one. */
  readonly staleWhileRevalidate?: number | string | undefined;
}

export interface GetOptions {
  /** Give the value also when its time is over and it is only kept for `fetch` (default false). */
  readonly allowStale?: boolean | undefined;
}

export interface FetchOptions extends SetOptions {
  /** Load even if there is a value (default false). */
  readonly forceRefresh?: boolean | undefined;
  /** Ends this wait with the signal's reason; the load goes on for others who wait for it. */
  readonly signal?: AbortSignal | undefined;
}

/** How long a value lives, in ms. */
export interface Lifetime {
  readonly ttlMs: number;
  readonly staleMs: number;
}

/** The options of a `fetch`, checked. */
export interface FetchPlan extends Lifetime {
  readonly forceRefresh: boolean;
  readonly signal: AbortSignal | undefined;
}

export interface CacheOptions {
  /** Bytes of everything, counted honestly: a number or text such as "512MiB" (default 64 MiB). */
  readonly memoryMax?: number | string;
  /** How long values live: ms or text such as "10m" (default: until they are evicted). */
  readonly ttl?: number | string;
  /** How long after that `fetch` may still give a value while it loads a new one (default 0). */
  readonly staleWhileRevalidate?: number | string;
  /** Compresses what comes in: "lz4" or "zstd", or another of `zcache codecs` (default "lz4"). */
  readonly codec?: string;
  readonly codecOptions?: { readonly level?: number };
  /** Compress idle values with zstd where that pays, in the background (default true). */
  readonly tiers?: boolean;
  /** Train a dictionary from the values, where it pays (default true); or its size at most. */
  readonly dictionary?: boolean | number | string;
  /** Which value leaves first (default "tinylfu"). */
  readonly policy?: string;
  /** Bytes of a page of the store; longer values are stored in chunks (default 8 KiB). */
  readonly pageSize?: number;
  /** A file for what memory has no room for. */
  readonly writeBack?: WriteBackOptions;
  /** Begin with what the process before had, however it ended (default false). */
  readonly persist?: boolean | PersistOptions;
  /** Keep decoded values that are read all the time in each thread (default: don't). */
  readonly near?: boolean | NearOptions;
  /**
   * Instances of classes of yours: "refuse" them, or store them "plain": their own properties,
   * which come back as a plain object (default "refuse").
   */
  readonly classes?: "refuse" | "plain";
  /** What is done while nobody asks: every so many ms (default 100); 0: nothing. */
  readonly backgroundMs?: number;
}

/** For one thread: they don't travel. */
export interface LocalOptions {
  /** Turns structured values into bytes (default: `node:v8`'s structured clone). */
  readonly serializer?: Serializer;
}

/** All of them, checked; plain, goes through `postMessage`. */
export interface ResolvedCacheOptions {
  readonly ttlMs: number;
  readonly staleMs: number;
  readonly tiers: boolean;
  /** 0: none. */
  readonly dictionaryBytes: number;
  readonly nearBytes: number;
  readonly nearFrozen: boolean;
  readonly backgroundMs: number;
  readonly classes: "refuse" | "plain";
  readonly codec: string;
  readonly codecOptions: { readonly level?: number };
  readonly persist: ResolvedPersist | undefined;
}

const KEYS: readonly (keyof CacheOptions | keyof LocalOptions)[] = [
  "memoryMax",
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
  "backgroundMs",
  "serializer",
];

const DEFAULT_CODEC = "lz4";
/** For values, whose sizes differ (docs/decisions/0012-value-eviction.md). */
const DEFAULT_POLICY = "tinylfu";
const ZSTD_LEVEL = 3;
const DICTIONARY_BYTES = 64 * KIB;
const NEAR_BYTES = 8 * MIB;

const SET_KEYS: readonly (keyof SetOptions)[] = ["ttl", "staleWhileRevalidate"];
const FETCH_KEYS: readonly (keyof FetchOptions)[] = [...SET_KEYS, "forceRefresh", "signal"];
const GET_KEYS: readonly (keyof GetOptions)[] = ["allowStale"];
const NEAR_KEYS: readonly (keyof NearOptions)[] = ["max", "frozen"];
const LOCAL_KEYS: readonly (keyof LocalOptions)[] = ["serializer"];

/** Reads each option of a `set` once. @throws ZcacheError ERR_OPTION */
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

/** Reads each option of a `fetch` once. @throws ZcacheError ERR_OPTION */
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
  throw new ZcacheError("ERR_OPTION", `signal ${describe(signal)}: allowed is an AbortSignal`);
}

/** @throws ZcacheError ERR_OPTION */
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

/** Reads the options of `attach` once. @throws ZcacheError ERR_OPTION */
export function localOptionsOf(options: LocalOptions): LocalOptions {
  checkOptionNames(options, LOCAL_KEYS, "Cache.attach");
  const { serializer } = options;
  checkSerializer(serializer);
  return serializer === undefined ? {} : { serializer };
}

/**
 * The options of a cache as a plain object: each getter has run once.
 * @throws ZcacheError ERR_OPTION
 */
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
    throw wrong("near", near, "true, false, and an object with max and frozen");
  }
  return readOptions(near, NEAR_KEYS, "near");
}

/** Infinity is a time to live, though no other time may be that. */
export function ttlOf(ttl: number | string): number {
  return ttl === Number.POSITIVE_INFINITY ? ttl : parseTime(ttl, "ttl");
}

/** @throws ZcacheError ERR_OPTION if it is none */
export function checkSerializer(serializer: Serializer | undefined): void {
  if (serializer === undefined) return;
  // A null is no serializer either.
  const { encode, decode } = (serializer ?? {}) as Partial<Serializer>;
  if (typeof encode === "function" && typeof decode === "function") return;
  throw wrong("serializer", serializer, "an object with the functions encode and decode");
}

/** zstd's level 3 makes values with a dictionary 3 % smaller than 1, and takes little longer. */
function codecOptionsOf({ codec, codecOptions }: CacheOptions): { readonly level?: number } {
  return codecOptions ?? (codec === "zstd" ? { level: ZSTD_LEVEL } : {});
}

/** What the store under a cache is made with. */
export function storeOptionsOf(options: CacheOptions): StoreOptions {
  const { codec = DEFAULT_CODEC, memoryMax, writeBack, tiers = true } = options;
  const dense = { codec: "zstd", codecOptions: { level: ZSTD_LEVEL } };
  return {
    content: "values",
    codec,
    pageSize: options.pageSize ?? 8 * KIB,
    codecOptions: codecOptionsOf(options),
    // What is kept free lies idle, and a put that finds no room makes some by itself: by dropping
    // others, so where they are to go to a file there is more time for that.
    ...(writeBack === undefined ? { lowWatermark: 0.5, highWatermark: 1 } : { writeBack }),
    ...(memoryMax === undefined ? {} : { memoryMax }),
    policy: options.policy ?? DEFAULT_POLICY,
    ...(tiers && codec !== dense.codec ? { recompress: dense } : {}),
  };
}

export function staleOf(time: number | string | undefined): number {
  return time === undefined || time === 0 ? 0 : parseTime(time, "staleWhileRevalidate");
}

function dictionaryOf(option: boolean | number | string): number {
  if (typeof option === "boolean") return option ? DICTIONARY_BYTES : 0;
  const bytes = parseSize(option, "dictionary");
  if (bytes >= KIB && bytes <= 112 * KIB) return bytes;
  throw wrong("dictionary", option, "true, false, and 1 KiB to 112 KiB");
}

function booleanOf(name: string, value: unknown): boolean {
  if (typeof value === "boolean") return value;
  throw wrong(name, value, "true and false");
}

function classesOf(option: unknown): "refuse" | "plain" {
  if (option === "refuse" || option === "plain") return option;
  throw wrong("classes", option, '"refuse" and "plain"');
}

function textOf(name: string, value: unknown): string {
  if (typeof value === "string") return value;
  throw wrong(name, value, "names");
}

function wrong(name: string, value: unknown, allowed: string): ZcacheError {
  return new ZcacheError("ERR_OPTION", `${name} ${describe(value)}: allowed are ${allowed}`);
}
