// How often was a page asked for lately? A count-min sketch of 4-bit counters: for each key four
// counters among those of one block, of which the least is the answer. Keys share counters, so an
// answer may be too high, never too low by more than what was forgotten. Counted are requests,
// also those that miss: what is not there yet needs a past, to be weighed against what is.
//
//   words of the owner:   a table in page frames (frame_table.ts), two words
//                         COUNTED   requests since the last halving
//                         EPOCH     halvings so far, wraps
//
//   block, 16 words:   ┌───────┬────────────┬────────────┬────────────┬────────────┐
//                      │ EPOCH │ 30 counters, 4 bits each, for each of four rows … │
//                      └───────┴────────────┴────────────┴────────────┴────────────┘
//
// One block is one line of the processor's cache. After ten requests for each page that the sketch
// was made for, all counters are halved, so that yesterday's favourites lose: not at once, which
// would take milliseconds, but each block when it is next counted in. A reader reckons what is due.
//
// RACY: these words are neither atomic nor guarded nor logged. Readers count in them without the
// lock. What can happen is that one of two requests in the same instant is not counted, that a
// block is halved twice, or that a thread dies in between: it is an estimate before and after, and
// no word of it leads anywhere.
//
// After G. Einziger et al., "TinyLFU: A Highly Efficient Cache Admission Policy" (ACM TOS 2017);
// that all counters of a key lie in one block is from Caffeine.
import type { Arena } from "../memory/arena.ts";
import { FrameTable, TABLE_WORDS } from "./frame_table.ts";

/** Words of the owner that the sketch takes. */
export const SKETCH_WORDS = TABLE_WORDS + 2;
const COUNTED = TABLE_WORDS;
const EPOCH = TABLE_WORDS + 1;

const BLOCK_WORDS = 16;
const ROWS = 4;
const ROW_COUNTERS = 30;
const COUNT_MAX = 15;
/** Counters of one halving: the uppermost bit of each counter moves out of its neighbour. */
const HALF_MASK = 0x7777_7777;
/** Pages for one block: 64 bytes for 8 pages are 15 counters a page, as in Caffeine. */
const BLOCK_PAGES = 8;
/** Requests between two halvings, for each page. */
const SAMPLE = 10;
/** Requests that a thread counts by itself before it adds them to the shared word. */
const COUNT_AT = 64;

export class FrequencySketch {
  readonly #words: Int32Array;
  readonly #table: FrameTable;
  readonly #at: number;
  readonly #blocks: number;
  readonly #sample: number;
  #counted = 0;

  /**
   * @param at word index of SKETCH_WORDS words  @param owner frame number for the frames
   * @param pages about how many pages there will be at once: 8 bytes each
   */
  constructor(arena: Arena, at: number, owner: number, pages: number) {
    this.#words = arena.words;
    this.#at = at;
    const words = Math.ceil(pages / BLOCK_PAGES) * BLOCK_WORDS;
    this.#table = new FrameTable(arena, { at, owner, words, what: "sketch of tinylfu" });
    this.#blocks = this.#table.length / BLOCK_WORDS;
    this.#sample = Math.max(COUNT_AT, SAMPLE * BLOCK_PAGES * this.#blocks);
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

  /** Counts one request; needs no lock. */
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

  /** @returns how often this page was asked for lately, 0 … 15 */
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

  /** Makes up for the halvings that a block has missed. */
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

/** Bits for the four rows. The block is chosen by the upper bits of the hash: mixed once more. */
function spreadOf(hash: number): number {
  const mixed = Math.imul(hash ^ (hash >>> 15), 0x2c1b_3c6d);
  return mixed ^ (mixed >>> 13);
}

/** The number of the counter, within the block, that stands for a key in a row. */
function counterOf(spread: number, row: number): number {
  return row * ROW_COUNTERS + ((((spread >>> (row * 8)) & 0xff) * ROW_COUNTERS) >>> 8);
}
