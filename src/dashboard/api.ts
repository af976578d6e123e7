// What the web page asks the daemon for, and what the daemon answers: JSON in both senses, read by
// the page (dashboard/), by Prometheus's collectors (monitor/web/metrics.ts) and by whoever scripts
// against /api. An answer that is no success is { error }. Names end in their unit; counters count
// from the start of the service.

/**
 * Times of one kind of operation, of those that were measured: the buckets that hold any, in order,
 * with the time up to which each goes, in ns.
 */
export type Latency = readonly (readonly [upToNs: number, count: number])[];

/** What a service is, which does not change while it runs. */
export interface Setup {
  readonly codec: string;
  /** The codec for what has lain idle, null if there is none. */
  readonly denseCodec: string | null;
  readonly pool: string;
  readonly policy: string;
  readonly pageSizeBytes: number;
  /** Pages of one size, or values of any length. */
  readonly holds: "pages" | "values";
}

/** Bytes in memory. The parts add up to `usedBytes`. */
export interface MemoryUse {
  /** What is held, as it came in. */
  readonly logicalBytes: number;
  /** Of it, as it is stored, without same-filled pages, which take none. */
  readonly compressedBytes: number;
  readonly usedBytes: number;
  readonly usedMaxBytes: number;
  readonly limitBytes: number;
  readonly parts: {
    readonly compressed: number;
    /** Room in the pools' page frames that nothing fills. */
    readonly unused: number;
    readonly poolMetadata: number;
    readonly index: number;
    readonly writeBack: number;
    /** The arena's header and frame table. */
    readonly arena: number;
    readonly other: number;
  };
}

/** Pages or values that are stored. */
export interface Stored {
  readonly inPool: number;
  readonly sameFilled: number;
  /** Of those in the pool: as they came, because they would hardly shrink. */
  readonly huge: number;
  readonly inFile: number;
}

export interface Connections {
  readonly now: number;
  readonly accepted: number;
  readonly refused: number;
}

/** One service at one moment. */
export interface ServicePicture {
  readonly name: string;
  readonly kind: string;
  readonly setup: Setup;
  readonly memory: MemoryUse;
  readonly stored: Stored;
  /** By the service's own names: `get`, `set`, `read`, `write`, … */
  readonly operations: Readonly<Record<string, number>>;
  /** Look-ups that found something, and that did not. */
  readonly hits: number;
  readonly misses: number;
  /** What went, or was not taken, by reason. */
  readonly evictions: Readonly<Record<string, number>>;
  readonly refusals: Readonly<Record<string, number>>;
  readonly expired: number;
  readonly recompressed: number;
  readonly recoveries: number;
  /** Unexpected errors, each of which ended one connection, request or task. */
  readonly internalErrors: number;
  readonly writeBack: {
    readonly writtenPages: number;
    readonly writtenBytes: number;
    readonly readPages: number;
    /** Bytes of the file, now and at most; null where there is no file. */
    readonly file: { readonly usedBytes: number; readonly maxBytes: number } | null;
  };
  /** `store_…`: inside of the store; `request_…`: as the server sees it. */
  readonly latency: Readonly<Record<string, Latency>>;
  readonly connections: Connections;
}

/** /api/state */
export interface State {
  readonly version: string;
  /** Milliseconds since 1970, and since the daemon began. */
  readonly nowMs: number;
  readonly uptimeMs: number;
  /** Resident memory of the whole process. */
  readonly residentBytes: number;
  /** Unexpected errors outside of the services: web page, control socket, tasks of the daemon. */
  readonly internalErrors: number;
  /** Whether there are knobs, for who has the token. */
  readonly mayChange: boolean;
  readonly services: readonly ServicePicture[];
}

/** What a page frame is used for. The place in this list is the number that stands for it. */
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
 * /api/services/NAME/map: page frames from…to, `perCell` to a cell, of `cellBytes` = 8 bytes:
 * 0 the use that most of its frames have; 1 share of frames that are free, 2 that hold objects,
 * 3 mean fullness of those (all in 255ths); 4–6 the class that most of those have, lowest byte
 * first: bytes of a slot, or for pools of buddies the objects in a page; 7: 1 if its frames differ
 * in use or class.
 */
export interface FrameMap {
  readonly from: number;
  readonly to: number;
  readonly perCell: number;
  readonly cellBytes: number;
  readonly framesTotal: number;
  readonly pageSizeBytes: number;
  /** What a class is: `slot` bytes, or `buddies` in a page; "" where the pool does not say. */
  readonly classes: "slot" | "buddies" | "";
  /** Frames by FRAME_USES, of all that were looked at. */
  readonly uses: readonly number[];
  /** Frames and sum of fullness (0 … 1 each) by class of those that hold objects. */
  readonly byClass: readonly {
    readonly class: number;
    readonly frames: number;
    readonly fullness: number;
  }[];
  /** Base64. */
  readonly cells: string;
}

/**
 * /api/services/NAME/sizes: pages or values in the pool by their stored size; of a large store, at
 * first only the part that was looked at so far.
 */
export interface Sizes {
  readonly looked: number;
  readonly of: number;
  readonly sameFilled: number;
  readonly pageSizeBytes: number;
  /** 64 bins of 1/64 page each, the last one with what is stored as a whole page. */
  readonly bins: readonly number[];
  /** By what they are compressed with: as they came, the codec, the denser codec. */
  readonly raw: number;
  readonly fast: number;
  readonly dense: number;
}

/** One codec with one pool, on the sample. */
export interface WhatIfRow {
  readonly codec: string;
  readonly pool: string;
  /** Whether the service itself works so. */
  readonly isCurrent: boolean;
  readonly compressedBytes: number;
  readonly poolBytes: number;
  readonly metadataBytes: number;
  /** Everything that the sample would take, same-filled pages with 8 bytes each. */
  readonly heldBytes: number;
  /** original ÷ held. */
  readonly ratio: number;
  /** Median time to compress, and to decompress, one page or value. */
  readonly compressNs: number;
  readonly decompressNs: number;
}

/** /api/services/NAME/what-if */
export interface WhatIf {
  /** Pages or values in the sample, of how many there are in memory. */
  readonly sampled: number;
  readonly of: number;
  readonly sameFilled: number;
  readonly originalBytes: number;
  /** What the sample takes in the store now, with dictionaries and recompression. */
  readonly storedBytes: number;
  readonly rows: readonly WhatIfRow[];
}

/** /api/services/NAME/choices: what a what-if may be asked for. */
export interface Choices {
  readonly codecs: readonly string[];
  readonly pools: readonly string[];
}

/** A knob, /api/knobs; there only where the operator has given a token. */
export interface KnobState {
  readonly name: string;
  readonly value: string;
  readonly describe: string;
  readonly writable: boolean;
}

/** @returns ns up to which that share lies, to an eighth; undefined if nothing was measured */
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
