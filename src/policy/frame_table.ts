// A table of words in page frames, for what a policy keeps of pages that are not stored. Its size
// is fixed when it is made: it is allocated in blocks, large enough for one frame to list all of
// them.
//
//   two words of the owner:   DIRECTORY  word index of the frame that lists each block's word index
//                             FRAMES     fixed: frames held
import { NIL, type PageFrame } from "../base/brand.ts";
import { ZcacheError } from "../base/errors.ts";
import type { Arena } from "../memory/arena.ts";
import { MAX_ORDER } from "../memory/frame.layout.ts";

/** Words that the owner provides for the table. */
export const TABLE_WORDS = 2;
const DIRECTORY = 0;
const FRAMES = 1;

export interface TableSpace {
  /** Word index of TABLE_WORDS words. */
  readonly at: number;
  /** The owner's number under which frames are allocated. */
  readonly owner: number;
  /** Words to allocate; 0 takes no frame. */
  readonly words: number;
  /** What the table is for, in error messages. */
  readonly what: string;
}

export class FrameTable {
  /** Words allocated: those asked for, rounded up to whole blocks. */
  readonly length: number;
  readonly #arena: Arena;
  readonly #words: Int32Array;
  readonly #space: TableSpace;
  readonly #blocks: number;
  /** Frames per block, as a shift. */
  readonly #order: number;
  /** Words per block, as a shift. */
  readonly #blockShift: number;
  /** The directory once this thread has read it: it stays where it is. 0: not read yet. */
  #directory = 0;

  constructor(arena: Arena, space: TableSpace) {
    this.#arena = arena;
    this.#words = arena.words;
    this.#space = space;
    const { wordsPerPage } = arena.frames;
    const pages = Math.ceil(space.words / wordsPerPage);
    // The smallest blocks that one frame can list.
    this.#order = Math.ceil(Math.log2(Math.max(1, pages / wordsPerPage)));
    this.#blockShift = Math.log2(wordsPerPage) + this.#order;
    this.#blocks = Math.ceil(pages / 2 ** this.#order);
    this.length = this.#blocks * 2 ** this.#blockShift;
  }

  /**
   * Allocates and clears the frames; called once.
   * @throws ZcacheError ERR_OPTION for more words than one frame can list blocks of, ERR_ARENA_FULL
   */
  format(): void {
    const words = this.#words;
    const { at, what } = this.#space;
    words[at + DIRECTORY] = 0;
    words[at + FRAMES] = 0;
    if (this.#blocks === 0) return;
    if (this.#order > MAX_ORDER) {
      const most = this.#arena.frames.wordsPerPage ** 2 * 2 ** MAX_ORDER;
      throw new ZcacheError(
        "ERR_OPTION",
        `too much room for ${what}: must be at most ${most} words`,
      );
    }
    const directory = this.#take(0);
    words[at + DIRECTORY] = directory;
    for (let block = 0; block < this.#blocks; block++) {
      words[directory + block] = this.#take(this.#order);
    }
  }

  destroy(): void {
    const words = this.#words;
    const { at } = this.#space;
    const directory = words[at + DIRECTORY]!;
    this.#directory = 0;
    if (directory === 0) return;
    // Stops at the first 0: a table whose allocation failed halfway lists only the blocks that it
    // got.
    for (let block = 0; block < this.#blocks; block++) {
      const first = words[directory + block]!;
      if (first === 0) break;
      this.#give(first);
    }
    this.#give(directory);
    words[at + DIRECTORY] = 0;
    words[at + FRAMES] = 0;
  }

  get framesHeld(): number {
    return this.#words[this.#space.at + FRAMES]!;
  }

  /** Word index of the n-th word; each aligned group of 2ⁿ words, up to a block, is contiguous. */
  wordAt(nth: number): number {
    if (this.#directory === 0) this.#directory = this.#words[this.#space.at + DIRECTORY]!;
    const block = this.#words[this.#directory + (nth >>> this.#blockShift)]!;
    return block + (nth & ((1 << this.#blockShift) - 1));
  }

  /**
   * Allocates and clears a block of frames.
   * @returns its first word
   */
  #take(order: number): number {
    const { frames } = this.#arena;
    const { at, owner, what } = this.#space;
    const frame = frames.alloc(order, owner);
    if (frame === NIL) {
      this.destroy();
      throw new ZcacheError("ERR_ARENA_FULL", `no frames left for the ${what}`, {
        context: { words: this.length, framesFree: frames.framesFree },
      });
    }
    const first = frames.frameToWord(frame);
    for (let nth = 0; nth < 1 << order; nth++) this.#clear(first + nth * frames.wordsPerPage);
    this.#words[at + FRAMES]! += 1 << order;
    return first;
  }

  /** Clears a frame. One that was never used has zeros, and takes no memory until it is written. */
  #clear(at: number): void {
    const { kernels, pageSize, frames } = this.#arena;
    const start = this.#words[at]! | this.#words[at + 1]!;
    if (start === 0 && kernels.sameFilled(at * 4, pageSize) === 1) return;
    this.#words.fill(0, at, at + frames.wordsPerPage);
  }

  #give(at: number): void {
    const { frames } = this.#arena;
    frames.free((at / frames.wordsPerPage) as PageFrame);
  }
}
