// zram: a block device whose pages are kept compressed in memory, for all threads of a process.
//
// Each page lies in one persistent tmem pool under (device number, page number). A page that was
// never written, or was discarded, is a hole: nothing is stored, and it reads as zeros. Unlike the
// kernel's, the device takes reads, writes and discards of any offset and length.
//
// 1. device.ts      the sizes and numbers that a device may have, and its tmem pool
// 2. zram.layout.ts what the threads of a device share: size, locks, counters, lost ranges
// 3. pages.ts       one page: read, replaced, changed in part, under the lock of its stripe
// 4. zram.ts        ranges of bytes: read, write, zero, block status; resize, reset, statistics
// 5. lost_pages.ts  ranges that a damaged image has lost, which read as errors
// 6. counters.ts    requests and failures, by thread; stat.ts: mm_stat, io_stat and bd_stat
// 7. idle_scan.ts, post_process.ts, idle_mark.ts   recompression and write-back of idle and of
//    chosen pages; knobs.ts, commands.ts: settings and commands by the kernel's names
// 8. image.ts       all devices of a server in a file; image_format.ts, image_reader.ts
//
// Concurrency: any number of threads read and write; a write of a page is atomic, a range is not.
// Limits: a device has at most 2⁵⁰ bytes, a store 256 devices; lost ranges are 64 at most.
import type { RecordVersion } from "../backing/record_name.ts";
import { type Address, NIL } from "../base/brand.ts";
import { bytesOf } from "../base/bytes.ts";
import { EINVAL, ENOSPC } from "../base/errno.ts";
import { assert, ZcacheError } from "../base/errors.ts";
import type { Arena } from "../memory/arena.ts";
import { stateOfPage, statesOf } from "../shard/sharded_store.ts";
import { adoptRecord, arrivedRecord, canAdopt } from "../store/adopt_page.ts";
import { DATA, MISS, ZERO } from "../store/next_page.ts";
import { isSendingOut } from "../store/remote_page.ts";
import type { Store } from "../store/store.ts";
import { ZramCounters } from "./counters.ts";
import { checkSize, createDevicePool, pageOf } from "./device.ts";
import type { LostPages } from "./lost_pages.ts";
import { DevicePages } from "./pages.ts";
import { type BdStat, bdStatOf, type IoStat, type MmStat, mmStatOf } from "./stat.ts";
import * as Device from "./zram.layout.ts";

/** What an extent of a device is, as `blockStatus` says it. */
export const Extent = { DATA, HOLE: MISS, ZERO } as const;

/** The record of a page in a remote tier. */
export interface PageRecord extends RecordVersion {
  /** META of the page (store/page.layout.ts): its codec and its size. */
  readonly meta: number;
}

/** What travels to another thread, beside the store. */
export interface ZramShare {
  readonly zcacheZram: number;
}

export class Zram {
  readonly pageSize: number;
  /** The store's memory, byte by byte: addresses are places in it. */
  readonly bytes: Uint8Array;
  /** @internal Pages that a damaged image has lost; marked before any thread serves the device. */
  readonly lost: LostPages;
  /** Whether pages may be in a remote tier: then reads and writes may throw ERR_REMOTE_PAGE. */
  readonly hasRemote: boolean;
  readonly #hasFile: boolean;
  readonly #store: Store;
  readonly #at: number;
  readonly #floats: Float64Array;
  readonly #counters: ZramCounters;
  readonly #pages: DevicePages;

  private constructor(store: Store, at: number) {
    const { memory, bytes } = store.arena;
    this.#store = store;
    this.#at = at;
    this.#floats = new Float64Array(memory.buffer);
    this.#counters = new ZramCounters(store.arena, at);
    this.#pages = new DevicePages(store, at);
    this.bytes = bytes;
    this.pageSize = store.pageSize;
    this.lost = this.#pages.lost;
    this.#hasFile = store.share().device !== undefined;
    this.hasRemote = store.options.remote !== undefined;
  }

  /**
   * Makes an empty device in a store; it lives as long as the store.
   * @param number of the device, which no other device of the store has
   * @throws ZcacheError ERR_OPTION for an invalid size or number, ERR_ARENA_FULL
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
      throw new ZcacheError(
        "ERR_STORE_SHARE",
        "the argument is not the result of a device's share()",
      );
    }
    return new Zram(store, at);
  }

  /** Whether a read can fail, because pages may be elsewhere or are lost. */
  get mayFail(): boolean {
    return this.#hasFile || this.hasRemote || this.lost.any;
  }

