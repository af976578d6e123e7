// The options of a store: their meaning, defaults, and checks.
import type { Remote } from "../backing/remote_contract.ts";
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import { readOptions } from "../base/option_names.ts";
import { KIB, MIB, parseSize } from "../base/units.ts";
import type { CodecOptions } from "../codec/contract.ts";
import { MAX_THREADS } from "../memory/arena.layout.ts";
import { ARENA_BYTES_MAX, PAGE_SIZES } from "../memory/arena.ts";
import { type AdmissionLimits, checkAdmissionLimits, NO_LIMITS } from "../policy/admission.ts";
import { DEFAULT_POLICY, policyNames } from "../policy/registry.ts";
import { checkAcceptThreshold, checkWatermarks } from "../policy/watermarks.ts";
import { findPoolDriver } from "../pool/registry.ts";

export interface WriteBackOptions {
  readonly path: string;
  /** Maximum size of the file, in bytes or as text such as "8GiB" (default 1 GiB). */
  readonly max?: number | string;
  /**
   * What to do with a file left by an earlier process (default "reuse": its content is dropped).
   */
  readonly existing?: "reuse" | "refuse" | "discard";
  /** Allocate the whole file in the file system at once (default false). */
  readonly preallocate?: boolean;
  /** Write ephemeral pages back too, instead of dropping them (default true). */
  readonly ephemeral?: boolean;
}

/** How a store uses its remote tier. */
export interface RemotifyOptions {
  /**
   * Where cold pages go first: to the remote tier or to the write-back file; where that has no
   * room, to the other one (default "remote").
   */
  readonly first?: "remote" | "file";
  /**
   * Pages come back in the background while more than this is free, in percent of memoryMax
   * (default 20; 100: never).
   */
  readonly repatriateAbove?: number;
  /** Pages that come back in a second, at most (default 2000). */
  readonly repatriatePages?: number;
}

/** A denser codec, for pages that have been idle for some time. */
export interface RecompressOptions {
  readonly codec: string;
  readonly codecOptions?: CodecOptions;
  /**
   * Seconds without use after which a page is recompressed in the background, by the thread that
   * called `createStore` (default 60). 0: only `scanIdle` recompresses.
   */
  readonly idleSeconds?: number;
}

export interface StoreOptions {
  /**
   * Memory for everything: pages, index, tables, buffers, scratch of all threads. In bytes or as
   * text such as "512MiB"; 1 MiB to 255 GiB (default 64 MiB).
   */
  readonly memoryMax?: number | string;
  /**
   * What `limit` must be able to raise `memoryMax` to, at most 64 times as much: bytes or text such
   * as "20GiB" (default `memoryMax`). Above 4 GiB, "auto" makes more shards.
   */
  readonly limitMax?: number | string;
  /**
   * How many arenas the store consists of, 1 to 64. Each is at most 4 GiB, and has a lock, index,
   * policy and pools of its own (default "auto": as many as `memoryMax`, `limitMax` or `threads`
   * need).
   */
  readonly shards?: "auto" | number;
  /** Threads that will write at the same time, for `shards: "auto"`: 1 to 192 (default 1). */
  readonly threads?: number;
  /** Bytes of a page: 4, 8, 16, 32 or 64 KiB (default 4 KiB). */
  readonly pageSize?: number;
  /** The codec of new pages (default "lz4"). */
  readonly codec?: string;
  readonly codecOptions?: CodecOptions;
  readonly recompress?: RecompressOptions;
  /**
   * "values" stores values of 1 … pageSize bytes, each with a header (value.layout.ts), through
   * src/values (default "pages").
   */
  readonly content?: "pages" | "values";
  /**
   * Type of the pools for ephemeral and persistent pages (default "dense"); the options below
   * choose them one by one.
   */
  readonly pool?: string;
  readonly ephemeralPool?: string;
  readonly persistentPool?: string;
  /** The eviction policy (default "s3-fifo"). */
  readonly policy?: string;
  /**
   * What is evicted to make room: the object that the policy names, or all objects in the page
   * frame that the pool names (default "objects").
   */
  readonly reclaim?: "objects" | "frames";
  /** Reclaim begins when less than this is free, in percent of memoryMax (default 2). */
  readonly lowWatermark?: number;
  /** Reclaim ends when this much is free, in percent of memoryMax (default 3). */
  readonly highWatermark?: number;
  /**
   * After the limit was reached, no page is stored until use has fallen to this percentage of it
   * (default 100).
   */
  readonly acceptThreshold?: number;
  /** Admission rules: which pages may enter (default: all). */
  readonly admission?: AdmissionLimits;
  readonly writeBack?: WriteBackOptions;
  /** Keeps cold pages on other machines: what `createRemote` returns. */
  readonly remote?: Remote;
  readonly remotify?: RemotifyOptions;
  /**
   * "auto" returns the memory of free frames to the system, in the background, by the thread that
   * made the store, if the optional package `koffi` or `node:ffi` is available (default "auto").
   */
  readonly giveBack?: "auto" | "off";
  /**
   * "auto" lowers the limit while the control group or the machine runs short of memory, and raises
   * it again afterwards; done by the thread that made the store (default "off").
   */
  readonly pressure?: "auto" | "off";
  /**
   * "auto" asks the system for huge pages, if the optional package `koffi` or `node:ffi` is
   * available, the system offers them on demand, and the store has at least 64 MiB (default "off").
   */
  readonly hugePages?: "auto" | "off";
}

