// z3fold: at most three objects per page frame.
//
// It is zbud with a third, middle buddy. As in zbud, pages with room are listed by their free
// chunks, malloc takes the first page with enough room, and reclaim empties whole pages. In
// addition, the middle object may move within its page, so that the free chunks become contiguous.
// A handle names an object and not a buddy, so that the middle object can become the first and keep
// its handle.
import { type Address, type Handle, NIL, type PageFrame, type WordIndex } from "../base/brand.ts";
import { EBUSY, EINVAL, ENOMEM, type Errno } from "../base/errno.ts";
import { assert } from "../base/errors.ts";
import type { Arena } from "../memory/arena.ts";
import { add, put } from "../memory/journal.ts";
import {
  LINK_WORDS,
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
import { SLAB_HEAD_WORDS } from "../memory/slab.layout.ts";
import { Slab } from "../memory/slab.ts";
import { BasePool, type PoolId } from "./base.ts";
import { BUDDY_LISTS_WORDS, BuddyLists, CHUNKS, CHUNKS_ORDER } from "./buddy_lists.ts";
import { type ClassStats, describedFrame, type MapMode } from "./contract.ts";
import type { PoolDriver } from "./driver.ts";
import { frameOf, type HandleBits, handleBits, makeHandle, slotOf } from "./handle_bits.ts";
import * as Pool from "./pool.layout.ts";
import { Buddies } from "./z3fold_buddies.ts";
import * as Page from "./z3fold_page.layout.ts";

const { FIRST, MIDDLE, LAST } = Page;

// The pool's own words: list heads (by free chunks, LRU), then the slab of headers of headless
// pages.
const LISTS = 0;
const LRU = LISTS + BUDDY_LISTS_WORDS;
const HEADERS = LRU + LINK_WORDS;
const OWN_WORDS = HEADERS + SLAB_HEAD_WORDS;

/** Slots in a handle: one more than buddies, so that a new object always finds an unused one. */
const SLOTS = 4;

export class Z3foldPool extends BasePool {
  override readonly frameClasses = "buddies";
  readonly #chunkBytes: number;
  readonly #chunkShift: number;
  readonly #bits: HandleBits;
  readonly #lists: BuddyLists;
  readonly #buddies: Buddies;
  readonly #headers: Slab;
  /**
   * As in the patch of 2016: counts a chunk too few, and moves only a middle object that is alone.
   */
  readonly #asSeed: boolean;

  constructor(arena: Arena, type: string, typeIndex: number, id: PoolId, asSeed: boolean) {
    const maxSizeBytes = arena.pageSize;
    super(arena, { type, typeIndex, ownWords: OWN_WORDS, maxSizeBytes, canCompact: false }, id);
    this.#chunkBytes = arena.pageSize >>> CHUNKS_ORDER;
    this.#chunkShift = Math.log2(this.#chunkBytes);
    this.#bits = handleBits(arena.frames.framesMax, SLOTS);
    this.#asSeed = asSeed;
    this.#buddies = new Buddies(arena, asSeed);
    const metadataOwner = this.id + arena.frames.framesMax;
    this.#headers = new Slab(arena, this.own + HEADERS, Page.HEADER_WORDS, metadataOwner);
    this.#lists = new BuddyLists(this.words, this.own + LISTS, false);
    if (id !== NIL) return;
    this.#lists.format();
    listInit(this.words, this.own + LRU);
    this.#headers.format();
  }

  protected override mallocLocked(sizeBytes: number): Handle | Errno {
    const words = this.words;
    // A page with a header must have a chunk left, or no other object could ever join.
    const headless = sizeBytes > this.arena.pageSize - 2 * this.#chunkBytes;
    const chunks = (sizeBytes + this.#chunkBytes - 1) >>> this.#chunkShift;
    const page = headless ? this.#growLocked(true) : this.#findOrGrowLocked(chunks);
    if (page === NIL) return ENOMEM;
    const buddy = headless ? FIRST : this.#buddies.buddyFor(page, chunks);
    const frame = words[page + Page.FRAME]! as PageFrame;
    const serial = add(words, this.at + Pool.SERIAL, 1);
    const handle = makeHandle(this.#bits, frame, this.#unusedSlot(page), serial);
    put(words, page + Page.CHUNKS_USED + buddy, chunks);
    put(words, page + Page.HANDLES + buddy, handle);
    put(words, page + Page.MAPS + buddy, 0);
    if (buddy === MIDDLE) {
      put(words, page + Page.START_MIDDLE, words[page + Page.CHUNKS_USED + FIRST]! + 1);
    }
    if (!headless) this.#listByRoomLocked(page);
    const lruLink = this.arena.frames.linkOf(frame);
    listDel(words, lruLink);
    listAdd(words, lruLink, this.own + LRU);
    return handle;
  }

  protected override freeLocked(handle: Handle): 0 | Errno {
    const words = this.words;
    const page = this.#findPage(handle);
    if (page === NIL) return EINVAL;
    const buddy = this.#buddies.find(page, handle);
    if (words[page + Page.MAPS + buddy] !== 0) return EBUSY;
    put(words, page + Page.CHUNKS_USED + buddy, 0);
    if (buddy === MIDDLE) put(words, page + Page.START_MIDDLE, 0);
    if (words[page + Page.UNDER_RECLAIM] !== 0) return 0;
    listDel(words, page + Page.LINK);
    if (this.#buddies.isEmpty(page)) {
      this.#freePageLocked(page);
    } else {
      this.#buddies.joinHoles(page);
      this.#listByRoomLocked(page);
    }
    return 0;
  }

  protected override readLocked(handle: Handle, target: Address, sizeBytes: number): 0 | Errno {
    const at = this.#locate(handle, sizeBytes);
    if (at === NIL) return EINVAL;
    this.arena.kernels.copy(target, at, sizeBytes);
    return 0;
  }

  protected override writeLocked(handle: Handle, source: Address, sizeBytes: number): 0 | Errno {
    const at = this.#locate(handle, sizeBytes);
    if (at === NIL) return EINVAL;
    this.writer.copy(at, source, sizeBytes);
    return 0;
  }

  protected override mapLocked(handle: Handle, _mode: MapMode, sizeBytes: number): Address | Errno {
    const at = this.#locate(handle, sizeBytes);
    if (at === NIL) return EINVAL;
    const page = this.#findPage(handle);
    add(this.words, page + Page.MAPS + this.#buddies.find(page, handle), 1);
    return at as Address;
  }

  protected override unmapLocked(handle: Handle): 0 | Errno {
    const words = this.words;
    const page = this.#findPage(handle);
    if (page === NIL) return EINVAL;
    const mapsAt = page + Page.MAPS + this.#buddies.find(page, handle);
    if (words[mapsAt] === 0) return EINVAL;
    add(words, mapsAt, -1);
    // A middle object that was mapped while its neighbour was freed may move now.
    const listed = words[page + Page.HEADLESS] === 0 && words[page + Page.UNDER_RECLAIM] === 0;
    if (!this.#asSeed && listed && this.#buddies.joinHoles(page)) {
      listDel(words, page + Page.LINK);
      this.#listByRoomLocked(page);
    }
    return 0;
  }

  protected override beginReclaimLocked(pass: number, handles: Handle[]): number {
    const words = this.words;
    const lru = this.own + LRU;
    for (let link = listLast(words, lru); link !== lru; link = listPrev(words, link)) {
      const page = this.#pageOfLru(link);
      if (words[page + Page.UNDER_RECLAIM] !== 0 || words[page + Page.PASS] === pass + 1) continue;
      put(words, page + Page.PASS, pass + 1);
      if (this.#buddies.isMapped(page)) continue;
      put(words, page + Page.UNDER_RECLAIM, 1);
      listDel(words, page + Page.LINK);
      for (let buddy = FIRST; buddy <= LAST; buddy++) {
        if (words[page + Page.CHUNKS_USED + buddy] === 0) continue;
        handles.push(words[page + Page.HANDLES + buddy]! as Handle);
      }
      return page;
    }
    return NIL;
  }

  // A refused page stays at the cold end of the LRU; its pass mark keeps it from being tried again
  // at once.
  protected override endReclaimLocked(page: number): number {
    put(this.words, page + Page.UNDER_RECLAIM, 0);
    if (this.#buddies.isEmpty(page)) {
      this.#freePageLocked(page);
      return 1;
    }
    // A headless page is in no list by free chunks, and the words of its header would be data.
    if (this.words[page + Page.HEADLESS] === 0) {
      this.#buddies.joinHoles(page);
      this.#listByRoomLocked(page);
    }
    return 0;
  }

  protected override metadataFramesLocked(): number {
    return this.#headers.framesHeld;
  }

  protected override classStatsLocked(): ClassStats[] {
    const { words, own } = this;
    const counts = new Map<string, { objects: number; pages: number; sizeBytes: number }>();
    for (let link = listFirst(words, own + LRU); link !== own + LRU; link = listNext(words, link)) {
      const page = this.#pageOfLru(link);
      const headless = words[page + Page.HEADLESS] !== 0;
      const free = headless ? 0 : this.#buddies.freeChunks(page);
      const full = !headless && this.#buddies.isFull(page);
      const name = headless ? "headless" : full ? "buddied" : `free chunks ${free}`;
      const one = counts.get(name) ?? { objects: 0, pages: 0, sizeBytes: free * this.#chunkBytes };
      one.objects += this.#buddies.objectsIn(page);
      one.pages++;
      counts.set(name, one);
    }
    return Array.from(counts, ([name, { objects, pages, sizeBytes }]) => {
      const capacity = name === "headless" ? pages : Page.BUDDIES * pages;
      return { name, sizeBytes, objects, capacity, pages };
    });
  }

  override describeFrame(frame: PageFrame): number {
    this.assertAlive();
    const page = this.words[this.arena.frames.privateOf(frame)]!;
    const used = page + Page.CHUNKS_USED;
    const chunks = this.words[used]! + this.words[used + MIDDLE]! + this.words[used + LAST]!;
    const room = this.words[page + Page.HEADLESS] === 0 ? CHUNKS - 1 : CHUNKS;
    return describedFrame(this.#buddies.objectsIn(page), chunks / room);
  }

  protected override verifyLocked(): { objects: number; pages: number } {
    const { words, own } = this;
    const pages = this.#countLocked(own + LRU);
    let [objects, unlisted, headless] = [0, 0, 0];
    for (let link = listFirst(words, own + LRU); link !== own + LRU; link = listNext(words, link)) {
      const page = this.#pageOfLru(link);
      objects += this.#verifyPage(page, this.arena.frames.frameOfLink(link));
      headless += words[page + Page.HEADLESS]!;
      if (words[page + Page.HEADLESS] !== 0 || words[page + Page.UNDER_RECLAIM] !== 0) unlisted++;
    }
    const { framesTotal } = this.arena.frames;
    const listed = this.#lists.verify(framesTotal, (page) => this.#buddies.roomIn(page));
    assert(listed + unlisted === pages, "every page is in one list, headless or under reclaim");
    this.#headers.verify();
    assert(this.#headers.recordsUsed === headless, "there is a record for each headless page");
    return { objects, pages };
  }

  protected override destroyLocked(): void {
    const lru = this.own + LRU;
    while (!listEmpty(this.words, lru)) {
      this.#freePageLocked(this.#pageOfLru(listFirst(this.words, lru)));
    }
  }

  /**
   * The header of a page with room for `chunks`, removed from its list, or of a new page; or NIL.
   */
  #findOrGrowLocked(chunks: number): number {
    const page = this.#lists.take(chunks);
    return page === NIL ? this.#growLocked(false) : page;
  }

  #growLocked(headless: boolean): number {
    const { words } = this;
    const { frames } = this.arena;
    const record = headless ? this.#headers.alloc() : NIL;
    if (headless && record === NIL) return NIL;
    const frame = frames.alloc(0, this.id);
    if (frame === NIL) {
      if (record !== NIL) this.#headers.free(record);
      return NIL;
    }
    const page = record === NIL ? frames.frameToWord(frame) : record;
    for (let i = 0; i < Page.HEADER_WORDS; i++) put(words, page + i, 0);
    listInit(words, page + Page.LINK);
    put(words, page + Page.FRAME, frame);
    put(words, page + Page.HEADLESS, headless ? 1 : 0);
    put(words, frames.privateOf(frame), page);
    listInit(words, frames.linkOf(frame));
    this.count(Pool.PAGES, 1);
    return page;
  }

  #freePageLocked(page: number): void {
    const frame = this.words[page + Page.FRAME]! as PageFrame;
    listDel(this.words, this.arena.frames.linkOf(frame));
    if (this.words[page + Page.HEADLESS] !== 0) this.#headers.free(page as WordIndex);
    this.arena.frames.free(frame);
    this.count(Pool.PAGES, -1);
  }

  #listByRoomLocked(page: number): void {
    this.#lists.add(page, this.#buddies.roomIn(page));
  }

  /** A slot number that no live object of the page has in its handle. */
  #unusedSlot(page: number): number {
    let taken = 0;
    for (let buddy = FIRST; buddy <= LAST; buddy++) {
      if (this.words[page + Page.CHUNKS_USED + buddy] === 0) continue;
      taken |= 1 << slotOf(this.#bits, this.words[page + Page.HANDLES + buddy]! as Handle);
    }
    return 31 - Math.clz32(~taken & (taken + 1));
  }

  /** The header of a live object's page, or NIL if the handle is foreign, stale or invented. */
  #findPage(handle: Handle): number {
    const { frames } = this.arena;
    const frame = frameOf(this.#bits, handle) as PageFrame;
    if (!frames.isHeadOf(frame, this.id)) return NIL;
    const page = this.words[frames.privateOf(frame)]!;
    return this.#buddies.find(page, handle) === NIL ? NIL : page;
  }

  /** The address of a live object with room for `sizeBytes`, else NIL. */
  #locate(handle: Handle, sizeBytes: number): number {
    const page = this.#findPage(handle);
    if (page === NIL) return NIL;
    const buddy = this.#buddies.find(page, handle);
    const room = this.words[page + Page.CHUNKS_USED + buddy]! * this.#chunkBytes;
    if (!(sizeBytes >= 0 && sizeBytes <= room)) return NIL;
    const frame = this.words[page + Page.FRAME]! as PageFrame;
    return this.arena.frames.frameToAddress(frame) + this.#buddies.offsetOf(page, buddy, room);
  }

  #pageOfLru(link: WordIndex): number {
    const { frames } = this.arena;
    return this.words[frames.privateOf(frames.frameOfLink(link))]!;
  }

  #countLocked(head: number): number {
    const count = listCheck(this.words, head, this.arena.frames.framesTotal);
    assert(count >= 0, "a list of pages is whole");
    return count;
  }

  #verifyPage(page: number, frame: PageFrame): number {
    const { words } = this;
    const { frames } = this.arena;
    assert(frames.isHeadOf(frame, this.id), "the pool owns its pages");
    const headless = words[page + Page.HEADLESS]!;
    const reclaimed = words[page + Page.UNDER_RECLAIM]!;
    assert((headless | reclaimed) >>> 1 === 0, "a page is headless, under reclaim, or not");
    const inPlace = headless ? this.#headers.contains(page) : page === frames.frameToWord(frame);
    assert(inPlace, "a header is in its page, or in a record if that is headless");
    assert(words[page + Page.FRAME] === frame, "a header names its page");
    assert(reclaimed === 1 || !this.#buddies.isEmpty(page), "a page holds something");
    // In a list, malloc would find the page while a thread empties it.
    const unlisted = (headless | reclaimed) === 1;
    assert(listEmpty(words, page + Page.LINK) === unlisted, "a page is listed by room, or exempt");
    this.#buddies.verify(page);
    let slots = 0;
    for (let buddy = FIRST; buddy <= LAST; buddy++) {
      const slot = this.#verifyBuddy(page, buddy);
      assert((slots & slot) === 0, "no two objects of a page have one slot");
      slots |= slot;
    }
    return this.#buddies.objectsIn(page);
  }

  /** @returns the bit of the slot in the object's handle, 0 if there is no object */
  #verifyBuddy(page: number, buddy: number): number {
    const { words } = this;
    const maps = words[page + Page.MAPS + buddy]!;
    const live = words[page + Page.CHUNKS_USED + buddy] !== 0;
    assert(maps === 0 || (live && maps > 0), "only an object is mapped");
    if (!live) return 0;
    const handle = words[page + Page.HANDLES + buddy]! as Handle;
    assert(this.#findPage(handle) === page, "an object is found by its handle");
    assert(this.#buddies.find(page, handle) === buddy, "no two objects have one handle");
    return 1 << slotOf(this.#bits, handle);
  }
}

export const Z3FOLD_DRIVERS: readonly PoolDriver[] = [
  {
    type: "z3fold",
    summary: "three objects to a page, the middle one moves to join holes",
    open: (arena, index, id) => new Z3foldPool(arena, "z3fold", index, id, false),
  },
  {
    type: "z3fold-v4-2016",
    summary: "z3fold exactly as first posted for review",
    variant: true,
    open: (arena, index, id) => new Z3foldPool(arena, "z3fold-v4-2016", index, id, true),
  },
];
