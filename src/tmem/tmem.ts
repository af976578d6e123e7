// The tmem key space: finds the entry of a page by (pool, object id, index). Pools belong to
// clients; an object of a pool is a set of pages; the index tells the pages of an object apart.
//
//   1. tmem.ts          the index: pools, entries, removal in steps
//   2. pools.ts         the table of pools: ephemeral or persistent, private or shared
//   3. objects.ts, hash.ts   one hash table for the objects of all pools
//   4. tree.ts          a radix tree for the pages of an object
//   5. scan.ts, scan_cursor.ts   iterates over all entries while others change the index
//   6. key.ts           the key of a page, as a reusable buffer
//   7. *.layout.ts      the structures in the arena
//
// All data is in words of the arena. A step either allocates records and frames or frees them,
// never both: a freed record keeps its content until the step is committed, so that a rollback
// restores it. A caller that removes and then inserts commits in between.
//
// Concurrency: every method is called under the arena's lock, and writes through the journal
// (memory/journal.ts).
//
// Limits: 256 pools; object ids of 192 bits or 24 bytes; indexes of 64 bits. Logged words: less
// than 300 for an insertion, mostly 10; less than 200 for a removal. A step of `removeObject` or
// `destroyStep` ends before its transaction becomes too long.
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
import { EntryScan, type EntryVisit, STEP_BUCKETS } from "./scan.ts";
import type { ScanCursor } from "./scan_cursor.ts";
import * as Tree from "./tree.layout.ts";
import { type EntryMoved, PageTree } from "./tree.ts";

/**
 * The number of frame owners that an index needs: the first for leaves and nodes, the second and
 * third for short and long objects, the fourth for the hash table.
 */
export const INDEX_OWNERS = 4;

/**
 * A step of many removals ends once this many words are logged; the last removal brings that to
 * 1,000 at most.
 */
const STEP_LOGGED_WORDS = 600;

export class TmemIndex {
  readonly #words: Int32Array;
  readonly #frames: FrameAllocator;
  readonly #pools: PoolTable;
  /** Scratch key of `remove`. */
  readonly #counted = new TmemKey();
  readonly #objects: ObjectTable;
  readonly #tree: PageTree;
  readonly #scan: EntryScan;
  /** A frame has 2^this words; a word index has 30 bits, so it can be shifted. */
  readonly #frameShift: number;
  readonly #treeOwner: number;
  readonly #shortOwner: number;
  readonly #longOwner: number;
  /** Scratch key of `holds`. */
  readonly #probe = new TmemKey();

  /**
   * Opens the index in the calling thread.
   * @param at word index of INDEX_WORDS words that the caller provides
   * @param owner returns the owner numbers under which frames are allocated, for 0 … INDEX_OWNERS −
   *   1: all different, none of them 0, used by nobody else, and the same in all threads
   * @param moved called when an entry has moved: its words have been copied, and whatever refers to
   *   the old place must refer to the new one
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
    const keyOf = (entry: WordIndex, key: TmemKey) => this.keyOf(entry, key);
    this.#scan = new EntryScan(arena, this.#objects, this.#tree, keyOf);
  }

  /**
   * Initializes an empty index, which holds no frames; called once, before others see the words.
   * @param seed of the hash: 32 random bits
   */
  format(seed: number): void {
    this.#pools.format();
    this.#objects.format(seed);
    this.#tree.format();
  }

  /**
   * Creates a pool, or joins the shared pool of this UUID.
   * @param client a number that names the client
   * @param flags PERSISTENT, SHARED, KEEPS_OLD
   * @param uuid 16 bytes for a shared pool, null for a private one
   * @param id of a new pool (default: the index chooses one)
   * @returns the pool's id; EINVAL for impossible flags, or flags other than the shared pool's;
   *   EBUSY while the shared pool is dying, or if the number of `id` is in use; ENOSPC with 256
   *   pools
   */
  createPool(
    client: number,
    flags: number,
    uuid: Uint8Array | null,
    id?: number,
  ): TmemPool | Errno {
    return this.#pools.create(client, flags, uuid, id);
  }

  /** The pool, dying or not, that has the number of `id`; NIL if there is none. */
  poolInPlaceOf(id: number): TmemPool | Nil {
    const number = id & Index.NUMBER_MASK;
    const pool = this.#pools.from(number);
    return pool !== NIL && (pool & Index.NUMBER_MASK) === number ? pool : NIL;
  }

