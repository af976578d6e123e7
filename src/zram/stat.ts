// Statistics of a zram device: the fields of the kernel's files mm_stat, io_stat and bd_stat, in
// their order.
import type { StoreStats } from "../store/statistics.ts";

export interface MmStat {
  readonly orig_data_size: number;
  readonly compr_data_size: number;
  readonly mem_used_total: number;
  readonly mem_limit: number;
  readonly mem_used_max: number;
  readonly same_pages: number;
  readonly pages_compacted: number;
  readonly huge_pages: number;
  /** Huge pages stored since the store was made, including those that are gone. */
  readonly huge_pages_since: number;
}

export interface IoStat {
  readonly failed_reads: number;
  readonly failed_writes: number;
  /** Requests beyond the end; the kernel also counts requests that are not page-aligned. */
  readonly invalid_io: number;
  /** Pages that were freed by a discard. */
  readonly notify_free: number;
}

export interface BdStat {
  readonly bd_count: number;
  readonly bd_reads: number;
  readonly bd_writes: number;
}

export function mmStatOf(stats: StoreStats): MmStat {
  return {
    orig_data_size: stats.orig_data_size,
    compr_data_size: stats.compr_data_size,
    mem_used_total: stats.mem_used_total,
    mem_limit: stats.mem_limit,
    mem_used_max: stats.mem_used_max,
    same_pages: stats.same_pages,
    pages_compacted: stats.pages_compacted,
    huge_pages: stats.huge_pages,
    huge_pages_since: stats.counters.huge_pages_since,
  };
}

/** @param pageSize of the device's pages */
export function bdStatOf({ persistent, counters }: StoreStats, pageSize: number): BdStat {
  const unit = pageSize / 4096;
  return {
    bd_count: persistent.pagesInFile * unit,
    bd_reads: counters.read_back_pages * unit,
    bd_writes: counters.written_back_pages * unit,
  };
}

/** The line of the kernel's file. */
export function statLine(stat: MmStat | IoStat | BdStat): string {
  return Object.values(stat).join(" ");
}
