// The three buddies of a page of z3fold: which of them a new object becomes, where they are, how
// large the free pieces between them are, and how the middle one moves to join these.
//
// A page is named by the word index of its header (z3fold_page.layout.ts). Every method here runs
// under the pool's lock, except the constructor.
import { type Handle, NIL } from "../base/brand.ts";
import { assert } from "../base/errors.ts";
import type { Arena } from "../memory/arena.ts";
import { moveBytes, put } from "../memory/journal.ts";
import type { Kernels } from "../wasm/kernels.ts";
import { CHUNKS, CHUNKS_ORDER } from "./buddy_lists.ts";
import * as Page from "./z3fold_page.layout.ts";

const { FIRST, MIDDLE, LAST } = Page;

export class Buddies {
  readonly #words: Int32Array;
  readonly #kernels: Kernels;
  readonly #pageSize: number;
  readonly #chunkBytes: number;
  readonly #asSeed: boolean;

  /** @param asSeed as the pool's: the patch of 2016 */
  constructor(arena: Arena, asSeed: boolean) {
    this.#words = arena.words;
    this.#kernels = arena.kernels;
    this.#pageSize = arena.pageSize;
    this.#chunkBytes = arena.pageSize >>> CHUNKS_ORDER;
    this.#asSeed = asSeed;
  }

  /** The buddy that an object of so many chunks becomes in a page that has room for it. */
  buddyFor(page: number, chunks: number): number {
    const used = page + Page.CHUNKS_USED;
    if (this.#words[used + FIRST] === 0) {
      const before = this.#words[page + Page.START_MIDDLE]! - 1;
      return this.#words[used + MIDDLE] !== 0 && chunks > before ? LAST : FIRST;
    }
    return this.#words[used + LAST] === 0 ? LAST : MIDDLE;
  }

  /** The free chunks of a page, NIL if it has three objects. */
  roomIn(page: number): number {
    return this.isFull(page) ? NIL : this.freeChunks(page);
  }

  /** The most chunks that another object can take. */
  freeChunks(page: number): number {
    const words = this.#words;
    const used = page + Page.CHUNKS_USED;
    const middle = words[used + MIDDLE]!;
    if (middle === 0) return CHUNKS - 1 - words[used + FIRST]! - words[used + LAST]!;
    const start = words[page + Page.START_MIDDLE]!;
    const before = words[used + FIRST] !== 0 ? 0 : start - 1;
    // The original forgets that chunk 0 is the header's, so a chunk after the middle object is
    // never used.
    const end = this.#asSeed ? CHUNKS - 1 : CHUNKS;
    const after = words[used + LAST] !== 0 ? 0 : end - start - middle;
    return Math.max(before, after);
  }

  /**
   * Moves the middle object to make the page's free chunks contiguous: alone, it becomes the first;
   * beside a first or last object, it moves next to that. A mapped object does not move.
   * @returns whether it moved
   */
  joinHoles(page: number): boolean {
    const words = this.#words;
    const used = page + Page.CHUNKS_USED;
    const middle = words[used + MIDDLE]!;
    if (middle === 0 || words[page + Page.MAPS + MIDDLE] !== 0) return false;
    const first = words[used + FIRST]!;
    const last = words[used + LAST]!;
    if (first === 0 && last === 0) {
      this.#moveMiddle(page, 1);
      put(words, used + FIRST, middle);
      put(words, page + Page.HANDLES + FIRST, words[page + Page.HANDLES + MIDDLE]!);
      put(words, page + Page.MAPS + FIRST, 0);
      put(words, used + MIDDLE, 0);
      put(words, page + Page.START_MIDDLE, 0);
      return true;
    }
    if (this.#asSeed || (first !== 0 && last !== 0)) return false;
    const start = first !== 0 ? first + 1 : CHUNKS - last - middle;
    if (start === words[page + Page.START_MIDDLE]) return false;
    this.#moveMiddle(page, start);
    return true;
  }

  #moveMiddle(page: number, start: number): void {
    const words = this.#words;
    const sizeBytes = words[page + Page.CHUNKS_USED + MIDDLE]! * this.#chunkBytes;
    const source = page * 4 + words[page + Page.START_MIDDLE]! * this.#chunkBytes;
    moveBytes(words, this.#kernels, page * 4 + start * this.#chunkBytes, source, sizeBytes);
    put(words, page + Page.START_MIDDLE, start);
  }

  /** The buddy that a live handle names, or NIL. */
  find(page: number, handle: Handle): number {
    for (let buddy = FIRST; buddy <= LAST; buddy++) {
      if (this.#words[page + Page.HANDLES + buddy] !== handle) continue;
      if (this.#words[page + Page.CHUNKS_USED + buddy] !== 0) return buddy;
    }
    return NIL;
  }

  /** Where an object with so much room begins, from the start of its page. */
  offsetOf(page: number, buddy: number, room: number): number {
    if (this.#words[page + Page.HEADLESS] !== 0) return 0;
    if (buddy === FIRST) return this.#chunkBytes;
    if (buddy === LAST) return this.#pageSize - room;
    return this.#words[page + Page.START_MIDDLE]! * this.#chunkBytes;
  }

  objectsIn(page: number): number {
    let objects = 0;
    for (let buddy = FIRST; buddy <= LAST; buddy++) {
      if (this.#words[page + Page.CHUNKS_USED + buddy] !== 0) objects++;
    }
    return objects;
  }

  isEmpty(page: number): boolean {
    return this.objectsIn(page) === 0;
  }

  isFull(page: number): boolean {
    return this.objectsIn(page) === Page.BUDDIES;
  }

  isMapped(page: number): boolean {
    const maps = page + Page.MAPS;
    return this.#words[maps]! + this.#words[maps + MIDDLE]! + this.#words[maps + LAST]! > 0;
  }

  /** Checks that the objects of a page do not overlap, and that its holes are joined. */
  verify(page: number): void {
    const words = this.#words;
    const first = words[page + Page.CHUNKS_USED + FIRST]!;
    const middle = words[page + Page.CHUNKS_USED + MIDDLE]!;
    const last = words[page + Page.CHUNKS_USED + LAST]!;
    const start = words[page + Page.START_MIDDLE]!;
    assert(first >= 0 && middle >= 0 && last >= 0, "no object has less than no chunks");
    assert((middle === 0) === (start === 0), "only a middle object has a start");
    const headless = words[page + Page.HEADLESS] !== 0;
    assert(!headless || (first <= CHUNKS && middle + last === 0), "one, and no larger");
    if (headless) return;
    if (middle !== 0) assert(start > first, "first and middle do not overlap");
    const end = middle === 0 ? first + 1 : start + middle;
    assert(end + last <= CHUNKS, "the objects fit into the page");
    const full = this.isFull(page);
    const pinned = words[page + Page.UNDER_RECLAIM] !== 0 || words[page + Page.MAPS + MIDDLE] !== 0;
    if (this.#asSeed || full || pinned) return;
    const free = CHUNKS - 1 - first - middle - last;
    assert(this.freeChunks(page) === free, "the free chunks of a page are in one piece");
  }
}
