// The options of a cache: what they are, what stands in for those left out, what is refused.
import { ZcacheError } from "../../base/errors.ts";
import { KIB, MIB, parseSize, parseTime } from "../../base/units.ts";
import type { StoreOptions, WriteBackOptions } from "../../store/options.ts";
import type { Serializer } from "./contract.ts";
import { type PersistOptions, type ResolvedPersist, resolvePersist } from "./persist_option.ts";

export interface NearOptions {
  /** Bytes of values that a thread keeps, about (default 8 MiB). */
  readonly max?: number | string;
  /**
   * Also keep values of plain objects and arrays: `get` gives everybody the same frozen one then
   * (default false).
   */
  readonly frozen?: boolean;
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
  /** Bytes of a page of the store; values that are longer have parts (default 8 KiB). */
  readonly pageSize?: number;
  /** A file for what memory has no room for. */
  readonly writeBack?: WriteBackOptions;
  /** Begin with what the process before had, however it ended (default false). */
  readonly persist?: boolean | PersistOptions;
  /** Keep decoded values that are read all the time in each thread (default: don't). */
  readonly near?: boolean | NearOptions;
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
  "backgroundMs",
  "serializer",
];

const DEFAULT_CODEC = "lz4";
/** For values, whose sizes differ (docs/decisions/0012-value-eviction.md). */
const DEFAULT_POLICY = "tinylfu";
const ZSTD_LEVEL = 3;
const DICTIONARY_BYTES = 64 * KIB;
const NEAR_BYTES = 8 * MIB;

/** @throws ZcacheError ERR_OPTION naming the option and what is allowed */
export function resolveCacheOptions(options: CacheOptions & LocalOptions): ResolvedCacheOptions {
  if (typeof options !== "object" || options === null) {
    throw new ZcacheError("ERR_OPTION", `options of a cache: an object, not ${String(options)}`);
  }
  for (const key of Object.keys(options)) {
    if (KEYS.some((known) => known === key)) continue;
    const all = KEYS.join(", ");
    throw new ZcacheError("ERR_OPTION", `a cache has no option "${key}"; there are ${all}`);
  }
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
    codec: options.codec ?? DEFAULT_CODEC,
    codecOptions: codecOptionsOf(options),
    persist: resolvePersist(options.persist, options.writeBack?.path),
  };
}

function nearOf(near: boolean | NearOptions): NearOptions {
  if (typeof near === "boolean") return near ? {} : { max: 0 };
  const isObject = typeof near === "object" && near !== null;
  if (isObject && Object.keys(near).every((key) => key === "max" || key === "frozen")) return near;
  throw wrong("near", JSON.stringify(near), "true, false, and an object with max and frozen");
}

/** Infinity is a time to live, though no other time may be that. */
export function ttlOf(ttl: number | string): number {
  return ttl === Number.POSITIVE_INFINITY ? ttl : parseTime(ttl, "ttl");
}

/** @throws ZcacheError ERR_OPTION if it is none */
export function checkSerializer(serializer: Serializer | undefined): void {
  if (serializer === undefined) return;
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

function wrong(name: string, value: unknown, allowed: string): ZcacheError {
  return new ZcacheError("ERR_OPTION", `${name} ${String(value)}: allowed are ${allowed}`);
}
