// sieve keeps a queue in the order of arrival, one bit per page, and a hand. A hit sets the page's
// bit. The hand moves from the oldest page to the newest and then starts over: it clears the bit of
// each page that has it, and takes the first page without. Used pages stay where they are, and new
// pages come in ahead of them, so that a page requested only once is evicted soon after the hand
// has seen it.
//
//   newest                                          oldest
//     N ── · ── V ── · ── · ── V ── V ── · ── V ── ·        V: visited
//                         ▲ hand  ◄── moves this way
//
// After Y. Zhang et al., "SIEVE is Simpler than LRU" (NSDI 2024). Unlike the paper, one search
// spares at most SECOND_CHANCES pages.
import { NIL, type Nil, type WordIndex } from "../base/brand.ts";
import { assert } from "../base/errors.ts";
import type { Arena } from "../memory/arena.ts";
import { put } from "../memory/journal.ts";
import { listPrev } from "../memory/list.ts";
import { ClockHand } from "./clock_hand.ts";
import { type EvictionPolicy, type PolicySpace, SECOND_CHANCES } from "./contract.ts";
import * as Policy from "./policy.layout.ts";
import { EntryQueue } from "./queue.ts";

export class Sieve implements EvictionPolicy {
  readonly name = "sieve";
  readonly framesHeld = 0;
  readonly tracksRequests = false;
  readonly #words: Int32Array;
  readonly #queue: EntryQueue;
  /** Word index of the hand: it holds the link of an entry, or the head for the oldest entry. */
  readonly #hand: ClockHand;
  readonly #links: number;
  readonly #meta: number;
  readonly #visited: number;

  constructor(arena: Arena, at: WordIndex, space: PolicySpace) {
    this.#words = arena.words;
    this.#queue = new EntryQueue(arena.words, at + Policy.QUEUE, space.links);
    this.#hand = new ClockHand(arena.words, at + Policy.HAND);
    this.#links = space.links;
    this.#meta = space.meta;
    this.#visited = 1 << space.bit;
  }

  get count(): number {
    return this.#queue.count;
  }

  format(): void {
    this.#queue.format();
    this.#hand.create(this.#queue.head);
  }

  destroy(): void {}

  recordRequest(_hash: number): void {}

  push(entry: WordIndex, _hash: number): void {
    const words = this.#words;
    const meta = words[entry + this.#meta]!;
    if ((meta & this.#visited) !== 0) put(words, entry + this.#meta, meta & ~this.#visited);
    this.#queue.addNewest(entry);
  }

  recordHit(entry: WordIndex): void {
    const words = this.#words;
    const meta = words[entry + this.#meta]!;
    if ((meta & this.#visited) === 0) put(words, entry + this.#meta, meta | this.#visited);
  }

  wantsHit(meta: number): boolean {
    return (meta & this.#visited) === 0;
  }

  remove(entry: WordIndex): void {
    if (!this.#queue.isListed(entry)) return;
    const link = entry + this.#links;
    this.#hand.leave(link);
    this.#queue.remove(entry);
  }

  evict(entry: WordIndex, _hash: number): void {
    this.remove(entry);
  }

  relocate(from: WordIndex, to: WordIndex): void {
    this.#queue.relocate(from, to);
    this.#hand.relocate(from + this.#links, to + this.#links);
  }

  victim(): WordIndex | Nil {
    const words = this.#words;
    if (this.#queue.count === 0) return NIL;
    let link = this.#handLink();
    for (let chances = SECOND_CHANCES; chances > 0; chances--) {
      const metaAt = link - this.#links + this.#meta;
      const meta = words[metaAt]!;
      if ((meta & this.#visited) === 0) break;
      put(words, metaAt, meta & ~this.#visited);
      link = this.#newerOf(link);
    }
    this.#hand.moveTo(link);
    return (link - this.#links) as WordIndex;
  }

  /**
   * In the order in which the hand will pass: the entries behind it have been spared and come last.
   */
  next(entry: WordIndex | Nil): WordIndex | Nil {
    if (this.#queue.count === 0) return NIL;
    const start = this.#handLink();
    if (entry === NIL) return (start - this.#links) as WordIndex;
    const link = this.#newerOf(entry + this.#links);
    return link === start ? NIL : ((link - this.#links) as WordIndex);
  }

  verify(visit?: (entry: WordIndex) => void): void {
    const hand = this.#hand.link;
    let found = hand === this.#queue.head;
    this.#queue.verify((entry) => {
      if (entry + this.#links === hand) found = true;
      visit?.(entry);
    });
    assert(found, "the hand stands at a listed entry or at the end");
  }

  /** The link that the hand looks at next; the queue is not empty. */
  #handLink(): number {
    const hand = this.#hand.link;
    return hand === this.#queue.head ? listPrev(this.#words, hand) : hand;
  }

  /** The next newer link; after the newest comes the oldest. */
  #newerOf(link: number): number {
    const before = listPrev(this.#words, link);
    return before === this.#queue.head ? listPrev(this.#words, before) : before;
  }
}