/** All options, checked and with defaults. A plain object, which `postMessage` can carry. */
export interface ResolvedOptions {
  readonly memoryMax: number;
  readonly limitMax: number;
  readonly shards: "auto" | number;
  readonly threads: number;
  readonly pageSize: number;
  readonly codec: string;
  readonly codecOptions: CodecOptions;
  readonly recompress: Required<RecompressOptions> | undefined;
  readonly content: "pages" | "values";
  readonly zpools: readonly [ephemeral: string, persistent: string];
  readonly policy: string;
  readonly reclaim: "objects" | "frames";
  readonly lowPercent: number;
  readonly highPercent: number;
  readonly acceptPercent: number;
  readonly admission: AdmissionLimits;
  readonly writeBack: (Required<WriteBackOptions> & { readonly max: number }) | undefined;
  /** Of the remote tier, if there is one. */
  readonly remote: ResolvedRemotify | undefined;
  readonly giveBack: "auto" | "off";
  readonly pressure: "auto" | "off";
  readonly hugePages: "auto" | "off";
}

export interface ResolvedRemotify extends Required<RemotifyOptions> {
  /** Whether ephemeral pages go out too. */
  readonly ephemeral: boolean;
  /** How long a thread waits for a page, in ms. */
  readonly timeoutMs: number;
}

/** An arena can grow to so many times its size: what is reserved for that costs addresses only. */
export const GROWTH_MAX = 64;
/** The most arenas of a store. */
export const SHARDS_MAX = 64;
const MEMORY_MIN = MIB;
/** The most that `memoryMax` may be, in bytes. */
export const MEMORY_MAX = SHARDS_MAX * ARENA_BYTES_MAX;
/** Default of `writeBack.max`. */
export const FILE_BYTES = 1024 * MIB;
const FILE_MIN = MIB;
const FILE_MAX = 32 * 1024 * MIB;

const KEYS: readonly (keyof StoreOptions)[] = [
  "memoryMax",
  "limitMax",
  "shards",
  "threads",
  "pageSize",
  "codec",
  "codecOptions",
  "recompress",
  "content",
  "pool",
  "ephemeralPool",
  "persistentPool",
  "policy",
  "reclaim",
  "lowWatermark",
  "highWatermark",
  "acceptThreshold",
  "admission",
  "writeBack",
  "remote",
  "remotify",
  "giveBack",
  "pressure",
  "hugePages",
];

