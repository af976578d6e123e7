// The tmem key space: (pool, object id, index) → the entry of a page. Pools belong to clients, an
// object of a pool is a set of pages, and the index tells the pages of an object apart.
//
//   pools.ts     the table of pools: ephemeral or persistent, private or shared
//   objects.ts   one hash table for the objects of all pools
//   tree.ts      a radix tree for the pages of an object
//
// All of it stands in words of the arena. Everything here is called under the arena's lock, and
// everything it writes can be undone (memory/journal.ts). A step either takes records and frames or
// gives them back, never both: so that what is given back still says what it said when the step is
// undone, whoever removes and then inserts commits in between.
//
// Logged words: less than 300 for an insertion, mostly 10; less than 200 for a removal. A step of
// `removeObject` and `destroyStep` ends by itself before it becomes too long for one transaction.
import { NIL, type Nil, type WordIndex } from "../base/brand.ts";
import { EINVAL, type Errno } from "../base/errno.ts";
import { assert } from "../base/errors.ts";
import { JOURNAL_NEXT } from "../memory/arena.layout.ts";
import type { Arena } from "../memory/arena.ts";
import { ownerOf } from "../memory/frame.layout.ts";
import type { FrameAllocator } from "../memory/frames.ts";
import { add, put } from "../memory/journal.ts";
import * as Entry from "./entry.layout.ts";
import * as Index from "./index.layout.ts";
import { TmemKey } from "./key.ts";
import * as Obj from "./object.layout.ts";
import { ObjectTable } from "./objects.ts";
import { type PERSISTENT, PoolTable, type TmemPool, type TmemPoolInfo } from "./pools.ts";
import { POSITIONS, type ScanCursor } from "./scan_cursor.ts";
import * as Tree from "./tree.layout.ts";
import { type EntryMoved, PageTree } from "./tree.ts";

/** Frame owners that an index needs: 0 leaves and nodes, 1 and 2 objects, 3 the hash table. */
export const INDEX_OWNERS = 4;

/** Called with each entry before it is removed; `keyOf` may be asked, the index not be changed. */
export type EntryVisit = (entry: WordIndex) => void;

/** A step of many removals ends when this many words are logged: 1,000 with the last of them. */
const STEP_LOGGED_WORDS = 600;
/** Buckets that a step looks at, at most: a tenth of a millisecond, if none is cached. */
const STEP_BUCKETS = 512;

export class TmemIndex {
  readonly #words: Int32Array;
  readonly #frames: FrameAllocator;
  readonly #pools: PoolTable;
  /** Where `remove` finds out which page goes. */
  readonly #counted = new TmemKey();
  readonly #objects: ObjectTable;
  readonly #tree: PageTree;
  /** A frame has 2^this words; a word index has 30 bits, so it may be shifted. */
  readonly #frameShift: number;
  readonly #treeOwner: number;
  readonly #shortOwner: number;
  readonly #longOwner: number;
  readonly #probe = new TmemKey();

  /**
   * The index as one thread sees it.
   * @param at word index of INDEX_WORDS words that the caller provides
   * @param owner gives the numbers under which frames are taken, for 0 … INDEX_OWNERS − 1: all
   *   different, none of them 0, used by nobody else, and the same in all threads
   * @param moved called when an entry lies elsewhere: all its words have been copied, and what
   *   points to the old place is to point to the new one
   */
  constructor(arena: Arena, at: number, owner: (nth: number) => number, moved: EntryMoved) {
    this.#words = arena.words;
    this.#frames = arena.frames;
    this.#frameShift = arena.frames.pageShift - 2;
    this.#treeOwner = owner(0);
    this.#shortOwner = owner(1);
    this.#longOwner = owner(2);
    this.#pools = new PoolTable(arena, at + Index.POOLS);
    this.#objects = new ObjectTable(arena, at, owner(3), this.#shortOwner, this.#longOwner);
    this.#tree = new PageTree(arena, at + Index.TREE_SLAB, this.#treeOwner, moved);
  }

  /**
   * Makes an empty index; once, before others see the words. Holds no frames.
   * @param seed of the hash: 32 bits of chance
   */
  format(seed: number): void {
    this.#pools.format();
    this.#objects.format(seed);
    this.#tree.format();
  }

