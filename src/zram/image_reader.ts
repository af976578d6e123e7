// Reads an image of devices (image.ts), skipping damaged batches.
//
// Batches have the pages in ascending order, device by device. So two undamaged batches tell which
// pages a damaged part between them may have had: these are marked as lost, all others are right.
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import type { Address } from "../base/brand.ts";
import { ZcacheError } from "../base/errors.ts";
import {
  BATCH_BYTES,
  differences,
  ENTRY_BYTES,
  type ImageDescription,
  type ImageDevice,
  type ImageRemote,
  type ImageRoom,
  IS_RECORD,
  RECORD_BYTES,
  START_BYTES,
  WORD,
} from "./image_format.ts";
import type { PageRange } from "./lost_pages.ts";
import type { Zram } from "./zram.ts";

const DESCRIPTION_BYTES_MAX = 1024 * 1024;
/** Batches that may be missing in a row; each possible number of the next batch is tried. */
const BATCHES_MISSING_MAX = 4096;
/** Bytes of one read in the search for the next batch. */
const WINDOW_BYTES = 1024 * 1024;
/** Places in a file that look like a batch and whose checksum is computed, at most. */
const TRIES_MAX = 20_000;

/** The result of a load. */
export interface LoadedImage {
  readonly pages: number;
  /** A sentence about lost pages; undefined if there are none. */
  readonly loss: string | undefined;
}

/** The header of a batch. */
interface Batch {
  readonly count: number;
  readonly bytes: number;
  readonly sum: number;
  readonly device: number;
}

export class ImageReader {
  readonly #path: string;
  readonly #file: number;
  readonly #sizeBytes: number;
  readonly #named: readonly ImageDevice[];
  readonly #room: ImageRoom;
  /** The devices in the order of the image, and the lost pages of each. */
  #devices: readonly Zram[] = [];
  #lost: PageRange[][] = [];
  /** Position in the image: earlier devices, and earlier pages of this device, are done. */
  #device = 0;
  #page = 0;
  #pages = 0;
  #batches = 0;
  #tries = 0;
  #isDamaged = false;
  /** Whether no batch is missing before the next one. */
  #isNext = true;

  readonly #remote: ImageRemote | undefined;
  /** Why records of the image can't be adopted; "" if they can. */
  #refusal = "";

  constructor(
    path: string,
    file: number,
    devices: readonly ImageDevice[],
    room: ImageRoom,
    remote: ImageRemote | undefined,
  ) {
    this.#path = path;
    this.#file = file;
    this.#sizeBytes = fstatSync(file).size;
    this.#named = devices;
    this.#room = room;
    this.#remote = remote;
  }