/** @throws ZcacheError ERR_OPTION naming the option and what is allowed; ERR_POOL_UNKNOWN */
export function resolveOptions(given: StoreOptions): ResolvedOptions {
  const options = readOptions(given, KEYS, "a store");
  const pool = options.pool ?? "dense";
  const memoryMax = bytesOf("memoryMax", options.memoryMax ?? 64 * MIB, MEMORY_MIN, MEMORY_MAX);
  const resolved: ResolvedOptions = {
    memoryMax,
    limitMax: limitMaxOf(options.limitMax ?? memoryMax, memoryMax),
    shards: shardsOf(options.shards ?? "auto"),
    threads: threadsOf(options.threads ?? 1),
    pageSize: oneOf("pageSize", options.pageSize ?? 4 * KIB, PAGE_SIZES),
    codec: textOf("codec", options.codec ?? "lz4"),
    codecOptions: codecOptionsOf(options.codecOptions),
    recompress:
      options.recompress === undefined ? undefined : resolveRecompress(options.recompress),
    content: oneOf("content", options.content ?? "pages", ["pages", "values"] as const),
    zpools: [
      textOf("ephemeralPool", options.ephemeralPool ?? pool),
      textOf("persistentPool", options.persistentPool ?? pool),
    ],
    policy: oneOf("policy", options.policy ?? DEFAULT_POLICY, policyNames()),
    reclaim: oneOf("reclaim", options.reclaim ?? "objects", ["objects", "frames"] as const),
    lowPercent: numberOf("lowWatermark", options.lowWatermark ?? 2),
    highPercent: numberOf(
      "highWatermark",
      options.highWatermark ?? Math.max(3, (options.lowWatermark ?? 2) + 1),
    ),
    acceptPercent: numberOf("acceptThreshold", options.acceptThreshold ?? 100),
    admission: options.admission === undefined ? NO_LIMITS : admissionOf(options.admission),
    writeBack: options.writeBack === undefined ? undefined : resolveWriteBack(options.writeBack),
    remote: resolveRemotify(options.remote, options.remotify),
    giveBack: oneOf("giveBack", options.giveBack ?? "auto", ["auto", "off"] as const),
    pressure: oneOf("pressure", options.pressure ?? "off", ["auto", "off"] as const),
    hugePages: oneOf("hugePages", options.hugePages ?? "off", ["auto", "off"] as const),
  };
  checkWatermarks(resolved);
  checkAcceptThreshold(resolved.acceptPercent);
  checkAdmissionLimits(resolved.admission);
  for (const type of resolved.zpools) findPoolDriver(type);
  if (resolved.content === "values" && resolved.reclaim === "frames") {
    throw new ZcacheError("ERR_OPTION", 'reclaim "frames" is for pages: values have other headers');
  }
  return resolved;
}

/** @throws ZcacheError ERR_OPTION */
function limitMaxOf(given: number | string, memoryMax: number): number {
  const most = Math.min(MEMORY_MAX, memoryMax * GROWTH_MAX);
  return bytesOf("limitMax", given, memoryMax, most);
}

const REMOTIFY_KEYS = ["first", "repatriateAbove", "repatriatePages"] as const;
const REPATRIATE_PERCENT = 20;
const REPATRIATE_PAGES = 2000;

function resolveRemotify(
  remote: Remote | undefined,
  given: RemotifyOptions | undefined,
): ResolvedRemotify | undefined {
  if (remote === undefined && given === undefined) return undefined;
  if (typeof remote?.acquire !== "function") {
    throw new ZcacheError("ERR_OPTION", "remote: must be what createRemote returned");
  }
  const options = readOptions(given ?? {}, REMOTIFY_KEYS, "remotify");
  const { first = "remote", repatriateAbove = REPATRIATE_PERCENT } = options;
  const { repatriatePages = REPATRIATE_PAGES } = options;
  if (!(repatriateAbove > 0 && repatriateAbove <= 100)) {
    const found = describe(repatriateAbove);
    throw new ZcacheError("ERR_OPTION", `remotify.repatriateAbove ${found}: must be 1 to 100 %`);
  }
  if (!(Number.isInteger(repatriatePages) && repatriatePages >= 1)) {
    const found = describe(repatriatePages);
    throw new ZcacheError("ERR_OPTION", `remotify.repatriatePages ${found}: must be 1 or more`);
  }
  return {
    first: oneOf("remotify.first", first, ["remote", "file"] as const),
    repatriateAbove,
    repatriatePages,
    ephemeral: remote.ephemeral,
    timeoutMs: remote.timeoutMs,
  };
}

function shardsOf(shards: "auto" | number): "auto" | number {
  const isNumber = Number.isInteger(shards) && Number(shards) >= 1 && Number(shards) <= SHARDS_MAX;
  if (shards === "auto" || isNumber) return shards;
  const found = typeof shards === "string" ? shards : describe(shards);
  throw new ZcacheError("ERR_OPTION", `shards ${found}: must be auto, or from 1 to ${SHARDS_MAX}`);
}

