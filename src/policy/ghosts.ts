// Pages that left, remembered by their hash and for a while: the ghost queue of s3-fifo. No list,
// but a table in which each hash has a bucket of four words, and each word the time of its entry:
// how many had left before. Whoever is older than the queue is to be long is not in it.
//
//   words of the policy:   DIRECTORY  word index of a frame with the word index of each block
//                          CLOCK      pages that have left, wraps
//                          FRAMES     fixed: frames held
//   block:                 buckets of WAYS words: 0 = free, or hash bits 0 … 15 | tick
//   tick:                  16 bits of CLOCK, of which the lowest are left out in large tables, so
//                          that 2¹² ticks are one time around the table
//
// The bucket is chosen by the upper bits of the hash, and marked are the lower ones. Two pages of
// one bucket may have the same mark: one in 16,000 lookups is wrong, and all it costs is a page in
// the other queue. A word that
// nobody replaced for 2¹⁶ ticks would seem new again; by then its bucket has been filled anew 16
// times.
import { NIL, type PageFrame } from "../base/brand.ts";
import { ZcacheError } from "../base/errors.ts";
import type { Arena } from "../memory/arena.ts";
import { MAX_ORDER } from "../memory/frame.layout.ts";
import { add, put } from "../memory/journal.ts";

/** Words of the owner that the table takes. */
export const GHOSTS_WORDS = 3;
const DIRECTORY = 0;
const CLOCK = 1;
const FRAMES = 2;

const WAYS = 4;
const TICK_BITS = 12;
const TICK_MASK = 0xffff;
const MARK_MASK = 0xffff;

export class Ghosts {
  readonly #arena: Arena;
  readonly #words: Int32Array;
  readonly #at: number;
  readonly #owner: number;
  readonly #buckets: number;
  readonly #blocks: number;
  /** Frames per block, as a shift. */
  readonly #order: number;
  /** Words per block, as a shift. */
  readonly #blockShift: number;
  readonly #tickShift: number;

  /**
   * @param at word index of GHOSTS_WORDS words  @param owner frame number for the frames
   * @param ghosts pages to remember; 0 for none, which takes no frame
   */
  constructor(arena: Arena, at: number, owner: number, ghosts: number) {
    this.#arena = arena;
    this.#words = arena.words;
    this.#at = at;
    this.#owner = owner;
    const { wordsPerPage } = arena.frames;
    const pages = Math.ceil(ghosts / wordsPerPage);
    // Blocks just so large that one frame holds the word index of each.
    this.#order = Math.ceil(Math.log2(Math.max(1, pages / wordsPerPage)));
    this.#blockShift = Math.log2(wordsPerPage) + this.#order;
    this.#blocks = Math.ceil(pages / 2 ** this.#order);
    this.#buckets = (this.#blocks * 2 ** this.#blockShift) / WAYS;
    const slotsLog2 = Math.ceil(Math.log2(Math.max(1, this.#buckets * WAYS)));
    this.#tickShift = Math.max(0, slotsLog2 - TICK_BITS);
  }

  /** @throws ZcacheError ERR_OPTION, ERR_ARENA_FULL */
  format(): void {
    const words = this.#words;
    words[this.#at + DIRECTORY] = 0;
    words[this.#at + CLOCK] = 0;
    words[this.#at + FRAMES] = 0;
    if (this.#blocks === 0) return;
    if (this.#order > MAX_ORDER) {
      const most = this.#arena.frames.wordsPerPage ** 2 * 2 ** MAX_ORDER;
      throw new ZcacheError("ERR_OPTION", `room for too many ghosts; at most ${most} are possible`);
    }
    const directory = this.#take(0);
    words[this.#at + DIRECTORY] = directory;
    for (let block = 0; block < this.#blocks; block++) {
      words[directory + block] = this.#take(this.#order);
    }
  }

  destroy(): void {
    const words = this.#words;
    const directory = words[this.#at + DIRECTORY]!;
    if (directory === 0) return;
    // Block by block until a 0: a table whose making failed half-way has only its first blocks.
    for (let block = 0; block < this.#blocks; block++) {
      const at = words[directory + block]!;
      if (at === 0) break;
      this.#give(at);
    }
    this.#give(directory);
    words[this.#at + DIRECTORY] = 0;
    words[this.#at + FRAMES] = 0;
  }

  get framesHeld(): number {
    return this.#words[this.#at + FRAMES]!;
  }

  /** Notes that the page of this hash left: two words. */
  remember(hash: number): void {
    if (this.#blocks === 0) return;
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
    if (this.#blocks === 0 || this.#words[this.#at + CLOCK] === 0) return false;
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
    const slot = Math.floor(((hash >>> 0) * this.#buckets) / 2 ** 32) * WAYS;
    const words = this.#words;
    const block = words[words[this.#at + DIRECTORY]! + (slot >>> this.#blockShift)]!;
    return block + (slot & ((1 << this.#blockShift) - 1));
  }

  /** Takes a block of frames and clears it. @returns its first word */
  #take(order: number): number {
    const { frames } = this.#arena;
    const frame = frames.alloc(order, this.#owner);
    if (frame === NIL) {
      this.destroy();
      throw new ZcacheError("ERR_ARENA_FULL", "no frames left for the ghosts of s3-fifo", {
        context: { ghosts: this.#buckets * WAYS, framesFree: frames.framesFree },
      });
    }
    const at = frames.frameToWord(frame);
    this.#words.fill(0, at, at + (frames.wordsPerPage << order));
    this.#words[this.#at + FRAMES]! += 1 << order;
    return at;
  }

  #give(at: number): void {
    const { frames } = this.#arena;
    frames.free((at / frames.wordsPerPage) as PageFrame);
  }
}
