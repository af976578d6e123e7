// zram: a block device whose pages are kept compressed in memory, for all threads of a process.
//
// A page is found in one persistent tmem pool under (device number, page number). What was never
// written, or was discarded, is a hole: nothing is stored, and it reads as zeros. Unlike the
// kernel's, parts of pages may be read, written and discarded at any offset.
//
// Who changes part of a page reads it, changes it and puts it back, and no other write to the page
// may come between: so all writes take the page's stripe, one of 512 locks. It is held while the
// page is compressed, which only a writer of a page of the same stripe will notice. Reads take
// none: the store gives a page as it was put, whole.
import { type Address, NIL } from "../base/brand.ts";
import { bytesOf } from "../base/bytes.ts";
import { EINVAL, ENOSPC } from "../base/errno.ts";
import { assert, ZcacheError } from "../base/errors.ts";
import type { Arena } from "../memory/arena.ts";
import { Mutex } from "../memory/mutex.ts";
import { DATA, MISS, type Store, ZERO } from "../store/store.ts";
import { TmemKey } from "../tmem/key.ts";
import { ZramCounters } from "./counters.ts";
import { checkSize, createDevicePool, pageOf } from "./device.ts";
import { LostPages } from "./lost_pages.ts";
import { type BdStat, bdStatOf, type IoStat, type MmStat, mmStatOf } from "./stat.ts";
import * as Device from "./zram.layout.ts";

/** What an extent of a device is, as `blockStatus` says it. */
export const Extent = { DATA, HOLE: MISS, ZERO } as const;

/** What travels to another thread, beside the store. */
export interface ZramShare {
  readonly zcacheZram: number;
}

export class Zram {
  readonly pageSize: number;
  /** The store's memory, byte by byte: addresses are places in it. */
  readonly bytes: Uint8Array;
  /** Pages that were lost with an image; to be marked before other threads have the device. */
  readonly lost: LostPages;
  readonly #hasFile: boolean;
  readonly #store: Store;
  readonly #at: number;
  readonly #floats: Float64Array;
  readonly #counters: ZramCounters;
  readonly #stripes: readonly Mutex[];
  readonly #pool: number;
  readonly #key: TmemKey;
  /** A page of this thread's. */
  readonly #page: Address;

