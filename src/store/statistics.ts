// What a store says of itself: one consistent picture, taken under the lock.

import type { LatencySummary } from "../base/latency.ts";
import { LATENCY_WORDS, latencyBuckets, latencyRecord, latencySummary } from "../base/latency.ts";
import { RECOVERIES } from "../memory/arena.layout.ts";
import { FRAME_WORDS } from "../memory/frame.layout.ts";
import type { PoolStats } from "../pool/contract.ts";
import { COUNTERS, type CounterName, LATENCIES, type LatencyName } from "./counters.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";

/** Pages of one kind. */
export interface KindStats {
  /** Pages in the pool, same-filled, and in the write-back file. */
  readonly pagesInMemory: number;
  readonly samePages: number;
  readonly pagesInFile: number;
  /** Of those in the pool: stored raw, because they would hardly shrink. */
  readonly hugePages: number;
  /** Bytes of the pages in the pool, as compressed. */
  readonly compressedBytes: number;
  /** Bytes of the pages in memory, as they came in; of values to within 16 bytes each. */
  readonly originalBytes: number;
  readonly pool: PoolStats;
}

export interface StoreStats {
  /** Bytes of all pages in memory, as they were put: zram's `orig_data_size`. */
  readonly orig_data_size: number;
  /** Bytes of the pages in the pools, as compressed. */
  readonly compr_data_size: number;
  /** Bytes in use, of pages, index, tables, buffers, scratch of all threads; and the most ever. */
  readonly mem_used_total: number;
  readonly mem_used_max: number;
  readonly mem_limit: number;
  readonly same_pages: number;
  readonly huge_pages: number;
  readonly pages_compacted: number;
  /** Where the difference between `compr_data_size` and `mem_used_total` went, in bytes. */
  readonly memory: {
    /** Room in the pools' page frames that no page fills. */
    readonly unused: number;
    /** Handles and descriptors of the pools. */
    readonly poolMetadata: number;
    readonly index: number;
    /** Segments on their way to the file, and the table of segments. */
    readonly writeBack: number;
    /** The arena's own header and frame table. */
    readonly arena: number;
    /** Journal, root, policies, and the scratch of all threads. */
    readonly other: number;
  };
  readonly ephemeral: KindStats;
  readonly persistent: KindStats;
  readonly counters: Readonly<Record<CounterName, number>>;
  /** In ns; one operation of sixteen is measured. */
  readonly latency: Readonly<Record<LatencyName, LatencySummary>>;
  /** Threads that died inside the store, whose steps were undone. */
  readonly recoveries: number;
  readonly writeBack: Readonly<Record<string, unknown>> | undefined;
}

export function statisticsLocked(state: StoreState): StoreStats {
  const { arena, pageSize } = state;
  const kinds = [Store.EPHEMERAL, Store.PERSISTENT].map((kind) => kindStatsLocked(state, kind));
  const [ephemeral, persistent] = kinds as [KindStats, KindStats];
  const sum = (of: (kind: KindStats) => number) => of(ephemeral) + of(persistent);
  const { frames } = arena;
  const header = frames.firstFrame * pageSize;
  const used = frames.framesUsed * pageSize + header;
  const compressed = sum((kind) => kind.compressedBytes);
  const poolBytes = sum((kind) => kind.pool.pages) * pageSize;
  const poolMetadata = sum((kind) => metadataFrames(kind.pool, pageSize)) * pageSize;
  const index = state.index.memoryFrames * pageSize;
  const writeBack = (state.backing?.memoryFrames ?? 0) * pageSize;
  return {
    orig_data_size: sum((kind) => kind.originalBytes),
    compr_data_size: compressed,
    mem_used_total: used,
    mem_used_max: frames.framesPeak * pageSize + header,
    mem_limit: state.words[state.root + Store.LIMIT_FRAMES]! * pageSize + header,
    same_pages: sum((kind) => kind.samePages),
    huge_pages: sum((kind) => kind.hugePages),
    pages_compacted: sum((kind) => kind.pool.pagesCompacted),
    memory: {
      unused: poolBytes - compressed,
      poolMetadata,
      index,
      writeBack,
      arena: header,
      other: used - header - poolBytes - poolMetadata - index - writeBack,
    },
    ephemeral,
    persistent,
    counters: Object.fromEntries(
      COUNTERS.map((name) => [name, state.counter(name)]),
    ) as StoreStats["counters"],
    latency: Object.fromEntries(
      LATENCIES.map((name, nth) => [name, latencySummary(state.words, latencyAt(state, nth))]),
    ) as StoreStats["latency"],
    recoveries: state.words[RECOVERIES]!,
    writeBack: state.backing?.stats() as StoreStats["writeBack"],
  };
}

/** The buckets of all latencies. Without the lock: each is a word of its own. */
export function latenciesOf(state: StoreState) {
  const buckets = LATENCIES.map((name, nth) => {
    return [name, latencyBuckets(state.words, latencyAt(state, nth))] as const;
  });
  return Object.fromEntries(buckets) as Record<LatencyName, ReturnType<typeof latencyBuckets>>;
}

/** Adds the time since `beginNs` to a histogram. */
export function recordSince(state: StoreState, nth: number, beginNs: number): void {
  latencyRecord(state.words, latencyAt(state, nth), state.platform.clock.nowNs() - beginNs);
}

/** Word index of a histogram. */
export function latencyAt(state: StoreState, nth: number): number {
  return state.root + Store.LATENCIES + nth * LATENCY_WORDS;
}

function kindStatsLocked(state: StoreState, kind: number): KindStats {
  const gauge = (what: number) => state.words[state.gaugeAt(kind, what)]!;
  const originalBytes =
    state.options.content === "values"
      ? (gauge(Store.ORIGINAL) >>> 0) * Store.ORIGINAL_UNIT
      : (gauge(Store.IN_MEMORY) + gauge(Store.SAME)) * state.pageSize;
  return {
    originalBytes,
    pagesInMemory: gauge(Store.IN_MEMORY),
    samePages: gauge(Store.SAME),
    pagesInFile: gauge(Store.IN_FILE),
    hugePages: gauge(Store.HUGE),
    compressedBytes: gauge(Store.BYTES) >>> 0,
    pool: state.zpools[kind]!.stats(),
  };
}

/** Frames of a pool's metadata. The pool counts the frame table too, which here is the arena's. */
function metadataFrames(pool: PoolStats, pageSize: number): number {
  const frameBytes = FRAME_WORDS * 4;
  return (pool.metadataBytes - pool.pages * frameBytes) / (pageSize + frameBytes);
}