  /** @returns the shared pool of this UUID, or NIL; a dying pool is not found */
  findPool(uuid: Uint8Array): TmemPool | Nil {
    return this.#pools.find(uuid);
  }

  /**
   * Ends one client's use of a pool. After the last client has left, the pool is dying: nothing is
   * found in it or stored in it, and the caller calls `destroyStep` until it returns 0.
   * @returns clients that still use it; EINVAL if there is no such pool, EBUSY if it is dying
   */
  destroyPool(pool: number): number | Errno {
    return this.#pools.leave(pool);
  }

  /**
   * Removes some pages of a dying pool; other pools may change between two steps. A step also ends
   * after STEP_BUCKETS buckets without an object of the pool, so it may remove no page although
   * some are left.
   * @param maxPages 1 or more; fewer are removed if the transaction would be too long
   * @returns pages left; after 0 the pool is gone. EINVAL if no such pool is dying
   */
  destroyStep(pool: number, maxPages: number, onEntry: EntryVisit): number | Errno {
    if (!this.#pools.isDying(pool)) return EINVAL;
    const words = this.#words;
    const at = this.#pools.at(pool);
    const number = pool & Index.NUMBER_MASK;
    let removed = 0;
    let bucket = words[at + Index.CURSOR]!;
    // Goes from the last bucket down, and starts over while the pool has objects. A bucket that is
    // merged between two steps is appended to a lower one, which is still ahead. A split may move
    // objects to a bucket that was passed; the next round finds those objects.
    for (let looked = 0; words[at + Index.OBJECTS]! > 0; ) {
      bucket = Math.min(bucket, this.#objects.buckets - 1);
      const object = this.#objectOf(bucket, number);
      if (object !== Obj.NONE) {
        if (removed >= maxPages || !this.#mayRemoveMore(removed)) break;
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
   * @returns the entry of a page, NIL if the page is not stored; EINVAL if there is no such pool,
   *   EBUSY if it is dying
   */
  find(pool: number, key: TmemKey): WordIndex | Nil | Errno {
    if (!this.#pools.isUsable(pool)) return this.#pools.refusal(pool);
    const object = this.#objects.find(pool & Index.NUMBER_MASK, key);
    return object === Obj.NONE ? NIL : this.#tree.find(object, key.indexLow, key.indexHigh);
  }

  /**
   * Finds or creates the entry of a page. A new entry has a META of 0; before any other call, the
   * caller sets all its words, META not to 0, or removes it.
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

  /** Removes an entry, and its object if it has no other pages. */
  remove(entry: WordIndex): void {
    this.#removeFrom(this.#objectAround(entry), entry);
  }

  /**
   * Sets `key` to the key of an entry, which follows from where the entry is.
   * @returns its pool, which may be dying
   */
  keyOf(entry: WordIndex, key: TmemKey): TmemPool {
    const words = this.#words;
    const object = this.#objectAround(entry);
    this.#objects.idOf(object, key);
    this.#indexOf(object, entry, key);
    return words[this.#pools.at(this.#numberOf(object)) + Index.POOL_ID]! as TmemPool;
  }

  /** Whether an entry is in its object's record, and thus the object's only one. */
  isInline(entry: WordIndex): boolean {
    return ownerOf(this.#frames.state(entry >>> this.#frameShift)) !== this.#treeOwner;
  }

  /** Pages of the object that an entry's page belongs to, this page included. */
  pagesAround(entry: WordIndex): number {
    return this.#tree.count(this.#objectAround(entry));
  }

  /**
   * Finds the object's page of the lowest index at or after the key's index, and sets the key's
   * index to it. With `key.nextIndex()` in between, iterates over an object in order.
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

  /**
   * @returns pages of the key's object, 0 if there is no such object; EINVAL and EBUSY as `find`
   */
  objectPages(pool: number, key: TmemKey): number | Errno {
    if (!this.#pools.isUsable(pool)) return this.#pools.refusal(pool);
    const object = this.#objects.find(pool & Index.NUMBER_MASK, key);
    return object === Obj.NONE ? 0 : this.#tree.count(object);
  }

  /**
   * Removes pages of the key's object, lowest index first.
   * @param maxPages 1 or more; fewer are removed if the transaction would be too long
   * @returns pages left, 0 if the object is gone or was never stored; EINVAL and EBUSY as `find`
   */
  removeObject(pool: number, key: TmemKey, maxPages: number, onEntry: EntryVisit): number | Errno {
    if (!this.#pools.isUsable(pool)) return this.#pools.refusal(pool);
    const object = this.#objects.find(pool & Index.NUMBER_MASK, key);
    if (object === Obj.NONE) return 0;
    const pages = this.#tree.count(object);
    return pages - this.#removePages(object, maxPages, onEntry);
  }

  /**
   * Visits some entries from the cursor on, and advances it. Called repeatedly, it visits each
   * entry that stays once per round, in no particular order; an entry that is added or removed
   * meanwhile may be visited or not.
   * @param entriesMax entries to visit, at most; objects of equal hashes are visited together, even
   *   if they have more
   * @param visit must not change the index
   * @returns whether a round has ended: the next call begins another
   */
  scan(cursor: ScanCursor, entriesMax: number, visit: EntryVisit): boolean {
    return this.#scan.step(cursor, entriesMax, visit);
  }

  /** Calls `visit` with each pool, including dying pools. */
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

  /** Whether a refused put keeps the old page of its key; false if there is no such pool. */
  keepsOld(pool: number): boolean {
    return this.#pools.keepsOld(pool);
  }

  /** Whether a pool is shared by UUID. Needs no lock, because a pool never changes this. */
  isShared(pool: number): boolean {
    return this.#pools.isShared(pool);
  }

  /** Information on a pool, dying or not; null if there is no such pool. */
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

  /** Page frames that the index has allocated. */
  get memoryFrames(): number {
    return this.#objects.framesHeld + this.#tree.framesHeld;
  }

  /**
   * Whether there is an entry at word index `at`, which may be any number. The words around an
   * entry give its key, and a search for that key must find the entry.
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
   * Checks tables, chains and trees, and that each entry is found by its key.
   * @param visit called once for each entry
   * @throws AssertionError naming what does not hold
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

  /**
   * Removes some pages of an object, and the object with its last page.
   * @returns how many were removed
   */
  #removePages(object: number, maxPages: number, onEntry: EntryVisit): number {
    let removed = 0;
    while (removed < maxPages && this.#mayRemoveMore(removed)) {
      const entry = this.#tree.first(object);
      onEntry(entry);
      removed++;
      if (!this.#removeFrom(object, entry)) break;
    }
    return removed;
  }

  /**
   * Whether a step may remove another page: at least one, and more while the transaction is short.
   */
  #mayRemoveMore(removed: number): boolean {
    return removed === 0 || this.#words[JOURNAL_NEXT]! < STEP_LOGGED_WORDS;
  }

  /** @returns whether the object has other pages */
  #removeFrom(object: number, entry: WordIndex): boolean {
    const poolAt = this.#pools.at(this.#numberOf(object));
    this.#count(poolAt, this.#indexOf(object, entry, this.#counted), -1);
    if (this.#tree.remove(object, entry)) return true;
    this.#objects.unlink(object as WordIndex);
    add(this.#words, poolAt + Index.OBJECTS, -1);
    return false;
  }

  /** Sets the key's index to that of an object's entry. */
  #indexOf(object: number, entry: WordIndex, key: TmemKey): TmemKey {
    const isInline = entry === object + Obj.ENTRY;
    const leaf = isInline ? NIL : this.#tree.leafOf(entry);
    const words = this.#words;
    key.indexLow = isInline ? 0 : words[leaf + Tree.BASE]! | this.#tree.nthOf(leaf, entry);
    key.indexHigh = isInline ? 0 : words[leaf + Tree.BASE + 1]!;
    return key;
  }

  /** Adds a page to the counts of its pool, or subtracts it. */
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

  /** The word at which the object of an entry would begin, if there were an entry at `at`. */
  #objectAt(at: number): number {
    const owner = ownerOf(this.#frames.state(at >>> this.#frameShift));
    if (owner !== this.#treeOwner) return at - Obj.ENTRY;
    return this.#words[this.#tree.leafOf(at as WordIndex) + Tree.OBJECT]!;
  }

  /**
   * The object of an entry. The owner of its frame tells whether the entry is in a leaf or in an
   * object.
   */
  #objectAround(entry: WordIndex): number {
    const owner = ownerOf(this.#frames.state(entry >>> this.#frameShift));
    if (owner === this.#treeOwner) return this.#words[this.#tree.leafOf(entry) + Tree.OBJECT]!;
    assert(owner === this.#shortOwner || owner === this.#longOwner, "an entry lies in the index");
    return entry - Obj.ENTRY;
  }
}
