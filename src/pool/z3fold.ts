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
import { add, moveBytes, put } from "../memory/journal.ts";
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
import { SLAB_HEAD_WORDS, Slab } from "../memory/slab.ts";
import { BasePool, type PoolId } from "./base.ts";
import { type ClassStats, describedFrame, type MapMode } from "./contract.ts";
import { frameOf, type HandleBits, handleBits, makeHandle, slotOf } from "./handle_bits.ts";
import * as Pool from "./pool.layout.ts";
import * as Page from "./z3fold_page.layout.ts";

const { FIRST, MIDDLE, LAST } = Page;

// The pool's own words: list heads (unbuddied by free chunks, buddied, LRU), then the slab of
// headers of headless pages.
const UNBUDDIED = 0;
const BUDDIED = UNBUDDIED + Page.CHUNKS * LINK_WORDS;
const LRU = BUDDIED + LINK_WORDS;
const HEADERS = LRU + LINK_WORDS;
const OWN_WORDS = HEADERS + SLAB_HEAD_WORDS;

/** Slots in a handle: one more than buddies, so that a new object always finds an unused one. */
const SLOTS = 4;

export class Z3foldPool extends BasePool {
  override readonly frameClasses = "buddies";
  readonly #chunkBytes: number;
  readonly #chunkShift: number;
  readonly #bits: HandleBits;
  readonly #headers: Slab;
  /**
   * As in the patch of 2016: counts a chunk too few, and moves only a middle object that is alone.
   */
  readonly #asSeed: boolean;

  constructor(arena: Arena, type: string, typeIndex: number, id: PoolId, asSeed: boolean) {
    const maxSizeBytes = arena.pageSize;
    super(arena, { type, typeIndex, ownWords: OWN_WORDS, maxSizeBytes, canCompact: false }, id);
    this.#chunkBytes = arena.pageSize >>> Page.CHUNKS_ORDER;
    this.#chunkShift = Math.log2(this.#chunkBytes);
    this.#bits = handleBits(arena.frames.framesTotal, SLOTS);
    this.#asSeed = asSeed;
    const metadataOwner = this.id + arena.frames.framesTotal;
    this.#headers = new Slab(arena, this.own + HEADERS, Page.HEADER_WORDS, metadataOwner);
    if (id === NIL) {
      for (let list = 0; list < HEADERS; list += LINK_WORDS) listInit(this.words, this.own + list);
      this.#headers.format();
    }
  }

