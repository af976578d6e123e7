// The pages of zbud and z3fold by their room: "unbuddied" are the pages with room for another
// object, in one list per number of free chunks; "buddied" are the full ones.
//
// Every method here runs under the pool's lock, except the constructor.
import { NIL } from "../base/brand.ts";
import { assert } from "../base/errors.ts";
import {
  LINK_WORDS,
  listAdd,
  listAddTail,
  listCheck,
  listDel,
  listEmpty,
  listFirst,
  listInit,
  listNext,
} from "../memory/list.ts";

/** 2⁶ chunks per page. */
export const CHUNKS_ORDER = 6;
export const CHUNKS = 1 << CHUNKS_ORDER;

const UNBUDDIED = 0;
const BUDDIED = UNBUDDIED + CHUNKS * LINK_WORDS;
/** Words of the pool's descriptor for the lists. */
export const BUDDY_LISTS_WORDS = BUDDIED + LINK_WORDS;

/** The link is the first word of a page's header, in both layouts. */
const LINK = 0;

export class BuddyLists {
  readonly #words: Int32Array;
  readonly #at: number;
  readonly #inOrderOfArrival: boolean;

  /**
   * @param at word index of BUDDY_LISTS_WORDS words
   * @param inOrderOfArrival whether the oldest page of a list is taken first, not the newest
   */
  constructor(words: Int32Array, at: number, inOrderOfArrival: boolean) {
    this.#words = words;
    this.#at = at;
    this.#inOrderOfArrival = inOrderOfArrival;
  }

  /** Initializes the lists; called once, by the pool's creator. */
  format(): void {
    for (let at = 0; at < BUDDY_LISTS_WORDS; at += LINK_WORDS) listInit(this.#words, this.#at + at);
  }

  /** Takes the first page of the first list with enough free chunks, or NIL. */
  take(chunks: number): number {
    const words = this.#words;
    for (let free = chunks; free < CHUNKS; free++) {
      const head = this.#unbuddied(free);
      if (listEmpty(words, head)) continue;
      const link = listFirst(words, head);
      listDel(words, link);
      return link - LINK;
    }
    return NIL;
  }

  /** Adds a page that is in no list. @param free its free chunks, NIL if it is full */
  add(page: number, free: number): void {
    const list = free === NIL ? this.#at + BUDDIED : this.#unbuddied(free);
    if (this.#inOrderOfArrival) listAddTail(this.#words, page + LINK, list);
    else listAdd(this.#words, page + LINK, list);
  }

  /** The pages with so many free chunks that are not full. */
  count(free: number, pagesMax: number): number {
    return this.#count(this.#unbuddied(free), pagesMax);
  }

  /** The full pages. */
  countFull(pagesMax: number): number {
    return this.#count(this.#at + BUDDIED, pagesMax);
  }

  /**
   * Checks all lists.
   * @param freeOf the free chunks of a page, NIL if it is full
   * @returns the pages in the lists
   */
  verify(pagesMax: number, freeOf: (page: number) => number): number {
    let pages = this.#verifyList(this.#at + BUDDIED, pagesMax, (page) => freeOf(page) === NIL);
    for (let free = 0; free < CHUNKS; free++) {
      const belongs = (page: number) => freeOf(page) === free;
      pages += this.#verifyList(this.#unbuddied(free), pagesMax, belongs);
    }
    return pages;
  }

  #verifyList(head: number, pagesMax: number, belongs: (page: number) => boolean): number {
    const words = this.#words;
    // Counts first: a broken list might never return to its head.
    const pages = this.#count(head, pagesMax);
    for (let link = listFirst(words, head); link !== head; link = listNext(words, link)) {
      assert(belongs(link - LINK), "a page is listed by its free chunks, or as full");
    }
    return pages;
  }

  #count(head: number, pagesMax: number): number {
    const count = listCheck(this.#words, head, pagesMax);
    assert(count >= 0, "a list of pages is whole");
    return count;
  }

  #unbuddied(free: number): number {
    return this.#at + UNBUDDIED + free * LINK_WORDS;
  }
}
