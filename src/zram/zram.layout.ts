/** struct zram: the state of one device that all threads share, in memory of the store.
 *
 *  0       16                        16 + STRIPES_MAX
 *  ┌───────┬─────────────────────────┬────────────────────────────────────┬──────────────┐
 *  │ own   │ stripes: locks of pages │ counters, 8 floats for each thread │ lost ranges  │
 *  └───────┴─────────────────────────┴────────────────────────────────────┴──────────────┘
 *
 * Each thread adds to counters of its own, in a cache line of its own, so none of them is atomic.
 * A reader sums them up.
 */
import { MAX_THREADS } from "../memory/arena.layout.ts";

export const MAGIC = 0; // fixed: ZRAM_MAGIC
export const POOL = 1; // fixed: the tmem pool
export const NUMBER = 2; // fixed: the device's number, which is its object in the pool
export const SIZE = 4; // two words, a float: bytes; written by `resize`
export const LOST_COUNT = 6; // ranges of LOST; written before the device is shared, then only to 0
export const STRIPES = 16; // atomic: locks of pages, by page number
/** A power of two; with four threads, one of a hundred writes waits for another. */
export const STRIPES_MAX = 512;

export const COUNTERS = STRIPES + STRIPES_MAX;
export const COUNTERS_PER_THREAD = 8;
export const READS = 0;
export const WRITES = 1;
export const DISCARDS = 2;
export const FAILED_READS = 3;
export const FAILED_WRITES = 4;
export const INVALID_IO = 5;
export const NOTIFY_FREE = 6;

/** Ranges of pages that are lost, two floats each: from, to (lost_pages.ts). */
export const LOST = COUNTERS + MAX_THREADS * COUNTERS_PER_THREAD * 2;
export const LOST_MAX = 64;

export const ZRAM_BYTES = (LOST + LOST_MAX * 4) * 4;
/** "zram" */
export const ZRAM_MAGIC = 0x7a72616d;
