// sieve: a queue in the order of arrival, one bit per page, and a hand. A hit sets the bit. The
// hand goes from the oldest page to the newest and round again: it clears the bit of a page that
// has it, and takes the first that has not. Pages that were used stay where they are, new ones come
// in before them, so what is asked for once is gone soon after the hand has seen it.
//
//   newest                                          oldest
//     N ── · ── V ── · ── · ── V ── V ── · ── V ── ·        V: visited
//                         ▲ hand  ◄── goes this way
//
// After Y. Zhang et al., "SIEVE is Simpler than LRU" (NSDI 2024). Other than there, one search
// spares at most SECOND_CHANCES pages.
import { NIL, type Nil, type WordIndex } from "../base/brand.ts";
import { assert } from "../base/errors.ts";
import type { Arena } from "../memory/arena.ts";
import { put } from "../memory/journal.ts";
import { listPrev } from "../memory/list.ts";
import { type EvictionPolicy, type PolicySpace, SECOND_CHANCES } from "./contract.ts";
import * as Policy from "./policy.layout.ts";
import { EntryQueue } from "./queue.ts";

export class Sieve implements EvictionPolicy {
  readonly name = "sieve";
  readonly framesHeld = 0;
  readonly tracksRequests = false;
  readonly #words: Int32Array;
  readonly #queue: EntryQueue;
  /** Word index of the hand, which is the link of an entry, or the head: at the oldest. */
  readonly #handAt: number;
  readonly #links: number;
  readonly #meta: number;
  readonly #visited: number;

  constructor(arena: Arena, at: WordIndex, space: PolicySpace) {
    this.#words = arena.words;
    this.#queue = new EntryQueue(arena.words, at + Policy.QUEUE, space.links);
    this.#handAt = at + Policy.HAND;
    this.#links = space.links;
    this.#meta = space.meta;
    this.#visited = 1 << space.bit;
  }

  get count(): number {
    return this.#queue.count;
  }

  format(): void {
    this.#queue.format();
    put(this.#words, this.#handAt, this.#queue.head);
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
    const words = this.#words;
    if (!this.#queue.isListed(entry)) return;
    const link = entry + this.#links;
    if (words[this.#handAt] === link) put(words, this.#handAt, listPrev(words, link));
    this.#queue.remove(entry);
  }

  evict(entry: WordIndex, _hash: number): void {
    this.remove(entry);
  }

  relocate(from: WordIndex, to: WordIndex): void {
    this.#queue.relocate(from, to);
    if (this.#words[this.#handAt] === from + this.#links) {
      put(this.#words, this.#handAt, to + this.#links);
    }
  }

  victim(): WordIndex | Nil {
    const words = this.#words;
    if (this.#queue.count === 0) return NIL;
    let link = this.#standsAt();
    for (let chances = SECOND_CHANCES; chances > 0; chances--) {
      const metaAt = link - this.#links + this.#meta;
      const meta = words[metaAt]!;
      if ((meta & this.#visited) === 0) break;
      put(words, metaAt, meta & ~this.#visited);
      link = this.#before(link);
    }
    if (words[this.#handAt] !== link) put(words, this.#handAt, link);
    return (link - this.#links) as WordIndex;
  }

  /** The way that the hand will go: those behind it have been spared once and come last. */
  next(entry: WordIndex | Nil): WordIndex | Nil {
    if (this.#queue.count === 0) return NIL;
    const start = this.#standsAt();
    if (entry === NIL) return (start - this.#links) as WordIndex;
    const link = this.#before(entry + this.#links);
    return link === start ? NIL : ((link - this.#links) as WordIndex);
  }

  verify(visit?: (entry: WordIndex) => void): void {
    const hand = this.#words[this.#handAt]!;
    let found = hand === this.#queue.head;
    this.#queue.verify((entry) => {
      if (entry + this.#links === hand) found = true;
      visit?.(entry);
    });
    assert(found, "the hand stands at a listed entry or at the end");
  }

  /** The link that the hand looks at next, in a queue that is not empty. */
  #standsAt(): number {
    const hand = this.#words[this.#handAt]!;
    return hand === this.#queue.head ? listPrev(this.#words, hand) : hand;
  }

  /** The link that is newer by one; the oldest after the newest. */
  #before(link: number): number {
    const before = listPrev(this.#words, link);
    return before === this.#queue.head ? listPrev(this.#words, before) : before;
  }
}
