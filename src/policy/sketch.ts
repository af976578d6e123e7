// Estimates how often a page was requested lately: a count-min sketch of 4-bit counters. A key has
// four counters in one block; the least of them is the estimate. Keys share counters, so an
// estimate may be too high, but too low only by what halving has dropped. Misses count too, because
// a page that is not stored yet is compared by its requests with the stored ones.
//
//   words of the owner:   a table in page frames (frame_table.ts), two words
//                         COUNTED   requests since the last halving
//                         EPOCH     halvings so far, wraps
//
//   block, 16 words:   ┌───────┬────────────┬────────────┬────────────┬────────────┐
//                      │ EPOCH │ 30 counters, 4 bits each, for each of four rows … │
//                      └───────┴────────────┴────────────┴────────────┴────────────┘
//
// A block is one cache line. After ten requests per page that the sketch was made for, all counters
// are halved, so that old favourites lose weight. Halving all at once would take milliseconds;
// instead, each block is halved when it is next written, and readers account for halvings that are
// due.
//
// RACY: these words are neither atomic nor guarded by a lock nor logged, and readers update them
// without the lock. At worst, one of two simultaneous requests is not counted, a block is halved
// twice, or a thread dies halfway. The counts are estimates in any case, and nothing is addressed
// through them.
//
// After G. Einziger et al., "TinyLFU: A Highly Efficient Cache Admission Policy" (ACM TOS 2017);
// keeping all counters of a key in one block is Caffeine's idea.
import type { Arena } from "../memory/arena.ts";
import { FrameTable, TABLE_WORDS } from "./frame_table.ts";

/** Words that the owner provides for the sketch. */
export const SKETCH_WORDS = TABLE_WORDS + 2;
const COUNTED = TABLE_WORDS;
const EPOCH = TABLE_WORDS + 1;

const BLOCK_WORDS = 16;
const ROWS = 4;
const ROW_COUNTERS = 30;
const COUNT_MAX = 15;
/** Clears, after a shift by one, the bits that came from the neighbouring counters. */
const HALF_MASK = 0x7777_7777;
/** Pages per block: 64 bytes for 8 pages are 15 counters per page, as in Caffeine. */
const BLOCK_PAGES = 8;
/** Requests per page between two halvings. */
const SAMPLE = 10;
/** Requests that a thread counts locally before it adds them to the shared word. */
const COUNT_AT = 64;

export class FrequencySketch {
  readonly #words: Int32Array;
  readonly #table: FrameTable;
  readonly #at: number;
  readonly #blocks: number;
  readonly #sample: number;
  #counted = 0;

  /**
   * @param at word index of SKETCH_WORDS words
   * @param owner the owner's number for its frames
   * @param pages about how many pages are stored at once; each costs 8 bytes
   * @param sample requests per page between two halvings
   */
  constructor(arena: Arena, at: number, owner: number, pages: number, sample = SAMPLE) {
    this.#words = arena.words;
    this.#at = at;
    const words = Math.ceil(pages / BLOCK_PAGES) * BLOCK_WORDS;
    this.#table = new FrameTable(arena, { at, owner, words, what: "sketch of requests" });
    this.#blocks = this.#table.length / BLOCK_WORDS;
    this.#sample = Math.max(COUNT_AT, sample * BLOCK_PAGES * this.#blocks);
  }

  /** @throws ZcacheError ERR_OPTION, ERR_ARENA_FULL */
  format(): void {
    this.#words[this.#at + COUNTED] = 0;
    this.#words[this.#at + EPOCH] = 0;
    this.#table.format();
  }

  destroy(): void {
    this.#table.destroy();
  }

  get framesHeld(): number {
    return this.#table.framesHeld;
  }

  /** Counts one request. Needs no lock. */
  count(hash: number): void {
    if (this.#blocks === 0) return;
    const words = this.#words;
    const block = this.#blockOf(hash);
    this.#age(block);
    const spread = spreadOf(hash);
    for (let row = 0; row < ROWS; row++) {
      const nth = counterOf(spread, row);
      const at = block + 1 + (nth >>> 3);
      const shift = (nth & 7) * 4;
      if (((words[at]! >>> shift) & COUNT_MAX) < COUNT_MAX) words[at]! += 1 << shift;
    }
    if (++this.#counted === COUNT_AT) this.#addCounted();
  }

  /** @returns the estimated number of recent requests, 0 … 15 */
  estimate(hash: number): number {
    if (this.#blocks === 0) return 0;
    const words = this.#words;
    const block = this.#blockOf(hash);
    const halvings = Math.min(4, (words[this.#at + EPOCH]! - words[block]!) >>> 0);
    const spread = spreadOf(hash);
    let least = COUNT_MAX;
    for (let row = 0; row < ROWS; row++) {
      const nth = counterOf(spread, row);
      const count = (words[block + 1 + (nth >>> 3)]! >>> ((nth & 7) * 4)) & COUNT_MAX;
      least = Math.min(least, count);
    }
    return least >>> halvings;
  }

  #blockOf(hash: number): number {
    return this.#table.wordAt(Math.floor(((hash >>> 0) * this.#blocks) / 2 ** 32) * BLOCK_WORDS);
  }

  /** Applies the halvings that a block has missed. */
  #age(block: number): void {
    const words = this.#words;
    const epoch = words[this.#at + EPOCH]!;
    const halvings = Math.min(4, (epoch - words[block]!) >>> 0);
    if (halvings === 0) return;
    for (let at = block + 1; at < block + BLOCK_WORDS; at++) {
      let word = words[at]!;
      for (let times = 0; times < halvings; times++) word = (word >>> 1) & HALF_MASK;
      words[at] = word;
    }
    words[block] = epoch;
  }

  #addCounted(): void {
    const words = this.#words;
    const counted = words[this.#at + COUNTED]! + this.#counted;
    this.#counted = 0;
    if (counted >= this.#sample) {
      words[this.#at + EPOCH]!++;
      words[this.#at + COUNTED] = 0;
    } else {
      words[this.#at + COUNTED] = counted;
    }
  }
}

/**
 * Bits to choose the counters of the four rows. The hash is mixed once more, because its upper bits
 * have chosen the block.
 */
function spreadOf(hash: number): number {
  const mixed = Math.imul(hash ^ (hash >>> 15), 0x2c1b_3c6d);
  return mixed ^ (mixed >>> 13);
}

/** The number, within its block, of a key's counter in a row. */
function counterOf(spread: number, row: number): number {
  return row * ROW_COUNTERS + ((((spread >>> (row * 8)) & 0xff) * ROW_COUNTERS) >>> 8);
}
