// The format of an image of devices, which image.ts describes, and what its writer and its reader
// share: buffers for a batch, checksums, and how a file is recognized.
import { closeSync, constants, lstatSync, openSync, readSync, statSync } from "node:fs";
import type { Address } from "../base/brand.ts";
import { nodeCodecs } from "../node/codecs.ts";
import { bitsOff, isZeroFile, NEAR_BITS } from "../node/signature.ts";
import type { PageRange } from "./lost_pages.ts";
import type { Zram } from "./zram.ts";

export const IMAGE_NAME = "ZCIMAGE";
export const IMAGE_VERSION = "3";
const VERSIONS_READ: readonly string[] = ["1", "2", "3"];
export const START_BYTES = 16;
export const BATCH_BYTES = 16;
export const ENTRY_BYTES = 12;
export const WORD = 2 ** 32;
/** In place of the size of a page: its record in a remote tier follows. */
export const IS_RECORD = 0xffff_ffff;
export const RECORD_BYTES = 16;
/** The most pages that scratch can have. */
const BLOCK_PAGES = 16;
const BLOCK_BYTES_MAX = 256 * 1024;
/** The beginning of the result of `identifyImage` for an image of an unknown version. */
export const OTHER_VERSION = "is an image of version";

/** A device and its name in the image. */
export interface ImageDevice {
  readonly name: string;
  readonly device: Zram;
}

export interface ImageDescription {
  readonly pageSize: number;
  readonly exports: readonly {
    readonly name: string;
    readonly sizeBytes: number;
    /** Since version 2: pages that an earlier image has lost. */
    readonly lost?: readonly PageRange[];
    /** Since version 3: how the names of records name the device. */
    readonly number?: number;
    readonly pool?: number;
  }[];
  /** Since version 3, if pages may be in a remote tier. */
  readonly remote?: ImageRemote;
}

/** What a store must have in common with an image that names records in a remote tier. */
export interface ImageRemote {
  readonly prefix: string;
  /** How the bytes of records are stored. */
  readonly codec: string;
  readonly recompress: string;
  readonly pool: string;
}

/** A sentence for each setting that differs; "" if none does. */
export function differences(wanted: ImageRemote, given: ImageRemote | undefined): string {
  if (given === undefined) return "this store has no cluster";
  const names = ["prefix", "codec", "recompress", "pool"] as const;
  const other = names.filter((name) => wanted[name] !== given[name]);
  return other.map((name) => `its ${name} is ${wanted[name]}, here ${given[name]}`).join("; ");
}

/** Buffers for one page and one batch, in the arena of the devices. */
export class ImageRoom {
  readonly pageSize: number;
  readonly codec: ReturnType<ReturnType<typeof nodeCodecs>["create"]>;
  readonly page: Address;
  readonly block: Address;
  readonly buffer: Buffer;
  /** Pages that fit into a batch even if none compresses. */
  readonly pagesMax: number;
  readonly #device: Zram;

  /** @throws ZcacheError ERR_ARENA_FULL */
  constructor(device: Zram) {
    this.#device = device;
    this.pageSize = device.pageSize;
    this.codec = nodeCodecs().create("lz4", device.arena, {});
    const blockBytes = Math.min(device.pageSize * BLOCK_PAGES, BLOCK_BYTES_MAX);
    this.page = device.reserve(device.pageSize);
    this.block = device.reserve(blockBytes);
    this.buffer = Buffer.from(device.bytes.buffer, this.block, blockBytes);
    this.pagesMax = Math.floor((blockBytes - BATCH_BYTES) / (ENTRY_BYTES + device.pageSize));
  }

  /** The checksum of the batch in the buffer, seeded with the batch's number. */
  sumOfBatch(bytes: number, number: number): number {
    const { kernels } = this.#device.arena;
    return kernels.checksum(this.block + BATCH_BYTES, bytes, number) >>> 0;
  }

  /** The checksum of bytes outside the arena; they are copied to it page by page. */
  sumOf(bytes: Uint8Array): number {
    let sum = 0;
    for (let at = 0; at < bytes.length; at += this.pageSize) {
      const piece = bytes.subarray(at, at + this.pageSize);
      this.#device.bytes.set(piece, this.page);
      sum = this.#device.arena.kernels.checksum(this.page, piece.length, sum);
    }
    return sum >>> 0;
  }
}

/** @returns "none" if there is no file, "own" for an image, damaged or not, or what else it is */
export function identifyImage(path: string): string {
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return "none";
  let fd: number | undefined;
  try {
    const stat = statSync(path);
    if (!stat.isFile()) return "is no regular file";
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const bytes = Buffer.alloc(IMAGE_NAME.length + 1);
    const text = bytes.toString("latin1", 0, readSync(fd, bytes, 0, bytes.length, 0));
    if (text.length < bytes.length && IMAGE_NAME.startsWith(text)) return "own";
    const bits = bitsOff(bytes, IMAGE_NAME);
    const version = text.at(-1) ?? "";
    // After an intact name, a version that differs in one bit is taken for damage.
    const isNear = bitsOff(bytes.subarray(-1), IMAGE_VERSION) <= 1;
    if (bits === 0 && !VERSIONS_READ.includes(version) && !isNear) {
      const read = VERSIONS_READ.join(", ").replace(/, (.)$/, " and $1");
      return `${OTHER_VERSION} ${JSON.stringify(version)}, and this zcache reads versions ${read}`;
    }
    const isOwn = bits <= NEAR_BITS || isZeroFile(fd, stat.size);
    return isOwn ? "own" : "is not an image of zcache";
  } catch (error) {
    return `can't be read (${(error as Error).message})`;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
