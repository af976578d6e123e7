// The image of devices: their pages in a file, compressed, so that they outlive a planned restart.
//
//   "ZCIMAGE1", length of the description (4), its XXH32 (4), description (JSON)
//   batches, each: pages (4), bytes (4), XXH32 of the bytes (4), export (4), bytes:
//       of each page: number (8), size (4; that of a page if it is not compressed); then the pages
//   the end: a batch of 0 pages whose bytes are the number of all pages (8)
//
// All numbers are little-endian, pages are compressed with LZ4 whatever the store's codec is. The
// checksum of a batch begins with its number, so none can be missing or come twice. The file is
// written under another name and takes its own when all of it is on the disk.
import {
  closeSync,
  existsSync,
  fchmodSync,
  fsyncSync,
  openSync,
  readSync,
  renameSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import type { Address } from "../base/brand.ts";
import { ZcacheError } from "../base/errors.ts";
import type { Zram } from "../front/zram.ts";
import { nodeCodecs } from "../node/codecs.ts";

/** A device by the name under which it is found again. */
export interface ImageDevice {
  readonly name: string;
  readonly device: Zram;
}

const MAGIC = "ZCIMAGE1";
const START_BYTES = 16;
const BATCH_BYTES = 16;
const ENTRY_BYTES = 12;
const DESCRIPTION_BYTES_MAX = 1024 * 1024;
/** As much as scratch comes in. */
const BLOCK_PAGES = 16;
const BLOCK_BYTES_MAX = 256 * 1024;
const WORD = 2 ** 32;

interface Description {
  readonly pageSize: number;
  readonly exports: readonly { readonly name: string; readonly sizeBytes: number }[];
}

export class DeviceImage {
  readonly #path: string;
  readonly #devices: readonly ImageDevice[];
  readonly #pageSize: number;
  readonly #codec: ReturnType<ReturnType<typeof nodeCodecs>["create"]>;
  /** A page; a batch. Taken at once: the store may be full when the image is written. */
  readonly #page: Address;
  readonly #block: Address;
  readonly #buffer: Buffer;
  readonly #pagesMax: number;
  #batches = 0;

  /**
   * @param devices all of one store, and of page sizes up to 64 KiB
   * @throws ZcacheError ERR_ARENA_FULL
   */
  constructor(path: string, devices: readonly ImageDevice[]) {
    const { device } = devices[0]!;
    this.#path = path;
    this.#devices = devices;
    this.#pageSize = device.pageSize;
    this.#codec = nodeCodecs().create("lz4", device.arena, {});
    const blockBytes = Math.min(device.pageSize * BLOCK_PAGES, BLOCK_BYTES_MAX);
    this.#page = device.reserve(device.pageSize);
    this.#block = device.reserve(blockBytes);
    this.#buffer = Buffer.from(device.bytes.buffer, this.#block, blockBytes);
    // However poorly they compress, so many fit.
    this.#pagesMax = Math.floor((blockBytes - BATCH_BYTES) / (ENTRY_BYTES + device.pageSize));
  }

  /** Whether there is one. */
  get exists(): boolean {
    return existsSync(this.#path);
  }

  /**
   * Writes all pages; what was there before is replaced when all is well. Nobody may write to the
   * devices meanwhile.
   * @returns pages written
   * @throws ZcacheError ERR_IO; of the store ERR_CORRUPT
   */
  save(): number {
    const temporary = `${this.#path}.${process.pid}.new`;
    let file: number | undefined;
    try {
      file = openSync(temporary, "wx", 0o600);
      // Whatever the umask is: a file that its owner can't read is of no use.
      fchmodSync(file, 0o600);
      const pages = this.#write(file);
      fsyncSync(file);
      closeSync(file);
      file = undefined;
      renameSync(temporary, this.#path);
      syncFolder(dirname(this.#path));
      return pages;
    } catch (cause) {
      if (file !== undefined) closeSync(file);
      if (existsSync(temporary)) unlinkSync(temporary);
      throw asIoError(cause, this.#path);
    }
  }

  /**
   * Reads all pages into the devices of their names, which must be empty.
   * @returns pages read
   * @throws ZcacheError ERR_CORRUPT: it is damaged, cut, or no image; ERR_OPTION: it has a device
   *   that is missing here, or smaller, or other pages; ERR_IO; ERR_ARENA_FULL: it does not fit
   */
  load(): number {
    let file: number;
    try {
      file = openSync(this.#path, "r");
    } catch (cause) {
      throw asIoError(cause, this.#path);
    }
    try {
      return this.#read(file);
    } catch (cause) {
      throw asIoError(cause, this.#path);
    } finally {
      closeSync(file);
    }
  }

  #write(file: number): number {
    const description: Description = {
      pageSize: this.#pageSize,
      exports: this.#devices.map(({ name, device }) => ({ name, sizeBytes: device.sizeBytes })),
    };
    const text = Buffer.from(JSON.stringify(description));
    const start = Buffer.alloc(START_BYTES);
    start.write(MAGIC, "latin1");
    start.writeUInt32LE(text.length, 8);
    start.writeUInt32LE(this.#sumOf(text), 12);
    writeAll(file, start);
    writeAll(file, text);
    this.#batches = 0;
    let pages = 0;
    for (const [nth, { device }] of this.#devices.entries()) {
      for (let page = device.nextStored(0); page >= 0; ) {
        const next = this.#writeBatch(file, nth, device, page);
        pages += next.pages;
        page = next.page;
      }
    }
    this.#buffer.writeBigUInt64LE(BigInt(pages), BATCH_BYTES);
    this.#finishBatch(file, 0, 0, 8);
    return pages;
  }

  /** Writes pages from `first` on, which is stored, as many as fit into a batch. */
  #writeBatch(file: number, nth: number, device: Zram, first: number) {
    const tableBytes = this.#pagesMax * ENTRY_BYTES;
    let used = tableBytes;
    let count = 0;
    let page = first;
    const { length } = this.#buffer;
    while (page >= 0 && length - BATCH_BYTES - used >= this.#pageSize) {
      if (count === this.#pagesMax) break;
      this.#restore(device, page);
      const target = (this.#block + BATCH_BYTES + used) as Address;
      let size = this.#codec.compress(this.#page, this.#pageSize, target, this.#pageSize - 1);
      if (size === 0) {
        size = this.#pageSize;
        device.arena.kernels.copy(target, this.#page, size);
      }
      const entry = BATCH_BYTES + count * ENTRY_BYTES;
      this.#buffer.writeUInt32LE(page % WORD, entry);
      this.#buffer.writeUInt32LE(Math.floor(page / WORD), entry + 4);
      this.#buffer.writeUInt32LE(size, entry + 8);
      used += size;
      count++;
      page = device.nextStored(page + 1);
    }
    // The pages follow the table as it is, not as it might have been.
    const unused = tableBytes - count * ENTRY_BYTES;
    const from = BATCH_BYTES + tableBytes;
    this.#buffer.copyWithin(from - unused, from, BATCH_BYTES + used);
    this.#finishBatch(file, nth, count, used - unused);
    return { page, pages: count };
  }

  #finishBatch(file: number, nth: number, pages: number, bytes: number): void {
    this.#buffer.writeUInt32LE(pages, 0);
    this.#buffer.writeUInt32LE(bytes, 4);
    this.#buffer.writeUInt32LE(nth, 12);
    this.#buffer.writeUInt32LE(this.#sumOfBlock(bytes), 8);
    writeAll(file, this.#buffer.subarray(0, BATCH_BYTES + bytes));
    this.#batches++;
  }

  #read(file: number): number {
    const start = Buffer.alloc(START_BYTES);
    if (!readAll(file, start) || start.toString("latin1", 0, 8) !== MAGIC) throw this.#damaged();
    const length = start.readUInt32LE(8);
    if (length > DESCRIPTION_BYTES_MAX) throw this.#damaged();
    const text = Buffer.alloc(length);
    if (!readAll(file, text) || this.#sumOf(text) !== start.readUInt32LE(12)) throw this.#damaged();
    const devices = this.#matched(descriptionOf(text.toString()) ?? this.#fail());
    this.#batches = 0;
    let pages = 0;
    for (;;) {
      if (!readAll(file, this.#buffer.subarray(0, BATCH_BYTES))) throw this.#damaged();
      const count = this.#buffer.readUInt32LE(0);
      const bytes = this.#buffer.readUInt32LE(4);
      const sum = this.#buffer.readUInt32LE(8);
      const device = devices[this.#buffer.readUInt32LE(12)];
      const isWrong = bytes > this.#buffer.length - BATCH_BYTES || count > this.#pagesMax;
      if (isWrong || device === undefined) throw this.#damaged();
      const body = this.#buffer.subarray(BATCH_BYTES, BATCH_BYTES + bytes);
      if (!readAll(file, body) || this.#sumOfBlock(bytes) !== sum) throw this.#damaged();
      this.#batches++;
      if (count === 0) {
        if (bytes !== 8 || body.readBigUInt64LE(0) !== BigInt(pages)) throw this.#damaged();
        return pages;
      }
      this.#readBatch(device, count, bytes);
      pages += count;
    }
  }

  #readBatch(device: Zram, count: number, bytes: number): void {
    let at = count * ENTRY_BYTES;
    for (let nth = 0; nth < count; nth++) {
      const entry = BATCH_BYTES + nth * ENTRY_BYTES;
      const page = this.#buffer.readUInt32LE(entry + 4) * WORD + this.#buffer.readUInt32LE(entry);
      const size = this.#buffer.readUInt32LE(entry + 8);
      const source = (this.#block + BATCH_BYTES + at) as Address;
      at += size;
      const offset = page * this.#pageSize;
      const left = device.sizeBytes - offset;
      if (size < 1 || size > this.#pageSize || at > bytes || left <= 0) throw this.#damaged();
      let plain = source;
      if (size < this.#pageSize) {
        this.#codec.decompress(source, size, this.#page, this.#pageSize);
        plain = this.#page;
      }
      if (device.writeFrom(offset, Math.min(left, this.#pageSize), plain) === 0) continue;
      throw new ZcacheError("ERR_ARENA_FULL", `${this.#path}: the image does not fit`);
    }
    if (at !== bytes) throw this.#damaged();
  }

  #restore(device: Zram, page: number): void {
    const offset = page * this.#pageSize;
    const size = Math.min(this.#pageSize, device.sizeBytes - offset);
    if (size < this.#pageSize) device.arena.kernels.fill(this.#page, 0, this.#pageSize);
    device.readTo(offset, size, this.#page);
  }

  #matched({ pageSize, exports }: Description): Zram[] {
    if (pageSize !== this.#pageSize) {
      throw new ZcacheError(
        "ERR_OPTION",
        `${this.#path} has pages of ${pageSize} bytes, the store of ${this.#pageSize}`,
      );
    }
    return exports.map(({ name, sizeBytes }) => {
      const found = this.#devices.find((one) => one.name === name)?.device;
      if (found !== undefined && found.sizeBytes >= sizeBytes) return found;
      const wanted = `a device "${name}" of ${sizeBytes} bytes`;
      throw new ZcacheError("ERR_OPTION", `${this.#path} has ${wanted}: give it that, or a larger`);
    });
  }

  #sumOfBlock(bytes: number): number {
    const { kernels } = this.#devices[0]!.device.arena;
    return kernels.checksum(this.#block + BATCH_BYTES, bytes, this.#batches) >>> 0;
  }

  /** The checksum of bytes from elsewhere, in pieces of a page. */
  #sumOf(bytes: Uint8Array): number {
    const { device } = this.#devices[0]!;
    let sum = 0;
    for (let at = 0; at < bytes.length; at += this.#pageSize) {
      const piece = bytes.subarray(at, at + this.#pageSize);
      device.bytes.set(piece, this.#page);
      sum = device.arena.kernels.checksum(this.#page, piece.length, sum);
    }
    return sum >>> 0;
  }

  #fail(): never {
    throw this.#damaged();
  }

  #damaged(): ZcacheError {
    return new ZcacheError("ERR_CORRUPT", `${this.#path} is damaged, or is no image`);
  }
}

function descriptionOf(text: string): Description | undefined {
  try {
    const value = JSON.parse(text) as Description;
    const isRight = value.exports.every((one) => Number.isSafeInteger(one.sizeBytes));
    return isRight && Number.isInteger(value.pageSize) ? value : undefined;
  } catch {
    return undefined;
  }
}

function writeAll(file: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) {
    done += writeSync(file, bytes, done, bytes.length - done);
  }
}

/** @returns false if the file ends before */
function readAll(file: number, bytes: Uint8Array): boolean {
  for (let done = 0; done < bytes.length; ) {
    const read = readSync(file, bytes, done, bytes.length - done, null);
    if (read === 0) return false;
    done += read;
  }
  return true;
}

function syncFolder(path: string): void {
  const folder = openSync(path, "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

function asIoError(cause: unknown, path: string): unknown {
  if (cause instanceof ZcacheError || !(cause instanceof Error) || !("code" in cause)) return cause;
  return new ZcacheError("ERR_IO", `${path}: ${cause.message}`, { cause });
}
