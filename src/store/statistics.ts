// Statistics of a store, consistent with each other: they are read under one hold of the lock.

import * as Box from "../backing/outbox.layout.ts";
import { LATENCY_WORDS } from "../base/latency.layout.ts";
import type { LatencySummary } from "../base/latency.ts";
import { latencyAdd, latencyBuckets, latencyRecord, latencySummary } from "../base/latency.ts";
import { RECOVERIES } from "../memory/arena.layout.ts";
import type { LockKind } from "../memory/arena_lock.ts";
import { FRAME_WORDS } from "../memory/frame.layout.ts";
import type { LockCounts } from "../memory/lock_waits.ts";
import type { PoolStats } from "../pool/contract.ts";
import { COUNTERS, type CounterName, LATENCIES, type LatencyName } from "./counters.ts";
import type { PressureStats } from "./pressure_stats.ts";
import {
  type GiveBackStats,
  giveBackStats,
  type HugePagesStats,
  hugePagesStats,
} from "./resident_memory.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";
import { transaction } from "./transaction.ts";

/** Statistics of one kind of pages. */
export interface KindStats {
  /** Pages in the pool. */
  readonly pagesInMemory: number;
  readonly samePages: number;
  readonly pagesInFile: number;
  /** Pages in the remote tier or in transit, and their bytes as compressed. */
  readonly pagesRemote: number;
  readonly remoteBytes: number;
  /** Pages in the pool that are stored raw, because they would hardly shrink. */
  readonly hugePages: number;
  /** Bytes of the pages in the pool, as compressed. */
  readonly compressedBytes: number;
  /** Uncompressed bytes of the pages in memory; of values, rounded up to 16 bytes each. */
  readonly originalBytes: number;
  readonly pool: PoolStats;
}

export interface StoreStats {
  /** Uncompressed bytes of all pages in memory: zram's `orig_data_size`. */
  readonly orig_data_size: number;
  /** Bytes of the pages in the pools, as compressed. */
  readonly compr_data_size: number;
  /** Bytes in use by pages, index, tables, buffers and scratch of all threads. */
  readonly mem_used_total: number;
  readonly mem_used_max: number;
  readonly mem_limit: number;
  /** Arenas that the store consists of. */
  readonly shards: number;
  /** Bytes of memory that the system may have given the store: those in use, and free ones. */
  readonly mem_resident: number;
  readonly same_pages: number;
  readonly huge_pages: number;
  readonly pages_compacted: number;
  /** How `mem_used_total` exceeds `compr_data_size`, in bytes. */
  readonly memory: {
    /** Unused room in the pools' page frames. */
    readonly unused: number;
    /** Handles and descriptors of the pools. */
    readonly poolMetadata: number;
    readonly index: number;
    /** Segments not yet written to the file, and the table of segments. */
    readonly writeBack: number;
    /** Pages in transit to the remote tier, and its queues. */
    readonly remote: number;
    /** Header and frame table of the arena. */
    readonly arena: number;
    /** Journal, root, policies, and the scratch of all threads. */
    readonly other: number;
  };
  readonly ephemeral: KindStats;
  readonly persistent: KindStats;
  readonly counters: Readonly<Record<CounterName, number>>;
  /** In ns; one operation in sixteen is timed. */
  readonly latency: Readonly<Record<LatencyName, LatencySummary>>;
  /** Threads that died inside the store, and whose changes were rolled back. */
  readonly recoveries: number;
  /**
   * Waits for locks since the store was created: `exclusive` to change pages, `beside` to change
   * only what readers do not look at, `reader` to read while another thread changes pages, `key`
   * for the lock of a key or of a part of a disk, `other` to train a dictionary or to write changes
   * to the files of `persist`.
   */
  readonly locks: Readonly<Record<LockKind, LockCounts>>;
  readonly writeBack: Readonly<Record<string, unknown>> | undefined;
  /** The remote tier, if there is one. */
  readonly remote: RemoteStats | undefined;
  /** How memory of free frames is returned to the system. */
  readonly giveBack: GiveBackStats;
  readonly hugePages: HugePagesStats;
  /** What memory pressure did to the limit; known to the thread that made the store. */
  readonly pressure: Readonly<PressureStats>;
}

/** The remote tier as all threads see it. */
export interface RemoteStats {
  /** Whether pages may go out: the owner has the lease, and the cluster takes them. */
  readonly accepts: boolean;
  /** Which pages the settings let out (`store.remotify`). */
  readonly eph_remotify_enable: boolean;
  readonly pers_remotify_enable: boolean;
  /** Pages in transit, at most, and now. */
  readonly slots: number;
  readonly in_transit: number;
  /** Records that wait to be removed. */
  readonly removals_waiting: number;
  /** Records that may be in the cluster although no page has them. */
  readonly orphans: number;
}

