// Pages of a device that a damaged image has lost. They read as an error and not as zeros, until
// they are written.
//
// The ranges are written before other threads have the device, and later are only cleared: so they
// are read without a lock. A page in a range that is stored is no longer lost.
import { ZcacheError } from "../base/errors.ts";
import * as Device from "./zram.layout.ts";

/** Pages [from, to) of a device. */
export interface PageRange {
  readonly from: number;
  readonly to: number;
}

export class LostPages {
  readonly #words: Int32Array;
  readonly #floats: Float64Array;
  readonly #count: number;
  readonly #first: number;

  /** @param at word index of the device's words */
  constructor(words: Int32Array, at: number) {
    this.#words = words;
    this.#floats = new Float64Array(words.buffer);
    this.#count = at + Device.LOST_COUNT;
    this.#first = (at + Device.LOST) / 2;
  }

  get any(): boolean {
    return this.#words[this.#count] !== 0;
  }

  /**
   * @param ranges in ascending order; beyond LOST_MAX of them, the last one reaches to the end of
   *   all others
   */
  mark(ranges: readonly PageRange[]): void {
    const count = Math.min(ranges.length, Device.LOST_MAX);
    for (let nth = 0; nth < count; nth++) {
      const isLast = nth === count - 1;
      this.#floats[this.#first + nth * 2] = ranges[nth]!.from;
      this.#floats[this.#first + nth * 2 + 1] = (isLast ? ranges.at(-1)! : ranges[nth]!).to;
    }
    this.#words[this.#count] = count;
  }

  clear(): void {
    this.#words[this.#count] = 0;
  }

  ranges(): PageRange[] {
    return Array.from({ length: this.#words[this.#count]! }, (_, nth) => ({
      from: this.#floats[this.#first + nth * 2]!,
      to: this.#floats[this.#first + nth * 2 + 1]!,
    }));
  }

  has(page: number): boolean {
    return this.next(page) === page;
  }

  /** The first page from `page` on that is in a range, or Infinity. */
  next(page: number): number {
    for (let nth = 0; nth < this.#words[this.#count]!; nth++) {
      const from = this.#floats[this.#first + nth * 2]!;
      if (page < this.#floats[this.#first + nth * 2 + 1]!) return Math.max(from, page);
    }
    return Number.POSITIVE_INFINITY;
  }

  /** The first page after `page` for which `has` may differ. */
  after(page: number): number {
    const next = this.next(page);
    return next === page ? page + 1 : next;
  }

  /**
   * For a page that is not stored: whether it is a hole.
   * @returns true
   * @throws ZcacheError ERR_CORRUPT if the page is lost
   */
  isHole(page: number): true {
    if (!this.any || !this.has(page)) return true;
    throw new ZcacheError("ERR_CORRUPT", `page ${page} was lost with a damaged image`, {
      context: { page },
    });
  }
}