  share(): ZramShare {
    this.#pages.assertAlive();
    return { zcacheZram: this.#at };
  }

  /** Bytes of the device. */
  get sizeBytes(): number {
    this.#pages.assertAlive();
    return this.#floats[(this.#at + Device.SIZE) / 2]!;
  }

  /** The arena of the device and of all buffers for it. */
  get arena(): Arena {
    return this.#store.arena;
  }

  /** Reserves page-aligned scratch in the arena for the calling thread: for buffers of I/O. */
  reserve(sizeBytes: number): Address {
    return this.#store.reserve(sizeBytes);
  }

  /** Whether all of a range lies on the device. */
  holds(offset: number, sizeBytes: number): boolean {
    if (!(Number.isInteger(offset) && Number.isInteger(sizeBytes))) return false;
    return offset >= 0 && sizeBytes >= 0 && offset + sizeBytes <= this.sizeBytes;
  }

  /**
   * Reads a range to an address in the arena.
   * @returns 0, or EINVAL beyond the end
   * @throws ZcacheError ERR_IO, ERR_CORRUPT: a page can't be read from the file, or is lost;
   *   ERR_REMOTE_PAGE: a page is in the remote tier
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
   * Writes a range from an address in the arena.
   * @returns 0; EINVAL beyond the end; ENOSPC if a page has no room: the pages before it are
   *   written, the others unchanged
   * @throws ZcacheError ERR_IO, ERR_CORRUPT: a page that is written in part can't be read
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

  /**
   * As `readTo`, also of pages in the remote tier, which are read together.
   * @param target not to be used until the promise is settled
   * @returns 0, or EINVAL beyond the end
   * @throws ZcacheError as a rejection: as `readTo`; ERR_REMOTE: no answer in time
   */
  async readAsync(offset: number, target: Uint8Array): Promise<0 | typeof EINVAL> {
    if (!this.holds(offset, target.length)) return this.#invalid();
    this.#counters.count(Device.READS);
    const { pageSize } = this;
    const first = Math.floor(offset / pageSize);
    const last = Math.ceil((offset + target.length) / pageSize);
    const reads = Array.from({ length: last - first }, async (_, nth) => {
      const page = new Uint8Array(pageSize);
      await this.#pages.restoreAsync(first + nth, page);
      const at = (first + nth) * pageSize - offset;
      const from = Math.max(0, -at);
      target.set(page.subarray(from, Math.min(pageSize, target.length - at)), at + from);
    });
    // All of them end before the target is used again.
    const failed = (await Promise.allSettled(reads)).find(({ status }) => status === "rejected");
    if (failed?.status !== "rejected") return 0;
    this.#counters.count(Device.FAILED_READS);
    throw failed.reason;
  }

  /**
   * Brings the pages of a range back to memory that are in the remote tier.
   * @throws ZcacheError as a rejection: ERR_REMOTE, ERR_CORRUPT
   */
  async bringBack(offset: number, sizeBytes: number): Promise<void> {
    const first = Math.floor(offset / this.pageSize);
    const last = Math.ceil((offset + sizeBytes) / this.pageSize);
    for (let page = first; page < last; page++) await this.#pages.bringBack(page);
  }

  /** Whether a page of a range is in the remote tier alone. */
  isRemote(offset: number, sizeBytes: number): boolean {
    const last = Math.ceil((offset + sizeBytes) / this.pageSize);
    for (let page = Math.floor(offset / this.pageSize); page < last; page++) {
      if (this.#store.isRemote(this.#pages.pool, this.#pages.keyOf(page))) return true;
    }
    return false;
  }

  /** Whether a write that was refused may succeed soon, because pages are on their way out. */
  get mayGainRoom(): boolean {
    return statesOf(this.#store).some(isSendingOut);
  }

  /** The device's number and its pool, by which records in a remote tier name it. */
  get place(): { readonly number: number; readonly pool: number } {
    this.#pages.assertAlive();
    return { number: this.#store.arena.words[this.#at + Device.NUMBER]!, pool: this.#pages.pool };
  }

  /** The record of a page that is in the remote tier alone; undefined for any other page. */
  recordOf(page: number): PageRecord | undefined {
    const { pool } = this.#pages;
    const key = this.#pages.keyOf(page);
    return arrivedRecord(stateOfPage(this.#store, pool, key), pool, key);
  }

  /**
   * Makes a page stand for a record that an earlier process has left, and keeps the record for as
   * long as a file names it. In the thread that made the store.
   * @returns "done"; "full" without room; "wrong" for a record that no earlier process can have
   */
  adopt(page: number, record: PageRecord): "done" | "full" | "wrong" {
    const { pool } = this.#pages;
    const key = this.#pages.keyOf(page);
    const state = stateOfPage(this.#store, pool, key);
    const name = { ...record, pool, key };
    if (!canAdopt(state, name)) return "wrong";
    if (!adoptRecord(state, key, name)) return "full";
    this.#store.remote!.kept.keep(name);
    return "done";
  }

  /** As `readTo`, to bytes anywhere. */
  read(offset: number, to: Uint8Array): 0 | typeof EINVAL {
    const target = bytesOf(to, "target");
    if (!this.holds(offset, target.length)) return this.#invalid();
    for (let done = 0; done < target.length; ) {
      const at = (offset + done) % this.pageSize;
      const size = Math.min(this.pageSize - at, target.length - done);
      this.#pages.restore((offset + done - at) / this.pageSize, this.#pages.scratch);
      const from = this.#pages.scratch + at;
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
      const page = (offset + done - at) / this.pageSize;
      const result = this.#pages.change(page, size === this.pageSize, () =>
        this.bytes.set(part, this.#pages.scratch + at),
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
   * Zeroes the beginning of a range: whole pages become holes, parts of pages are zeroed.
   * @param allocate whole pages become pages of zeros instead of holes
   * @param pagesMax the most pages to touch in this call
   * @returns how many bytes are zeroed, one or more: call again for the rest; EINVAL beyond the
   *   end; ENOSPC if a page of which a part is zeroed, or a page of zeros, has no room
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
        if (!this.#pages.zeroPart(page, at, size)) return this.#noRoom();
        done += size;
      } else if (allocate || this.lost.has(page)) {
        if (this.#pages.putZeros(page) !== 0) return this.#noRoom();
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
   * Zeroes a range and frees its pages.
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

  /** Reads pages of a range that are in the file back into memory, as far as there is room. */
  prefetch(offset: number, sizeBytes: number): void {
    const first = Math.floor(offset / this.pageSize);
    for (let page = first; page * this.pageSize < offset + sizeBytes; page++) {
      this.#pages.restore(page, this.#pages.scratch);
    }
  }

  /**
   * Lists the extents of a range: data, holes and zeros.
   * @param extents gets two numbers for each extent: bytes, and one of Extent
   * @param pagesMax the most pages to look at
   * @returns how many extents, one or more; they may end before the range does
   */
  blockStatus(offset: number, sizeBytes: number, extents: number[], pagesMax: number): number {
    assert(this.holds(offset, sizeBytes) && sizeBytes > 0, "a range of the device has a status");
    const { pageSize } = this;
    const end = offset + sizeBytes;
    let count = 0;
    for (let at = offset, pages = 0; at < end && pages < pagesMax; pages++) {
      const page = Math.floor(at / pageSize);
      const key = this.#pages.keyOf(page);
      let kind: number = this.#store.nextPage(this.#pages.pool, key);
      const next = kind === Extent.HOLE ? NIL : pageOf(key);
      let until = next === NIL ? end : Math.min(end, next * pageSize);
      if (next === page) until = Math.min(end, (page + 1) * pageSize);
      else {
        // A lost page is reported as data, because clients take holes for zeros.
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
   * Sets the size. Data beyond a new end is dropped; a new range reads as zeros. A write beyond the
   * new end by another thread during this call may reappear when the device grows.
   * @returns 0; ENOSPC if the rest of the last page can't be zeroed: then nothing has changed
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
    return this.#store.flushObject(this.#pages.pool, this.#pages.keyOf(0));
  }

  /** Drops all data and ends the device: any later use in any thread throws ERR_DEVICE_CLOSED. */
  destroy(): void {
    this.#pages.assertAlive();
    this.#store.arena.words[this.#at + Device.MAGIC] = 0;
    this.#store.destroyPool(this.#pages.pool);
  }

  /** Memory of the store, by the kernel's names and in its order. */
  mmStat(): MmStat {
    this.#pages.assertAlive();
    return mmStatOf(this.#store.stats());
  }

  /** Failures and frees in all threads. */
  ioStat(): IoStat {
    this.#pages.assertAlive();
    return this.#counters.ioStat();
  }

  /** Pages in the write-back file, read from it and written to it, in units of 4 KiB. */
  bdStat(): BdStat {
    this.#pages.assertAlive();
    return bdStatOf(this.#store.stats(), this.pageSize);
  }

  /** Requests since the device was made, in all threads. */
  requests(): { reads: number; writes: number; discards: number } {
    this.#pages.assertAlive();
    return this.#counters.requests();
  }

  /** Reads or writes the pages of a range. @returns 0, or the error of the first that failed */
  #forPages(offset: number, sizeBytes: number, address: number, direction: number): number {
    const { pageSize } = this;
    const pages = this.#pages;
    for (let done = 0; done < sizeBytes; ) {
      const at = (offset + done) % pageSize;
      const page = (offset + done - at) / pageSize;
      const size = Math.min(pageSize - at, sizeBytes - done);
      const here = (address + done) as Address;
      if (direction === READ) {
        if (size === pageSize) pages.restore(page, here);
        else {
          pages.restore(page, pages.scratch);
          pages.copy(here, pages.scratch + at, size);
        }
      } else {
        const result =
          size === pageSize ? pages.put(page, here) : pages.writePart(page, at, size, here);
        if (result !== 0) return result;
      }
      done += size;
    }
    return 0;
  }

  /** The first page from `page` on that is stored, or NIL. */
  nextStored(page: number): number {
    return this.#pages.nextStored(page);
  }

  #remove(page: number): void {
    this.#pages.remove(page);
    this.#counters.count(Device.NOTIFY_FREE);
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
/** Two numbers for each extent of one reply. */
const EXTENT_NUMBERS_MAX = 2 * 1024;
