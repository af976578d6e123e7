// frontswap: pages on their way to a swap area are kept here instead, if there is room. What was
// taken must be given back until it is invalidated; what was not goes to the swap area.
//
// The kernel's door (until 6.6). A page is named by the number of its swap area and its slot there.
import { bytesOf } from "../base/bytes.ts";
import { ZcacheError } from "../base/errors.ts";
import { UUID_BYTES } from "../store/arguments.ts";
import type { Store } from "../store/store.ts";
import { TmemKey } from "../tmem/key.ts";

/** Counters by the kernel's names. */
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
   * @param uuid 16 bytes that name these swap areas: the same in all threads that use them
   * @throws ZcacheError ERR_OPTION if the pool can't be made
   */
  constructor(store: Store, uuid: Uint8Array) {
    this.#store = store;
    const named = bytesOf(uuid, "uuid", UUID_BYTES);
    this.#pool = store.createPool({ persistent: true, uuid: named });
    if (this.#pool > 0) return;
    throw new ZcacheError("ERR_OPTION", "the store has no room for another pool, or one that dies");
  }

  /**
   * Keeps a page.
   * @param area number of the swap area  @param slot the page's place there
   * @returns whether it is kept; if not, what was kept of this slot is gone: it would be old
   */
  store(area: number, slot: number | bigint, page: Uint8Array): boolean {
    const kept = this.#store.put(this.#pool, this.#at(area, slot), page) === 0;
    if (kept) this.#succStores++;
    else this.#failedStores++;
    return kept;
  }

  /** Restores a page. @returns whether it is kept; if not, it is in the swap area */
  load(area: number, slot: number | bigint, page: Uint8Array): boolean {
    const found = this.#store.get(this.#pool, this.#at(area, slot), page);
    if (found) this.#loads++;
    return found;
  }

  /** The slot is free: nobody will ask for it again. */
  invalidatePage(area: number, slot: number | bigint): void {
    this.#invalidates++;
    this.#store.flush(this.#pool, this.#at(area, slot));
  }

  /** The swap area is switched off. @returns pages that were kept */
  invalidateArea(area: number): number {
    this.#invalidates++;
    return this.#store.flushObject(this.#pool, this.#at(area, 0));
  }

  /** What this thread has done. */
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
