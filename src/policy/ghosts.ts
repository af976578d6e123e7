// Pages that left, remembered by their hash and for a while: the ghost queue of s3-fifo. No list,
// but a table in which each hash has a bucket of four words, and each word the time of its entry:
// how many had left before. Whoever is older than the queue is to be long is not in it.
//
//   words of the policy:   a table in page frames (frame_table.ts), two words
//                          CLOCK      pages that have left, wraps
//   block:                 buckets of WAYS words: 0 = free, or hash bits 0 … 15 | tick
//   tick:                  16 bits of CLOCK, of which the lowest are left out in large tables, so
//                          that 2¹² ticks are one time around the table
//
// The bucket is chosen by the upper bits of the hash, and marked are the lower ones. Two pages of
// one bucket may have the same mark: one in 16,000 lookups is wrong, and all it costs is a page in
// the other queue. A word that
// nobody replaced for 2¹⁶ ticks would seem new again; by then its bucket has been filled anew 16
// times.
import type { Arena } from "../memory/arena.ts";
import { add, put } from "../memory/journal.ts";
import { FrameTable, TABLE_WORDS } from "./frame_table.ts";

/** Words of the owner that the ghosts take. */
export const GHOSTS_WORDS = TABLE_WORDS + 1;
const CLOCK = TABLE_WORDS;

const WAYS = 4;
const TICK_BITS = 12;
const TICK_MASK = 0xffff;
const MARK_MASK = 0xffff;

export class Ghosts {
  readonly #words: Int32Array;
  readonly #table: FrameTable;
  readonly #at: number;
  readonly #buckets: number;
  readonly #tickShift: number;

  /**
   * @param at word index of GHOSTS_WORDS words  @param owner frame number for the frames
   * @param ghosts pages to remember; 0 for none, which takes no frame
   */
  constructor(arena: Arena, at: number, owner: number, ghosts: number) {
    this.#words = arena.words;
    this.#at = at;
    this.#table = new FrameTable(arena, { at, owner, words: ghosts, what: "ghosts of s3-fifo" });
    this.#buckets = this.#table.length / WAYS;
    const slotsLog2 = Math.ceil(Math.log2(Math.max(1, this.#buckets * WAYS)));
    this.#tickShift = Math.max(0, slotsLog2 - TICK_BITS);
  }

  /** @throws ZcacheError ERR_OPTION, ERR_ARENA_FULL */
  format(): void {
    this.#words[this.#at + CLOCK] = 0;
    this.#table.format();
  }

  destroy(): void {
    this.#table.destroy();
  }

  get framesHeld(): number {
    return this.#table.framesHeld;
  }

  /** Notes that the page of this hash left: two words. */
  remember(hash: number): void {
    if (this.#buckets === 0) return;
    const words = this.#words;
    const mark = hash & MARK_MASK;
    const tick = add(words, this.#at + CLOCK, 1) >>> this.#tickShift;
    const bucket = this.#bucketOf(hash);
    let target = bucket;
    let targetAge = -1;
    for (let at = bucket; at < bucket + WAYS; at++) {
      const word = words[at]!;
      if (word !== 0 && word >>> 16 === mark) {
        target = at;
        break;
      }
      const age = word === 0 ? TICK_MASK + 1 : (tick - word) & TICK_MASK;
      if (age > targetAge) {
        target = at;
        targetAge = age;
      }
    }
    put(words, target, (mark << 16) | (tick & TICK_MASK));
  }

  /**
   * Whether the page of this hash is among the last `length` that left; then it is forgotten, at
   * the cost of one word.
   */
  take(hash: number, length: number): boolean {
    // Before the first page has gone, what would be looked at is not even in the cache.
    if (this.#buckets === 0 || this.#words[this.#at + CLOCK] === 0) return false;
    const words = this.#words;
    const mark = hash & MARK_MASK;
    const tick = words[this.#at + CLOCK]! >>> this.#tickShift;
    const ageMax = Math.min(length >>> this.#tickShift, 1 << TICK_BITS);
    const bucket = this.#bucketOf(hash);
    for (let at = bucket; at < bucket + WAYS; at++) {
      const word = words[at]!;
      if (word === 0 || word >>> 16 !== mark) continue;
      if (((tick - word) & TICK_MASK) > ageMax) return false;
      put(words, at, 0);
      return true;
    }
    return false;
  }

  #bucketOf(hash: number): number {
    return this.#table.wordAt(Math.floor(((hash >>> 0) * this.#buckets) / 2 ** 32) * WAYS);
  }
}