function threadsOf(threads: number): number {
  if (Number.isInteger(threads) && threads >= 1 && threads <= MAX_THREADS) return threads;
  const found = describe(threads);
  throw new ZcacheError("ERR_OPTION", `threads ${found}: must be from 1 to ${MAX_THREADS}`);
}

const RECOMPRESS_KEYS = ["codec", "codecOptions", "idleSeconds"] as const;
/** That of `zcache serve nbd`. */
const IDLE_SECONDS = 60;
const IDLE_SECONDS_MAX = 365 * 24 * 3600;

function resolveRecompress(given: RecompressOptions): Required<RecompressOptions> {
  const options = readOptions(given, RECOMPRESS_KEYS, "recompress");
  const { codec, codecOptions, idleSeconds = IDLE_SECONDS } = options;
  if (!(Number.isFinite(idleSeconds) && idleSeconds >= 0 && idleSeconds <= IDLE_SECONDS_MAX)) {
    const found = describe(idleSeconds);
    const allowed = `from 0 (never) to ${IDLE_SECONDS_MAX} seconds`;
    throw new ZcacheError("ERR_OPTION", `recompress.idleSeconds ${found}: must be ${allowed}`);
  }
  return {
    codec: textOf("recompress.codec", codec),
    codecOptions: codecOptionsOf(codecOptions),
    idleSeconds,
  };
}

/** The codec checks the values (codec/registry.ts). */
function codecOptionsOf(given: CodecOptions | undefined): CodecOptions {
  return given === undefined ? {} : readOptions(given, ["level", "dictionary"], "codecOptions");
}

function admissionOf(given: AdmissionLimits): AdmissionLimits {
  const names = ["maxZsizePercent", "maxMeanZsizePercent", "pageCountPercent"];
  const limits = readOptions(given, names, "admission");
  for (const name of names) numberOf(`admission.${name}`, limits[name as keyof AdmissionLimits]);
  return limits;
}

const EXISTING = ["reuse", "refuse", "discard"] as const;
const WRITE_BACK_KEYS = ["path", "max", "existing", "preallocate", "ephemeral"] as const;

function resolveWriteBack(given: WriteBackOptions) {
  const options = readOptions(given, WRITE_BACK_KEYS, "writeBack");
  if (typeof options.path !== "string" || options.path === "") {
    throw new ZcacheError("ERR_OPTION", "writeBack.path: a file name is required");
  }
  const existing = oneOf("writeBack.existing", options.existing ?? "reuse", EXISTING);
  return {
    path: options.path,
    max: bytesOf("writeBack.max", options.max ?? FILE_BYTES, FILE_MIN, FILE_MAX),
    existing,
    preallocate: booleanOf("writeBack.preallocate", options.preallocate ?? false),
    ephemeral: booleanOf("writeBack.ephemeral", options.ephemeral ?? true),
  };
}

function textOf(name: string, value: unknown): string {
  if (typeof value === "string") return value;
  throw new ZcacheError("ERR_OPTION", `${name} ${describe(value)}: must be a name`);
}

function numberOf(name: string, value: unknown): number {
  if (typeof value === "number") return value;
  throw new ZcacheError("ERR_OPTION", `${name} ${describe(value)}: must be a number`);
}

function booleanOf(name: string, value: unknown): boolean {
  if (typeof value === "boolean") return value;
  throw new ZcacheError("ERR_OPTION", `${name} ${describe(value)}: must be true or false`);
}

function oneOf<T>(name: string, value: T, allowed: readonly T[]): T {
  if (allowed.includes(value)) return value;
  const found = typeof value === "string" ? value : describe(value);
  throw new ZcacheError("ERR_OPTION", `${name} ${found}: must be one of ${allowed.join(", ")}`);
}

function bytesOf(name: string, value: number | string, min: number, max: number): number {
  const bytes = typeof value === "string" ? parseSize(value, name) : value;
  if (typeof bytes === "number" && bytes >= min && bytes <= max) return Math.floor(bytes);
  const found = typeof value === "string" ? value : describe(value);
  throw new ZcacheError("ERR_OPTION", `${name} ${found}: must be from ${min} to ${max} bytes`, {
    context: { [name]: found, min, max },
  });
}
