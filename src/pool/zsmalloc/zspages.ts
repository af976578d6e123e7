// The zspages of a pool: allocates and frees chains of frames, and keeps the lists by class and
// fullness and the LRU.
//
// Every method here runs under the pool's lock, except the constructor.
import { NIL, type Nil, type PageFrame, type WordIndex } from "../../base/brand.ts";
import { assert } from "../../base/errors.ts";
import type { Arena } from "../../memory/arena.ts";
import { add, put } from "../../memory/journal.ts";
import {
  LINK_WORDS,
  listAdd,
  listCheck,
  listDel,
  listFirst,
  listInit,
  listLast,
  listNext,
  listPrev,
} from "../../memory/list.ts";
import { SLAB_HEAD_WORDS } from "../../memory/slab.layout.ts";
import { Slab } from "../../memory/slab.ts";
import * as Pool from "../pool.layout.ts";
import type { Places } from "./places.ts";
import type { SizeClasses } from "./size_classes.ts";
import * as Zspage from "./zspage.layout.ts";

// The words in the pool's descriptor: slab of records, LRU, then for each class two counts and the
// heads of its lists, group 0 first.
const RECORDS = 0;
const LRU = RECORDS + SLAB_HEAD_WORDS;
const CLASSES = LRU + LINK_WORDS;
const OBJECTS = 0;
const ZSPAGES = 1;
const GROUPS = 2;

/** Words of the pool's descriptor for the zspages of these classes. */
export function zspagesWords({ count, groups }: SizeClasses): number {
  return CLASSES + count * (GROUPS + groups * LINK_WORDS);
}

export interface ZspagesSpec {
  readonly places: Places;
  readonly poolId: PageFrame;
  /** Word index of `zspagesWords` words in the pool's descriptor. */
  readonly ownAt: number;
  /**
   * The owner number of the records' frames: not the pool's id, so that no frame of records is
   * taken for one of objects.
   */
  readonly recordsOwner: number;
}

export class Zspages {
  readonly classes: SizeClasses;
  readonly places: Places;
  readonly #arena: Arena;
  readonly #words: Int32Array;
  readonly #poolAt: number;
  readonly #poolId: PageFrame;
  readonly #records: Slab;
  readonly #lru: number;
  readonly #classesAt: number;
  readonly #classWords: number;
  readonly #full: number;

  constructor(arena: Arena, { places, poolId, ownAt, recordsOwner }: ZspagesSpec) {
    const { classes } = places;
    this.classes = classes;
    this.places = places;
    this.#arena = arena;
    this.#words = arena.words;
    this.#poolAt = arena.frames.frameToWord(poolId);
    this.#poolId = poolId;
    this.#records = new Slab(arena, ownAt + RECORDS, Zspage.RECORD_WORDS, recordsOwner);
    this.#lru = ownAt + LRU;
    this.#classesAt = ownAt + CLASSES;
    this.#classWords = GROUPS + classes.groups * LINK_WORDS;
    this.#full = classes.groups - 1;
  }

