// The JSON of /api: the contract between the daemon (monitor/), the web page (dashboard/), `zcache
// top` and scripts. An error answer is `{ error }`. Names end in their unit; counters count from
// the start of the service.

/**
 * A latency histogram of one operation: its buckets that are not empty, in ascending order, each
 * with its upper bound in ns.
 */
export type Latency = readonly (readonly [upToNs: number, count: number])[];

/** The parts that a service is made of; they do not change while it runs. */
export interface Setup {
  readonly codec: string;
  /** The codec for idle entries; null without one. */
  readonly denseCodec: string | null;
  readonly pool: string;
  readonly policy: string;
  readonly pageSizeBytes: number;
  /** Pages of one size, or values of any length. */
  readonly holds: "pages" | "values";
}

/** Bytes in memory. The parts add up to `usedBytes`. */
export interface MemoryUse {
  /** The data before compression. */
  readonly logicalBytes: number;
  /** The data after compression; same-filled pages take no bytes. */
  readonly compressedBytes: number;
  readonly usedBytes: number;
  readonly usedMaxBytes: number;
  readonly limitBytes: number;
  /** What memory pressure did to the limit; null where the limit does not follow it. */
  readonly pressure: {
    /** The limit that the user has set. */
    readonly wantedBytes: number;
    /** Bytes that the control group or the machine has left. */
    readonly availableBytes: number;
    readonly lowered: number;
    readonly raised: number;
  } | null;
  readonly parts: {
    readonly compressed: number;
    /** Space in the pools' page frames that holds no object. */
    readonly unused: number;
    readonly poolMetadata: number;
    readonly index: number;
    readonly writeBack: number;
    readonly remote: number;
    /** The arena's header and frame table. */
    readonly arena: number;
    readonly other: number;
  };
}

/** Pages or values that are stored. */
export interface Stored {
  readonly inPool: number;
  readonly sameFilled: number;
  /** Entries in the pool that are stored uncompressed, because they compress poorly. */
  readonly huge: number;
  readonly inFile: number;
}

export interface Connections {
  readonly now: number;
  readonly accepted: number;
  readonly refused: number;
}

/** Waits for locks of one kind, by all threads. */
export interface LockWaits {
  /** Acquisitions that had to wait, and the time that they took. */
  readonly contended: number;
  readonly waitedNs: number;
  /** Times that a thread slept meanwhile. */
  readonly slept: number;
}

/** One service at one moment. */
export interface ServicePicture {
  readonly name: string;
  readonly kind: string;
  readonly setup: Setup;
  readonly memory: MemoryUse;
  readonly stored: Stored;
  /** Operations by the names of the service: `get`, `set`, `read`, `write`, … */
  readonly operations: Readonly<Record<string, number>>;
  /** Look-ups that found an entry, and those that did not. */
  readonly hits: number;
  readonly misses: number;
  /** Entries removed by the store, and entries not accepted, by reason. */
  readonly evictions: Readonly<Record<string, number>>;
  readonly refusals: Readonly<Record<string, number>>;
  readonly expired: number;
  readonly recompressed: number;
  readonly recoveries: number;
  /** Waits for locks of the store, by kind. */
  readonly locks: Readonly<Record<string, LockWaits>>;
  /** Unexpected errors; each ended one connection, request or task. */
  readonly internalErrors: number;
  readonly writeBack: {
    readonly writtenPages: number;
    readonly writtenBytes: number;
    readonly readPages: number;
    /** Bytes of live data in the file, and its maximum size; null without a file. */
    readonly file: { readonly usedBytes: number; readonly maxBytes: number } | null;
  };
  /** Pages on other machines; null without a remote tier. */
  readonly remote: {
    readonly pages: number;
    readonly bytes: number;
    /** Pages that are being sent. */
    readonly inTransit: number;
    readonly sent: number;
    readonly failed: number;
    readonly refused: number;
    readonly read: number;
    readonly readFailures: number;
    readonly repatriated: number;
  } | null;
  /** `store_…`: operations of the store; `request_…`: requests as the server measures them. */
  readonly latency: Readonly<Record<string, Latency>>;
  readonly connections: Connections;
}

/** /api/state */
export interface State {
  readonly version: string;
  /** Milliseconds since 1970, and since the start of the daemon. */
  readonly nowMs: number;
  readonly uptimeMs: number;
  /** Resident memory of the whole process. */
  readonly residentBytes: number;
  /** Unexpected errors outside the services: web page, control socket, tasks of the daemon. */
  readonly internalErrors: number;
  /** Whether settings can be changed, with the token. */
  readonly mayChange: boolean;
  readonly services: readonly ServicePicture[];
}

/** The uses of a page frame. A frame map refers to a use by its index in this list. */
export const FRAME_USES = [
  "free",
  "arena header",
  "pool, ephemeral",
  "pool, persistent",
  "pool metadata",
  "index",
  "write-back",
  "other",
] as const;

