// zbud: at most two objects per page frame, simple and deterministic.
//
// An object takes whole chunks of 1/64 page. Pages with one object are listed by their free chunks,
// and malloc takes the first page of the first list with enough room. Freeing an object never
// involves another page, and reclaiming a page evicts at most two objects, which is the purpose of
// zbud. At most two objects share a page, so the density is at most 2.
//
// There are two forms. zcache's (2012) has a header of two chunks, lists in order of arrival, and
// keeps empty pages in a list of their own. That of Linux 6.12, the last one upstream, has a header
// of one chunk, lists with the newest page first, and frees empty pages. Reclaim is the same in
// both, as upstream had it before 6.6: the pages to which an object was added longest ago come
// first.
import { type Address, type Handle, NIL, type PageFrame } from "../base/brand.ts";
import { EBUSY, EINVAL, ENOMEM, type Errno } from "../base/errno.ts";
import { assert } from "../base/errors.ts";
import type { Arena } from "../memory/arena.ts";
import { add, put } from "../memory/journal.ts";
import {
  LINK_WORDS,
  listAdd,
  listAddTail,
  listCheck,
  listDel,
  listEmpty,
  listFirst,
  listInit,
  listLast,
  listNext,
  listPrev,
} from "../memory/list.ts";
import { BasePool, type PoolId } from "./base.ts";
import { BUDDY_LISTS_WORDS, BuddyLists, CHUNKS, CHUNKS_ORDER } from "./buddy_lists.ts";
import { type ClassStats, describedFrame, type MapMode } from "./contract.ts";
import type { PoolDriver } from "./driver.ts";
import { frameOf, type HandleBits, handleBits, makeHandle, slotOf } from "./handle_bits.ts";
import * as Pool from "./pool.layout.ts";
import * as Page from "./zbud_page.layout.ts";

// The pool's own words are list heads: by free chunks, LRU, unused.
const LISTS = 0;
const LRU = LISTS + BUDDY_LISTS_WORDS;
const UNUSED = LRU + LINK_WORDS;
const OWN_WORDS = UNUSED + LINK_WORDS;

/** The differences between the forms of zbud. */
interface ZbudForm {
  /** Chunks of the page's header. */
  readonly headerChunks: number;
  /** Chunks of the largest object. */
  readonly objectChunksMax: number;
  /**
   * Whether lists by free chunks are in order of arrival: the oldest page is taken first, not the
   * newest.
   */
  readonly inOrderOfArrival: boolean;
  /** Whether the pool keeps empty pages until it reuses them or `compact` frees them. */
  readonly keepsEmptyPages: boolean;
}

const FIRST = 0;
const LAST = 1;

/** Pages that `compact` frees under one hold of the lock; each costs some bitmap words. */
const PAGES_PER_HOLD = 16;

export class ZbudPool extends BasePool {
  override readonly frameClasses = "buddies";
  readonly #chunkBytes: number;
  readonly #chunkShift: number;
  readonly #bits: HandleBits;
  readonly #form: ZbudForm;
  readonly #lists: BuddyLists;
  /** Chunks of a page that objects can take. */
  readonly #chunks: number;

  constructor(arena: Arena, type: string, typeIndex: number, id: PoolId, form: ZbudForm) {
    const chunkBytes = arena.pageSize >>> CHUNKS_ORDER;
    const maxSizeBytes = form.objectChunksMax * chunkBytes;
    const canCompact = form.keepsEmptyPages;
    super(arena, { type, typeIndex, ownWords: OWN_WORDS, maxSizeBytes, canCompact }, id);
    this.#form = form;
    this.#chunks = CHUNKS - form.headerChunks;
    this.#chunkBytes = chunkBytes;
    this.#chunkShift = Math.log2(chunkBytes);
    this.#bits = handleBits(arena.frames.framesMax, 2);
    this.#lists = new BuddyLists(this.words, this.own + LISTS, form.inOrderOfArrival);
    if (id !== NIL) return;
    this.#lists.format();
    listInit(this.words, this.own + LRU);
    listInit(this.words, this.own + UNUSED);
  }

