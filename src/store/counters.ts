// The counters of a store, with the kernel's names where it has them (zswap, zcache2, zram, tmem).
//
// Every refusal and every eviction has a reason and a counter, so that each page that is not stored
// can be explained.
import { REFUSALS, type Refusal } from "../policy/admission.ts";

/** Counters of events, in their order in the store's root. */
export const COUNTERS = [
  "puts",
  "duplicate_puts",
  "gets",
  "hits",
  "misses",
  "loads_from_file",
  "flushes",
  "flushes_found",
  "object_flushes",
  "object_flushes_found",
  // Why a put was refused.
  "put_to_flush",
  "pool_limit_hit",
  "reject_alloc_fail",
  "reject_reclaim_fail",
  ...REFUSALS,
  // Why a page was removed.
  "evicted_ephemeral_pages",
  "persistent_ate_ephemeral",
  "ephemeral_ate_tail",
  "exclusive_gets",
  "dropped_from_file",
  "lost_pages",
  // Work.
  "written_back_pages",
  "written_back_bytes",
  "read_back_pages",
  "promoted_pages",
  "reclaimed_frames",
  "decompress_fail",
  "compressed_pages",
  "compressed_bytes_in",
  "compressed_bytes_out",
  "recompressed_pages",
  "recompressed_bytes_in",
  "recompressed_bytes_out",
  "recompress_in_vain",
  "expired",
  "huge_pages_since",
  // The remote tier, with RAMster's names.
  "eph_pages_remoted",
  "pers_pages_remoted",
  "remoted_bytes",
  "eph_pages_remote_failed",
  "pers_pages_remote_failed",
  "eph_pages_remote_nomem",
  "pers_pages_remote_nomem",
  "remote_eph_pages_succ_get",
  "remote_eph_pages_unsucc_get",
  "remote_pers_pages_succ_get",
  "remote_pers_pages_unsucc_get",
  "remote_pages_flushed",
  "remote_page_flushes_failed",
  "remote_orphans_flushed",
  "repatriated_pages",
] as const;

/** In the API reference, the names themselves. @useDeclaredType */
export type CounterName = (typeof COUNTERS)[number];

/** The index of each counter: `Count.puts`. */
export const Count = Object.fromEntries(COUNTERS.map((name, nth) => [name, nth])) as Readonly<
  Record<CounterName, number>
>;

/** Why a page is not stored, as `explain` reports; a miss reason is an index into this list. */
export const REASONS = [
  "never stored, or too long ago to be remembered",
  "flushed",
  "its object was flushed",
  "its pool was destroyed",
  "taken by an exclusive get",
  "evicted to make room",
  "dropped from the full write-back file",
  "lost: the write-back file did not return its bytes",
  "refused: the store is frozen",
  "refused: the limit is reached",
  "refused: no room in the pool, and nothing could be evicted",
  "refused: it compresses too poorly",
  "refused: the mean compresses too poorly",
  "refused: there are too many pages",
  "expired",
  "lost: the remote tier has not kept it",
] as const;

export const Reason = {
  UNKNOWN: 0,
  FLUSHED: 1,
  OBJECT_FLUSHED: 2,
  POOL_DESTROYED: 3,
  EXCLUSIVE_GET: 4,
  EVICTED: 5,
  DROPPED_FROM_FILE: 6,
  LOST: 7,
  FROZEN: 8,
  LIMIT: 9,
  NO_ROOM: 10,
  COMPRESS_POOR: 11,
  MEAN_POOR: 12,
  PAGE_COUNT: 13,
  EXPIRED: 14,
  LOST_REMOTELY: 15,
} as const;

/** The miss reason of each refusal by admission rules. */
export const REASON_OF_REFUSAL: Readonly<Record<Refusal, number>> = {
  reject_compress_poor: Reason.COMPRESS_POOR,
  mean_compress_poor: Reason.MEAN_POOR,
  reject_page_count: Reason.PAGE_COUNT,
};

/** Operations whose latency is measured, in the order of their histograms. */
export const LATENCIES = [
  "put",
  "get",
  "miss",
  "load_from_file",
  "reclaim",
  "load_from_remote",
] as const;
/** In the API reference, the names themselves. @useDeclaredType */
export type LatencyName = (typeof LATENCIES)[number];
export const Latency = { PUT: 0, GET: 1, MISS: 2, LOAD: 3, RECLAIM: 4, REMOTE: 5 } as const;