function remoteStatsOf({ outbox }: StoreState): RemoteStats | undefined {
  if (outbox === undefined) return undefined;
  return {
    accepts: outbox.accepts(Store.PERSISTENT) || outbox.accepts(Store.EPHEMERAL),
    eph_remotify_enable: outbox.isEnabled(Store.EPHEMERAL),
    pers_remotify_enable: outbox.isEnabled(Store.PERSISTENT),
    slots: outbox.get(Box.SLOTS),
    in_transit: outbox.get(Box.IN_TRANSIT),
    removals_waiting: outbox.removalsWaiting,
    orphans: outbox.get(Box.ORPHANS),
  };
}

export function statisticsLocked(state: StoreState): StoreStats {
  const { arena, pageSize } = state;
  const kinds = [Store.EPHEMERAL, Store.PERSISTENT].map((kind) => kindStatsLocked(state, kind));
  const [ephemeral, persistent] = kinds as [KindStats, KindStats];
  const sum = (of: (kind: KindStats) => number) => of(ephemeral) + of(persistent);
  const { frames } = arena;
  const header = frames.headerFrames * pageSize;
  const used = frames.framesUsed * pageSize + header;
  const compressed = sum((kind) => kind.compressedBytes);
  const poolBytes = sum((kind) => kind.pool.pages) * pageSize;
  const poolMetadata = sum((kind) => metadataFrames(kind.pool, pageSize)) * pageSize;
  const index = state.index.memoryFrames * pageSize;
  const remote = (state.outbox?.memoryFrames ?? 0) * pageSize;
  const writeBack = (state.backing?.memoryFrames ?? 0) * pageSize;
  return {
    orig_data_size: sum((kind) => kind.originalBytes),
    compr_data_size: compressed,
    mem_used_total: used,
    mem_used_max: frames.framesPeak * pageSize + header,
    mem_limit: state.words[state.root + Store.LIMIT_FRAMES]! * pageSize + header,
    shards: 1,
    mem_resident: header + (frames.framesUsable - frames.framesUnpopulated) * pageSize,
    same_pages: sum((kind) => kind.samePages),
    huge_pages: sum((kind) => kind.hugePages),
    pages_compacted: sum((kind) => kind.pool.pagesCompacted),
    memory: {
      unused: poolBytes - compressed,
      poolMetadata,
      index,
      writeBack,
      remote,
      arena: header,
      other: used - header - poolBytes - poolMetadata - index - writeBack - remote,
    },
    ephemeral,
    persistent,
    counters: Object.fromEntries(
      COUNTERS.map((name) => [name, state.counter(name)]),
    ) as StoreStats["counters"],
    latency: latencySummariesOf([state]),
    recoveries: state.words[RECOVERIES]!,
    locks: arena.lock.counts(),
    writeBack: state.backing?.stats() as StoreStats["writeBack"],
    remote: remoteStatsOf(state),
    giveBack: giveBackStats(state),
    hugePages: hugePagesStats(state),
    pressure: { ...state.pressure },
  };
}

/** The buckets of all latency histograms of some shards. Needs no lock: each is one word. */
export function latenciesOf(states: readonly StoreState[]) {
  const words = new Int32Array(LATENCY_WORDS);
  const buckets = LATENCIES.map((name, nth) => {
    sumLatency(states, nth, words);
    return [name, latencyBuckets(words, 0)] as const;
  });
  return Object.fromEntries(buckets) as Record<LatencyName, ReturnType<typeof latencyBuckets>>;
}

/** Percentiles of the latencies of some shards together. */
export function latencySummariesOf(states: readonly StoreState[]): StoreStats["latency"] {
  const words = new Int32Array(LATENCY_WORDS);
  const summaries = LATENCIES.map((name, nth) => {
    sumLatency(states, nth, words);
    return [name, latencySummary(words, 0)] as const;
  });
  return Object.fromEntries(summaries) as StoreStats["latency"];
}

/** Adds up the n-th histogram of some shards. @param words LATENCY_WORDS, which are overwritten */
function sumLatency(states: readonly StoreState[], nth: number, words: Int32Array): void {
  words.fill(0);
  for (const state of states) latencyAdd(words, state.words, latencyAt(state, nth));
}

/** Adds the time since `beginNs` to the n-th histogram. */
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
    pagesRemote: gauge(Store.IN_REMOTE),
    remoteBytes: state.remoteBytes(kind),
    hugePages: gauge(Store.HUGE),
    compressedBytes: gauge(Store.BYTES) >>> 0,
    pool: state.zpools[kind]!.stats(),
  };
}

/**
 * Frames of a pool's metadata. The pool's statistics include the frame table, which here counts for
 * the arena.
 */
function metadataFrames(pool: PoolStats, pageSize: number): number {
  const frameBytes = FRAME_WORDS * 4;
  return (pool.metadataBytes - pool.pages * frameBytes) / (pageSize + frameBytes);
}

/** As `Store.uncounted`. */
export async function uncounted<T>(state: StoreState, work: () => Promise<T>): Promise<T> {
  const { words, root } = state;
  const [from, to] = [root + Store.COUNTERS, root + Store.STRIPES];
  const before = transaction(state, () => words.slice(from, to));
  try {
    return await work();
  } finally {
    transaction(state, () => words.set(before, from));
  }
}
