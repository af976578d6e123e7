// zswap, a frontend: a compressed cache in front of a swap file. Pages are stored compressed in
// memory; when there are too many, the coldest move to the file. A load removes the page wherever
// it is.
//
// Unlike in the kernel, pages in the file stay compressed (as with zram's `compressed_writeback`),
// packed in segments and with checksums, instead of one whole page per slot: the swap file is the
// store's write-back file. Without such a file, nothing is written back, and pages without room are
// refused.
import { bytesOf } from "../base/bytes.ts";
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import { readOptions } from "../base/option_names.ts";
import { UUID_BYTES } from "../store/arguments.ts";
import type { Store } from "../store/store.ts";
import { TmemKey } from "../tmem/key.ts";

export interface ZswapOptions {
  /**
   * Percentage of the store's `memoryMax` that may be used: `max_pool_percent`. A setting of the
   * whole store: the last one counts. By default the limit stays as it is.
   */
  readonly maxPoolPercent?: number;
  /** 16 bytes that name the swap areas, the same in all threads that use them. */
  readonly uuid: Uint8Array;
}

/** Counters of all threads, by the kernel's names. */
export interface ZswapStats {
  readonly pool_total_size: number;
  readonly stored_pages: number;
  readonly same_filled_pages: number;
  readonly stored_incompressible_pages: number;
  readonly written_back_pages: number;
  readonly pool_limit_hit: number;
  readonly reject_reclaim_fail: number;
  readonly reject_alloc_fail: number;
  readonly reject_compress_poor: number;
  readonly decompress_fail: number;
}

export class Zswap {
  readonly #store: Store;
  readonly #pool: number;
  readonly #key = new TmemKey();

  /** @throws ZcacheError ERR_OPTION for a percentage out of range, or if no pool is left */
  constructor(store: Store, options: ZswapOptions) {
    const { maxPoolPercent, uuid } = readOptions(options, ["maxPoolPercent", "uuid"], "zswap");
    const percent = typeof maxPoolPercent === "number" ? maxPoolPercent : Number.NaN;
    if (maxPoolPercent !== undefined && !(percent >= 1 && percent <= 100)) {
      const found = describe(maxPoolPercent);
      throw new ZcacheError("ERR_OPTION", `maxPoolPercent ${found}: must be from 1 to 100`);
    }
    this.#store = store;
    const named = bytesOf(uuid, "uuid", UUID_BYTES);
    this.#pool = store.createPool({ persistent: true, uuid: named });
    if (this.#pool < 0) {
      throw new ZcacheError("ERR_OPTION", "the store has no room for another pool");
    }
    if (maxPoolPercent === undefined) return;
    store.limit(Math.floor((store.options.memoryMax * maxPoolPercent) / 100));
  }

  /**
   * Stores the page of a swap slot.
   * @returns whether it is stored; if not, the slot is empty, and the caller keeps the page
   */
  store(area: number, slot: number | bigint, page: Uint8Array): boolean {
    return this.#store.put(this.#pool, this.#at(area, slot), page) === 0;
  }

  /**
   * Loads the page of a swap slot and removes it.
   * @returns whether it was stored
   * @throws ZcacheError ERR_CORRUPT, ERR_IO if the swap file does not return it
   */
  load(area: number, slot: number | bigint, page: Uint8Array): boolean {
    return this.#store.get(this.#pool, this.#at(area, slot), page, true);
  }

  /** Removes the page of a slot that is free now. */
  invalidate(area: number, slot: number | bigint): void {
    this.#store.flush(this.#pool, this.#at(area, slot));
  }

  /**
   * Removes all pages of a swap area that is switched off.
   * @returns how many were stored
   */
  invalidateArea(area: number): number {
    return this.#store.flushObject(this.#pool, this.#at(area, 0));
  }

  /**
   * Writes back the coldest pages, as the kernel's shrinker does.
   * @returns how many have left memory
   */
  shrink(pages: number): number {
    return this.#store.shrink(pages);
  }

  stats(): ZswapStats {
    const { mem_used_total, persistent, counters } = this.#store.stats();
    return {
      pool_total_size: mem_used_total,
      // Pages that were written back are in the swap file and not in the pool.
      stored_pages: persistent.pagesInMemory + persistent.samePages,
      same_filled_pages: persistent.samePages,
      stored_incompressible_pages: persistent.hugePages,
      written_back_pages: counters.written_back_pages,
      pool_limit_hit: counters.pool_limit_hit,
      reject_reclaim_fail: counters.reject_reclaim_fail,
      reject_alloc_fail: counters.reject_alloc_fail,
      reject_compress_poor: counters.reject_compress_poor,
      decompress_fail: counters.decompress_fail,
    };
  }

  #at(area: number, slot: number | bigint): TmemKey {
    return this.#key.setObject(area).setIndex(slot);
  }
}
