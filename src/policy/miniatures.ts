// Miniature caches that tell which expert suits the traffic. One in 2ⁿ pages is sampled by its
// hash; for each expert, a miniature with 2⁻ⁿ of the real cache's memory receives the requests for
// these pages and orders them by the rules of that expert (expert_order.ts). The policy follows the
// expert whose miniature has more hits.
//
// Threads record sampled requests and stored pages in a ring, without the lock. A thread that
// stores a page passes them on to the miniatures, some tens at a time, under the lock; so does a
// thread that begins a round of evictions.
//
// After C. Waldspurger et al., "Cache Modeling and Optimization using Miniature Simulations"
// (USENIX ATC 2017).
import { NIL } from "../base/brand.ts";
import { assert } from "../base/errors.ts";
import type { Arena } from "../memory/arena.ts";
import { EXPERTS, FIRST_EXPERT, FIRST_EXPERT_SIZES } from "./expert_order.ts";
import { FrameTable, TABLE_WORDS } from "./frame_table.ts";
import { MiniatureOrder, type MiniatureTable } from "./miniature_order.ts";
import * as Mini from "./miniatures.layout.ts";
import type { FrequencySketch } from "./sketch.ts";

/** Words that the owner provides for the miniatures. */
export const MINIATURES_WORDS = TABLE_WORDS;

/**
 * Slots for one in so many pages, so that miniatures cost 2 bytes a page, within limits: with fewer
 * slots decisions take longer than many a phase of a trace, and more are no better.
 */
const PAGES_PER_SLOT = 16;
const SLOTS_MIN = 1024;
const SLOTS_MAX = 8192;
/**
 * No more than one in two pages is sampled, and at first twice as many as there are slots for if as
 * many pages are stored as expected: a sampled request costs more than others.
 */
const SHIFT_MIN = 1;
const SHIFT_MAX = 20;

/** Sampled requests per slot after which the gains are halved. */
const MEMORY = 4;
/**
 * The policy follows another expert if its gain exceeds what chance explains: so many standard
 * deviations of a random walk, and hits for one in so many pages of the miniature, HITS_MIN at
 * least.
 */
const DEVIATIONS = 2;
const PAGES_PER_HIT = 32;
const HITS_MIN = 4;
/** Sizes of pages are averaged over about so many. */
const SIZES = 64;
/** Sizes differ if their mean deviation is more than this part of the mean. */
const DEVIATION_MIN = 0.2;
/** Records that are passed on at a time, at most: some tens of microseconds. */
const RECORDS_MAX = 64;
/** Pages that a miniature evicts for one request, at most. */
const EVICTIONS_MAX = 16;

export class Miniatures implements MiniatureTable {
  readonly #words: Int32Array;
  readonly #table: FrameTable;
  readonly #sketch: FrequencySketch;
  readonly #orders: readonly MiniatureOrder[];
  readonly #slots: number;
  /** A power of two. */
  readonly #buckets: number;
  readonly #bucketsAt: number;
  readonly #slotsAt: number;
  readonly #firstShift: number;
  /**
   * 32 − SHIFT when this thread last read it. SHIFT only grows, so a page that is not sampled by
   * this one is not sampled at all: most requests read no shared word.
   */
  #sampleShift = 32 - SHIFT_MIN;

