// adaptive orders entries by the rules of one of four experts, from frequency to recency
// (expert_order.ts), and follows the one that suits the traffic. Miniature caches of all experts,
// fed with a sample of the requests, find it (miniatures.ts). All experts have the same window and
// the same main queue, so that following another expert moves no entry by itself.
//
//   requests ──► sketch: how often each page was requested
//       └──────► one in 2ⁿ pages ──► a miniature cache per expert ──► the expert to follow
//
// Until a store is full, entries go to the main queue; the first victims make room for the window.
// The number of pages that a store holds changes with their sizes, and pages are evicted some at a
// time: the sizes of window and main queue follow the number of entries at which the last round of
// evictions began.
import { NIL, type Nil, type WordIndex } from "../base/brand.ts";
import { assert } from "../base/errors.ts";
import type { Arena } from "../memory/arena.ts";
import { put } from "../memory/journal.ts";
import { listPrev } from "../memory/list.ts";
import { ClockHand } from "./clock_hand.ts";
import { type EvictionPolicy, type PolicySpace, SECOND_CHANCES } from "./contract.ts";
import { EXPERTS, ExpertOrder, FIRST_EXPERT_SIZES, USES_MAX } from "./expert_order.ts";
import { Miniatures } from "./miniatures.ts";
import * as Policy from "./policy.layout.ts";
import { EntryQueue } from "./queue.ts";
import { FrequencySketch } from "./sketch.ts";

/** Requests per page between two halvings of the counts. */
const SAMPLE = 14;

export class Adaptive extends ExpertOrder implements EvictionPolicy {
  readonly name = "adaptive";
  readonly tracksRequests = true;
  readonly #words: Int32Array;
  readonly #window: EntryQueue;
  readonly #main: EntryQueue;
  readonly #at: number;
  /** Word index of the hand: the link of the entry to look at next, or the head for the oldest. */
  readonly #hand: ClockHand;
  readonly #sketch: FrequencySketch;
  readonly #miniatures: Miniatures;
  readonly #space: PolicySpace;
  readonly #metaOf: number;
  readonly #bit: number;
  readonly #usesMask: number;
  readonly #mainBit: number;

  constructor(arena: Arena, at: WordIndex, space: PolicySpace) {
    super();
    this.#words = arena.words;
    this.#at = at;
    this.#window = new EntryQueue(arena.words, at + Policy.QUEUE, space.links);
    this.#main = new EntryQueue(arena.words, at + Policy.MAIN, space.links);
    this.#hand = new ClockHand(arena.words, at + Policy.HAND);
    const { owner, ghosts: pages } = space;
    this.#sketch = new FrequencySketch(arena, at + Policy.SKETCH, owner, pages, SAMPLE);
    this.#miniatures = new Miniatures(arena, at + Policy.MINIATURES, owner, pages, this.#sketch);
    this.#space = space;
    this.#metaOf = space.meta;
    this.#bit = space.bit;
    this.#usesMask = Policy.USES_MASK << space.bit;
    this.#mainBit = Policy.MAIN_BIT << space.bit;
  }

  get count(): number {
    return this.#window.count + this.#main.count;
  }

  get framesHeld(): number {
    return this.#sketch.framesHeld + this.#miniatures.framesHeld;
  }