  /** Initializes all lists; called once, by the pool's creator. */
  format(): void {
    this.#records.format();
    listInit(this.#words, this.#lru);
    for (let cls = 0; cls < this.classes.count; cls++) {
      put(this.#words, this.#classAt(cls) + OBJECTS, 0);
      put(this.#words, this.#classAt(cls) + ZSPAGES, 0);
      for (let group = 0; group <= this.#full; group++) {
        listInit(this.#words, this.#listOf(cls, group));
      }
    }
  }

  /** Allocates an empty zspage, in no fullness list; the caller links its free objects. */
  build(cls: number): WordIndex | Nil {
    const words = this.#words;
    const zspage = this.#records.alloc();
    if (zspage === NIL) return NIL;
    const first = this.#buildChain(cls, zspage);
    if (first === 0) {
      this.#records.free(zspage);
      return NIL;
    }
    listInit(words, zspage + Zspage.LINK);
    listAdd(words, zspage + Zspage.LRU, this.#lru);
    put(words, zspage + Zspage.CLASS, cls);
    put(words, zspage + Zspage.GROUP, 0);
    put(words, zspage + Zspage.IN_USE, 0);
    put(words, zspage + Zspage.FREE, 0);
    put(words, zspage + Zspage.FIRST_FRAME, first);
    put(words, zspage + Zspage.PINS, 0);
    put(words, zspage + Zspage.UNDER_RECLAIM, 0);
    put(words, zspage + Zspage.PASS, 0);
    put(words, zspage + Zspage.FRESH, 0);
    put(words, zspage + Zspage.OWN, 0);
    add(words, this.#classAt(cls) + ZSPAGES, 1);
    add(words, this.#poolAt + Pool.PAGES, this.classes.pages[cls]!);
    return zspage;
  }

  /** Frees a zspage with its frames, whatever is in it. @returns page frames freed */
  release(zspage: number): number {
    const words = this.#words;
    const cls = words[zspage + Zspage.CLASS]!;
    const pages = this.classes.pages[cls]!;
    listDel(words, zspage + Zspage.LINK);
    // The zspage leaves its list and the LRU under one hold of the lock, so that no other thread
    // finds a zspage that is half freed.
    listDel(words, zspage + Zspage.LRU);
    this.#freeChain(words[zspage + Zspage.FIRST_FRAME]!);
    add(words, this.#classAt(cls) + OBJECTS, -words[zspage + Zspage.IN_USE]!);
    add(words, this.#classAt(cls) + ZSPAGES, -1);
    add(words, this.#poolAt + Pool.PAGES, -pages);
    this.#records.free(zspage as WordIndex);
    return pages;
  }

  /**
   * The fullest zspage of a class that has room, or NIL; of several in one fullness group, the one
   * listed last.
   */
  fullest(cls: number): number {
    const words = this.#words;
    const empty = this.#listOf(cls, 0);
    for (let head = this.#listOf(cls, this.#full - 1); head > empty; head -= LINK_WORDS) {
      const link = words[head]!;
      if (link !== head) return link - Zspage.LINK;
    }
    return NIL;
  }

  /** The emptiest zspage with room that is not `other` and has nothing mapped, or NIL. */
  emptiestMovable(cls: number, other: number): number {
    const words = this.#words;
    for (let group = 1; group < this.#full; group++) {
      const head = this.#listOf(cls, group);
      for (let link = listFirst(words, head); link !== head; link = listNext(words, link)) {
        const zspage = link - Zspage.LINK;
        if (zspage !== other && words[zspage + Zspage.PINS] === 0) return zspage;
      }
    }
    return NIL;
  }

  /** Whether the free objects of a class fill a zspage; otherwise moving objects gains nothing. */
  canGain(cls: number): boolean {
    const at = this.#classAt(cls);
    const objects = this.classes.objects[cls]!;
    const capacity = Math.imul(this.#words[at + ZSPAGES]!, objects);
    return capacity - this.#words[at + OBJECTS]! >= objects;
  }

  /** Removes a zspage from its fullness list. */
  unlist(zspage: number): void {
    listDel(this.#words, zspage + Zspage.LINK);
  }

  /** Adds a zspage that is in no list to the front of the list of its fullness. */
  list(zspage: number): void {
    const cls = this.#words[zspage + Zspage.CLASS]!;
    const group = this.#groupOf(cls, this.#words[zspage + Zspage.IN_USE]!);
    put(this.#words, zspage + Zspage.GROUP, group);
    listAdd(this.#words, zspage + Zspage.LINK, this.#listOf(cls, group));
  }

  /** Counts an object that the pool has added. */
  added(zspage: number, cls: number): void {
    const words = this.#words;
    const inUse = add(words, zspage + Zspage.IN_USE, 1) + 1;
    add(words, this.#classAt(cls) + OBJECTS, 1);
    this.#regroup(zspage, cls, inUse);
    // A zspage is warm if half of its objects are new. If one new object were enough, it would
    // protect a hundred cold ones from reclaim.
    const fresh = add(words, zspage + Zspage.FRESH, 1) + 1;
    if (2 * fresh < inUse) return;
    put(words, zspage + Zspage.FRESH, 0);
    if (listFirst(words, this.#lru) === zspage + Zspage.LRU) return;
    listDel(words, zspage + Zspage.LRU);
    listAdd(words, zspage + Zspage.LRU, this.#lru);
  }

  /**
   * Counts an object that the pool has removed.
   * @returns whether the zspage is now empty and must be freed
   */
  removed(zspage: number, cls: number): boolean {
    const words = this.#words;
    const inUse = add(words, zspage + Zspage.IN_USE, -1) - 1;
    add(words, this.#classAt(cls) + OBJECTS, -1);
    if (words[zspage + Zspage.UNDER_RECLAIM] !== 0) return false;
    if (inUse === 0) return true;
    this.#regroup(zspage, cls, inUse);
    return false;
  }

  /** Counts objects from one zspage of a class to another; both are in no list. */
  moved(from: number, to: number, count: number): void {
    add(this.#words, from + Zspage.IN_USE, -count);
    add(this.#words, to + Zspage.IN_USE, count);
  }

  /** The coldest zspage, or NIL. */
  coldest(): number {
    const link = listLast(this.#words, this.#lru);
    return link === this.#lru ? NIL : link - Zspage.LRU;
  }

  /** The next warmer zspage, or NIL. */
  warmer(zspage: number): number {
    const link = listPrev(this.#words, zspage + Zspage.LRU);
    return link === this.#lru ? NIL : link - Zspage.LRU;
  }

  /** Objects of a class. */
  objectsOf(cls: number): number {
    return this.#words[this.#classAt(cls) + OBJECTS]!;
  }

  /** Zspages of a class. */
  zspagesOf(cls: number): number {
    return this.#words[this.#classAt(cls) + ZSPAGES]!;
  }

  /** Page frames of records. */
  get recordFrames(): number {
    return this.#records.framesHeld;
  }

  /** Checks the lists, the counts and the chains. @returns zspages found */
  verify(): number {
    const limit = this.#arena.frames.framesTotal;
    const found = listCheck(this.#words, this.#lru, limit);
    assert(found >= 0, "the LRU is whole");
    const zspages = new Int32Array(this.classes.count);
    const objects = new Int32Array(this.classes.count);
    let outside = 0;
    for (let zspage = this.coldest(); zspage !== NIL; zspage = this.warmer(zspage)) {
      this.#verifyChain(zspage);
      const cls = this.#words[zspage + Zspage.CLASS]!;
      zspages[cls]!++;
      objects[cls]! += this.#words[zspage + Zspage.IN_USE]!;
      outside += this.#words[zspage + Zspage.UNDER_RECLAIM]!;
    }
    let listed = 0;
    for (let cls = 0; cls < this.classes.count; cls++) {
      assert(zspages[cls] === this.zspagesOf(cls), "a class counts its zspages");
      assert(objects[cls] === this.objectsOf(cls), "a class counts its objects");
      listed += this.#verifyLists(cls);
    }
    assert(listed + outside === found, "every zspage is in one list or under reclaim");
    this.#records.verify();
    assert(this.#records.recordsUsed === found, "every record is a zspage's");
    return found;
  }

  /** @returns zspages in the lists of the class */
  #verifyLists(cls: number): number {
    const words = this.#words;
    let listed = 0;
    for (let group = 0; group <= this.#full; group++) {
      const head = this.#listOf(cls, group);
      const length = listCheck(words, head, this.#arena.frames.framesTotal);
      assert(length >= 0, "a list of zspages is whole");
      assert(group > 0 || length === 0, "an empty zspage is freed, not listed");
      for (let link = listFirst(words, head); link !== head; link = listNext(words, link)) {
        const zspage = link - Zspage.LINK;
        const inUse = words[zspage + Zspage.IN_USE]!;
        assert(words[zspage + Zspage.CLASS] === cls, "a zspage is listed by its class");
        assert(words[zspage + Zspage.GROUP] === group, "a zspage knows its list");
        assert(this.#groupOf(cls, inUse) === group, "a zspage is listed by its fullness");
        assert(words[zspage + Zspage.UNDER_RECLAIM] === 0, "what is under reclaim is not listed");
      }
      listed += length;
    }
    return listed;
  }

  #verifyChain(zspage: number): void {
    const words = this.#words;
    const cls = words[zspage + Zspage.CLASS]!;
    assert(cls >= 0 && cls < this.classes.count, "a zspage is of a class");
    const sizeBytes = this.classes.sizeBytes[cls]!;
    let frame = words[zspage + Zspage.FIRST_FRAME]!;
    for (let nth = 0; nth < this.classes.pages[cls]!; nth++) {
      assert(this.#arena.frames.isHeadOf(frame, this.#poolId), "the pool owns its frames");
      const at = this.places.frameWords(frame);
      const first = Math.ceil((nth * this.#arena.pageSize) / sizeBytes);
      const frameClass = Zspage.frameClass(cls, first);
      assert(words[at + Zspage.FRAME_ZSPAGE] === zspage, "a frame knows its zspage");
      assert(words[at + Zspage.FRAME_CLASS] === frameClass, "a frame knows its first object");
      frame = words[at + Zspage.FRAME_NEXT]!;
    }
    assert(frame === 0, "a chain is as long as its class says");
    const inUse = words[zspage + Zspage.IN_USE]!;
    assert(inUse >= 0 && inUse <= this.classes.objects[cls]!, "no more objects than fit");
    assert(words[zspage + Zspage.PINS]! >= 0, "no more unmaps than maps");
  }

  #regroup(zspage: number, cls: number, inUse: number): void {
    const words = this.#words;
    const group = this.#groupOf(cls, inUse);
    if (words[zspage + Zspage.GROUP] === group) return;
    put(words, zspage + Zspage.GROUP, group);
    listDel(words, zspage + Zspage.LINK);
    listAdd(words, zspage + Zspage.LINK, this.#listOf(cls, group));
  }

  #groupOf(cls: number, inUse: number): number {
    return this.classes.groupOf[this.classes.groupAt[cls]! + inUse]!;
  }

  /** Chains the frames of a new zspage. @returns the first, or 0 if there are too few */
  #buildChain(cls: number, zspage: number): number {
    const words = this.#words;
    const sizeBytes = this.classes.sizeBytes[cls]!;
    const { frames, pageSize } = this.#arena;
    const pages = this.classes.pages[cls]!;
    let first = 0;
    let nextAt = 0;
    let frame = 0;
    let runEnd = 0;
    for (let nth = 0; nth < pages; nth++, frame++) {
      if (frame === runEnd) {
        // Allocates adjacent frames together, as far as there are any: allocating frames one by one
        // would be most of the cost.
        let order = 31 - Math.clz32(pages - nth);
        frame = frames.allocSingles(order, this.#poolId);
        while (frame === NIL && order > 0) frame = frames.allocSingles(--order, this.#poolId);
        if (frame === NIL) {
          this.#freeChain(first);
          return 0;
        }
        runEnd = frame + (1 << order);
      }
      if (first === 0) first = frame;
      else put(words, nextAt, frame);
      const at = this.places.frameWords(frame);
      nextAt = at + Zspage.FRAME_NEXT;
      put(words, nextAt, 0);
      const firstObject = Math.ceil((nth * pageSize) / sizeBytes);
      put(words, at + Zspage.FRAME_CLASS, Zspage.frameClass(cls, firstObject));
      put(words, at + Zspage.FRAME_ZSPAGE, zspage);
    }
    return first;
  }

  #freeChain(first: number): void {
    for (let frame = first; frame !== 0; ) {
      const next = this.#words[this.places.frameWords(frame) + Zspage.FRAME_NEXT]!;
      this.#arena.frames.free(frame as PageFrame);
      frame = next;
    }
  }

  #classAt(cls: number): number {
    return this.#classesAt + cls * this.#classWords;
  }

  #listOf(cls: number, group: number): number {
    return this.#classAt(cls) + GROUPS + group * LINK_WORDS;
  }
}
