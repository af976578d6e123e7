// The write-back file on Node: one thread opens it, and all threads use its descriptor.
import {
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import type { BackingDevice, BackingShare } from "../backing/contract.ts";
import { ZcacheError } from "../base/errors.ts";
import { SHARDS_MAX } from "../store/options.ts";
import type { DeviceOptions } from "../store/platform.ts";
import { attemptIo, ioError } from "./file_io.ts";
import { lockFile } from "./file_lock.ts";
import { bitsOff, isZeroFile, NEAR_BITS } from "./signature.ts";

/** The header, at the start of the first segment: the format and its version. */
const NAME = "zcache write-back ";
const HEADER = Buffer.from(`${NAME}1\n`);
/** Where the second segment may begin, and its magic number: for a file with a damaged header. */
const SEGMENT_BYTES: readonly number[] = [65_536, 131_072];
const SEGMENT_MAGIC = 0x7a63_7367;
/** Names that are tried if a foreign file has the wanted name. */
const NAMES_MAX = 100;

/** Bytes of one write of a preallocation. */
const STEP_BYTES = 65_536;

export class FileDevice implements BackingDevice {
  readonly sizeBytesMax: number;
  readonly #path: string;
  readonly #fd: number;
  readonly #unlock: (() => void) | undefined;

  private constructor(
    path: string,
    fd: number,
    sizeBytesMax: number,
    unlock: (() => void) | undefined,
  ) {
    this.#path = path;
    this.#fd = fd;
    this.sizeBytesMax = sizeBytesMax;
    this.#unlock = unlock;
  }

  /**
   * Opens or makes the file for this process alone. The content of an existing write-back file is
   * not read, so its version does not matter, and damage neither.
   * @throws ZcacheError ERR_FILE_LOCKED: another process uses it; ERR_OPTION: a foreign file, or an
   *   existing one with existing: "refuse"; ERR_IO
   */
  static open(options: DeviceOptions): FileDevice {
    const { path, sizeBytesMax, existing, preallocate } = options;
    let unlock = lockFile(path);
    try {
      const own = existing === "discard" ? ownName(path) : path;
      // The name beside a foreign file may be that of another shard.
      if (own !== path) unlock = both(unlock, lockFile(own));
      checkExisting(own, existing);
      const fd = openOwn(own);
      try {
        const device = new FileDevice(own, fd, sizeBytesMax, unlock);
        attemptIo(own, 0, () => ftruncateSync(fd, 0));
        // The umask, or the process that made the file, may have set another mode.
        attemptIo(own, 0, () => fchmodSync(fd, 0o600));
        device.write(0, HEADER);
        if (preallocate) device.#preallocate();
        return device;
      } catch (error) {
        closeSync(fd);
        // Frees what was preallocated.
        removeFailed(own);
        throw error;
      }
    } catch (error) {
      unlock();
      throw error;
    }
  }

  /** Opens the file of `open` in another thread. */
  static attach({ path, fd, sizeBytesMax }: BackingShare): FileDevice {
    return new FileDevice(path, fd, sizeBytesMax, undefined);
  }

  read(offsetBytes: number, target: Uint8Array): void {
    for (let done = 0; done < target.length; ) {
      const at = offsetBytes + done;
      const bytes = attemptIo(this.#path, at, () =>
        readSync(this.#fd, target, done, target.length - done, at),
      );
      if (bytes === 0) throw ioError(this.#path, at, { message: "the file ends there" });
      done += bytes;
    }
  }

  write(offsetBytes: number, source: Uint8Array): void {
    for (let done = 0; done < source.length; ) {
      const at = offsetBytes + done;
      const bytes = attemptIo(this.#path, at, () =>
        writeSync(this.#fd, source, done, source.length - done, at),
      );
      if (bytes === 0) throw ioError(this.#path, at, { message: "nothing was written" });
      done += bytes;
    }
  }

  share(): BackingShare {
    return { path: this.#path, fd: this.#fd, sizeBytesMax: this.sizeBytesMax };
  }

  close(): void {
    if (this.#unlock === undefined) return;
    closeSync(this.#fd);
    this.#unlock();
  }

  /** Allocates the whole file now by writing zeros, so that later writes find room. */
  #preallocate(): void {
    const zeros = new Uint8Array(STEP_BYTES);
    for (let at = HEADER.length; at < this.sizeBytesMax; ) {
      const step = Math.min(STEP_BYTES - (at % STEP_BYTES), this.sizeBytesMax - at);
      this.write(at, zeros.subarray(0, step));
      at += step;
    }
  }
}

/** @throws ZcacheError ERR_OPTION for a file that must not be overwritten */
function checkExisting(path: string, existing: "reuse" | "refuse" | "discard"): void {
  const found = identify(path);
  if (found === "none" || found === "empty") return;
  if (found !== "own") {
    const what = 'use another path, or existing: "discard", which makes a file beside it';
    throw new ZcacheError("ERR_OPTION", `${path} ${found}: left as it is; ${what}`, {
      context: { path },
    });
  }
  if (existing !== "refuse") return;
  throw new ZcacheError(
    "ERR_OPTION",
    `${path} exists, and existing: "refuse" does not allow its reuse`,
    {
      context: { path },
    },
  );
}

/** The first of PATH, PATH.1, PATH.2 … that is not a foreign file. */
function ownName(path: string): string {
  for (let nth = 0; nth < NAMES_MAX; nth++) {
    const name = nth === 0 ? path : `${path}.${nth}`;
    if (["none", "empty", "own"].includes(identify(name))) return name;
  }
  return path;
}

/** See StorePlatform. A file that can't be removed stays. */
export function removeWriteBackFiles(path: string, from: number): void {
  for (let nth = from; nth < SHARDS_MAX; nth++) {
    const name = `${path}.${nth}`;
    if (identify(name) !== "own") continue;
    try {
      const unlock = lockFile(name);
      removeFailed(name);
      unlock();
    } catch (error) {
      if (!(error instanceof ZcacheError)) throw error;
    }
  }
}

function both(first: () => void, second: () => void): () => void {
  return () => {
    second();
    first();
  };
}

/** @returns "none" if there is no file, "empty", "own" for a write-back file, or what else it is */
function identify(path: string): string {
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return "none";
  let fd: number | undefined;
  try {
    const stat = statSync(path);
    if (!stat.isFile()) return "is no regular file";
    if (stat.size === 0) return "empty";
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    return isOwn(fd, stat.size) ? "own" : "is no write-back file of zcache";
  } catch (error) {
    return `can't be read (${(error as Error).message})`;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Whether it is a write-back file, damaged or not: by its header, its second segment, or zeros. */
function isOwn(fd: number, sizeBytes: number): boolean {
  const start = Buffer.alloc(HEADER.length);
  const got = readSync(fd, start, 0, start.length, 0);
  if (NAME.startsWith(start.toString("latin1", 0, Math.min(got, NAME.length)))) return true;
  if (got >= NAME.length && bitsOff(start, NAME) <= NEAR_BITS) return true;
  const word = Buffer.alloc(4);
  for (const at of SEGMENT_BYTES) {
    if (readSync(fd, word, 0, 4, at) === 4 && word.readUInt32LE(0) === SEGMENT_MAGIC) return true;
  }
  return isZeroFile(fd, sizeBytes);
}

/** Opens or makes the file, without truncating it. */
function openOwn(path: string): number {
  const { O_RDWR, O_CREAT, O_EXCL, O_NONBLOCK } = constants;
  const flags = existsSync(path) ? O_RDWR | O_NONBLOCK : O_RDWR | O_CREAT | O_EXCL;
  return attemptIo(path, 0, () => openSync(path, flags, 0o600));
}

/** Removes a file, if possible. */
function removeFailed(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // After a failed preparation, the caller throws the first error.
  }
}