  protected override mallocLocked(sizeBytes: number): Handle | Errno {
    const words = this.words;
    const chunks = (sizeBytes + this.#chunkBytes - 1) >>> this.#chunkShift;
    const page = this.#findOrGrowLocked(chunks);
    if (page === NIL) return ENOMEM;
    const slot = words[page + Page.FIRST] === 0 ? FIRST : LAST;
    const serial = add(words, this.at + Pool.SERIAL, 1);
    const frame = this.#frameOf(page);
    const handle = makeHandle(this.#bits, frame, slot, serial);
    put(words, page + Page.FIRST + slot, chunks);
    put(words, page + Page.FIRST_HANDLE + slot, handle);
    put(words, page + Page.FIRST_MAPS + slot, 0);
    this.#listByRoomLocked(page);
    listDel(words, page + Page.LRU);
    listAdd(words, page + Page.LRU, this.own + LRU);
    return handle;
  }

  protected override freeLocked(handle: Handle): 0 | Errno {
    const words = this.words;
    const page = this.#findLocked(handle);
    if (page === NIL) return EINVAL;
    const slot = slotOf(this.#bits, handle);
    if (words[page + Page.FIRST_MAPS + slot] !== 0) return EBUSY;
    put(words, page + Page.FIRST + slot, 0);
    if (words[page + Page.UNDER_RECLAIM] !== 0) return 0;
    listDel(words, page + Page.LINK);
    if (!this.#isEmpty(page)) this.#listByRoomLocked(page);
    else if (this.#form.keepsEmptyPages) this.#keepPageLocked(page);
    else this.#freePageLocked(page);
    return 0;
  }

  override describeFrame(frame: PageFrame): number {
    this.assertAlive();
    const page = this.arena.frames.frameToWord(frame);
    const first = this.words[page + Page.FIRST]!;
    const last = this.words[page + Page.LAST]!;
    const objects = (first === 0 ? 0 : 1) + (last === 0 ? 0 : 1);
    return describedFrame(objects, (first + last) / this.#chunks);
  }

  override compact(pagesMax: number): number {
    let freed = 0;
    for (let last = PAGES_PER_HOLD; last === PAGES_PER_HOLD; freed += last) {
      last = this.#giveBackUnused(Math.min(pagesMax - freed, PAGES_PER_HOLD));
    }
    return freed;
  }

  protected override readLocked(handle: Handle, target: Address, sizeBytes: number): 0 | Errno {
    const at = this.#locateLocked(handle, sizeBytes);
    if (at < 0) return EINVAL;
    this.arena.kernels.copy(target, at, sizeBytes);
    return 0;
  }

  protected override writeLocked(handle: Handle, source: Address, sizeBytes: number): 0 | Errno {
    const at = this.#locateLocked(handle, sizeBytes);
    if (at < 0) return EINVAL;
    this.writer.copy(at, source, sizeBytes);
    return 0;
  }

  protected override mapLocked(handle: Handle, _mode: MapMode, sizeBytes: number): Address | Errno {
    const at = this.#locateLocked(handle, sizeBytes);
    if (at < 0) return EINVAL;
    const page = this.#findLocked(handle);
    add(this.words, page + Page.FIRST_MAPS + slotOf(this.#bits, handle), 1);
    return at as Address;
  }

  protected override unmapLocked(handle: Handle): 0 | Errno {
    const page = this.#findLocked(handle);
    if (page === NIL) return EINVAL;
    const mapsAt = page + Page.FIRST_MAPS + slotOf(this.#bits, handle);
    if (this.words[mapsAt] === 0) return EINVAL;
    add(this.words, mapsAt, -1);
    return 0;
  }

  protected override beginReclaimLocked(pass: number, handles: Handle[]): number {
    const words = this.words;
    const lru = this.own + LRU;
    const unused = this.#takeUnusedLocked();
    if (unused !== NIL) {
      // An empty page is freed before any object is evicted. It is in the LRU list because every
      // page is.
      listAddTail(words, unused + Page.LRU, lru);
      put(words, unused + Page.UNDER_RECLAIM, 1);
      return unused;
    }
    for (let link = listLast(words, lru); link !== lru; link = listPrev(words, link)) {
      const page = link - Page.LRU;
      if (words[page + Page.UNDER_RECLAIM] !== 0 || words[page + Page.PASS] === pass + 1) continue;
      put(words, page + Page.PASS, pass + 1);
      if (words[page + Page.FIRST_MAPS] !== 0 || words[page + Page.LAST_MAPS] !== 0) continue;
      put(words, page + Page.UNDER_RECLAIM, 1);
      listDel(words, page + Page.LINK);
      for (let slot = FIRST; slot <= LAST; slot++) {
        if (words[page + Page.FIRST + slot] === 0) continue;
        handles.push(words[page + Page.FIRST_HANDLE + slot]! as Handle);
      }
      return page;
    }
    return NIL;
  }

  protected override endReclaimLocked(page: number): number {
    put(this.words, page + Page.UNDER_RECLAIM, 0);
    if (this.#isEmpty(page)) {
      this.#freePageLocked(page);
      return 1;
    }
    this.#listByRoomLocked(page);
    return 0;
  }

  protected override metadataFramesLocked(): number {
    return 0;
  }

  protected override classStatsLocked(): ClassStats[] {
    const classes: ClassStats[] = [];
    for (let slack = 0; slack < this.#chunks; slack++) {
      const pages = this.#lists.count(slack, this.arena.frames.framesTotal);
      if (pages === 0) continue;
      classes.push({
        name: `free chunks ${slack}`,
        sizeBytes: slack * this.#chunkBytes,
        objects: pages,
        capacity: 2 * pages,
        pages,
      });
    }
    const pages = this.#lists.countFull(this.arena.frames.framesTotal);
    classes.push({ name: "buddied", sizeBytes: 0, objects: 2 * pages, capacity: 2 * pages, pages });
    const unused = this.#countLocked(this.own + UNUSED);
    if (unused > 0) {
      const capacity = 2 * unused;
      classes.push({ name: "unused", sizeBytes: 0, objects: 0, capacity, pages: unused });
    }
    return classes;
  }

  protected override verifyLocked(): { objects: number; pages: number } {
    const words = this.words;
    const lru = this.own + LRU;
    const pages = this.#countLocked(lru);
    let objects = 0;
    let reclaiming = 0;
    for (let link = listFirst(words, lru); link !== lru; link = listNext(words, link)) {
      const page = link - Page.LRU;
      objects += this.#verifyPageLocked(page);
      reclaiming += words[page + Page.UNDER_RECLAIM]!;
    }
    const { framesTotal } = this.arena.frames;
    const listed = this.#lists.verify(framesTotal, (page) => this.#roomIn(page));
    assert(listed + reclaiming === pages, "every page is in one list or under reclaim");
    const unused = this.#verifyUnusedLocked();
    return { objects, pages: pages + unused };
  }

  protected override destroyLocked(): void {
    const lru = this.own + LRU;
    while (!listEmpty(this.words, lru)) {
      this.#freePageLocked(listFirst(this.words, lru) - Page.LRU);
    }
    for (let page = this.#takeUnusedLocked(); page !== NIL; page = this.#takeUnusedLocked()) {
      this.#freePageLocked(page);
    }
  }

  /**
   * The word index of a page with `chunks` free, removed from its list, or of a new page; or NIL.
   */
  #findOrGrowLocked(chunks: number): number {
    const page = this.#lists.take(chunks);
    if (page !== NIL) return page;
    const unused = this.#takeUnusedLocked();
    return unused === NIL ? this.#growLocked() : unused;
  }

  /** A new page, in no list, or NIL. */
  #growLocked(): number {
    const words = this.words;
    const frame = this.arena.frames.alloc(0, this.id);
    if (frame === NIL) return NIL;
    const page = this.arena.frames.frameToWord(frame);
    listInit(words, page + Page.LINK);
    listInit(words, page + Page.LRU);
    put(words, page + Page.FIRST, 0);
    put(words, page + Page.LAST, 0);
    put(words, page + Page.FIRST_MAPS, 0);
    put(words, page + Page.LAST_MAPS, 0);
    put(words, page + Page.UNDER_RECLAIM, 0);
    put(words, page + Page.PASS, 0);
    this.count(Pool.PAGES, 1);
    return page;
  }

  /** Moves an empty page from the LRU to the unused list. */
  #keepPageLocked(page: number): void {
    listDel(this.words, page + Page.LRU);
    listAdd(this.words, page + Page.LINK, this.own + UNUSED);
  }

  /** A page removed from the unused list, or NIL. */
  #takeUnusedLocked(): number {
    const unused = this.own + UNUSED;
    if (listEmpty(this.words, unused)) return NIL;
    const link = listFirst(this.words, unused);
    listDel(this.words, link);
    return link - Page.LINK;
  }

  /** Frees up to so many unused pages. @returns how many */
  #giveBackUnused(pagesMax: number): number {
    let freed = 0;
    this.lock();
    try {
      for (; freed < pagesMax; freed++) {
        const page = this.#takeUnusedLocked();
        if (page === NIL) break;
        this.#freePageLocked(page);
      }
      this.count(Pool.PAGES_COMPACTED, freed);
    } finally {
      this.unlock();
    }
    return freed;
  }

  #freePageLocked(page: number): void {
    listDel(this.words, page + Page.LRU);
    this.arena.frames.free(this.#frameOf(page));
    this.count(Pool.PAGES, -1);
  }

  #listByRoomLocked(page: number): void {
    this.#lists.add(page, this.#roomIn(page));
  }

  /** The page of a live handle, or NIL if the handle is foreign, stale or invented. */
  #findLocked(handle: Handle): number {
    const frame = frameOf(this.#bits, handle);
    if (!this.arena.frames.isHeadOf(frame, this.id)) return NIL;
    const page = this.arena.frames.frameToWord(frame as PageFrame);
    const slot = slotOf(this.#bits, handle);
    const live = this.words[page + Page.FIRST + slot] !== 0;
    return live && this.words[page + Page.FIRST_HANDLE + slot] === handle ? page : NIL;
  }

  /** The address of a live object with room for `sizeBytes`, else NIL. */
  #locateLocked(handle: Handle, sizeBytes: number): number {
    const page = this.#findLocked(handle);
    if (page === NIL) return NIL;
    const slot = slotOf(this.#bits, handle);
    const room = this.words[page + Page.FIRST + slot]! * this.#chunkBytes;
    if (!(sizeBytes >= 0 && sizeBytes <= room)) return NIL;
    const headerBytes = this.#form.headerChunks * this.#chunkBytes;
    return page * 4 + (slot === FIRST ? headerBytes : this.arena.pageSize - room);
  }

  #frameOf(page: number): PageFrame {
    return (page / this.arena.frames.wordsPerPage) as PageFrame;
  }

  #freeChunks(page: number): number {
    return this.#chunks - this.words[page + Page.FIRST]! - this.words[page + Page.LAST]!;
  }

  #isEmpty(page: number): boolean {
    return this.words[page + Page.FIRST] === 0 && this.words[page + Page.LAST] === 0;
  }

  /** The free chunks of a page, NIL if it has two objects. */
  #roomIn(page: number): number {
    const isFull = this.words[page + Page.FIRST] !== 0 && this.words[page + Page.LAST] !== 0;
    return isFull ? NIL : this.#freeChunks(page);
  }