  protected override mallocLocked(sizeBytes: number): Handle | Errno {
    const words = this.words;
    // A page with a header must have a chunk left, or no other object could ever join.
    const headless = sizeBytes > this.arena.pageSize - 2 * this.#chunkBytes;
    const chunks = (sizeBytes + this.#chunkBytes - 1) >>> this.#chunkShift;
    const page = headless ? this.#growLocked(true) : this.#findOrGrowLocked(chunks);
    if (page === NIL) return ENOMEM;
    const buddy = headless ? FIRST : this.#buddyFor(page, chunks);
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
    const buddy = this.#findBuddy(page, handle);
    if (words[page + Page.MAPS + buddy] !== 0) return EBUSY;
    put(words, page + Page.CHUNKS_USED + buddy, 0);
    if (buddy === MIDDLE) put(words, page + Page.START_MIDDLE, 0);
    if (words[page + Page.UNDER_RECLAIM] !== 0) return 0;
    listDel(words, page + Page.LINK);
    if (this.#isEmpty(page)) {
      this.#freePageLocked(page);
    } else {
      this.#joinHolesLocked(page);
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
    add(this.words, page + Page.MAPS + this.#findBuddy(page, handle), 1);
    return at as Address;
  }

  protected override unmapLocked(handle: Handle): 0 | Errno {
    const words = this.words;
    const page = this.#findPage(handle);
    if (page === NIL) return EINVAL;
    const mapsAt = page + Page.MAPS + this.#findBuddy(page, handle);
    if (words[mapsAt] === 0) return EINVAL;
    add(words, mapsAt, -1);
    // A middle object that was mapped while its neighbour was freed may move now.
    const listed = words[page + Page.HEADLESS] === 0 && words[page + Page.UNDER_RECLAIM] === 0;
    if (!this.#asSeed && listed && this.#joinHolesLocked(page)) {
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
      if (this.#isMapped(page)) continue;
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
    if (this.#isEmpty(page)) {
      this.#freePageLocked(page);
      return 1;
    }
    // A headless page is in no list by free chunks, and the words of its header would be data.
    if (this.words[page + Page.HEADLESS] === 0) {
      this.#joinHolesLocked(page);
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
      const free = headless ? 0 : this.#freeChunks(page);
      const full = !headless && this.#objectsIn(page) === Page.BUDDIES;
      const name = headless ? "headless" : full ? "buddied" : `free chunks ${free}`;
      const one = counts.get(name) ?? { objects: 0, pages: 0, sizeBytes: free * this.#chunkBytes };
      one.objects += this.#objectsIn(page);
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
    const room = this.words[page + Page.HEADLESS] === 0 ? Page.CHUNKS - 1 : Page.CHUNKS;
    return describedFrame(this.#objectsIn(page), chunks / room);
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
    let listed = this.#verifyList(BUDDIED, Page.BUDDIES);
    for (let free = 0; free < Page.CHUNKS; free++) listed += this.#verifyList(UNBUDDIED, free);
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
    for (let free = chunks; free < Page.CHUNKS; free++) {
      const head = this.own + UNBUDDIED + free * LINK_WORDS;
      if (listEmpty(this.words, head)) continue;
      const link = listFirst(this.words, head);
      listDel(this.words, link);
      return link - Page.LINK;
    }
    return this.#growLocked(false);
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

  /** The buddy that an object of so many chunks becomes in a page that has room for it. */
  #buddyFor(page: number, chunks: number): number {
    const used = page + Page.CHUNKS_USED;
    if (this.words[used + FIRST] === 0) {
      const before = this.words[page + Page.START_MIDDLE]! - 1;
      return this.words[used + MIDDLE] !== 0 && chunks > before ? LAST : FIRST;
    }
    return this.words[used + LAST] === 0 ? LAST : MIDDLE;
  }

  #listByRoomLocked(page: number): void {
    const full = this.#objectsIn(page) === Page.BUDDIES;
    const list = full ? BUDDIED : UNBUDDIED + this.#freeChunks(page) * LINK_WORDS;
    listAdd(this.words, page + Page.LINK, this.own + list);
  }

  /** The most chunks that another object can take. */
  #freeChunks(page: number): number {
    const words = this.words;
    const used = page + Page.CHUNKS_USED;
    const middle = words[used + MIDDLE]!;
    if (middle === 0) return Page.CHUNKS - 1 - words[used + FIRST]! - words[used + LAST]!;
    const start = words[page + Page.START_MIDDLE]!;
    const before = words[used + FIRST] !== 0 ? 0 : start - 1;
    // The original forgets that chunk 0 is the header's, so a chunk after the middle object is
    // never used.
    const end = this.#asSeed ? Page.CHUNKS - 1 : Page.CHUNKS;
    const after = words[used + LAST] !== 0 ? 0 : end - start - middle;
    return Math.max(before, after);
  }

  /**
   * Moves the middle object to make the page's free chunks contiguous: alone, it becomes the first;
   * beside a first or last object, it moves next to that. A mapped object does not move.
   * @returns whether it moved
   */
  #joinHolesLocked(page: number): boolean {
    const words = this.words;
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
    const start = first !== 0 ? first + 1 : Page.CHUNKS - last - middle;
    if (start === words[page + Page.START_MIDDLE]) return false;
    this.#moveMiddle(page, start);
    return true;
  }

  #moveMiddle(page: number, start: number): void {
    const { words } = this;
    const sizeBytes = words[page + Page.CHUNKS_USED + MIDDLE]! * this.#chunkBytes;
    const source = page * 4 + words[page + Page.START_MIDDLE]! * this.#chunkBytes;
    moveBytes(words, this.arena.kernels, page * 4 + start * this.#chunkBytes, source, sizeBytes);
    put(words, page + Page.START_MIDDLE, start);
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
    return this.#findBuddy(page, handle) === NIL ? NIL : page;
  }

  #findBuddy(page: number, handle: Handle): number {
    for (let buddy = FIRST; buddy <= LAST; buddy++) {
      if (this.words[page + Page.HANDLES + buddy] !== handle) continue;
      if (this.words[page + Page.CHUNKS_USED + buddy] !== 0) return buddy;
    }
    return NIL;
  }

  /** The address of a live object with room for `sizeBytes`, else NIL. */
  #locate(handle: Handle, sizeBytes: number): number {
    const page = this.#findPage(handle);
    if (page === NIL) return NIL;
    const buddy = this.#findBuddy(page, handle);
    const room = this.words[page + Page.CHUNKS_USED + buddy]! * this.#chunkBytes;
    if (!(sizeBytes >= 0 && sizeBytes <= room)) return NIL;
    const frame = this.words[page + Page.FRAME]! as PageFrame;
    return this.arena.frames.frameToAddress(frame) + this.#offsetOf(page, buddy, room);
  }

  #offsetOf(page: number, buddy: number, room: number): number {
    if (this.words[page + Page.HEADLESS] !== 0) return 0;
    if (buddy === FIRST) return this.#chunkBytes;
    if (buddy === LAST) return this.arena.pageSize - room;
    return this.words[page + Page.START_MIDDLE]! * this.#chunkBytes;
  }

  #pageOfLru(link: WordIndex): number {
    const { frames } = this.arena;
    return this.words[frames.privateOf(frames.frameOfLink(link))]!;
  }

  #objectsIn(page: number): number {
    let objects = 0;
    for (let buddy = FIRST; buddy <= LAST; buddy++) {
      if (this.words[page + Page.CHUNKS_USED + buddy] !== 0) objects++;
    }
    return objects;
  }

