// The write-back file on Node: opened by one thread, used by all, as descriptors are the process's.
import {
  closeSync,
  existsSync,
  ftruncateSync,
  openSync,
  readSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import type { BackingDevice, BackingShare } from "../backing/contract.ts";
import { ZcacheError } from "../base/errors.ts";
import type { DeviceOptions } from "../store/platform.ts";
import { lockFile } from "./file_lock.ts";

/** The file's header, the first bytes of its first segment: what it is, and by which version. */
const HEADER = Buffer.from("zcache write-back 1\n");

/** Room is taken in steps of this many bytes. */
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
   * Opens or makes the file, for this process alone.
   * @throws ZcacheError ERR_FILE_LOCKED if another process has it; ERR_OPTION if there is a file
   *   that is not to be reused, or is none of ours; ERR_IO
   */
  static open(options: DeviceOptions): FileDevice {
    const { path, sizeBytesMax, existing, preallocate } = options;
    const unlock = lockFile(path);
    let fd: number | undefined;
    let isOurs = false;
    try {
      checkExisting(path, existing);
      // Not truncated before it is known to be ours.
      fd = attempt(path, 0, () => openSync(path, existsSync(path) ? "r+" : "wx+", 0o600));
      isOurs = true;
      attempt(path, 0, () => ftruncateSync(fd!, 0));
      const device = new FileDevice(path, fd, sizeBytesMax, unlock);
      device.write(0, HEADER);
      if (preallocate) device.#preallocate();
      return device;
    } catch (error) {
      if (fd !== undefined) closeSync(fd);
      // What could be taken of the room that was wanted is given back.
      if (isOurs) giveBack(path);
      unlock();
      throw error;
    }
  }

  /** Opens in another thread what `open` has opened. */
  static attach({ path, fd, sizeBytesMax }: BackingShare): FileDevice {
    return new FileDevice(path, fd, sizeBytesMax, undefined);
  }

  read(offsetBytes: number, target: Uint8Array): void {
    for (let done = 0; done < target.length; ) {
      const at = offsetBytes + done;
      const bytes = attempt(this.#path, at, () =>
        readSync(this.#fd, target, done, target.length - done, at),
      );
      if (bytes === 0) throw ioError(this.#path, at, "EIO", "the file ends there");
      done += bytes;
    }
  }

  write(offsetBytes: number, source: Uint8Array): void {
    for (let done = 0; done < source.length; ) {
      const at = offsetBytes + done;
      const bytes = attempt(this.#path, at, () =>
        writeSync(this.#fd, source, done, source.length - done, at),
      );
      if (bytes === 0) throw ioError(this.#path, at, "EIO", "nothing was written");
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

  /** Takes all of the file's room now, so that none is missing later: zeros. */
  #preallocate(): void {
    const zeros = new Uint8Array(STEP_BYTES);
    for (let at = HEADER.length; at < this.sizeBytesMax; ) {
      const step = Math.min(STEP_BYTES - (at % STEP_BYTES), this.sizeBytesMax - at);
      this.write(at, zeros.subarray(0, step));
      at += step;
    }
  }
}

/** Refuses what is not to be written over. */
function checkExisting(path: string, existing: "reuse" | "refuse"): void {
  if (!existsSync(path)) return;
  const stat = attempt(path, 0, () => statSync(path));
  if (!stat.isFile()) throw new ZcacheError("ERR_OPTION", `${path} is no file`);
  if (stat.size === 0) return;
  const fd = attempt(path, 0, () => openSync(path, "r"));
  try {
    const start = Buffer.alloc(HEADER.length);
    readSync(fd, start, 0, start.length, 0);
    if (!start.equals(HEADER)) {
      throw new ZcacheError("ERR_OPTION", `${path} is no write-back file of zcache: left as it is`);
    }
  } finally {
    closeSync(fd);
  }
  if (existing === "reuse") return;
  throw new ZcacheError("ERR_OPTION", `${path} is there already, and is not to be reused`);
}

/** Removes a file that could not be made as it was to be. */
function giveBack(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Then it stays: the error that is on its way says more.
  }
}

function attempt<T>(path: string, offsetBytes: number, work: () => T): T {
  for (;;) {
    try {
      return work();
    } catch (cause) {
      const { code = "EIO", message } = cause as NodeJS.ErrnoException;
      if (code !== "EINTR") throw ioError(path, offsetBytes, code, message, cause);
    }
  }
}

function ioError(
  path: string,
  offsetBytes: number,
  code: string,
  message: string,
  cause?: unknown,
): ZcacheError {
  return new ZcacheError("ERR_IO", `${path}, at byte ${offsetBytes}: ${message}`, {
    context: { path, offsetBytes, code },
    cause,
  });
}