  #countLocked(head: number): number {
    const count = listCheck(this.words, head, this.arena.frames.framesTotal);
    assert(count >= 0, "a list of pages is whole");
    return count;
  }

  #verifyPageLocked(page: number): number {
    const words = this.words;
    const reclaimed = words[page + Page.UNDER_RECLAIM]!;
    assert(this.arena.frames.isHeadOf(this.#frameOf(page), this.id), "the pool owns its pages");
    assert(this.#freeChunks(page) >= 0, "first + last + slack = chunks");
    assert(reclaimed === 0 || reclaimed === 1, "a page is under reclaim or not");
    assert(reclaimed === 1 || !this.#isEmpty(page), "a page holds something");
    // In a list, malloc would find the page while a thread empties it.
    assert(
      listEmpty(words, page + Page.LINK) === (reclaimed === 1),
      "a page is in a list by room unless it is under reclaim",
    );
    let objects = 0;
    for (let slot = FIRST; slot <= LAST; slot++) {
      const maps = words[page + Page.FIRST_MAPS + slot]!;
      assert(maps >= 0, "mappings end as often as they begin");
      if (words[page + Page.FIRST + slot] === 0) {
        assert(maps === 0, "only an object is mapped");
        continue;
      }
      const handle = words[page + Page.FIRST_HANDLE + slot]! as Handle;
      assert(slotOf(this.#bits, handle) === slot, "a handle names its buddy");
      assert(this.#findLocked(handle) === page, "an object is found by its handle");
      objects++;
    }
    return objects;
  }

  #verifyUnusedLocked(): number {
    const words = this.words;
    const unused = this.own + UNUSED;
    const pages = this.#countLocked(unused);
    assert(pages === 0 || this.#form.keepsEmptyPages, "only the seed's form keeps empty pages");
    for (let link = listFirst(words, unused); link !== unused; link = listNext(words, link)) {
      const page = link - Page.LINK;
      assert(this.arena.frames.isHeadOf(this.#frameOf(page), this.id), "the pool owns its pages");
      assert(this.#isEmpty(page), "an unused page is empty");
      assert(words[page + Page.FIRST_MAPS] === 0, "nothing in an unused page is mapped");
      assert(words[page + Page.LAST_MAPS] === 0, "nothing in an unused page is mapped");
      assert(words[page + Page.UNDER_RECLAIM] === 0, "an unused page is not under reclaim");
      assert(listEmpty(words, page + Page.LRU), "an unused page has no age");
    }
    return pages;
  }
}

/** The last form upstream: an object leaves a chunk free, so that a second one can fit. */
const LINUX_6_12: ZbudForm = {
  headerChunks: 1,
  objectChunksMax: CHUNKS - 2,
  inOrderOfArrival: false,
  keepsEmptyPages: false,
};

/** As in the patch: the largest object is a chunk smaller than the free part of a page. */
const ZCACHE_2012: ZbudForm = {
  headerChunks: 2,
  objectChunksMax: CHUNKS - 3,
  inOrderOfArrival: true,
  keepsEmptyPages: true,
};

/**
 * Repaired: stores whatever fits, and frees empty pages at once. It needs no reserve, because the
 * arena is the reserve of all its pools, and a frame from there costs a lock and some bitmap words.
 */
const ZCACHE_REPAIRED: ZbudForm = {
  ...ZCACHE_2012,
  objectChunksMax: CHUNKS - 2,
  keepsEmptyPages: false,
};

export const ZBUD_DRIVERS: readonly PoolDriver[] = [
  {
    type: "zbud",
    summary: "two objects to a page, as zcache had it in 2012, repaired",
    open: (arena, index, id) => new ZbudPool(arena, "zbud", index, id, ZCACHE_REPAIRED),
  },
  {
    type: "zbud-6.12",
    summary: "two objects to a page, as Linux had it last",
    open: (arena, index, id) => new ZbudPool(arena, "zbud-6.12", index, id, LINUX_6_12),
  },
  {
    type: "zbud-2012(zcache)",
    aliases: ["zbud-2012"],
    summary: "zbud exactly as zcache had it: keeps empty pages until told to compact",
    variant: true,
    open: (arena, index, id) => new ZbudPool(arena, "zbud-2012(zcache)", index, id, ZCACHE_2012),
  },
];
