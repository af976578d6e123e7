// Records of one length in blocks of frames: more than one piece of memory holds.
import type { WordIndex } from "../base/brand.ts";
import { NIL, type Nil } from "../base/brand.ts";

/** Frames of a block: the largest piece of memory that the allocator gives. */
export const BLOCK_FRAMES = 16;

/** What the words of BLOCKS (outbox.layout.ts) lead to. */
export class Blocks {
  readonly #words: Int32Array;
  readonly #directory: number;
  readonly #records: number;
  readonly #recordWords: number;
  readonly #perBlock: number;
  readonly #pageSize: number;

  constructor(
    words: Int32Array,
    directory: number,
    records: number,
    recordWords: number,
    pageSize: number,
  ) {
    this.#words = words;
    this.#directory = directory;
    this.#records = records;
    this.#recordWords = recordWords;
    this.#pageSize = pageSize;
    this.#perBlock = (BLOCK_FRAMES * pageSize) / (recordWords * 4);
  }

  /** Number of blocks. */
  get count(): number {
    return Math.ceil(this.#records / this.#perBlock);
  }

  /** @returns whether there was memory for all blocks */
  allocate(allocate: (sizeBytes: number) => WordIndex | Nil): boolean {
    for (let block = 0; block < this.count; block++) {
      const at = allocate(this.#recordsIn(block) * this.#recordWords * 4);
      if (at === NIL) return false;
      this.#words[this.#directory + block] = at;
    }
    return true;
  }

  /** Word index of the n-th record. */
  at(nth: number): number {
    const block = Math.floor(nth / this.#perBlock);
    const within = nth - block * this.#perBlock;
    return this.#words[this.#directory + block]! + within * this.#recordWords;
  }

  get frames(): number {
    let frames = 0;
    for (let block = 0; block < this.count; block++) {
      const bytes = this.#recordsIn(block) * this.#recordWords * 4;
      frames += 2 ** Math.max(0, Math.ceil(Math.log2(bytes / this.#pageSize)));
    }
    return frames;
  }

  #recordsIn(block: number): number {
    return Math.min(this.#perBlock, this.#records - block * this.#perBlock);
  }
}
