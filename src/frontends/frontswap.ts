// frontswap, a frontend: pages on their way to a swap area are stored here instead, if there is
// room. A stored page can be loaded until it is invalidated; a refused page goes to the swap area.
//
// It follows the kernel's interface (until 6.6). A page is named by the number of its swap area and
// its slot.
import { bytesOf } from "../base/bytes.ts";
import { ZcacheError } from "../base/errors.ts";
import { UUID_BYTES } from "../store/arguments.ts";
import type { Store } from "../store/store.ts";
import { TmemKey } from "../tmem/key.ts";

/** Counters of this object, by the kernel's names. */
export interface FrontswapStats {
  readonly loads: number;
  readonly succ_stores: number;
  readonly failed_stores: number;
  readonly invalidates: number;
}

export class Frontswap {
  readonly #store: Store;
  readonly #pool: number;
  readonly #key = new TmemKey();
  #loads = 0;
  #succStores = 0;
  #failedStores = 0;
  #invalidates = 0;

  /**
   * @param uuid 16 bytes that name these swap areas, the same in all threads that use them
   * @throws ZcacheError ERR_OPTION if the pool can't be created
   */
  constructor(store: Store, uuid: Uint8Array) {
    this.#store = store;
    const named = bytesOf(uuid, "uuid", UUID_BYTES);
    this.#pool = store.createPool({ persistent: true, uuid: named });
    if (this.#pool > 0) return;
    const why = "there are 256 pools, or the pool of this UUID is of another kind or dying";
    throw new ZcacheError("ERR_OPTION", `the store can't create a pool: ${why}`);
  }

  /**
   * Stores a page.
   * @param area number of the swap area
   * @param slot the page's slot there
   * @returns whether it is stored; if not, an older page of the slot, which would be outdated, is
   *   removed
   */
  store(area: number, slot: number | bigint, page: Uint8Array): boolean {
    const kept = this.#store.put(this.#pool, this.#at(area, slot), page) === 0;
    if (kept) this.#succStores++;
    else this.#failedStores++;
    return kept;
  }

  /**
   * Loads a page.
   * @returns whether it is stored; if not, it is in the swap area
   */
  load(area: number, slot: number | bigint, page: Uint8Array): boolean {
    const found = this.#store.get(this.#pool, this.#at(area, slot), page);
    if (found) this.#loads++;
    return found;
  }

  /** Removes the page of a slot that is free now. */
  invalidatePage(area: number, slot: number | bigint): void {
    this.#invalidates++;
    this.#store.flush(this.#pool, this.#at(area, slot));
  }

  /**
   * Removes all pages of a swap area that is switched off.
   * @returns how many were stored
   */
  invalidateArea(area: number): number {
    this.#invalidates++;
    return this.#store.flushObject(this.#pool, this.#at(area, 0));
  }

  /** Counters of this object. */
  stats(): FrontswapStats {
    return {
      loads: this.#loads,
      succ_stores: this.#succStores,
      failed_stores: this.#failedStores,
      invalidates: this.#invalidates,
    };
  }

  #at(area: number, slot: number | bigint): TmemKey {
    return this.#key.setObject(area).setIndex(slot);
  }
}
