// The result of an analysis: the JSON of `zcache analyze --json`, which docs/cli.md describes field
// by field, and the input of all reports.
//
// The lab measures and simulates, without I/O of its own:
//   1. analyzer.ts, feed.ts, page_window.ts, staging.ts, pool_lane.ts, tally.ts
//                         measures pages with every codec and pool
//   2. analysis.ts, recommend.ts, report/   its result, a recommendation, reports
//   3. trace.ts, replay.ts                  replays allocations on a pool
//   4. simulate/          simulates caches with every eviction policy
//   5. what_if.ts         a sample of a store's content with other codecs and pools
//   6. frame_map.ts       a map of a store's page frames
//
// Long work is a generator that yields after each bounded step, so that its driver can draw a
// progress bar or stop.

/** Time per page, in nanoseconds. */
export interface PageTimes {
  readonly median: number;
  readonly p99: number;
  readonly mean: number;
}

/** One codec over all pages that are not same-filled. */
export interface CodecResult {
  readonly codec: string;
  readonly implementation: string;
  /** Sum of the compressed sizes; an incompressible page counts with the page size. */
  readonly compressed_bytes: number;
  readonly mean_bytes: number;
  readonly p50_bytes: number;
  readonly p90_bytes: number;
  /** Pages that the codec does not make smaller than a page. */
  readonly incompressible_pages: number;
  /** Their share of the pages that the codec saw, 0 … 1. */
  readonly incompressible_share: number;
  /** Pages by compressed size: 64 bins of 1/64 page, and a 65th of the incompressible pages. */
  readonly size_histogram: readonly number[];
  readonly compress_ns: PageTimes;
  readonly decompress_ns: PageTimes;
}

/** One codec with one pool. */
export interface PoolResult {
  readonly codec: string;
  readonly pool: string;
  readonly pool_pages: number;
  readonly pool_bytes: number;
  readonly metadata_bytes: number;
  /** Bytes of the objects stored in the pool. */
  readonly payload_bytes: number;
  /** Pages too large for the pool, stored raw in a page frame each. */
  readonly held_raw_pages: number;
  /** payload ÷ pool bytes. */
  readonly utilisation: number;
  /** Bytes of pool, metadata, raw pages, and 8 bytes per same-filled page. */
  readonly held_bytes: number;
  /** original ÷ held. */
  readonly effective_ratio: number;
  /** As the kernel's zram counts: orig_data_size ÷ mem_used_total, without any metadata. */
  readonly zram_ratio: number;
  /** Compress + malloc + write. */
  readonly put_ns: PageTimes;
  /** Read + decompress. */
  readonly get_ns: PageTimes;
}

/** What the analyzer measured, whatever the input was. */
export interface Analysis {
  readonly page_size: number;
  readonly pages: number;
  /** pages × page size. */
  readonly original_bytes: number;
  /** Pages of zeros; included in the same-filled pages. */
  readonly zero_pages: number;
  /** Pages that repeat one 64-bit pattern. */
  readonly same_filled_pages: number;
  readonly windows: number;
  readonly memory: {
    /** Raw bytes of one window. */
    readonly window_bytes: number;
    /**
     * Size of the arena: enough for a window, the compressed objects of one codec, and one pool.
     */
    readonly bound_bytes: number;
    /** The most bytes of the arena ever in use. */
    readonly peak_bytes: number;
  };
  readonly codec_seconds: number;
  readonly codecs: readonly CodecResult[];
  readonly results: readonly PoolResult[];
}

/** An input that was not read, and why. */
export interface Skip {
  readonly name: string;
  readonly reason: string;
}

/** The input. */
export interface InputSummary {
  readonly sources: readonly string[];
  /** Files or memory regions of which at least one page was read. */
  readonly pieces: number;
  /** Bytes read, without the padding of each piece's last page. */
  readonly bytes: number;
  readonly sample: {
    readonly pages: number;
    readonly of_pages: number;
    readonly seed: number;
  } | null;
  readonly limit_bytes: number | null;
  /** Whether the limit left some input unread. */
  readonly limited: boolean;
  readonly empty: number;
  readonly links: number;
  readonly skipped_count: number;
  /** The first of them. */
  readonly skipped: readonly Skip[];
  readonly notes: readonly string[];
}

export interface Report extends Analysis {
  readonly zcache: string;
  readonly schema: 1;
  readonly input: InputSummary;
  readonly elapsed_seconds: number;
  readonly max_rss_bytes: number;
  readonly recommendation: string;
}