  /**
   * Makes a pool, or joins the shared pool of this UUID.
   * @param client a number that says who asks
   * @param flags PERSISTENT, SHARED, KEEPS_OLD
   * @param uuid 16 bytes for a shared pool, null for a private one
   * @returns the pool's id; EINVAL for flags that can't be, or others than the shared pool has;
   *   EBUSY while the shared pool is dying; ENOSPC with 256 pools
   */
  createPool(client: number, flags: number, uuid: Uint8Array | null): TmemPool | Errno {
    return this.#pools.create(client, flags, uuid);
  }

  /** @returns the shared pool of this UUID, or NIL; a dying one is not found */
  findPool(uuid: Uint8Array): TmemPool | Nil {
    return this.#pools.find(uuid);
  }

  /**
   * Ends one client's use of a pool. If it was the last, the pool is dying: nothing is found in it
   * or goes into it, and `destroyStep` is to be called until it says 0.
   * @returns clients that still use it; EINVAL if there is no such pool, EBUSY if it is dying
   */
  destroyPool(pool: number): number | Errno {
    return this.#pools.leave(pool);
  }

  /**
   * Removes some pages of a dying pool; others may come and go in other pools between the steps.
   * May remove none and yet not be done, where it looked at many buckets of others.
   * @param maxPages 1 or more; fewer where the transaction would be too long
   * @returns pages left; after 0 the pool is gone. EINVAL if no such pool is dying
   */
  destroyStep(pool: number, maxPages: number, onEntry: EntryVisit): number | Errno {
    if (!this.#pools.isDying(pool)) return EINVAL;
    const words = this.#words;
    const at = this.#pools.at(pool);
    const number = pool & Index.NUMBER_MASK;
    let removed = 0;
    let bucket = words[at + Index.CURSOR]!;
    // Downwards, and round again as long as there are objects. A bucket that is merged while this
    // goes on is appended to a lower one, which is still ahead; one that is split may send objects
    // to a place that was passed, and those are found the next time round.
    for (let looked = 0; words[at + Index.OBJECTS]! > 0; ) {
      bucket = Math.min(bucket, this.#objects.buckets - 1);
      const object = this.#objectOf(bucket, number);
      if (object !== Obj.NONE) {
        if (removed >= maxPages || !this.#goesOn(removed)) break;
        removed += this.#removePages(object, maxPages - removed, onEntry);
      } else {
        if (looked++ === STEP_BUCKETS) break;
        bucket = (bucket === 0 ? this.#objects.buckets : bucket) - 1;
      }
    }
    put(words, at + Index.CURSOR, bucket);
    if (words[at + Index.OBJECTS] === 0) this.#pools.release(pool);
    return words[at + Index.PAGES]!;
  }

  /**
   * @returns the entry of a page, NIL if it is not there; EINVAL if there is no such pool, EBUSY if
   *   it is dying
   */
  find(pool: number, key: TmemKey): WordIndex | Nil | Errno {
    if (!this.#pools.isUsable(pool)) return this.#pools.refusal(pool);
    const object = this.#objects.find(pool & Index.NUMBER_MASK, key);
    return object === Obj.NONE ? NIL : this.#tree.find(object, key.indexLow, key.indexHigh);
  }

  /**
   * Finds the entry of a page or makes it. One that is new has a META of 0, and the caller sets all
   * its words, META to something else, before anything else is asked of the index; or removes it.
   * @returns the entry; NIL if no frame is left, and then nothing has changed; EINVAL if there is
   *   no such pool, EBUSY if it is dying
   */
  insert(pool: number, key: TmemKey): WordIndex | Nil | Errno {
    const words = this.#words;
    if (!this.#pools.isUsable(pool)) return this.#pools.refusal(pool);
    const poolAt = this.#pools.at(pool);
    const number = pool & Index.NUMBER_MASK;
    const { indexLow, indexHigh } = key;
    const found = this.#objects.find(number, key);
    if (found !== Obj.NONE) {
      const entry = this.#tree.insert(found, indexLow, indexHigh);
      if (entry !== NIL && words[entry + Entry.META] === 0) this.#count(poolAt, key, 1);
      return entry;
    }
    const object = this.#objects.make(number, key);
    if (object === NIL) return NIL;
    const entry = this.#tree.begin(object, indexLow, indexHigh);
    if (entry === NIL) {
      this.#objects.discard(object);
      return NIL;
    }
    this.#objects.link(object);
    add(words, poolAt + Index.OBJECTS, 1);
    this.#count(poolAt, key, 1);
    return entry;
  }

  /** Removes a page's entry, and its object with the last of its pages. */
  remove(entry: WordIndex): void {
    this.#removeFrom(this.#objectAround(entry), entry);
  }

  /**
   * Fills in the key of an entry, found from nothing but where the entry lies.
   * @returns its pool, which may be dying
   */
  keyOf(entry: WordIndex, key: TmemKey): TmemPool {
    const words = this.#words;
    const object = this.#objectAround(entry);
    this.#objects.idOf(object, key);
    this.#indexOf(object, entry, key);
    return words[this.#pools.at(this.#numberOf(object)) + Index.POOL_ID]! as TmemPool;
  }

  /** Whether an entry is for sure the only one of its object, which lies in the object's record. */
  isInline(entry: WordIndex): boolean {
    return ownerOf(this.#frames.state(entry >>> this.#frameShift)) !== this.#treeOwner;
  }

  /**
   * Finds the page of the key's object with the lowest index from the key's index on, and sets the
   * key's index to that. With `key.nextIndex()` in between, all pages of an object in order.
   * @returns as `find`
   */
  nextPage(pool: number, key: TmemKey): WordIndex | Nil | Errno {
    if (!this.#pools.isUsable(pool)) return this.#pools.refusal(pool);
    const object = this.#objects.find(pool & Index.NUMBER_MASK, key);
    if (object === Obj.NONE) return NIL;
    const entry = this.#tree.next(object, key.indexLow, key.indexHigh);
    if (entry !== NIL) this.keyOf(entry, key);
    return entry;
  }

  /** @returns pages of the key's object, 0 if there is none; EINVAL and EBUSY as `find` */
  objectPages(pool: number, key: TmemKey): number | Errno {
    if (!this.#pools.isUsable(pool)) return this.#pools.refusal(pool);
    const object = this.#objects.find(pool & Index.NUMBER_MASK, key);
    return object === Obj.NONE ? 0 : this.#tree.count(object);
  }

  /**
   * Removes pages of the key's object, lowest index first.
   * @param maxPages 1 or more; fewer where the transaction would be too long
   * @returns pages left, 0 when the object is gone or was never there; EINVAL and EBUSY as `find`
   */
  removeObject(pool: number, key: TmemKey, maxPages: number, onEntry: EntryVisit): number | Errno {
    if (!this.#pools.isUsable(pool)) return this.#pools.refusal(pool);
    const object = this.#objects.find(pool & Index.NUMBER_MASK, key);
    if (object === Obj.NONE) return 0;
    const pages = this.#tree.count(object);
    return pages - this.#removePages(object, maxPages, onEntry);
  }

  /**
   * Visits some entries from where the cursor stands, and moves it on: called again and again,
   * every entry that stays is visited once in each round, in no order that means anything. What
   * comes and goes between two calls may be visited or not.
   * @param entriesMax how many at about
   * @param visit may not change the index
   * @returns whether a round has ended: the next call begins another
   */
  scan(cursor: ScanCursor, entriesMax: number, visit: EntryVisit): boolean {
    let left = entriesMax;
    if (cursor.isWithin) {
      const object = this.#objects.find(cursor.number, cursor.key);
      cursor.isWithin = false;
      if (object !== Obj.NONE) left -= this.#scanTree(object, cursor, left, visit);
      if (cursor.isWithin) return false;
      cursor.position++;
    }
    for (let looked = 0; left > 0 && looked < STEP_BUCKETS; looked++) {
      if (cursor.position >= POSITIONS || this.#objects.buckets === 0) {
        cursor.position = 0;
        return true;
      }
      left -= this.#scanBucket(cursor, left, visit);
      if (cursor.isWithin) return false;
    }
    return false;
  }

  /** Calls `visit` with each pool, dying ones included. */
  forEachPool(visit: (pool: TmemPool) => void): void {
    let pool = this.#pools.from(0);
    while (pool !== NIL) {
      visit(pool);
      pool = this.#pools.from((pool & Index.NUMBER_MASK) + 1);
    }
  }

  /** @returns 0 for an ephemeral pool, 1 for a persistent one, NIL if it is dying or unknown */
  kindOf(pool: number): 0 | typeof PERSISTENT | Nil {
    return this.#pools.kind(pool);
  }

  /** Whether a page that is not taken leaves the old one of its key; false if there is no pool. */
  keepsOld(pool: number): boolean {
    return this.#pools.keepsOld(pool);
  }

  /** Whether a pool is shared by UUID; fixed while there is such a pool, so no lock is needed. */
  isShared(pool: number): boolean {
    return this.#pools.isShared(pool);
  }

  /** What is known of a pool, dying or not; null if there is no such pool. */
  poolInfo(pool: number): TmemPoolInfo | null {
    return this.#pools.info(pool);
  }

  /** Pages of all pools. */
  get pages(): number {
    return this.#pools.pages;
  }

  /** Objects of all pools. */
  get objects(): number {
    return this.#objects.count;
  }

  /** Page frames that the index holds, besides the words that its owner provides. */
  get memoryFrames(): number {
    return this.#objects.framesHeld + this.#tree.framesHeld;
  }

  /**
   * Whether there is an entry at this word, whatever number it is: the key that it leads to must
   * lead back.
   */
  holds(at: number): boolean {
    if (!(at > 0 && at < this.#words.length)) return false;
    const object = this.#objectAt(at);
    if (!this.#objects.contains(object)) return false;
    const key = this.#probe;
    this.#objects.idOf(object, key);
    const isInline = at === object + Obj.ENTRY;
    const leaf = isInline ? NIL : this.#tree.leafOf(at as WordIndex);
    if (leaf === NIL) key.indexLow = key.indexHigh = 0;
    else if ((at - leaf) % Entry.ENTRY_WORDS !== 0 || at < leaf + Tree.ENTRIES) return false;
    else this.keyOf(at as WordIndex, key);
    if (this.#objects.find(this.#numberOf(object), key) !== object) return false;
    return this.#tree.find(object, key.indexLow, key.indexHigh) === at;
  }

  /**
   * Walks everything: tables, chains, trees, and what leads back from an entry to its key.
   * @param visit is called once for each entry
   * @throws AssertionError
   */
  verify(visit?: EntryVisit): void {
    const found = new TmemKey();
    const pages = new Map<number, number>();
    const objects = new Map<number, number>();
    const firsts = new Map<number, number>();
    let records = 0;
    this.#objects.verify((object) => {
      const number = this.#numberOf(object);
      const key = new TmemKey();
      this.#objects.idOf(object, key);
      assert(this.#objects.find(number, key) === object, "an object is the one of its name");
      objects.set(number, (objects.get(number) ?? 0) + 1);
      records += this.#tree.verify(object, (entry) => {
        visit?.(entry);
        pages.set(number, (pages.get(number) ?? 0) + 1);
        const pool = this.keyOf(entry, found);
        const isFirst = (found.indexLow | found.indexHigh) === 0;
        firsts.set(number, (firsts.get(number) ?? 0) + (isFirst ? 1 : 0));
        assert((pool & Index.NUMBER_MASK) === number, "an entry leads to its pool");
        const again = this.#tree.find(object, found.indexLow, found.indexHigh);
        assert(again === entry, "an entry is found by the key that it leads to");
      });
    });
    this.#tree.verifySlab(records);
    this.#pools.verify(pages, objects, firsts);
  }

  /** Visits entries of one bucket from the cursor on. @returns how many */
  #scanBucket(cursor: ScanCursor, entriesMax: number, visit: EntryVisit): number {
    const objects = this.#objects;
    const words = this.#words;
    const bucket = objects.bucketAt(cursor.position);
    const end = objects.endOf(bucket);
    for (let visited = 0; visited < entriesMax; ) {
      // The next in the order of positions. Chains are short, so they are looked through for each.
      let next = end;
      let count = 0;
      let object = objects.firstOf(bucket);
      for (; object !== Obj.NONE; object = words[object + Obj.NEXT]!) {
        const position = objects.positionOf(object);
        if (position < cursor.position || position > next) continue;
        count = position === next ? count + 1 : 1;
        next = position;
      }
      cursor.position = next;
      if (count === 0) return visited;
      // A cursor can stand within one of them, so of several at one position none is left for
      // later.
      const left = count === 1 ? entriesMax - visited : Number.POSITIVE_INFINITY;
      object = objects.firstOf(bucket);
      for (; object !== Obj.NONE; object = words[object + Obj.NEXT]!) {
        if (objects.positionOf(object) !== next) continue;
        visited += this.#scanObject(object, cursor, left, visit);
      }
      if (cursor.isWithin) return visited;
      cursor.position = next + 1;
    }
    return entriesMax;
  }

  /** Visits entries of one object from the first on. @returns how many */
  #scanObject(object: number, cursor: ScanCursor, entriesMax: number, visit: EntryVisit): number {
    if ((this.#words[object + Obj.SHAPE]! & Obj.INLINE) !== 0) {
      visit((object + Obj.ENTRY) as WordIndex);
      return 1;
    }
    cursor.number = this.#numberOf(object);
    this.#objects.idOf(object, cursor.key);
    cursor.key.indexLow = cursor.key.indexHigh = 0;
    return this.#scanTree(object, cursor, entriesMax, visit);
  }

  /** Visits entries of one object from the cursor's key on. @returns how many */
  #scanTree(object: number, cursor: ScanCursor, entriesMax: number, visit: EntryVisit): number {
    const { key } = cursor;
    for (let visited = 0; visited < entriesMax; visited++) {
      const entry = this.#tree.next(object, key.indexLow, key.indexHigh);
      if (entry === NIL) return visited;
      visit(entry);
      this.keyOf(entry, key);
      if (!key.nextIndex()) return visited + 1;
    }
    cursor.isWithin = true;
    return entriesMax;
  }

  /** Removes some pages of an object, and the object with the last. @returns how many */
  #removePages(object: number, maxPages: number, onEntry: EntryVisit): number {
    let removed = 0;
    while (removed < maxPages && this.#goesOn(removed)) {
      const entry = this.#tree.first(object);
      onEntry(entry);
      removed++;
      if (!this.#removeFrom(object, entry)) break;
    }
    return removed;
  }

  /** Whether a step that has done this much is to do more: always something, but not too much. */
  #goesOn(removed: number): boolean {
    return removed === 0 || this.#words[JOURNAL_NEXT]! < STEP_LOGGED_WORDS;
  }

  /** @returns whether the object is still there */
  #removeFrom(object: number, entry: WordIndex): boolean {
    const poolAt = this.#pools.at(this.#numberOf(object));
    this.#count(poolAt, this.#indexOf(object, entry, this.#counted), -1);
    if (this.#tree.remove(object, entry)) return true;
    this.#objects.unlink(object as WordIndex);
    add(this.#words, poolAt + Index.OBJECTS, -1);
    return false;
  }

  /** Fills in the index of an object's entry. */
  #indexOf(object: number, entry: WordIndex, key: TmemKey): TmemKey {
    const isInline = entry === object + Obj.ENTRY;
    const leaf = isInline ? NIL : this.#tree.leafOf(entry);
    const words = this.#words;
    key.indexLow = isInline ? 0 : words[leaf + Tree.BASE]! | this.#tree.nthOf(leaf, entry);
    key.indexHigh = isInline ? 0 : words[leaf + Tree.BASE + 1]!;
    return key;
  }

  /** Counts a page of a pool that comes or goes. */
  #count(poolAt: number, { indexLow, indexHigh }: TmemKey, by: 1 | -1): void {
    add(this.#words, poolAt + Index.PAGES, by);
    if ((indexLow | indexHigh) === 0) add(this.#words, poolAt + Index.FIRSTS, by);
  }

  /** The first object of a pool in a bucket, or NONE. */
  #objectOf(bucket: number, number: number): number {
    let object = this.#objects.firstOf(bucket);
    while (object !== Obj.NONE && this.#numberOf(object) !== number) {
      object = this.#words[object + Obj.NEXT]!;
    }
    return object;
  }

  #numberOf(object: number): number {
    return this.#words[object + Obj.SHAPE]! & Obj.POOL_MASK;
  }

  /** The word at which the object of an entry would begin, were there an entry. */
  #objectAt(at: number): number {
    const owner = ownerOf(this.#frames.state(at >>> this.#frameShift));
    if (owner !== this.#treeOwner) return at - Obj.ENTRY;
    return this.#words[this.#tree.leafOf(at as WordIndex) + Tree.OBJECT]!;
  }

  /** The object of an entry; the owner of the frame says what the entry lies in. */
  #objectAround(entry: WordIndex): number {
    const owner = ownerOf(this.#frames.state(entry >>> this.#frameShift));
    if (owner === this.#treeOwner) return this.#words[this.#tree.leafOf(entry) + Tree.OBJECT]!;
    assert(owner === this.#shortOwner || owner === this.#longOwner, "an entry lies in the index");
    return entry - Obj.ENTRY;
  }
}
