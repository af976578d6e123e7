// What `stats()` of a cache returns.
import type { PersistStats } from "../persist/statistics.ts";
import type { ShardGroup } from "../shard/shard_group.ts";
import type { StoreStats } from "../store/statistics.ts";
import type { BackgroundCounts } from "./background.ts";

/** Events of one thread; the store counts those of all threads. */
export interface LocalCounts {
  /** Gets that a decoded value of `near` answered; the store does not count them. */
  nearHits: number;
  /** Loaders that were called. */
  loads: number;
  /** Fetches that waited for a load which another caller or thread had begun. */
  joined: number;
  /** Fetches that got a stale value. */
  staleHits: number;
  /** Loaded values that were not stored: refused, or the key was set or deleted meanwhile. */
  unstored: number;
}

/** Statistics of a cache: of all threads, unless said otherwise, since it was created. */
export interface CacheStats {
  /** Entries stored, including expired ones that are not removed yet. */
  readonly entries: number;
  /** Gets that found a fresh value, and those that did not; without `thread.nearHits`. */
  readonly hits: number;
  readonly misses: number;
  /** hits / (hits + misses), 0 to 1; 0 before the first get. */
  readonly hitRate: number;
  /** Bytes of the values in memory, before compression. */
  readonly originalBytes: number;
  /** Bytes of the values in memory, compressed, with their keys. */
  readonly storedBytes: number;
  /** Bytes of memory in use, with all overhead. */
  readonly memoryUsed: number;
  /** Limit of `memoryUsed`, in bytes. */
  readonly memoryMax: number;
  /** Pages of values in the write-back file. */
  readonly inFile: number;
  /** Pages of values that were evicted. */
  readonly evictions: number;
  /** Entries that were removed because they had expired. */
  readonly expired: number;
  /** Number of the dictionary that new values are compressed with, 0 = none. */
  readonly dictionary: number;
  /** Counts of the calling thread. */
  readonly thread: Readonly<LocalCounts>;
  /** Counts of the background work; undefined in threads that do none. */
  readonly background: Readonly<BackgroundCounts> | undefined;
  /** Persistence; undefined without the option, and in threads that attached. */
  readonly persist: PersistStats | undefined;
  /** All counters of the store. */
  readonly store: StoreStats;
}

/** The statistics that the store has. @param dictionary number of that of the first shard */
export function storeFigures(
  group: ShardGroup,
  dictionary: number,
): Omit<CacheStats, "entries" | "thread" | "background" | "persist"> {
  const stats = group.stats();
  const { counters, ephemeral } = stats;
  const { hits, misses, gets } = counters;
  return {
    hits,
    misses,
    hitRate: gets === 0 ? 0 : hits / gets,
    originalBytes: ephemeral.originalBytes,
    storedBytes: ephemeral.compressedBytes,
    memoryUsed: stats.mem_used_total,
    memoryMax: stats.mem_limit,
    inFile: ephemeral.pagesInFile,
    evictions: counters.evicted_ephemeral_pages,
    expired: counters.expired,
    dictionary,
    store: stats,
  };
}
