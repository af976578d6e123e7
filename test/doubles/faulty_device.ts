// A write-back file in memory with seeded disk faults: errors, incomplete writes, changed bytes.
// Other tasks get a turn during each operation.
import type { BackingDevice, BackingShare } from "../../src/backing/contract.ts";
import { ZcacheError } from "../../src/base/errors.ts";
import type { Xorshift32 } from "../../src/base/random.ts";

export interface Faults {
  /** One write in this many fails with ENOSPC or EIO, after some bytes; 0 = never. */
  readonly writeErrorEvery: number;
  /** One read in this many fails with EIO. */
  readonly readErrorEvery: number;
  /** One read in this many returns a wrong byte. */
  readonly wrongByteEvery: number;
}

export const NO_FAULTS: Faults = { writeErrorEvery: 0, readErrorEvery: 0, wrongByteEvery: 0 };

export class FaultyDevice implements BackingDevice {
  readonly sizeBytesMax: number;
  readonly bytes: Uint8Array;
  faults: Faults;
  /** Called before each read and write: here other threads may go on. */
  meanwhile: () => void = () => {};
  readonly #random: Xorshift32;
  readonly #fd: number;
  #closed = false;

  /** @param fd stands for a descriptor in what `share` returns */
  constructor(sizeBytesMax: number, random: Xorshift32, faults: Faults = NO_FAULTS, fd = 0) {
    this.#fd = fd;
    this.sizeBytesMax = sizeBytesMax;
    this.bytes = new Uint8Array(sizeBytesMax);
    this.faults = faults;
    this.#random = random;
  }

  read(offsetBytes: number, target: Uint8Array): void {
    this.#begin(offsetBytes, target.length);
    if (this.#happens(this.faults.readErrorEvery)) throw failure("EIO", offsetBytes);
    target.set(this.bytes.subarray(offsetBytes, offsetBytes + target.length));
    if (this.#happens(this.faults.wrongByteEvery)) {
      target[this.#random.below(target.length)]! ^= 1 << this.#random.below(8);
    }
  }

  write(offsetBytes: number, source: Uint8Array): void {
    this.#begin(offsetBytes, source.length);
    if (this.#happens(this.faults.writeErrorEvery)) {
      const written = this.#random.below(source.length);
      this.bytes.set(source.subarray(0, written), offsetBytes);
      throw failure(this.#random.below(2) === 0 ? "EIO" : "ENOSPC", offsetBytes);
    }
    this.bytes.set(source, offsetBytes);
  }

  share(): BackingShare {
    return { path: "in memory", fd: this.#fd, sizeBytesMax: this.sizeBytesMax };
  }

  close(): void {
    this.#closed = true;
  }

  #begin(offsetBytes: number, length: number): void {
    if (this.#closed) throw failure("EBADF", offsetBytes);
    if (offsetBytes + length > this.sizeBytesMax) throw failure("EFBIG", offsetBytes);
    this.meanwhile();
  }

  #happens(every: number): boolean {
    return every > 0 && this.#random.below(every) === 0;
  }
}

function failure(code: string, offsetBytes: number): ZcacheError {
  return new ZcacheError("ERR_IO", `the device fails: ${code}`, { context: { code, offsetBytes } });
}
