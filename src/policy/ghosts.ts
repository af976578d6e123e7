// The ghost queue of s3-fifo: the hashes of recently evicted pages. It is not a list but a table in
// which each hash has a bucket of four words. A word holds a part of a hash, and the time at which
// its page was evicted, counted in evictions. A hash whose age exceeds the length of the queue is
// not in the queue any more.
//
//   words of the policy:   a table in page frames (frame_table.ts), two words
//                          CLOCK      pages evicted so far, wraps
//   block:                 buckets of WAYS words: 0 = free, or hash bits 0 … 15 | tick
//   tick:                  16 bits of CLOCK; in tables of more than 2¹² words, the lowest bits of
//                          CLOCK are left out, so that 2¹² ticks are about one eviction per word
//
// The upper bits of a hash choose the bucket, the lower bits are stored. Two pages in one bucket
// may have the same lower bits: one in 16,000 lookups is wrong, which puts a page into the other
// queue and has no other effect. A word that nothing has replaced for 2¹⁶ ticks would seem new
// again; by then its bucket has been refilled 16 times.
import type { Arena } from "../memory/arena.ts";
import { add, put } from "../memory/journal.ts";
import { FrameTable, TABLE_WORDS } from "./frame_table.ts";

/** Words that the owner provides for the ghosts. */
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
   * @param at word index of GHOSTS_WORDS words
   * @param owner the owner's number for its frames
   * @param ghosts pages to remember; 0 takes no frame
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

  /** Remembers the page of this hash as evicted: two words. */
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
   * Whether the page of this hash is among the last `length` evicted pages. If so, forgets it: one
   * word.
   */
  take(hash: number, length: number): boolean {
    // Before the first eviction, reading the table would only cost a cache miss.
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
