// tinylfu keeps the pages that are requested most often per byte that they occupy. New pages enter
// a window, a queue in the order of arrival. The page at the end of the window is compared with the
// main queue's victim, and the page of lower worth is evicted. The worth of a page is the number of
// its recent requests, which a sketch estimates, divided by its size in bytes.
//
//   new ──► window ──► worth more than main's victim? ──no──► gone
//                            │ yes: main's victim is gone
//                            ▼
//                           main: a hand goes round as in sieve; of the first SAMPLES pages that it
//                           finds not used since, the one of least worth is the victim
//
// After G. Einziger et al., "TinyLFU" (ACM TOS 2017), with bytes as in L. Cherkasova's GDSF (1998).
// Unlike in both papers, a hit only sets a bit, as in sieve: a hit that moved a page in a list
// would delay all threads.
import { NIL, type Nil, type WordIndex } from "../base/brand.ts";
import { assert } from "../base/errors.ts";
import type { Arena } from "../memory/arena.ts";
import { put } from "../memory/journal.ts";
import { listPrev } from "../memory/list.ts";
import { ClockHand } from "./clock_hand.ts";
import { type EvictionPolicy, type PolicySpace, SECOND_CHANCES } from "./contract.ts";
import * as Policy from "./policy.layout.ts";
import { EntryQueue } from "./queue.ts";
import { FrequencySketch } from "./sketch.ts";

/** The window holds one in so many pages. */
export const WINDOW_SHARE = 20;
/** Pages of the main queue compared for one victim; eight give no better hit rate. */
export const SAMPLES = 4;

export class TinyLfu implements EvictionPolicy {
  readonly name = "tinylfu";
  readonly tracksRequests = true;
  readonly #words: Int32Array;
  readonly #at: number;
  readonly #window: EntryQueue;
  readonly #main: EntryQueue;
  /**
   * Word index of the hand: it holds the link to look at next, or the head for the oldest entry.
   */
  readonly #hand: ClockHand;
  readonly #sketch: FrequencySketch;
  readonly #space: PolicySpace;
  readonly #visited: number;
  readonly #mainBit: number;

  constructor(arena: Arena, at: WordIndex, space: PolicySpace) {
    this.#words = arena.words;
    this.#at = at;
    this.#window = new EntryQueue(arena.words, at + Policy.QUEUE, space.links);
    this.#main = new EntryQueue(arena.words, at + Policy.MAIN, space.links);
    this.#hand = new ClockHand(arena.words, at + Policy.HAND);
    this.#sketch = new FrequencySketch(arena, at + Policy.SKETCH, space.owner, space.ghosts);
    this.#space = space;
    this.#visited = 1 << space.bit;
    this.#mainBit = Policy.MAIN_BIT << space.bit;
  }

  get count(): number {
    return this.#window.count + this.#main.count;
  }

  get framesHeld(): number {
    return this.#sketch.framesHeld;
  }

