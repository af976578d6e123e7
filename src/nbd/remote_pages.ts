// How one connection waits for pages that are in the remote tier, and for room that pages on their
// way out leave. The connection reads nothing meanwhile; other connections of the thread go on.
import type { Address } from "../base/brand.ts";
import type { EINVAL } from "../base/errno.ts";
import { ZcacheError } from "../base/errors.ts";
import type { Zram } from "../zram/zram.ts";

/** Bytes that a READ asks the remote tier for at once. */
const FETCH_BYTES = 128 * 1024;
/** How long a request waits for room, and between its attempts. */
const ROOM_MS_MAX = 10_000;
const ROOM_EVERY_MS = 2;

export class RemotePages {
  /** Whether the request waits. */
  isWaiting = false;
  readonly #device: Zram;
  readonly #goOn: (error: unknown) => void;
  /** Bytes of a READ that came from the remote tier, and where they begin on the device. */
  #fetched: Uint8Array | undefined;
  #fetchedAt = 0;
  /** When the request was first refused; 0: it was not. */
  #refusedMs = 0;

  /** @param goOn called when the wait is over, with its error, or undefined */
  constructor(device: Zram, goOn: (error: unknown) => void) {
    this.#device = device;
    this.#goOn = goOn;
  }

  /** A request begins. */
  begin(): void {
    this.#fetched = undefined;
    this.#refusedMs = 0;
  }

  /** A piece was stored: the next one has its own time to wait. */
  stored(): void {
    this.#refusedMs = 0;
  }

  /** After ENOSPC: waits a moment if pages are leaving. @returns whether the request waits */
  awaitRoom(): boolean {
    if (!this.#device.hasRemote || !this.#device.mayGainRoom || !this.#mayWait()) return false;
    this.#wait(moment());
    return true;
  }

  /**
   * After an error: if a page of the range is in the remote tier, brings the first and the last
   * page back, which may be changed in part.
   * @returns whether the request waits
   */
  bringBackEnds(error: unknown, offset: number, sizeBytes: number): boolean {
    if (!isRemote(error) || !this.#mayWait()) return false;
    this.#wait(this.#bringBackAll([offset, offset + sizeBytes - 1], 1));
    return true;
  }

  /** As `bringBackEnds`, of all pages of a range. */
  bringBack(error: unknown, offset: number, sizeBytes: number): boolean {
    if (!isRemote(error) || !this.#mayWait()) return false;
    this.#wait(this.#bringBackAll([offset], sizeBytes));
    return true;
  }

  /** Reads a piece of a READ, and more of its `left` bytes. */
  fetch(offset: number, sizeBytes: number, left: number): void {
    const bytes = new Uint8Array(Math.max(sizeBytes, Math.min(left, FETCH_BYTES)));
    this.#fetchedAt = offset;
    const read = this.#device.readAsync(offset, bytes).then((result) => {
      if (result !== 0) throw new ZcacheError("ERR_IO", "the device has become smaller");
      this.#fetched = bytes;
    });
    this.#wait(read);
  }

  /** Reads a piece from what was fetched, else from the device. @returns, throws as `readTo` */
  readTo(offset: number, sizeBytes: number, target: Address): 0 | typeof EINVAL {
    const from = offset - this.#fetchedAt;
    if (this.#fetched === undefined || from < 0 || from + sizeBytes > this.#fetched.length) {
      return this.#device.readTo(offset, sizeBytes, target);
    }
    this.#device.bytes.set(this.#fetched.subarray(from, from + sizeBytes), target);
    return 0;
  }

  /** Whether the request has not waited too long yet for memory. */
  #mayWait(): boolean {
    const nowMs = performance.now();
    if (this.#refusedMs === 0) this.#refusedMs = nowMs;
    return nowMs - this.#refusedMs <= ROOM_MS_MAX;
  }

  async #bringBackAll(offsets: readonly number[], sizeBytes: number): Promise<void> {
    const device = this.#device;
    await Promise.all(offsets.map((at) => device.bringBack(at, sizeBytes)));
    // There may have been no room: then others have to leave first.
    if (offsets.some((at) => device.isRemote(at, sizeBytes))) await moment();
  }

  #wait(work: Promise<unknown>): void {
    this.isWaiting = true;
    const end = (error: unknown) => {
      this.isWaiting = false;
      this.#goOn(error);
    };
    work.then(() => end(undefined), end);
  }
}

/** Whether a synchronous operation has met a page of the remote tier. */
export function isRemote(error: unknown): boolean {
  return error instanceof ZcacheError && error.code === "ERR_REMOTE_PAGE";
}

function moment(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ROOM_EVERY_MS);
  });
}