/**
 * /api/services/NAME/map: page frames [from, to), `perCell` in each cell. A cell has `cellBytes` =
 * 8 bytes:
 *
 *   0     the most frequent use of its frames
 *   1     the share of frames that are free, in 255ths
 *   2     the share of frames that hold objects, in 255ths
 *   3     the mean fullness of these, in 255ths
 *   4–6   the most frequent class of these, lowest byte first: bytes of a slot, or the objects in a
 *         page for pools of buddies
 *   7     1 if its frames differ in use or class
 */
export interface FrameMap {
  readonly from: number;
  readonly to: number;
  readonly perCell: number;
  readonly cellBytes: number;
  readonly framesTotal: number;
  readonly pageSizeBytes: number;
  /** What a class is: bytes of a slot, or objects (buddies) in a page; "" if the pool has none. */
  readonly classes: "slot" | "buddies" | "";
  /** The number of frames of each use, in the order of FRAME_USES. */
  readonly uses: readonly number[];
  /** Frames that hold objects, by class: their number and the sum of their fullness, 0 … 1 each. */
  readonly byClass: readonly {
    readonly class: number;
    readonly frames: number;
    readonly fullness: number;
  }[];
  /** The cells, in Base64. */
  readonly cells: string;
}

/**
 * /api/services/NAME/sizes: the histogram of stored sizes in the pool. For a large store it covers
 * only part of the entries at first, and more with each request.
 */
export interface Sizes {
  readonly looked: number;
  readonly of: number;
  readonly sameFilled: number;
  readonly pageSizeBytes: number;
  /** 64 bins of 1/64 page each; the last one counts entries stored as a whole page. */
  readonly bins: readonly number[];
  /** Entries that are uncompressed, compressed by the codec, and by the denser codec. */
  readonly raw: number;
  readonly fast: number;
  readonly dense: number;
}

/** The result of one codec with one pool on the sample. */
export interface WhatIfRow {
  readonly codec: string;
  readonly pool: string;
  /** Whether this is the codec and pool of the service. */
  readonly isCurrent: boolean;
  readonly compressedBytes: number;
  readonly poolBytes: number;
  readonly metadataBytes: number;
  /** All memory that the sample takes, with 8 bytes for each same-filled page. */
  readonly heldBytes: number;
  /** Original bytes ÷ held bytes. */
  readonly ratio: number;
  /** Median times to compress and to decompress one page or value. */
  readonly compressNs: number;
  readonly decompressNs: number;
}

/** /api/services/NAME/what-if */
export interface WhatIf {
  /** Pages or values in the sample, and in memory. */
  readonly sampled: number;
  readonly of: number;
  readonly sameFilled: number;
  readonly originalBytes: number;
  /** Bytes of the sample as stored now, with dictionaries and recompression. */
  readonly storedBytes: number;
  readonly rows: readonly WhatIfRow[];
}

/** A share, 0 … 1, and the interval that it is in. */
export interface Figure {
  readonly estimate: number;
  readonly low: number;
  readonly high: number;
}

/** The hit rate of the live traffic with another limit or policy. */
export interface HitRateRow {
  readonly policy: string;
  /** The limit, in bytes and as a multiple of today's. */
  readonly limitBytes: number;
  readonly limit: number;
  /** Whether this is the limit and policy of the service: then the hit rate was measured. */
  readonly isCurrent: boolean;
  /** Requests that are answered from memory, and their share of the bytes requested. */
  readonly hitRate: Figure;
  readonly byteHitRate: Figure;
}

/** /api/services/NAME/hit-rates: a study of hit rates with other limits and policies. */
export interface HitRates {
  readonly state: "none" | "running" | "ended" | "failed";
  /** Why the study has failed, or why there are no rows; else null. */
  readonly why: string | null;
  /** The length of the study; the time since it began to watch, and since it began to count. */
  readonly seconds: number;
  readonly watchedSeconds: number;
  readonly countedSeconds: number;
  /** The share of the keys that is sampled. */
  readonly share: number;
  /** Sampled keys and requests that were counted. */
  readonly keys: number;
  readonly requests: number;
  /** Sampled requests that came too fast to be recorded. */
  readonly dropped: number;
  /** First the limits with the policy of the service, then the other policies. */
  readonly rows: readonly HitRateRow[];
}

/** /api/services/NAME/choices: codecs and pools for a what-if comparison. */
export interface Choices {
  readonly codecs: readonly string[];
  readonly pools: readonly string[];
}

/** /api/knobs: a knob; available only if the operator has set a token. */
export interface KnobState {
  readonly name: string;
  readonly value: string;
  readonly describe: string;
  readonly writable: boolean;
}

/**
 * A quantile of a latency histogram, exact to an eighth.
 * @param share 0.99 for the 99th percentile
 * @returns ns; undefined for an empty histogram
 */
export function quantile(latency: Latency, share: number): number | undefined {
  const all = latency.reduce((sum, [, n]) => sum + n, 0);
  if (all === 0) return undefined;
  const rank = Math.max(1, Math.ceil(all * share));
  let seen = 0;
  for (const [upTo, n] of latency) {
    seen += n;
    if (seen >= rank) return upTo;
  }
  return latency.at(-1)![0];
}
