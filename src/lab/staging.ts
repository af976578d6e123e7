// The staging log: the compressed objects of one window and one codec, packed one behind the other
// in blocks of 16 page frames. It is what the pools are filled from and compared with.
import type { Address } from "../base/brand.ts";
import type { Arena } from "../memory/arena.ts";
import { MAX_ORDER } from "../memory/frame.layout.ts";
import { BLOCK_PAGES, takeBlock } from "./page_window.ts";

/** Objects begin at multiples of this, so that no codec meets an odd address. */
const ALIGN = 8;

export class Staging {
  readonly #arena: Arena;
  readonly #blocks: Address[] = [];
  #at = 0;
  #end = 0;

  constructor(arena: Arena) {
    this.#arena = arena;
  }

  /** A place with room for one page, where the next object is to be written. */
  place(): Address {
    if (this.#end - this.#at < this.#arena.pageSize) {
      this.#at = takeBlock(this.#arena);
      this.#end = this.#at + BLOCK_PAGES * this.#arena.pageSize;
      this.#blocks.push(this.#at as Address);
    }
    return this.#at as Address;
  }

  /** Keeps the `bytes` that were written at `place()`. */
  keep(bytes: number): void {
    this.#at += Math.ceil(bytes / ALIGN) * ALIGN;
  }

  /** Gives all blocks back. */
  clear(): void {
    const { frames, pageSize } = this.#arena;
    for (const block of this.#blocks) {
      const frame = block / pageSize;
      frames.free(frame as Parameters<typeof frames.free>[0]);
    }
    this.#blocks.length = 0;
    this.#at = 0;
    this.#end = 0;
  }

  /** Bytes that a log of `pages` objects may take at most: one page in 16 is lost at block ends. */
  static bytesMax(pages: number, pageSize: number): number {
    const blocks = Math.ceil(pages / (BLOCK_PAGES - 1)) + 1;
    return blocks * (pageSize << MAX_ORDER);
  }
}