  private constructor(store: Store, at: number) {
    const { words, memory, bytes, kernels, owner, isDead } = store.arena;
    this.#store = store;
    this.#at = at;
    this.#floats = new Float64Array(memory.buffer);
    this.#counters = new ZramCounters(store.arena, at);
    this.bytes = bytes;
    this.pageSize = store.pageSize;
    this.lost = new LostPages(words, at);
    this.#hasFile = store.share().device !== undefined;
    this.#pool = words[at + Device.POOL]!;
    this.#key = new TmemKey().setObject(words[at + Device.NUMBER]!);
    this.#page = store.reserve(this.pageSize);
    this.#stripes = Array.from({ length: Device.STRIPES_MAX }, (_, nth) => {
      return new Mutex(words, kernels, at + Device.STRIPES + nth, owner, isDead);
    });
  }

  /**
   * Makes an empty device in a store; it lives as long as the store.
   * @param number tells the devices of one store apart: one that no other device has
   * @throws ZcacheError ERR_OPTION for a size or number that can't be, ERR_ARENA_FULL
   */
  static create(store: Store, sizeBytes: number, number = 0): Zram {
    checkSize(sizeBytes);
    const pool = createDevicePool(store, number);
    const at = store.allocate(Device.ZRAM_BYTES) / 4;
    const { words, memory } = store.arena;
    words[at + Device.POOL] = pool;
    words[at + Device.NUMBER] = number;
    new Float64Array(memory.buffer)[(at + Device.SIZE) / 2] = sizeBytes;
    words[at + Device.MAGIC] = Device.ZRAM_MAGIC;
    return new Zram(store, at);
  }

  /**
   * Opens, in a thread that has attached to the store, a device that another thread shared.
   * @throws ZcacheError ERR_STORE_SHARE
   */
  static attach(store: Store, share: ZramShare): Zram {
    const at = share?.zcacheZram;
    if (!Number.isInteger(at) || store.arena.words[at + Device.MAGIC] !== Device.ZRAM_MAGIC) {
      throw new ZcacheError("ERR_STORE_SHARE", "this is not what a device's share() returned");
    }
    return new Zram(store, at);
  }

  /** Whether a read can fail, because pages may lie in a file, or are lost. */
  get mayFail(): boolean {
    return this.#hasFile || this.lost.any;
  }

  share(): ZramShare {
    this.#assertAlive();
    return { zcacheZram: this.#at };
  }

  /** Bytes of the device. */
  get sizeBytes(): number {
    this.#assertAlive();
    return this.#floats[(this.#at + Device.SIZE) / 2]!;
  }

  /** The memory in which the device and all buffers for it lie. */
  get arena(): Arena {
    return this.#store.arena;
  }

  /** Scratch in the device's memory for the calling thread, page-aligned: for buffers of I/O. */
  reserve(sizeBytes: number): Address {
    return this.#store.reserve(sizeBytes);
  }

  /** Whether all of a range lies on the device. */
  holds(offset: number, sizeBytes: number): boolean {
    if (!(Number.isInteger(offset) && Number.isInteger(sizeBytes))) return false;
    return offset >= 0 && sizeBytes >= 0 && offset + sizeBytes <= this.sizeBytes;
  }

  /**
   * Reads any range to an address in the device's memory.
   * @returns 0, or EINVAL beyond the end
   * @throws ZcacheError ERR_IO, ERR_CORRUPT: the write-back file did not give a page back
   */
  readTo(offset: number, sizeBytes: number, target: Address): 0 | typeof EINVAL {
    if (!this.holds(offset, sizeBytes)) return this.#invalid();
    this.#counters.count(Device.READS);
    try {
      this.#forPages(offset, sizeBytes, target, READ);
    } catch (error) {
      this.#counters.count(Device.FAILED_READS);
      throw error;
    }
    return 0;
  }

  /**
   * Writes any range from an address in the device's memory.
   * @returns 0; EINVAL beyond the end; ENOSPC when there is no room: pages before the one that had
   *   none are written, the others are as they were
   * @throws ZcacheError ERR_IO, ERR_CORRUPT: a page of which a part is written could not be read
   */
  writeFrom(offset: number, sizeBytes: number, source: Address): 0 | typeof EINVAL | typeof ENOSPC {
    if (!this.holds(offset, sizeBytes)) return this.#invalid();
    this.#counters.count(Device.WRITES);
    let failed = true;
    try {
      failed = this.#forPages(offset, sizeBytes, source, WRITE) !== 0;
    } finally {
      if (failed) this.#counters.count(Device.FAILED_WRITES);
    }
    return failed ? ENOSPC : 0;
  }

  /** As `readTo`, to bytes anywhere. */
  read(offset: number, to: Uint8Array): 0 | typeof EINVAL {
    const target = bytesOf(to, "target");
    if (!this.holds(offset, target.length)) return this.#invalid();
    for (let done = 0; done < target.length; ) {
      const at = (offset + done) % this.pageSize;
      const size = Math.min(this.pageSize - at, target.length - done);
      this.#restore((offset + done - at) / this.pageSize, this.#page);
      const from = this.#page + at;
      target.set(this.bytes.subarray(from, from + size), done);
      done += size;
    }
    this.#counters.count(Device.READS);
    return 0;
  }

  /** As `writeFrom`, from bytes anywhere. */
  write(offset: number, from: Uint8Array): 0 | typeof EINVAL | typeof ENOSPC {
    const source = bytesOf(from, "source");
    this.#store.assertOpen();
    if (!this.holds(offset, source.length)) return this.#invalid();
    this.#counters.count(Device.WRITES);
    for (let done = 0; done < source.length; ) {
      const at = (offset + done) % this.pageSize;
      const size = Math.min(this.pageSize - at, source.length - done);
      const part = source.subarray(done, done + size);
      const result = this.#change((offset + done - at) / this.pageSize, size, () =>
        this.bytes.set(part, this.#page + at),
      );
      if (result !== 0) {
        this.#counters.count(Device.FAILED_WRITES);
        return ENOSPC;
      }
      done += size;
    }
    return 0;
  }

  /**
   * Begins to make a range read as zeros: whole pages become holes, parts of pages are zeroed.
   * @param allocate whole pages stay stored, as pages of zeros
   * @param pagesMax the most pages to touch in this call
   * @returns bytes that are done, at least one of a range that is not empty: call again with the
   *   rest; or EINVAL beyond the end, ENOSPC (of a part of a page, or to allocate)
   */
  zeroSome(
    offset: number,
    sizeBytes: number,
    allocate: boolean,
    pagesMax: number,
  ): number | typeof EINVAL | typeof ENOSPC {
    if (!this.holds(offset, sizeBytes)) return this.#invalid();
    const { pageSize } = this;
    const end = offset + sizeBytes;
    let done = offset;
    for (let pages = 0; done < end && pages < pagesMax; pages++) {
      const at = done % pageSize;
      const page = (done - at) / pageSize;
      const size = Math.min(pageSize - at, end - done);
      if (size < pageSize) {
        if (!this.#zeroPart(page, at, size)) return this.#noRoom();
        done += size;
      } else if (allocate || this.lost.has(page)) {
        if (this.#change(page, size, () => this.#fill(this.#page, size)) !== 0) {
          return this.#noRoom();
        }
        done += size;
      } else {
        const next = this.nextStored(page);
        const last = Math.min(Math.floor(end / pageSize), this.lost.next(page));
        if (next === NIL || next >= last) done = last * pageSize;
        else {
          this.#remove(next);
          done = (next + 1) * pageSize;
        }
      }
    }
    if (done >= end) this.#counters.count(Device.DISCARDS);
    return done - offset;
  }

  /**
   * Makes a range read as zeros, and gives back what memory it took.
   * @returns 0; or EINVAL, ENOSPC as `zeroSome`
   */
  discard(offset: number, sizeBytes: number): 0 | typeof EINVAL | typeof ENOSPC {
    for (let done = 0; done < sizeBytes; ) {
      const some = this.zeroSome(offset + done, sizeBytes - done, false, 4096);
      if (some === EINVAL || some === ENOSPC) return some;
      done += some;
    }
    return 0;
  }

  /** Reads the pages of a range that lie in the file back into memory, as far as there is room. */
  prefetch(offset: number, sizeBytes: number): void {
    const first = Math.floor(offset / this.pageSize);
    for (let page = first; page * this.pageSize < offset + sizeBytes; page++) {
      this.#restore(page, this.#page);
    }
  }

  /**
   * Says what of a range is data, hole or zeros: pairs of (bytes, one of Extent), adjacent ones
   * different.
   * @param extents filled from 0 on, two for each  @param pagesMax the most pages to look at
   * @returns how many extents; they may end before the range does, but there is at least one
   */
  blockStatus(offset: number, sizeBytes: number, extents: number[], pagesMax: number): number {
    assert(this.holds(offset, sizeBytes) && sizeBytes > 0, "a range of the device has a status");
    const { pageSize } = this;
    const end = offset + sizeBytes;
    let count = 0;
    for (let at = offset, pages = 0; at < end && pages < pagesMax; pages++) {
      const page = Math.floor(at / pageSize);
      const key = this.#keyOf(page);
      let kind: number = this.#store.nextPage(this.#pool, key);
      const next = kind === Extent.HOLE ? NIL : pageOf(key);
      let until = next === NIL ? end : Math.min(end, next * pageSize);
      if (next === page) until = Math.min(end, (page + 1) * pageSize);
      else {
        // What can't be read is no hole: nobody is to take it for zeros.
        kind = this.lost.has(page) ? Extent.DATA : Extent.HOLE;
        until = Math.min(until, this.lost.after(page) * pageSize);
      }
      if (count > 0 && extents[count * 2 - 1] === kind) {
        extents[count * 2 - 2]! += until - at;
      } else {
        if (count * 2 === EXTENT_NUMBERS_MAX) break;
        extents[count * 2] = until - at;
        extents[count * 2 + 1] = kind;
        count++;
      }
      at = until;
    }
    return count;
  }

  /**
   * Sets the size. What is beyond a new end is gone; what is new reads as zeros. Who writes beyond
   * the new end meanwhile may find it again when the device grows.
   * @returns 0; ENOSPC if the last page that stays can't be cut, then all is as it was
   * @throws ZcacheError ERR_OPTION
   */
  resize(sizeBytes: number): 0 | typeof ENOSPC {
    checkSize(sizeBytes);
    const before = this.sizeBytes;
    const whole = Math.ceil(before / this.pageSize) * this.pageSize;
    if (sizeBytes < before && this.discard(sizeBytes, before - sizeBytes) !== 0) return ENOSPC;
    this.#floats[(this.#at + Device.SIZE) / 2] = sizeBytes;
    // The page of the old end, if nothing of it is left.
    if (sizeBytes + this.pageSize <= whole) this.#remove(whole / this.pageSize - 1);
    return 0;
  }

  /** Drops all data. @returns pages that were stored */
  reset(): number {
    this.lost.clear();
    return this.#store.flushObject(this.#pool, this.#keyOf(0));
  }

  /** Drops all data, and ends: in every thread, any later use throws ERR_DEVICE_CLOSED. */
  destroy(): void {
    this.#assertAlive();
    this.#store.arena.words[this.#at + Device.MAGIC] = 0;
    this.#store.destroyPool(this.#pool);
  }

  /** What the store of the device holds, by the kernel's names and in its order. */
  mmStat(): MmStat {
    this.#assertAlive();
    return mmStatOf(this.#store.stats());
  }

  /** What went wrong or needed no memory, of all threads. */
  ioStat(): IoStat {
    this.#assertAlive();
    return this.#counters.ioStat();
  }

  /** Pages in the write-back file, and how many went there and came back, in units of 4 KiB. */
  bdStat(): BdStat {
    this.#assertAlive();
    return bdStatOf(this.#store.stats(), this.pageSize);
  }

  /** Requests since the device was made, of all threads. */
  requests(): { reads: number; writes: number; discards: number } {
    this.#assertAlive();
    return this.#counters.requests();
  }

  /** Goes through the pages of a range. @returns 0, or the refusal that ended it */
  #forPages(offset: number, sizeBytes: number, address: number, direction: number): number {
    const { pageSize } = this;
    for (let done = 0; done < sizeBytes; ) {
      const at = (offset + done) % pageSize;
      const page = (offset + done - at) / pageSize;
      const size = Math.min(pageSize - at, sizeBytes - done);
      const here = (address + done) as Address;
      if (direction === READ) {
        if (size === pageSize) this.#restore(page, here);
        else {
          this.#restore(page, this.#page);
          this.#copy(here, this.#page + at, size);
        }
      } else {
        const result =
          size === pageSize ? this.#put(page, here) : this.#writePart(page, at, size, here);
        if (result !== 0) return result;
      }
      done += size;
    }
    return 0;
  }

  /** Restores a page, or zeros, to an address. */
  #restore(page: number, target: Address): void {
    const found = this.#store.getTo(this.#pool, this.#keyOf(page), target);
    if (!found && this.lost.wasNever(page)) this.#fill(target, this.pageSize);
  }

  /** Stores a whole page from an address, which the store wants to be a multiple of four. */
  #put(page: number, address: Address): number {
    let source = address;
    if (address % 4 !== 0) {
      this.#copy(this.#page, address, this.pageSize);
      source = this.#page;
    }
    const stripe = this.#stripeOf(page);
    stripe.lock();
    try {
      return this.#store.putFrom(this.#pool, this.#keyOf(page), source);
    } finally {
      stripe.unlock();
    }
  }

  #writePart(page: number, at: number, size: number, source: number): number {
    const stripe = this.#stripeOf(page);
    stripe.lock();
    try {
      this.#restore(page, this.#page);
      this.#copy(this.#page + at, source, size);
      return this.#store.putFrom(this.#pool, this.#keyOf(page), this.#page);
    } finally {
      stripe.unlock();
    }
  }

  /** Lets `edit` change a page in this thread's scratch; of a whole page the old is not read. */
  #change(page: number, size: number, edit: () => void): number {
    const stripe = this.#stripeOf(page);
    stripe.lock();
    try {
      if (size < this.pageSize) this.#restore(page, this.#page);
      edit();
      return this.#store.putFrom(this.#pool, this.#keyOf(page), this.#page);
    } finally {
      stripe.unlock();
    }
  }

  /** Zeroes part of a page; nothing is stored where nothing was. @returns false for want of room */
  #zeroPart(page: number, at: number, size: number): boolean {
    const stripe = this.#stripeOf(page);
    stripe.lock();
    try {
      const key = this.#keyOf(page);
      if (!this.#store.getTo(this.#pool, key, this.#page)) return this.lost.wasNever(page);
      this.#fill((this.#page + at) as Address, size);
      return this.#store.putFrom(this.#pool, key, this.#page) === 0;
    } finally {
      stripe.unlock();
    }
  }

  #remove(page: number): void {
    const stripe = this.#stripeOf(page);
    stripe.lock();
    try {
      this.#store.flush(this.#pool, this.#keyOf(page));
    } finally {
      stripe.unlock();
    }
    this.#counters.count(Device.NOTIFY_FREE);
  }

  /** The first page from `page` on that is stored, or NIL. */
  nextStored(page: number): number {
    const key = this.#keyOf(page);
    return this.#store.nextPage(this.#pool, key) === MISS ? NIL : pageOf(key);
  }

  #keyOf(page: number): TmemKey {
    this.#assertAlive();
    return this.#key.setIndex(page);
  }

  #assertAlive(): void {
    const { words } = this.#store.arena;
    const isAlive =
      words[this.#at + Device.MAGIC] === Device.ZRAM_MAGIC &&
      words[this.#at + Device.POOL] === this.#pool;
    if (!isAlive) throw new ZcacheError("ERR_DEVICE_CLOSED", "the device has been destroyed");
  }

  #stripeOf(page: number): Mutex {
    return this.#stripes[page % Device.STRIPES_MAX]!;
  }

  #copy(target: number, source: number, size: number): void {
    this.#store.arena.kernels.copy(target, source, size);
  }

  #fill(target: Address, size: number): void {
    this.#store.arena.kernels.fill(target, 0, size);
  }

  #invalid(): typeof EINVAL {
    this.#counters.count(Device.INVALID_IO);
    return EINVAL;
  }

  #noRoom(): typeof ENOSPC {
    this.#counters.count(Device.FAILED_WRITES);
    return ENOSPC;
  }
}

const READ = 0;
const WRITE = 1;
/** Two numbers for each of so many extents as one answer names. */
const EXTENT_NUMBERS_MAX = 2 * 1024;