  format(): void {
    this.#window.format();
    this.#main.format();
    this.#hand.create(this.#main.head);
    // So that kernels need not tell tinylfu from adaptive.
    put(this.#words, this.#at + Policy.MINIATURES, 0);
    put(this.#words, this.#at + Policy.CAPACITY, 1);
    put(this.#words, this.#at + Policy.LOWEST, 1);
    this.#sketch.format();
  }

  destroy(): void {
    this.#sketch.destroy();
  }

  recordRequest(hash: number): void {
    this.#sketch.count(hash);
  }

  push(entry: WordIndex, _hash: number): void {
    this.#setBits(entry, 0);
    this.#window.addNewest(entry);
  }

  recordHit(entry: WordIndex): void {
    const words = this.#words;
    const meta = words[entry + this.#space.meta]!;
    if ((meta & this.#visited) === 0) put(words, entry + this.#space.meta, meta | this.#visited);
  }

  wantsHit(meta: number): boolean {
    return (meta & this.#visited) === 0;
  }

  remove(entry: WordIndex): void {
    const queue = this.#queueOf(entry);
    if (!queue.isListed(entry)) return;
    const link = entry + this.#space.links;
    this.#hand.leave(link);
    queue.remove(entry);
  }

  evict(entry: WordIndex, _hash: number): void {
    this.remove(entry);
  }

  relocate(from: WordIndex, to: WordIndex): void {
    this.#main.relocate(from, to);
    const { links } = this.#space;
    this.#hand.relocate(from + links, to + links);
  }

  victim(): WordIndex | Nil {
    const window = this.#window;
    const main = this.#main;
    let chances = SECOND_CHANCES - SAMPLES;
    // A store that has just filled up has all its pages in the window: half of them move to the
    // main queue without a comparison.
    while (chances > 0 && main.count < window.count) {
      this.#promote(window.oldest() as WordIndex);
      chances--;
    }
    if (main.count === 0) return window.oldest();
    const victim = this.#mainVictim(chances);
    if (window.count * WINDOW_SHARE < this.count) return victim;
    const least = this.#worth(victim);
    for (let candidates = SAMPLES; candidates > 0; candidates--) {
      const candidate = window.oldest() as WordIndex;
      if (this.#worth(candidate) <= least && !this.#space.isArriving(candidate)) return candidate;
      this.#promote(candidate);
      // While the window has far more than its share, the main queue grows by pages of higher
      // worth, and loses none.
      if (window.count * WINDOW_SHARE <= 2 * this.count) return victim;
    }
    return victim;
  }

  /** First the window from its oldest entry, then the main queue. */
  next(entry: WordIndex | Nil): WordIndex | Nil {
    if (entry !== NIL && this.#queueOf(entry) === this.#main) return this.#main.newer(entry);
    const next = entry === NIL ? this.#window.oldest() : this.#window.newer(entry);
    return next === NIL ? this.#main.oldest() : next;
  }

  verify(visit?: (entry: WordIndex) => void): void {
    const hand = this.#hand.link;
    let found = hand === this.#main.head;
    for (const queue of [this.#window, this.#main]) {
      queue.verify((entry) => {
        assert(this.#queueOf(entry) === queue, "an entry's bit names the queue that it is in");
        if (queue === this.#main && entry + this.#space.links === hand) found = true;
        visit?.(entry);
      });
    }
    assert(found, "the hand stands at an entry of the main queue or at the end");
  }

  /** Moves the oldest entry of the window to the main queue. */
  #promote(entry: WordIndex): void {
    this.#window.remove(entry);
    this.#main.addNewest(entry);
    this.#setBits(entry, this.#mainBit);
  }

  /** The entry of least worth of those at which the hand stops; the main queue is not empty. */
  #mainVictim(chances: number): WordIndex {
    const words = this.#words;
    const { links, meta: metaOf } = this.#space;
    let link = this.#hand.link;
    if (link === this.#main.head) link = listPrev(words, link);
    let victim = (link - links) as WordIndex;
    let least = Number.POSITIVE_INFINITY;
    let samples = Math.min(SAMPLES, this.#main.count);
    for (let left = chances; ; left--) {
      const entry = (link - links) as WordIndex;
      const meta = words[entry + metaOf]!;
      if (left > 0 && (meta & this.#visited) !== 0) {
        put(words, entry + metaOf, meta & ~this.#visited);
      } else {
        const worth = this.#worth(entry);
        if (worth < least) {
          least = worth;
          victim = entry;
        }
        if (--samples === 0) break;
      }
      link = listPrev(words, link);
      if (link === this.#main.head) link = listPrev(words, link);
    }
    this.#hand.moveTo(link);
    return victim;
  }

  /** Adds a half to the count, so that of two pages without requests the larger one is evicted. */
  #worth(entry: WordIndex): number {
    const { hashOf, sizeOf } = this.#space;
    return (this.#sketch.estimate(hashOf(entry)) + 0.5) / sizeOf(entry);
  }

  #queueOf(entry: number): EntryQueue {
    const meta = this.#words[entry + this.#space.meta]!;
    return (meta & this.#mainBit) === 0 ? this.#window : this.#main;
  }

  #setBits(entry: number, bits: number): void {
    const at = entry + this.#space.meta;
    const before = this.#words[at]!;
    const after = (before & ~(this.#visited | this.#mainBit)) | bits;
    if (after !== before) put(this.#words, at, after);
  }
}
