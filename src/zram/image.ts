// The image of devices: a file with their compressed pages, which outlives a planned restart.
//
//   "ZCIMAGE3", length of the description (4), its XXH32 (4), description (JSON)
//   batches, each: pages (4), bytes (4), XXH32 of the bytes (4), export (4), bytes:
//       for each page its number (8) and size (4; the page size if not compressed); then the pages
//   the end: a batch of 0 pages whose bytes are the number of all pages (8)
//
// The eighth character is the version. All numbers are little-endian. Pages are compressed with
// LZ4, whatever the store's codec is, and are in ascending order, device by device. The checksum of
// a batch is seeded with the batch's number, so a missing or repeated batch is detected. The file
// is written under a temporary name and renamed once all of it is on the disk.
//
// A page that is in a remote tier stays there. In place of its size is 0xffffffff, and in place of
// its bytes the name of its record: codec and size as in META (4), version (8), epoch (4).
//
// Of a damaged image, the undamaged batches are loaded (image_reader.ts). Pages that may have been
// in damaged ones are lost: they read as errors until they are written, also after another save and
// load.
import {
  closeSync,
  existsSync,
  fchmodSync,
  fsyncSync,
  openSync,
  renameSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import type { Address } from "../base/brand.ts";
import { ZcacheError } from "../base/errors.ts";
import * as Page from "../store/page.layout.ts";
import {
  BATCH_BYTES,
  ENTRY_BYTES,
  IMAGE_NAME,
  IMAGE_VERSION,
  type ImageDescription,
  type ImageDevice,
  type ImageRemote,
  ImageRoom,
  IS_RECORD,
  identifyImage as identify,
  OTHER_VERSION,
  RECORD_BYTES,
  START_BYTES,
  WORD,
} from "./image_format.ts";
import { ImageReader, type LoadedImage, readDescription } from "./image_reader.ts";
import type { PageRecord, Zram } from "./zram.ts";

/** Names that are tried if a foreign file has the image's name. */
const NAMES_MAX = 100;
/** Batches that are written before the thread does other work, such as renewing a lease: 5 ms. */
const TURN_BATCHES = 64;
/** How long a load waits for room, while pages are leaving for a remote tier, and how often. */
const ROOM_MS_MAX = 30_000;
const ROOM_EVERY_MS = 2;

export class DeviceImage {
  readonly #path: string;
  readonly #devices: readonly ImageDevice[];
  /** Reserved early, because the store may be full when the image is written. */
  readonly #room: ImageRoom;
  readonly #isDiscarded: boolean;
  #batches = 0;

  readonly #remote: ImageRemote | undefined;

  /**
   * @param devices of one store
   * @param existing "discard": ignores an existing image. A foreign file is left as it is, and the
   *   image gets the first name of PATH.1, PATH.2, … that is free or an image's
   * @param remote of a store with a remote tier
   * @throws ZcacheError ERR_ARENA_FULL
   */
  constructor(
    path: string,
    devices: readonly ImageDevice[],
    existing: "recover" | "discard" = "recover",
    remote?: ImageRemote,
  ) {
    this.#path = existing === "discard" ? ownName(path) : path;
    this.#devices = devices;
    this.#room = new ImageRoom(devices[0]!.device);
    this.#isDiscarded = existing === "discard";
    this.#remote = remote;
  }

  /** The file's path, which differs from the given path if that is a foreign file. */
  get path(): string {
    return this.#path;
  }

  /** Whether there is a file to load. */
  get exists(): boolean {
    return !this.#isDiscarded && identify(this.#path) !== "none";
  }

  /**
   * Writes all pages; of those that are in a remote tier alone, the names of their records. An
   * existing file is replaced once the new one is complete. The devices must not be written to
   * meanwhile, and no page may come back from the remote tier.
   * @returns pages written
   * @throws ZcacheError ERR_IO; of the store ERR_CORRUPT
   */
  save(): number {
    const saving = this.#save();
    for (;;) {
      const { done, value } = saving.next();
      if (done === true) return value;
    }
  }

  /** As `save`, and lets the thread do other work in between. @throws as a rejection */
  async saveAsync(): Promise<number> {
    const saving = this.#save();
    for (;;) {
      const { done, value } = saving.next();
      if (done === true) return value;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Yields from time to time. */
  *#save(): Generator<void, number> {
    const temporary = this.#temporary();
    let file: number | undefined;
    try {
      file = this.#begin(temporary);
      const pages = yield* this.#write(file);
      closeSync(file);
      file = undefined;
      this.#commit(temporary);
      return pages;
    } catch (cause) {
      throw this.#failed(cause, file, temporary);
    }
  }

  /**
   * Reads all undamaged pages into the devices of the same names, which must be empty, and marks
   * pages that may be missing as lost. Pages in a remote tier are adopted where they are.
   * @throws ZcacheError ERR_OPTION: a foreign file, another version, another page size, a device
   *   that is missing or smaller here, or another remote tier; ERR_IO; ERR_ARENA_FULL: the pages do
   *   not fit
   */
  load(): LoadedImage {
    const loading = this.#load();
    const { done, value } = loading.next();
    if (done === true) return value;
    return loading.throw(this.#noRoom()).value as LoadedImage;
  }

  /** As `load`, and waits for room while pages leave for a remote tier. @throws as a rejection */
  async loadAsync(): Promise<LoadedImage> {
    const loading = this.#load();
    const { device } = this.#devices[0]!;
    for (let waitedMs = 0, pages = 0; ; ) {
      const { done, value } = loading.next();
      if (done === true) return value;
      waitedMs = value === pages ? waitedMs + ROOM_EVERY_MS : 0;
      pages = value;
      if (!device.mayGainRoom || waitedMs > ROOM_MS_MAX) loading.throw(this.#noRoom());
      await new Promise((resolve) => setTimeout(resolve, ROOM_EVERY_MS));
    }
  }

  /** Yields the number of pages that are loaded when the next one has no room. */
  *#load(): Generator<number, LoadedImage> {
    const found = identify(this.#path);
    const remedy = "use another path, or start without it: existing = discard";
    if (found !== "own" && found !== "none") {
      throw new ZcacheError("ERR_OPTION", `${this.#path} ${found}: left as it is; ${remedy}`, {
        context: { path: this.#path },
      });
    }
    let file: number | undefined;
    try {
      file = openSync(this.#path, "r");
      const reader = new ImageReader(this.#path, file, this.#devices, this.#room, this.#remote);
      return yield* reader.load();
    } catch (cause) {
      throw asIoError(cause, this.#path);
    } finally {
      if (file !== undefined) closeSync(file);
    }
  }

  #noRoom(): ZcacheError {
    return new ZcacheError(
      "ERR_ARENA_FULL",
      `${this.#path}: the image does not fit into the memory of the store`,
    );
  }

  #temporary(): string {
    return `${this.#path}.${process.pid}.new`;
  }

  #begin(temporary: string): number {
    const file = openSync(temporary, "wx", 0o600);
    // The umask may be such that the owner could not read the file.
    fchmodSync(file, 0o600);
    return file;
  }

  #commit(temporary: string): void {
    renameSync(temporary, this.#path);
    syncFolder(dirname(this.#path));
  }

  #failed(cause: unknown, file: number | undefined, temporary: string): unknown {
    if (file !== undefined) closeSync(file);
    if (existsSync(temporary)) unlinkSync(temporary);
    return asIoError(cause, this.#path);
  }

  #writeStart(file: number): void {
    const description: ImageDescription = {
      pageSize: this.#room.pageSize,
      exports: this.#devices.map(({ name, device }) => ({
        ...{ name, sizeBytes: device.sizeBytes },
        ...(device.lost.any ? { lost: device.lost.ranges() } : {}),
        ...(this.#remote === undefined ? {} : device.place),
      })),
      ...(this.#remote === undefined ? {} : { remote: this.#remote }),
    };
    const text = Buffer.from(JSON.stringify(description));
    const start = Buffer.alloc(START_BYTES);
    start.write(IMAGE_NAME + IMAGE_VERSION, "latin1");
    start.writeUInt32LE(text.length, 8);
    start.writeUInt32LE(this.#room.sumOf(text), 12);
    writeAll(file, start);
    writeAll(file, text);
    this.#batches = 0;
  }

  #writeEnd(file: number, pages: number): void {
    this.#room.buffer.writeBigUInt64LE(BigInt(pages), BATCH_BYTES);
    this.#finishBatch(file, 0, 0, 8);
    fsyncSync(file);
  }

  *#write(file: number): Generator<void, number> {
    this.#writeStart(file);
    let pages = 0;
    for (const [nth, { device }] of this.#devices.entries()) {
      for (let page = device.nextStored(0); page >= 0; ) {
        const next = this.#writeBatch(file, nth, device, page);
        pages += next.pages;
        page = next.page;
        if (this.#batches % TURN_BATCHES === 0) yield;
      }
    }
    this.#writeEnd(file, pages);
    return pages;
  }

  /** Writes a batch of stored pages from `first` on. */
  #writeBatch(file: number, nth: number, device: Zram, first: number) {
    const { buffer, pageSize, pagesMax } = this.#room;
    const tableBytes = pagesMax * ENTRY_BYTES;
    let used = tableBytes;
    let count = 0;
    let page = first;
    const { length } = buffer;
    while (page >= 0 && length - BATCH_BYTES - used >= pageSize) {
      if (count === pagesMax) break;
      const record = this.#remote === undefined ? undefined : device.recordOf(page);
      const size = record === undefined ? this.#pack(device, page, used) : RECORD_BYTES;
      if (record !== undefined) this.#writeRecord(record, BATCH_BYTES + used);
      const entry = BATCH_BYTES + count * ENTRY_BYTES;
      buffer.writeUInt32LE(page % WORD, entry);
      buffer.writeUInt32LE(Math.floor(page / WORD), entry + 4);
      buffer.writeUInt32LE(record === undefined ? size : IS_RECORD, entry + 8);
      used += size;
      count++;
      page = device.nextStored(page + 1);
    }
    // Close the gap between the table, which may be shorter than its room, and the pages.
    const unused = tableBytes - count * ENTRY_BYTES;
    const from = BATCH_BYTES + tableBytes;
    buffer.copyWithin(from - unused, from, BATCH_BYTES + used);
    this.#finishBatch(file, nth, count, used - unused);
    return { page, pages: count };
  }

  /** Compresses a page to the batch. @returns its size there */
  #pack(device: Zram, page: number, used: number): number {
    const { block, page: scratch, pageSize, codec } = this.#room;
    this.#restore(device, page);
    const target = (block + BATCH_BYTES + used) as Address;
    const size = codec.compress(scratch, pageSize, target, pageSize - 1);
    if (size === 0) device.arena.kernels.copy(target, scratch, pageSize);
    return size === 0 ? pageSize : size;
  }

  #writeRecord({ meta, versionLow, versionHigh, epoch }: PageRecord, at: number): void {
    const { buffer } = this.#room;
    buffer.writeInt32LE(Page.withSize(0, Page.codecOf(meta), Page.sizeOf(meta)), at);
    buffer.writeInt32LE(versionLow, at + 4);
    buffer.writeUInt32LE(versionHigh, at + 8);
    buffer.writeUInt32LE(epoch, at + 12);
  }

  #finishBatch(file: number, nth: number, pages: number, bytes: number): void {
    const { buffer } = this.#room;
    buffer.writeUInt32LE(pages, 0);
    buffer.writeUInt32LE(bytes, 4);
    buffer.writeUInt32LE(nth, 12);
    buffer.writeUInt32LE(this.#room.sumOfBatch(bytes, this.#batches), 8);
    writeAll(file, buffer.subarray(0, BATCH_BYTES + bytes));
    this.#batches++;
  }

  #restore(device: Zram, page: number): void {
    const { page: scratch, pageSize } = this.#room;
    const offset = page * pageSize;
    const size = Math.min(pageSize, device.sizeBytes - offset);
    if (size < pageSize) device.arena.kernels.fill(scratch, 0, pageSize);
    device.readTo(offset, size, scratch);
  }
}

/**
 * The names of the devices of an image, in its order; none if it can't be read. Devices that are
 * made in this order have the numbers and pools by which the image's records name them.
 */
export function devicesIn(path: string): readonly string[] {
  const description = identify(path) === "own" ? readDescription(path) : undefined;
  return description?.exports.map(({ name }) => name) ?? [];
}

function writeAll(file: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) {
    done += writeSync(file, bytes, done, bytes.length - done);
  }
}

/** The first of PATH, PATH.1, PATH.2 … that is not a foreign file. */
function ownName(path: string): string {
  for (let nth = 0; nth < NAMES_MAX; nth++) {
    const name = nth === 0 ? path : `${path}.${nth}`;
    const found = identify(name);
    if (found === "own" || found === "none" || found.startsWith(OTHER_VERSION)) return name;
  }
  return path;
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
