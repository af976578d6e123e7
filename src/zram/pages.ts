// The pages of one device, by number: each is read, replaced, changed in part or removed in one
// step. zram.ts divides ranges of bytes into pages.
//
// A change to part of a page reads the page, changes it and puts it back, and no other write to the
// page may come between. So every write takes the page's stripe, one of 512 locks. The stripe is
// held while the page is compressed, which only a writer of a page of the same stripe notices.
// Reads take no stripe: the store gives a page as it was put, whole.
import { type Address, NIL } from "../base/brand.ts";
import { ZcacheError } from "../base/errors.ts";
import { Mutex } from "../memory/mutex.ts";
import { MISS } from "../store/next_page.ts";
import type { Store } from "../store/store.ts";
import { TmemKey } from "../tmem/key.ts";
import { pageOf } from "./device.ts";
import { LostPages } from "./lost_pages.ts";
import * as Device from "./zram.layout.ts";

export class DevicePages {
  readonly pageSize: number;
  readonly pool: number;
  /** Pages that were lost with an image. */
  readonly lost: LostPages;
  /** Room for one page of this thread. */
  readonly scratch: Address;
  readonly #store: Store;
  readonly #words: Int32Array;
  readonly #at: number;
  readonly #stripes: readonly Mutex[];
  readonly #key: TmemKey;

  /** @param at word index of the device */
  constructor(store: Store, at: number) {
    const { words, kernels, owner, isDead, lock } = store.arena;
    this.#store = store;
    this.#words = words;
    this.#at = at;
    this.pageSize = store.pageSize;
    this.lost = new LostPages(words, at);
    this.pool = words[at + Device.POOL]!;
    this.#key = new TmemKey().setObject(words[at + Device.NUMBER]!);
    this.scratch = store.reserve(this.pageSize);
    this.#stripes = Array.from({ length: Device.STRIPES_MAX }, (_, nth) => {
      const stripe = new Mutex(words, kernels, at + Device.STRIPES + nth, owner, isDead);
      stripe.waits = lock.waits.key;
      return stripe;
    });
  }

  /** Restores a page, or zeros, to an address. @throws ZcacheError ERR_IO, ERR_CORRUPT */
  restore(page: number, target: Address): void {
    const found = this.#store.getTo(this.pool, this.keyOf(page), target);
    if (!found && this.lost.isHole(page)) this.#fill(target, this.pageSize);
  }

  /**
   * Restores a page, or zeros, wherever it is.
   * @param target room for a page
   * @throws ZcacheError as a rejection: ERR_IO, ERR_CORRUPT, ERR_REMOTE
   */
  async restoreAsync(page: number, target: Uint8Array): Promise<void> {
    const found = await this.#store.getAsync(this.pool, this.keyOf(page), target);
    if (!found && this.lost.isHole(page)) target.fill(0);
  }

  /** Brings a page back to memory from the remote tier, if it is there. @throws as restoreAsync */
  async bringBack(page: number): Promise<void> {
    if (!this.#store.isRemote(this.pool, this.keyOf(page))) return;
    const scratch = new Uint8Array(this.pageSize);
    await this.#store.load(this.pool, this.keyOf(page), scratch, "return");
  }

  /** Stores a whole page from an address; the store wants a multiple of four. */
  put(page: number, address: Address): number {
    let source = address;
    if (address % 4 !== 0) {
      this.copy(this.scratch, address, this.pageSize);
      source = this.scratch;
    }
    const stripe = this.#stripeOf(page);
    stripe.lock();
    try {
      return this.#store.putFrom(this.pool, this.keyOf(page), source);
    } finally {
      stripe.unlock();
    }
  }

  /** Replaces `size` bytes of a page from `at` on by those at an address. */
  writePart(page: number, at: number, size: number, source: number): number {
    const stripe = this.#stripeOf(page);
    stripe.lock();
    try {
      this.restore(page, this.scratch);
      this.copy(this.scratch + at, source, size);
      return this.#store.putFrom(this.pool, this.keyOf(page), this.scratch);
    } finally {
      stripe.unlock();
    }
  }

  /**
   * Lets `edit` change a page in the scratch.
   * @param isWhole all of the page is replaced: the old page is not read
   */
  change(page: number, isWhole: boolean, edit: () => void): number {
    const stripe = this.#stripeOf(page);
    stripe.lock();
    try {
      if (!isWhole) this.restore(page, this.scratch);
      edit();
      return this.#store.putFrom(this.pool, this.keyOf(page), this.scratch);
    } finally {
      stripe.unlock();
    }
  }

  /** Stores a page of zeros, which is not a hole. */
  putZeros(page: number): number {
    return this.change(page, true, () => this.#fill(this.scratch, this.pageSize));
  }

  /** Zeroes part of a page; a hole stays one. @returns false if there is no room */
  zeroPart(page: number, at: number, size: number): boolean {
    const stripe = this.#stripeOf(page);
    stripe.lock();
    try {
      const key = this.keyOf(page);
      if (!this.#store.getTo(this.pool, key, this.scratch)) return this.lost.isHole(page);
      this.#fill((this.scratch + at) as Address, size);
      return this.#store.putFrom(this.pool, key, this.scratch) === 0;
    } finally {
      stripe.unlock();
    }
  }

  remove(page: number): void {
    const stripe = this.#stripeOf(page);
    stripe.lock();
    try {
      this.#store.flush(this.pool, this.keyOf(page));
    } finally {
      stripe.unlock();
    }
  }

  /** The first page from `page` on that is stored, or NIL. */
  nextStored(page: number): number {
    const key = this.keyOf(page);
    return this.#store.nextPage(this.pool, key) === MISS ? NIL : pageOf(key);
  }

  /**
   * The key of a page, until the next call.
   * @throws ZcacheError ERR_DEVICE_CLOSED, ERR_STORE_CLOSED
   */
  keyOf(page: number): TmemKey {
    this.assertAlive();
    return this.#key.setIndex(page);
  }

  assertAlive(): void {
    const isAlive =
      this.#words[this.#at + Device.MAGIC] === Device.ZRAM_MAGIC &&
      this.#words[this.#at + Device.POOL] === this.pool;
    if (isAlive) return;
    // The words of a closed store may be gone.
    this.#store.assertOpen();
    throw new ZcacheError("ERR_DEVICE_CLOSED", "the device has been destroyed");
  }

  copy(target: number, source: number, size: number): void {
    this.#store.arena.kernels.copy(target, source, size);
  }

  #stripeOf(page: number): Mutex {
    return this.#stripes[page % Device.STRIPES_MAX]!;
  }

  #fill(target: Address, size: number): void {
    this.#store.arena.kernels.fill(target, 0, size);
  }
}