  /**
   * @param at word index of MINIATURES_WORDS words
   * @param owner the owner's number for its frames
   * @param pages about how many pages are stored at once; 0 takes no frame
   */
  constructor(arena: Arena, at: number, owner: number, pages: number, sketch: FrequencySketch) {
    this.#words = arena.words;
    this.#sketch = sketch;
    const wanted = Math.ceil(pages / PAGES_PER_SLOT);
    this.#slots = pages === 0 ? 0 : Math.min(SLOTS_MAX, Math.max(SLOTS_MIN, wanted));
    this.#buckets = 2 ** Math.floor(Math.log2(Math.max(1, this.#slots)));
    this.#bucketsAt = Mini.RING_AT + Mini.RECORD_WORDS * this.#buckets;
    this.#slotsAt = Math.ceil((this.#bucketsAt + this.#buckets) / Mini.SLOT_WORDS);
    const share = Math.floor(Math.log2(Math.max(1, pages) / Math.max(1, this.#slots)));
    this.#firstShift = Math.max(SHIFT_MIN, share - 1);
    const words = this.#slots === 0 ? 0 : (this.#slotsAt + this.#slots) * Mini.SLOT_WORDS;
    assert(words <= arena.frames.wordsPerPage ** 2, "each block of the table is one frame");
    this.#table = new FrameTable(arena, { at, owner, words, what: "miniatures of adaptive" });
    this.#orders = EXPERTS.map((_, nth) => new MiniatureOrder(this, nth));
  }

  /** @throws ZcacheError ERR_OPTION, ERR_ARENA_FULL */
  format(): void {
    this.#table.format();
    if (this.#slots === 0) return;
    this.set(Mini.SHIFT, this.#firstShift);
    this.set(Mini.RING_MASK, this.#buckets - 1);
    this.#begin();
  }

  destroy(): void {
    this.#table.destroy();
  }

  get framesHeld(): number {
    return this.#table.framesHeld;
  }

  /** The expert to follow, an index into EXPERTS. */
  get expert(): number {
    return this.#slots === 0 ? FIRST_EXPERT : this.get(Mini.EXPERT);
  }

  set expert(nth: number) {
    if (this.#slots !== 0) this.set(Mini.EXPERT, nth);
  }

  /** Whether the sampled pages have different sizes. */
  get sizesDiffer(): boolean {
    if (this.#slots === 0) return false;
    return this.get(Mini.DEVIATION) > DEVIATION_MIN * this.get(Mini.MEAN_SIZE);
  }

  /**
   * Records a request, or a page that is stored, if the page is sampled. Needs no lock.
   * @param storedBytes size of the page that is stored, 0 for a request
   */
  record(hash: number, storedBytes: number): void {
    if (this.#slots === 0 || spread(hash) >>> this.#sampleShift !== 0) return;
    this.#sampleShift = 32 - this.get(Mini.SHIFT);
    if (!this.#isSampled(hash)) return;
    const next = this.get(Mini.RING_NEXT);
    const at = this.#recordAt(next);
    this.#words[at + Mini.RECORD_HASH] = hash;
    this.#words[at + Mini.RECORD_SIZE] = storedBytes;
    this.set(Mini.RING_NEXT, next + 1);
  }

  /** Whether so many records are unread that the next page that is stored calls `update`. */
  get isUpdateDue(): boolean {
    return this.#slots !== 0 && this.#unread() >= Mini.UPDATE_AT;
  }

  /**
   * Sets the memory of the real cache, which is full.
   * @param bytes that its pages occupy
   */
  setBudget(bytes: number): void {
    if (this.#slots === 0) return;
    const units = bytes / Mini.UNIT / 2 ** this.get(Mini.SHIFT);
    this.set(Mini.BUDGET, Math.max(1, Math.round(units)));
  }

  /** Passes records on to the miniatures, RECORDS_MAX at most. */
  update(): void {
    if (this.#slots === 0) return;
    // A thread died halfway through.
    if (this.get(Mini.BUSY) !== 0) this.#begin();
    this.set(Mini.BUSY, 1);
    const unread = Math.min(this.#unread(), this.#buckets);
    const first = (this.get(Mini.RING_NEXT) - unread) | 0;
    const end = (first + Math.min(unread, RECORDS_MAX)) | 0;
    for (let nth = first; nth !== end; nth = (nth + 1) | 0) {
      const at = this.#recordAt(nth);
      const hash = this.#words[at + Mini.RECORD_HASH]!;
      const storedBytes = this.#words[at + Mini.RECORD_SIZE]!;
      if (storedBytes === 0) this.#request(hash);
      else if (this.#isSampled(hash)) this.#setSize(hash, storedBytes);
    }
    this.set(Mini.RING_READ, end);
    this.set(Mini.BUSY, 0);
  }

  /** Checks slots and queues. */
  verify(): void {
    if (this.#slots === 0 || this.get(Mini.BUSY) !== 0) return;
    for (const order of this.#orders) order.verify();
    let slots = 0;
    for (let slot = this.get(Mini.FREE); slot !== 0; slot = this.word(slot, Mini.CHAIN)) slots++;
    for (let bucket = 0; bucket < this.#buckets; bucket++) {
      let slot = this.get(this.#bucketsAt + bucket);
      for (; slot !== 0; slot = this.word(slot, Mini.CHAIN)) {
        assert(this.#bucketOf(this.word(slot, Mini.HASH)) === bucket, "a slot is in its bucket");
        assert(this.word(slot, Mini.STATES) !== 0, "a slot is held by a miniature");
        assert(++slots <= this.#slots, "slots are in one chain");
      }
    }
    assert(slots === this.#slots - Mini.HEADS, "each slot is free or in a bucket");
  }

  /** One of the words before the slots. */
  get(nth: number): number {
    return this.#words[this.#table.wordAt(nth)]!;
  }

  set(nth: number, value: number): void {
    this.#words[this.#table.wordAt(nth)] = value;
  }

  /** A word of a slot. */
  word(slot: number, word: number): number {
    return this.#words[this.#table.wordAt((this.#slotsAt + slot) * Mini.SLOT_WORDS) + word]!;
  }

  setWord(slot: number, word: number, value: number): void {
    this.#words[this.#table.wordAt((this.#slotsAt + slot) * Mini.SLOT_WORDS) + word] = value;
  }

  sizeOf(slot: number): number {
    return this.word(slot, Mini.SIZE);
  }

  worthOf(slot: number): number {
    return (this.#sketch.estimate(this.word(slot, Mini.HASH)) + 0.5) / this.sizeOf(slot);
  }

  /** Empties the miniatures. */
  #begin(): void {
    for (let bucket = 0; bucket < this.#buckets; bucket++) this.set(this.#bucketsAt + bucket, 0);
    for (let slot = 0; slot < this.#slots; slot++) {
      this.setWord(slot, Mini.STATES, 0);
      this.setWord(slot, Mini.CHAIN, slot < Mini.HEADS ? 0 : (slot + 1) % this.#slots);
    }
    this.set(Mini.FREE, Mini.HEADS);
    this.set(Mini.SAMPLED, 0);
    this.set(Mini.MEAN_SIZE, 0);
    this.set(Mini.DEVIATION, 0);
    this.set(Mini.RING_READ, this.get(Mini.RING_NEXT));
    for (const order of this.#orders) order.format();
  }

  /** Records written since the last one that was read; the ring may not hold all of them. */
  #unread(): number {
    return (this.get(Mini.RING_NEXT) - this.get(Mini.RING_READ)) >>> 0;
  }

  /** Word index of the n-th record ever written. */
  #recordAt(nth: number): number {
    return this.#table.wordAt(Mini.RING_AT + (nth & (this.#buckets - 1)) * Mini.RECORD_WORDS);
  }

  #isSampled(hash: number): boolean {
    return spread(hash) >>> (32 - this.get(Mini.SHIFT)) === 0;
  }

  #bucketOf(hash: number): number {
    return (Math.imul(hash, 0x85eb_ca6b) >>> 16) & (this.#buckets - 1);
  }

  #find(hash: number): number {
    let slot = this.get(this.#bucketsAt + this.#bucketOf(hash));
    while (slot !== 0 && this.word(slot, Mini.HASH) !== hash) slot = this.word(slot, Mini.CHAIN);
    return slot;
  }

  #request(hash: number): void {
    if (!this.#isSampled(hash)) return;
    const found = this.#find(hash);
    const slot = found === 0 ? this.#take(hash) : found;
    if (slot === 0) return;
    const isFull = this.get(Mini.BUDGET) !== 0;
    const followed = this.#orders[this.expert]!.holds(slot) ? 1 : 0;
    for (const order of this.#orders) {
      const hit = order.holds(slot) ? 1 : 0;
      if (hit !== followed && isFull) {
        order.gain += hit - followed;
        order.different++;
      }
      if (hit === 1) order.recordHit(slot);
      else this.#store(order, slot, isFull);
    }
    if (isFull) this.#judge();
  }

  #store(order: MiniatureOrder, slot: number, isFull: boolean): void {
    const budget = isFull ? this.get(Mini.BUDGET) - this.sizeOf(slot) : Number.POSITIVE_INFINITY;
    for (let left = EVICTIONS_MAX; left > 0 && order.units > budget; left--) {
      const victim = order.victim();
      if (victim === NIL) break;
      order.remove(victim);
      if (this.word(victim, Mini.STATES) === 0 && victim !== slot) this.#free(victim);
    }
    order.add(slot, !isFull);
  }

  /** Follows another expert if its miniature is better. */
  #judge(): void {
    const sampled = this.get(Mini.SAMPLED) + 1;
    const isOver = sampled >= MEMORY * this.#slots;
    this.set(Mini.SAMPLED, isOver ? 0 : sampled);
    const followed = this.#orders[this.expert]!;
    let best = followed;
    for (const [nth, order] of this.#orders.entries()) {
      if (isOver) {
        order.gain = Math.trunc(order.gain / 2);
        order.different >>>= 1;
      }
      const isFit = nth !== FIRST_EXPERT_SIZES || this.sizesDiffer;
      if (order.gain > best.gain && isFit) best = order;
    }
    const { gain } = best;
    const least = Math.max(HITS_MIN, followed.pages / PAGES_PER_HIT);
    if (gain <= least + DEVIATIONS * Math.sqrt(best.different)) return;
    this.expert = this.#orders.indexOf(best);
    for (const order of this.#orders) order.gain -= gain;
  }

  /** @returns a slot for the page, which no miniature holds yet, or 0 */
  #take(hash: number): number {
    let slot = this.get(Mini.FREE);
    while (slot === 0) {
      if (!this.#sampleFewer() || !this.#isSampled(hash)) return 0;
      slot = this.get(Mini.FREE);
    }
    this.set(Mini.FREE, this.word(slot, Mini.CHAIN));
    const bucket = this.#bucketsAt + this.#bucketOf(hash);
    this.setWord(slot, Mini.CHAIN, this.get(bucket));
    this.set(bucket, slot);
    this.setWord(slot, Mini.HASH, hash);
    this.setWord(slot, Mini.STATES, 0);
    this.setWord(
      slot,
      Mini.SIZE,
      Math.max(1, Math.floor(this.get(Mini.MEAN_SIZE) / Mini.MEAN_SCALE)),
    );
    return slot;
  }

  #free(slot: number): void {
    const bucket = this.#bucketsAt + this.#bucketOf(this.word(slot, Mini.HASH));
    const first = this.get(bucket);
    if (first === slot) this.set(bucket, this.word(slot, Mini.CHAIN));
    else {
      let before = first;
      while (this.word(before, Mini.CHAIN) !== slot) before = this.word(before, Mini.CHAIN);
      this.setWord(before, Mini.CHAIN, this.word(slot, Mini.CHAIN));
    }
    this.setWord(slot, Mini.CHAIN, this.get(Mini.FREE));
    this.set(Mini.FREE, slot);
  }

  /**
   * Samples half as many pages, because all slots are in use.
   * @returns false if no fewer can be sampled
   */
  #sampleFewer(): boolean {
    const shift = this.get(Mini.SHIFT);
    if (shift === SHIFT_MAX) return false;
    this.set(Mini.SHIFT, shift + 1);
    this.set(Mini.BUDGET, this.get(Mini.BUDGET) >>> 1);
    for (let bucket = 0; bucket < this.#buckets; bucket++) {
      let slot = this.get(this.#bucketsAt + bucket);
      while (slot !== 0) {
        const next = this.word(slot, Mini.CHAIN);
        if (!this.#isSampled(this.word(slot, Mini.HASH))) {
          for (const order of this.#orders) if (order.holds(slot)) order.remove(slot);
          this.#free(slot);
        }
        slot = next;
      }
    }
    return true;
  }

  #average(size: number): void {
    const mean = this.get(Mini.MEAN_SIZE);
    if (mean === 0) {
      this.set(Mini.MEAN_SIZE, size);
      return;
    }
    this.set(Mini.MEAN_SIZE, mean + Math.round((size - mean) / SIZES));
    const deviation = this.get(Mini.DEVIATION);
    const change = (Math.abs(size - mean) - deviation) / SIZES;
    this.set(Mini.DEVIATION, deviation + Math.round(change));
  }

  #setSize(hash: number, sizeBytes: number): void {
    const units = Math.max(1, Math.round(sizeBytes / Mini.UNIT));
    this.#average(units * Mini.MEAN_SCALE);
    const slot = this.#find(hash);
    if (slot === 0) return;
    const change = units - this.sizeOf(slot);
    if (change === 0) return;
    for (const order of this.#orders) if (order.holds(slot)) order.resize(change);
    this.setWord(slot, Mini.SIZE, units);
  }
}

function spread(hash: number): number {
  return Math.imul(hash, Mini.SPREAD);
}
