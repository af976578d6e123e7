// What the items of all threads take, and how much they may take.
import { ZcacheError } from "../../base/errors.ts";
import { type ItemShards, itemCount } from "./shards.ts";

export interface MemoryStats {
  readonly items: number;
  /** Keys and values as clients gave them, in bytes. */
  readonly logicalBytes: number;
  /** What holding them takes, in bytes. */
  readonly usedBytes: number;
  readonly limitBytes: number;
  /** Items that were evicted for want of room, since the start. */
  readonly evictions: number;
  /** More, by the store's own names; `stats zcache` shows them. */
  readonly more: Readonly<Record<string, number | string>>;
}

/** Slow: it asks all threads. */
export function memoryStats(shards: ItemShards): MemoryStats {
  const stats = shards.group.stats();
  const { ephemeral, persistent, mem_used_total, mem_limit, counters, locks, remote } = stats;
  const waits = Object.entries(locks).flatMap(([kind, { contended, waitedNs, slept }]) => [
    [`lock_${kind}_contended`, contended],
    [`lock_${kind}_wait_us`, Math.round(waitedNs / 1000)],
    [`lock_${kind}_slept`, slept],
  ]);
  // Items are of one of the two kinds: evictable (ephemeral) or not.
  return {
    items: itemCount(shards),
    logicalBytes: ephemeral.originalBytes + persistent.originalBytes,
    usedBytes: mem_used_total,
    limitBytes: mem_limit,
    evictions: counters.evicted_ephemeral_pages,
    more: {
      shards: shards.values.length,
      compr_data_size: ephemeral.compressedBytes + persistent.compressedBytes,
      pages_in_memory: ephemeral.pagesInMemory + persistent.pagesInMemory,
      pages_in_file: ephemeral.pagesInFile + persistent.pagesInFile,
      ...(remote === undefined
        ? {}
        : {
            pages_remote: ephemeral.pagesRemote + persistent.pagesRemote,
            remote_bytes: ephemeral.remoteBytes + persistent.remoteBytes,
            remote_in_transit: remote.in_transit,
            remote_removals_waiting: remote.removals_waiting,
          }),
      ...counters,
      ...Object.fromEntries(waits),
    },
  };
}

/** Changes the limit of memory. @returns false if that many bytes are not possible */
export function limitMemory({ group, limitMax }: ItemShards, bytes: number): boolean {
  if (bytes > limitMax) return false;
  try {
    group.limit(bytes);
    return true;
  } catch (error) {
    if (error instanceof ZcacheError) return false;
    throw error;
  }
}