  #isEmpty(page: number): boolean {
    return this.#objectsIn(page) === 0;
  }

  #isMapped(page: number): boolean {
    const maps = page + Page.MAPS;
    return this.words[maps]! + this.words[maps + MIDDLE]! + this.words[maps + LAST]! > 0;
  }

  #countLocked(head: number): number {
    const count = listCheck(this.words, head, this.arena.frames.framesTotal);
    assert(count >= 0, "a list of pages is whole");
    return count;
  }

  /** Checks the pages of one list: `buddied`, or `unbuddied` with so many free chunks. */
  #verifyList(list: number, free: number): number {
    const head = this.own + list + (list === UNBUDDIED ? free * LINK_WORDS : 0);
    // Counts first: a broken list might never return to its head.
    const pages = this.#countLocked(head);
    for (let link = listFirst(this.words, head); link !== head; link = listNext(this.words, link)) {
      const page = link - Page.LINK;
      const full = this.#objectsIn(page) === Page.BUDDIES;
      assert(full === (list === BUDDIED), "a page with three objects is listed as full");
      assert(full || this.#freeChunks(page) === free, "a page is listed by its free chunks");
    }
    return pages;
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
    assert(reclaimed === 1 || !this.#isEmpty(page), "a page holds something");
    // In a list, malloc would find the page while a thread empties it.
    const unlisted = (headless | reclaimed) === 1;
    assert(listEmpty(words, page + Page.LINK) === unlisted, "a page is listed by room, or exempt");
    this.#verifyPlaces(page);
    let slots = 0;
    for (let buddy = FIRST; buddy <= LAST; buddy++) {
      const slot = this.#verifyBuddy(page, buddy);
      assert((slots & slot) === 0, "no two objects of a page have one slot");
      slots |= slot;
    }
    return this.#objectsIn(page);
  }

  /** Checks that the objects of a page do not overlap, and that its holes are joined. */
  #verifyPlaces(page: number): void {
    const { words } = this;
    const first = words[page + Page.CHUNKS_USED + FIRST]!;
    const middle = words[page + Page.CHUNKS_USED + MIDDLE]!;
    const last = words[page + Page.CHUNKS_USED + LAST]!;
    const start = words[page + Page.START_MIDDLE]!;
    assert(first >= 0 && middle >= 0 && last >= 0, "no object has less than no chunks");
    assert((middle === 0) === (start === 0), "only a middle object has a start");
    const headless = words[page + Page.HEADLESS] !== 0;
    assert(!headless || (first <= Page.CHUNKS && middle + last === 0), "one, and no larger");
    if (headless) return;
    if (middle !== 0) assert(start > first, "first and middle do not overlap");
    const end = middle === 0 ? first + 1 : start + middle;
    assert(end + last <= Page.CHUNKS, "the objects fit into the page");
    const full = this.#objectsIn(page) === Page.BUDDIES;
    const pinned = words[page + Page.UNDER_RECLAIM] !== 0 || words[page + Page.MAPS + MIDDLE] !== 0;
    if (this.#asSeed || full || pinned) return;
    const free = Page.CHUNKS - 1 - first - middle - last;
    assert(this.#freeChunks(page) === free, "the free chunks of a page are in one piece");
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
    assert(this.#findBuddy(page, handle) === buddy, "no two objects have one handle");
    return 1 << slotOf(this.#bits, handle);
  }
}
