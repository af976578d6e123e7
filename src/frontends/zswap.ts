// zswap: a compressed cache in front of a swap file. Pages are kept compressed in memory; when
// there are too many, the coldest go to the file, and a load takes a page out wherever it is.
//
// As in the kernel, but that what goes to the file stays compressed (zram's
// `compressed_writeback`), packed in segments and with a checksum, instead of a whole page for each
// slot: the swap file is the store's write-back file. Without one, nothing is written back, and
// what does not fit is refused.
import { bytesOf } from "../base/bytes.ts";
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import { readOptions } from "../base/option_names.ts";
import { UUID_BYTES } from "../store/arguments.ts";
import type { Store } from "../store/store.ts";
import { TmemKey } from "../tmem/key.ts";

export interface ZswapOptions {
  /**
   * Percent of the store's `memoryMax` that may be used: `max_pool_percent`. A setting of the whole
   * store: the value set last counts. If it is left out, the limit stays as it is.
   */
  readonly maxPoolPercent?: number;
  /** 16 bytes that name the swap areas: the same in all threads that use them. */
  readonly uuid: Uint8Array;
}

/** Counters by the kernel's names, of all threads. */
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

  /** @throws ZcacheError ERR_OPTION for a percentage that can't be, or if there is no pool left */
  constructor(store: Store, options: ZswapOptions) {
    const { maxPoolPercent, uuid } = readOptions(options, ["maxPoolPercent", "uuid"], "zswap");
    const percent = typeof maxPoolPercent === "number" ? maxPoolPercent : Number.NaN;
    if (maxPoolPercent !== undefined && !(percent >= 1 && percent <= 100)) {
      const found = describe(maxPoolPercent);
      throw new ZcacheError("ERR_OPTION", `maxPoolPercent ${found}: allowed are 1 to 100`);
    }
    this.#store = store;
    const named = bytesOf(uuid, "uuid", UUID_BYTES);
    this.#pool = store.createPool({ persistent: true, uuid: named });
    if (this.#pool < 0) {
      throw new ZcacheError("ERR_OPTION", "the store has no room for another pool");
    }
    if (maxPoolPercent === undefined) return;
    store.limit(Math.floor((store.arena.sizeBytes * maxPoolPercent) / 100));
  }

  /**
   * Stores the page of a swap slot.
   * @returns whether it is stored; if not, the slot is empty here and the page the caller's
   */
  store(area: number, slot: number | bigint, page: Uint8Array): boolean {
    return this.#store.put(this.#pool, this.#at(area, slot), page) === 0;
  }

  /**
   * Takes the page of a swap slot out. @returns whether it was there
   * @throws ZcacheError ERR_CORRUPT, ERR_IO: the swap file did not give it back
   */
  load(area: number, slot: number | bigint, page: Uint8Array): boolean {
    return this.#store.get(this.#pool, this.#at(area, slot), page, true);
  }

  /** The slot is free. */
  invalidate(area: number, slot: number | bigint): void {
    this.#store.flush(this.#pool, this.#at(area, slot));
  }

  /** The swap area is switched off. @returns pages that were stored */
  invalidateArea(area: number): number {
    return this.#store.flushObject(this.#pool, this.#at(area, 0));
  }

  /** The shrinker: writes back the coldest pages. @returns how many have left memory */
  shrink(pages: number): number {
    return this.#store.shrink(pages);
  }

  stats(): ZswapStats {
    const { mem_used_total, persistent, counters } = this.#store.stats();
    return {
      pool_total_size: mem_used_total,
      // What was written back is in the swap file, and not in the pool any more.
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