  /**
   * Loads the image; yields the number of loaded pages while the next one has no room.
   * @throws ZcacheError ERR_OPTION, ERR_IO, ERR_CORRUPT
   */
  *load(): Generator<number, LoadedImage> {
    const at = this.#readDescription();
    if (at === undefined) this.#loseAll();
    else yield* this.#readBatches(at);
    this.#devices.forEach((device, nth) => {
      device.lost.mark(merged(this.#lost[nth]!));
    });
    return { pages: this.#pages, loss: this.#lossText() };
  }

  /** @returns where the batches begin; undefined if the beginning is damaged */
  #readDescription(): number | undefined {
    const start = Buffer.alloc(START_BYTES);
    if (!this.#readAt(0, start)) return undefined;
    const length = start.readUInt32LE(8);
    if (length > Math.min(DESCRIPTION_BYTES_MAX, this.#sizeBytes)) return undefined;
    const text = Buffer.alloc(length);
    if (!this.#readAt(START_BYTES, text)) return undefined;
    if (this.#room.sumOf(text) !== start.readUInt32LE(12)) return undefined;
    const description = descriptionOf(text.toString());
    if (description === undefined) return undefined;
    this.#devices = this.#matched(description);
    this.#lost = description.exports.map(({ lost = [] }) => [...lost]);
    this.#refusal = this.#refusalOf(description);
    return START_BYTES + length;
  }

  #refusalOf({ remote, exports }: ImageDescription): string {
    // An image without a remote tier has no records.
    if (remote === undefined) return "it names no cluster";
    const isPlaced = exports.every(({ number, pool }, nth) => {
      const { place } = this.#devices[nth]!;
      return place.number === number && place.pool === pool;
    });
    return isPlaced ? differences(remote, this.#remote) : "its devices were in another order";
  }

  *#readBatches(from: number): Generator<number, void> {
    for (let at = from; ; ) {
      const head = Buffer.alloc(BATCH_BYTES);
      const batch = this.#readAt(at, head) ? this.#batchIn(head, 0) : undefined;
      if (batch === undefined || !this.#isWhole(at, batch, 1)) {
        this.#isDamaged = true;
        this.#isNext = false;
        const next = this.#search(at + 1);
        if (next === undefined) break;
        at = next;
        continue;
      }
      at += BATCH_BYTES + batch.bytes;
      if (batch.count > 0) yield* this.#takeBatch(batch);
      else if (this.#isEnd()) return;
      else break;
    }
    // The end of the image is missing, or batches before it.
    this.#isDamaged = true;
    this.#loseUpTo(this.#devices.length, 0);
  }

  /** Whether nothing is missing between the last batch and the end of the image. */
  #isEnd(): boolean {
    const pages = this.#room.buffer.readBigUInt64LE(BATCH_BYTES);
    return this.#isNext && (this.#isDamaged || pages === BigInt(this.#pages));
  }

  /** Parses a batch's header. @returns undefined for values that no batch has */
  #batchIn(bytes: Buffer, at: number): Batch | undefined {
    const count = bytes.readUInt32LE(at);
    const size = bytes.readUInt32LE(at + 4);
    const device = bytes.readUInt32LE(at + 12);
    if (count > this.#room.pagesMax || device >= this.#devices.length) return undefined;
    if (size > this.#room.buffer.length - BATCH_BYTES) return undefined;
    if (count === 0 ? size !== 8 : size <= count * ENTRY_BYTES) return undefined;
    return { count, bytes: size, sum: bytes.readUInt32LE(at + 8), device };
  }

  /**
   * Reads a batch into the buffer and verifies its checksum.
   * @param numbers how many numbers of the batch are tried, from the next one on
   */
  #isWhole(at: number, { bytes, sum }: Batch, numbers: number): boolean {
    const { buffer } = this.#room;
    if (!this.#readAt(at + BATCH_BYTES, buffer.subarray(BATCH_BYTES, BATCH_BYTES + bytes))) {
      return false;
    }
    for (let nth = 0; nth < numbers; nth++) {
      if (this.#room.sumOfBatch(bytes, this.#batches + nth) !== sum) continue;
      this.#batches += nth;
      return true;
    }
    return false;
  }

  /** @returns the position of the next undamaged batch */
  #search(from: number): number | undefined {
    const window = Buffer.alloc(WINDOW_BYTES + BATCH_BYTES);
    for (let base = from; base + BATCH_BYTES <= this.#sizeBytes; base += WINDOW_BYTES) {
      const got = readSync(this.#file, window, 0, window.length, base);
      for (let at = 0; at + BATCH_BYTES <= got && at < WINDOW_BYTES; at++) {
        // The count of a batch is small, so one byte rules out most positions.
        if (window[at + 3] !== 0 || window[at + 2] !== 0) continue;
        const batch = this.#batchIn(window, at);
        if (batch === undefined) continue;
        if (++this.#tries > TRIES_MAX) return undefined;
        if (this.#isWhole(base + at, batch, this.#numbersFor(batch))) return base + at;
      }
    }
    return undefined;
  }

  /** Fewer numbers are tried for a longer batch: at most some milliseconds for each position. */
  #numbersFor({ bytes }: Batch): number {
    return Math.max(16, Math.floor(BATCHES_MISSING_MAX / (1 + bytes / 256)));
  }

  *#takeBatch({ count, bytes, device: nth }: Batch): Generator<number, void> {
    const { buffer, pageSize } = this.#room;
    this.#batches++;
    const device = this.#devices[nth]!;
    const numberAt = (entry: number) =>
      buffer.readUInt32LE(entry + 4) * WORD + buffer.readUInt32LE(entry);
    const first = numberAt(BATCH_BYTES);
    // After damage, all pages up to this one may be lost.
    if (!this.#isNext) this.#loseUpTo(nth, first);
    let at = count * ENTRY_BYTES;
    for (let entry = BATCH_BYTES; entry < BATCH_BYTES + count * ENTRY_BYTES; entry += ENTRY_BYTES) {
      const page = numberAt(entry);
      const word = buffer.readUInt32LE(entry + 8);
      const size = word === IS_RECORD ? RECORD_BYTES : word;
      const from = BATCH_BYTES + at;
      at += size;
      if (size < 1 || size > pageSize || at > bytes || page * pageSize >= device.sizeBytes) {
        throw this.#malformed();
      }
      while (
        !(word === IS_RECORD
          ? this.#adopt(device, page, from)
          : this.#put(device, page, from, size))
      ) {
        yield this.#pages;
      }
      this.#device = nth;
      this.#page = page + 1;
      this.#pages++;
    }
    this.#isNext = true;
  }

  /** Stores a page of the batch in the buffer. @returns false without room */
  #put(device: Zram, page: number, from: number, size: number): boolean {
    const { block, page: scratch, pageSize, codec } = this.#room;
    const source = (block + from) as Address;
    if (size < pageSize) codec.decompress(source, size, scratch, pageSize);
    const plain = size < pageSize ? scratch : source;
    const left = device.sizeBytes - page * pageSize;
    return device.writeFrom(page * pageSize, Math.min(left, pageSize), plain) === 0;
  }

  /** Adopts a record that the batch in the buffer names. @returns false without room */
  #adopt(device: Zram, page: number, from: number): boolean {
    const { buffer } = this.#room;
    if (this.#refusal !== "") {
      const remedy = "start with the settings of then, or without the image: existing = discard";
      const what = `${this.#path} has pages in a cluster that can't be read`;
      throw new ZcacheError("ERR_OPTION", `${what}: ${this.#refusal}; ${remedy}`);
    }
    const result = device.adopt(page, {
      meta: buffer.readInt32LE(from),
      versionLow: buffer.readInt32LE(from + 4),
      versionHigh: buffer.readUInt32LE(from + 8),
      epoch: buffer.readUInt32LE(from + 12),
    });
    if (result === "wrong") throw this.#malformed();
    return result === "done";
  }

  /** Marks the pages from the position up to `page` of a device as lost. */
  #loseUpTo(device: number, page: number): void {
    for (let nth = this.#device; nth < Math.min(device + 1, this.#devices.length); nth++) {
      const from = nth === this.#device ? this.#page : 0;
      const end = Math.ceil(this.#devices[nth]!.sizeBytes / this.#room.pageSize);
      const to = nth === device ? page : end;
      if (to > from) this.#lost[nth]!.push({ from, to });
    }
  }

  /** The description is damaged: all pages of all devices may be lost. */
  #loseAll(): void {
    this.#isDamaged = true;
    this.#devices = this.#named.map(({ device }) => device);
    this.#lost = this.#devices.map(() => []);
    this.#loseUpTo(this.#devices.length, 0);
  }

  #lossText(): string | undefined {
    const lost = this.#lost.flat().reduce((sum, { from, to }) => sum + to - from, 0);
    if (!this.#isDamaged && lost === 0) return undefined;
    const how = this.#isDamaged
      ? "is damaged"
      : "has pages that were lost when an earlier image was read";
    const what = `${lost} may be missing, and read as errors until they are written`;
    return `${this.#path} ${how}: ${this.#pages} pages are loaded; ${what}`;
  }

  #matched({ pageSize, exports }: ImageDescription): Zram[] {
    if (pageSize !== this.#room.pageSize) {
      throw new ZcacheError(
        "ERR_OPTION",
        `${this.#path} has pages of ${pageSize} bytes, the store has ${this.#room.pageSize}`,
      );
    }
    return exports.map(({ name, sizeBytes }) => {
      const found = this.#named.find((one) => one.name === name)?.device;
      if (found !== undefined && found.sizeBytes >= sizeBytes) return found;
      const wanted = `a device "${name}" of ${sizeBytes} bytes`;
      throw new ZcacheError(
        "ERR_OPTION",
        `${this.#path} has ${wanted}: configure a device of that size or larger`,
      );
    });
  }

  /** Fills `bytes`. @returns false if the file ends earlier */
  #readAt(at: number, bytes: Uint8Array): boolean {
    for (let done = 0; done < bytes.length; ) {
      const read = readSync(this.#file, bytes, done, bytes.length - done, at + done);
      if (read === 0) return false;
      done += read;
    }
    return true;
  }

  /** The error for an invalid batch with a valid checksum, which is not damage. */
  #malformed(): ZcacheError {
    const remedy = "start without it: existing = discard";
    return new ZcacheError("ERR_CORRUPT", `${this.#path} is malformed: ${remedy}`);
  }
}

/** The description of an image, whose checksum is not verified; undefined if it is damaged. */
export function readDescription(path: string): ImageDescription | undefined {
  const file = openSync(path, "r");
  try {
    const start = Buffer.alloc(START_BYTES);
    if (readSync(file, start, 0, START_BYTES, 0) < START_BYTES) return undefined;
    const text = Buffer.alloc(Math.min(DESCRIPTION_BYTES_MAX, start.readUInt32LE(8)));
    const got = readSync(file, text, 0, text.length, START_BYTES);
    return descriptionOf(text.toString("utf8", 0, got));
  } finally {
    closeSync(file);
  }
}

/** Sorts ranges, and joins those that touch or overlap. */
function merged(ranges: readonly PageRange[]): PageRange[] {
  const sorted = [...ranges].sort((a, b) => a.from - b.from);
  const result: PageRange[] = [];
  for (const { from, to } of sorted) {
    const last = result.at(-1);
    if (last !== undefined && from <= last.to) {
      result[result.length - 1] = { from: last.from, to: Math.max(last.to, to) };
    } else result.push({ from, to });
  }
  return result;
}

function descriptionOf(text: string): ImageDescription | undefined {
  try {
    const value = JSON.parse(text) as ImageDescription;
    const isRight = value.exports.every(
      ({ name, sizeBytes }) => typeof name === "string" && Number.isSafeInteger(sizeBytes),
    );
    return isRight && Number.isInteger(value.pageSize) ? value : undefined;
  } catch {
    return undefined;
  }
}
