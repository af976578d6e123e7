// The staging log: the compressed objects of one window and one codec, packed in blocks of 16 page
// frames. Pools are filled from the log and compared with it.
import type { Address } from "../base/brand.ts";
import type { Arena } from "../memory/arena.ts";
import { MAX_ORDER } from "../memory/frame.layout.ts";
import { BLOCK_PAGES, takeBlock } from "./page_window.ts";

/** Objects begin at multiples of this, so that no codec gets an odd address. */
const ALIGN = 8;

export class Staging {
  readonly #arena: Arena;
  readonly #blocks: Address[] = [];
  #at = 0;
  #end = 0;

  constructor(arena: Arena) {
    this.#arena = arena;
  }

  /** Address with room for one page, at which to write the next object. */
  place(): Address {
    if (this.#end - this.#at < this.#arena.pageSize) {
      this.#at = takeBlock(this.#arena);
      this.#end = this.#at + BLOCK_PAGES * this.#arena.pageSize;
      this.#blocks.push(this.#at as Address);
    }
    return this.#at as Address;
  }

  /** Appends the `bytes` that were written at `place()`. */
  keep(bytes: number): void {
    this.#at += Math.ceil(bytes / ALIGN) * ALIGN;
  }

  /** Frees all blocks. */
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

  /** Bytes of a log of `pages` objects, at most: one page in 16 is lost at block ends. */
  static bytesMax(pages: number, pageSize: number): number {
    const blocks = Math.ceil(pages / (BLOCK_PAGES - 1)) + 1;
    return blocks * (pageSize << MAX_ORDER);
  }
}