  format(): void {
    this.#window.format();
    this.#main.format();
    this.#hand.create(this.#main.head);
    for (const word of [Policy.CAPACITY, Policy.LOWEST, Policy.ROUND]) {
      put(this.#words, this.#at + word, 0);
    }
    this.#sketch.format();
    try {
      this.#miniatures.format();
    } catch (error) {
      this.#sketch.destroy();
      throw error;
    }
  }

  destroy(): void {
    this.#sketch.destroy();
    this.#miniatures.destroy();
  }

  /**
   * Counts a request for an entry only while its uses increase: those of an entry that is requested
   * all the time need no more counts, and most hits then write nothing.
   */
  recordRequest(hash: number, meta: number): void {
    if ((meta & this.#usesMask) !== this.#usesMask) this.#sketch.count(hash);
    this.#miniatures.record(hash, 0);
  }

  push(entry: WordIndex, hash: number): void {
    const words = this.#words;
    if (this.#miniatures.isUpdateDue) this.#miniatures.update();
    const { hashOf, sizeOf, partsOf } = this.#space;
    // A value of several pages is one of a miniature, and complete when its first page comes.
    if (partsOf(entry) === 1 || hashOf(entry) === hash)
      this.#miniatures.record(hash, sizeOf(entry));
    const isFilling = words[this.#at + Policy.CAPACITY] === 0;
    // The first entry after a round of evictions.
    if (words[this.#at + Policy.LOWEST] === 0) {
      put(words, this.#at + Policy.LOWEST, Math.max(1, this.count));
    }
    this.#setBits(entry, isFilling ? this.#mainBit : 0);
    (isFilling ? this.#main : this.#window).addNewest(entry);
  }

  recordHit(entry: WordIndex): void {
    const at = entry + this.#metaOf;
    const meta = this.#words[at]!;
    if ((meta & this.#usesMask) !== this.#usesMask) put(this.#words, at, meta + (1 << this.#bit));
  }

  wantsHit(meta: number): boolean {
    return (meta & this.#usesMask) !== this.#usesMask;
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
    const words = this.#words;
    const { count } = this;
    if (count === 0) return NIL;
    const lowest = words[this.#at + Policy.LOWEST]!;
    if (lowest !== 0) this.#beginRound(count, lowest);
    const capacity = words[this.#at + Policy.CAPACITY]!;
    const expert = EXPERTS[this.#miniatures.expert]!;
    return this.choose(expert, capacity, words[this.#at + Policy.ROUND]!) as WordIndex;
  }

  /** First the window from its oldest entry, then the main queue in the order of the hand. */
  next(entry: WordIndex | Nil): WordIndex | Nil {
    if (entry === NIL || this.#queueOf(entry) === this.#window) {
      const next = entry === NIL ? this.#window.oldest() : this.#window.newer(entry);
      if (next !== NIL) return next;
      return this.#main.count === 0 ? NIL : (this.atHand() as WordIndex);
    }
    const next = this.afterInMain(entry) as WordIndex;
    return next === this.atHand() ? NIL : next;
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
    this.#miniatures.verify();
  }

  /** Entries were added since the last round of evictions. */
  #beginRound(count: number, lowest: number): void {
    const words = this.#words;
    this.#miniatures.update();
    const capacity = words[this.#at + Policy.CAPACITY]!;
    if (capacity === 0 && this.#miniatures.sizesDiffer)
      this.#miniatures.expert = FIRST_EXPERT_SIZES;
    const evicted = capacity === 0 ? 1 : capacity - lowest;
    const round = Math.min(SECOND_CHANCES, Math.max(1, evicted));
    if (words[this.#at + Policy.ROUND] !== round) put(words, this.#at + Policy.ROUND, round);
    if (capacity !== count) put(words, this.#at + Policy.CAPACITY, count);
    put(words, this.#at + Policy.LOWEST, 0);
    this.#miniatures.setBudget(this.#space.heldBytes());
  }

  protected override get windowCount(): number {
    return this.#window.count;
  }

  protected override get mainCount(): number {
    return this.#main.count;
  }

  protected override windowOldest(): number {
    return this.#window.oldest();
  }

  protected override renewInWindow(entry: number): void {
    this.#window.renew(entry);
  }

  protected override promote(entry: number): void {
    this.#window.remove(entry);
    this.#main.addBehind(entry, this.#hand.link);
    this.#setBits(entry, this.#mainBit);
  }

  protected override usesOf(entry: number): number {
    return (this.#words[entry + this.#metaOf]! & this.#usesMask) >>> this.#bit;
  }

  protected override setUses(entry: number, uses: number): void {
    assert(uses <= USES_MAX, "uses fit into their bits");
    const meta = this.#words[entry + this.#metaOf]!;
    put(this.#words, entry + this.#metaOf, (meta & ~this.#usesMask) | (uses << this.#bit));
  }

  protected override atHand(): number {
    const hand = this.#hand.link;
    return (hand === this.#main.head ? listPrev(this.#words, hand) : hand) - this.#space.links;
  }

  protected override setHand(entry: number): void {
    const link = entry + this.#space.links;
    this.#hand.moveTo(link);
  }

  protected override afterInMain(entry: number): number {
    const { links } = this.#space;
    const newer = listPrev(this.#words, entry + links);
    return (newer === this.#main.head ? listPrev(this.#words, newer) : newer) - links;
  }

  protected override worthOf(entry: number, limit: number): number {
    const { hashOf, sizeOf } = this.#space;
    const size = sizeOf(entry as WordIndex);
    // With no requests at all; this needs neither the entry's key nor the sketch.
    const lowest = 0.5 / size;
    if (lowest >= limit) return lowest;
    return (this.#sketch.estimate(hashOf(entry as WordIndex)) + 0.5) / size;
  }

  protected override partsOf(entry: number): number {
    return this.#space.partsOf(entry as WordIndex);
  }

  protected override get keepsLast(): boolean {
    return true;
  }

  protected override isArriving(entry: number): boolean {
    return this.#space.isArriving(entry as WordIndex);
  }

  #queueOf(entry: number): EntryQueue {
    return (this.#words[entry + this.#metaOf]! & this.#mainBit) === 0 ? this.#window : this.#main;
  }

  #setBits(entry: number, bits: number): void {
    const at = entry + this.#metaOf;
    const before = this.#words[at]!;
    const after = (before & ~(this.#usesMask | this.#mainBit)) | bits;
    if (after !== before) put(this.#words, at, after);
  }
}
