// A queue of entries with a count, from the newest to the oldest. All policies are made of such
// queues.
//
//   three words of the owner:   head (a link of memory/list.ts), count
//   an entry's link:                  at PolicySpace.links
import { NIL, type Nil, type WordIndex } from "../base/brand.ts";
import { assert } from "../base/errors.ts";
import { add, put } from "../memory/journal.ts";
import {
  listAdd,
  listCheck,
  listDel,
  listEmpty,
  listFirst,
  listInit,
  listLast,
  listNext,
  listPrev,
} from "../memory/list.ts";
import { linkMoved, linkToFirst } from "./links.ts";
import { COUNT } from "./policy.layout.ts";

export class EntryQueue {
  /** Word index of the head, which as a link comes before the newest and after the oldest entry. */
  readonly head: number;
  readonly #words: Int32Array;
  readonly #links: number;

  /**
   * @param head word index of three words
   * @param links offset, in an entry, of its link
   */
  constructor(words: Int32Array, head: number, links: number) {
    this.#words = words;
    this.head = head;
    this.#links = links;
  }

  format(): void {
    listInit(this.#words, this.head);
    put(this.#words, this.head + COUNT, 0);
  }

  get count(): number {
    return this.#words[this.head + COUNT]!;
  }

  /**
   * @returns whether the entry is in a queue; an entry never added to any queue must not be passed
   */
  isListed(entry: number): boolean {
    return !listEmpty(this.#words, entry + this.#links);
  }

  addNewest(entry: number): void {
    listAdd(this.#words, entry + this.#links, this.head);
    add(this.#words, this.head + COUNT, 1);
  }

  /** Adds an entry next older than the one with this link, or as the newest for the head. */
  addBehind(entry: number, link: number): void {
    listAdd(this.#words, entry + this.#links, link);
    add(this.#words, this.head + COUNT, 1);
  }

  remove(entry: number): void {
    listDel(this.#words, entry + this.#links);
    add(this.#words, this.head + COUNT, -1);
  }

  /** Moves an entry of this queue to its newest end. */
  renew(entry: number): void {
    linkToFirst(this.#words, entry + this.#links, this.head);
  }

  /** As `EvictionPolicy.relocate`; works for entries of any queue. */
  relocate(from: number, to: number): void {
    linkMoved(this.#words, from + this.#links, to + this.#links);
  }

  oldest(): WordIndex | Nil {
    return this.#entryAt(listLast(this.#words, this.head));
  }

  /** The entry that is next newer, or NIL if this is the newest. */
  newer(entry: number): WordIndex | Nil {
    return this.#entryAt(listPrev(this.#words, entry + this.#links));
  }

  /**
   * Checks links and count.
   * @param visit called for each entry, newest first
   */
  verify(visit?: (entry: WordIndex) => void): void {
    const { count } = this;
    assert(listCheck(this.#words, this.head, count) === count, "a queue is whole and counted");
    let link: number = listFirst(this.#words, this.head);
    while (visit !== undefined && link !== this.head) {
      visit((link - this.#links) as WordIndex);
      link = listNext(this.#words, link);
    }
  }

  #entryAt(link: number): WordIndex | Nil {
    return link === this.head ? NIL : ((link - this.#links) as WordIndex);
  }
}
