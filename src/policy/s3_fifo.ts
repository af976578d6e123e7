// s3-fifo keeps three queues in the order of arrival. A new page enters the small queue, which
// holds a tenth of all pages. At its end, a page that was used twice moves to the main queue; other
// pages are evicted and remembered as ghosts. A page that comes back while it is a ghost enters the
// main queue at once. At the end of the main queue, a page that was used goes round again, once for
// each use, at most three times.
//
//   new ──► small ──► used ≥ 2? ──yes──► main ──► used ≥ 1? ──no──► gone
//                        │ no             ▲ ▲         │ yes
//                        ▼                │ └─────────┘
//                      gone ──► ghosts ───┘ comes back
//
// After J. Yang et al., "FIFO queues are all you need for cache eviction" (SOSP 2023). Unlike the
// paper, queue sizes follow the number of stored pages, because a store of compressed pages has no
// fixed capacity in pages, and one search spares at most SECOND_CHANCES pages.
import { NIL, type Nil, type WordIndex } from "../base/brand.ts";
import { assert } from "../base/errors.ts";
import type { Arena } from "../memory/arena.ts";
import { put } from "../memory/journal.ts";
import { type EvictionPolicy, type PolicySpace, SECOND_CHANCES } from "./contract.ts";
import { Ghosts } from "./ghosts.ts";
import * as Policy from "./policy.layout.ts";
import { EntryQueue } from "./queue.ts";

/** The small queue holds one in so many pages. */
export const SMALL_SHARE = 10;
/** Hits in the small queue after which a page moves to the main queue. */
const USES_TO_STAY = 2;

export class S3Fifo implements EvictionPolicy {
  readonly name = "s3-fifo";
  readonly tracksRequests = false;
  readonly #words: Int32Array;
  readonly #small: EntryQueue;
  readonly #main: EntryQueue;
  readonly #ghosts: Ghosts;
  readonly #meta: number;
  readonly #bit: number;
  readonly #usesMask: number;
  readonly #mainBit: number;

  constructor(arena: Arena, at: WordIndex, space: PolicySpace) {
    this.#words = arena.words;
    this.#small = new EntryQueue(arena.words, at + Policy.QUEUE, space.links);
    this.#main = new EntryQueue(arena.words, at + Policy.MAIN, space.links);
    this.#ghosts = new Ghosts(arena, at + Policy.GHOSTS, space.owner, space.ghosts);
    this.#meta = space.meta;
    this.#bit = space.bit;
    this.#usesMask = Policy.USES_MASK << space.bit;
    this.#mainBit = Policy.MAIN_BIT << space.bit;
  }

  get count(): number {
    return this.#small.count + this.#main.count;
  }

  get framesHeld(): number {
    return this.#ghosts.framesHeld;
  }

  format(): void {
    this.#small.format();
    this.#main.format();
    this.#ghosts.format();
  }

  destroy(): void {
    this.#ghosts.destroy();
  }

  recordRequest(_hash: number): void {}

  push(entry: WordIndex, hash: number): void {
    // As many ghosts as the main queue holds pages, as in the paper.
    const { count } = this;
    const inMain = this.#ghosts.take(hash, count - Math.floor(count / SMALL_SHARE));
    this.#setBits(entry, inMain ? this.#mainBit : 0);
    (inMain ? this.#main : this.#small).addNewest(entry);
  }

  recordHit(entry: WordIndex): void {
    const words = this.#words;
    const meta = words[entry + this.#meta]!;
    if ((meta & this.#usesMask) !== this.#usesMask) {
      put(words, entry + this.#meta, meta + (1 << this.#bit));
    }
  }

  wantsHit(meta: number): boolean {
    return (meta & this.#usesMask) !== this.#usesMask;
  }

  remove(entry: WordIndex): void {
    const queue = this.#queueOf(entry);
    if (queue.isListed(entry)) queue.remove(entry);
  }

  evict(entry: WordIndex, hash: number): void {
    const queue = this.#queueOf(entry);
    if (!queue.isListed(entry)) return;
    queue.remove(entry);
    if (queue === this.#small) this.#ghosts.remember(hash);
  }

  relocate(from: WordIndex, to: WordIndex): void {
    this.#small.relocate(from, to);
  }

  victim(): WordIndex | Nil {
    const small = this.#small;
    const main = this.#main;
    for (let chances = SECOND_CHANCES; ; chances--) {
      const fromSmall = main.count === 0 || small.count * SMALL_SHARE >= this.count;
      const entry = fromSmall ? small.oldest() : main.oldest();
      if (entry === NIL || chances === 0) return entry;
      const uses = this.#usesOf(entry);
      if (uses < (fromSmall ? USES_TO_STAY : 1)) return entry;
      if (fromSmall) {
        small.remove(entry);
        main.addNewest(entry);
        this.#setBits(entry, this.#mainBit);
      } else {
        main.renew(entry);
        this.#setBits(entry, this.#mainBit | ((uses - 1) << this.#bit));
      }
    }
  }

  /** First the small queue from its oldest entry, then the main queue. */
  next(entry: WordIndex | Nil): WordIndex | Nil {
    if (entry !== NIL && this.#queueOf(entry) === this.#main) return this.#main.newer(entry);
    const next = entry === NIL ? this.#small.oldest() : this.#small.newer(entry);
    return next === NIL ? this.#main.oldest() : next;
  }

  verify(visit?: (entry: WordIndex) => void): void {
    for (const queue of [this.#small, this.#main]) {
      queue.verify((entry) => {
        assert(this.#queueOf(entry) === queue, "an entry's bit names the queue that it is in");
        visit?.(entry);
      });
    }
  }

  #queueOf(entry: number): EntryQueue {
    return (this.#words[entry + this.#meta]! & this.#mainBit) === 0 ? this.#small : this.#main;
  }

  #usesOf(entry: number): number {
    return (this.#words[entry + this.#meta]! & this.#usesMask) >>> this.#bit;
  }

  #setBits(entry: number, bits: number): void {
    const at = entry + this.#meta;
    const before = this.#words[at]!;
    const after = (before & ~(this.#usesMask | this.#mainBit)) | bits;
    if (after !== before) put(this.#words, at, after);
  }
}
