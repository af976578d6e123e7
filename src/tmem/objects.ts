// The hash table of the objects of all pools. It uses linear hashing, which grows by one bucket at
// a time.
//
// With n buckets, 2^k ≤ n < 2^(k+1), an object is in the bucket that the lowest k + 1 bits of its
// hash name, or, if there is no such bucket yet, the lowest k bits. Growing splits bucket n − 2^k
// into itself and bucket n; shrinking appends the last bucket to the one that it was split from. So
// no insertion waits for the whole table, and each step writes only the links of one chain that
// change.
//
//   grow      while there are more objects than buckets, at most two splits per insertion: one
//             keeps pace, the other catches up after a lack of frames
//   shrink    while there are more than 2 · objects + 1 buckets, at most two merges per removal: so
//             there are never more buckets than that or BUCKETS_MIN, and a table without objects
//             has no frames
//
// If there are no frames to grow, chains become longer and the table slower.
import { NIL, type Nil, type PageFrame, type WordIndex } from "../base/brand.ts";
import { assert } from "../base/errors.ts";
import type { Arena } from "../memory/arena.ts";
import type { FrameAllocator } from "../memory/frames.ts";
import { add, put } from "../memory/journal.ts";
import { Slab } from "../memory/slab.ts";
import { hashMore, hashName } from "./hash.ts";
import * as Index from "./index.layout.ts";
import type { TmemKey } from "./key.ts";
import * as Obj from "./object.layout.ts";
import { POSITIONS, reverseBits } from "./scan_cursor.ts";

/** Buckets of a table with objects, at least. */
export const BUCKETS_MIN = 16;
/** What the directory can list with frames of 4 KiB: half the objects that fit into an arena. */
const BUCKETS_MAX = 2 ** 26;

/** Splits after an insertion and merges after a removal, at most. */
const STEPS = 2;

export class ObjectTable {
  readonly #words: Int32Array;
  readonly #frames: FrameAllocator;
  readonly #at: number;
  readonly #owner: number;
  readonly #short: Slab;
  readonly #long: Slab;
  /** A frame has 2^this words. */
  readonly #frameShift: number;
  readonly #frameMask: number;

  /**
   * @param at word index of the index's words
   * @param owner the owner number for the frames of buckets and directory
   * @param shortOwner for short records
   * @param longOwner for long records
   */
  constructor(arena: Arena, at: number, owner: number, shortOwner: number, longOwner: number) {
    this.#words = arena.words;
    this.#frames = arena.frames;
    this.#at = at;
    this.#owner = owner;
    this.#short = new Slab(arena, at + Index.SHORT_SLAB, Obj.SHORT_WORDS, shortOwner);
    this.#long = new Slab(arena, at + Index.LONG_SLAB, Obj.LONG_WORDS, longOwner);
    this.#frameShift = arena.frames.pageShift - 2;
    this.#frameMask = arena.frames.wordsPerPage - 1;
  }

  format(seed: number): void {
    put(this.#words, this.#at + Index.SEED, seed);
    for (const at of [Index.BUCKETS, Index.BUCKET_FRAMES, Index.DIRECTORY_FRAMES]) {
      put(this.#words, this.#at + at, 0);
    }
    this.#short.format();
    this.#long.format();
  }

  /** Objects in all pools. */
  get count(): number {
    return this.#short.recordsUsed + this.#long.recordsUsed;
  }

  get buckets(): number {
    return this.#words[this.#at + Index.BUCKETS]!;
  }

  /** Page frames of records, buckets and directory. */
  get framesHeld(): number {
    const words = this.#words;
    const table =
      words[this.#at + Index.BUCKET_FRAMES]! + words[this.#at + Index.DIRECTORY_FRAMES]!;
    return table + this.#short.framesHeld + this.#long.framesHeld;
  }

  /** @returns the object of a pool, by its number, and a key, or NONE */
  find(number: number, key: TmemKey): WordIndex | typeof Obj.NONE {
    const words = this.#words;
    const buckets = words[this.#at + Index.BUCKETS]!;
    if (buckets === 0) return Obj.NONE;
    const name = key.idShape | number;
    const low = key.id[0]!;
    const high = key.id[1]!;
    let hash = hashName(words[this.#at + Index.SEED]!, name, low, high);
    if ((name & Obj.LONG) !== 0) hash = hashMore(hash, key.id, 2);
    let object = words[this.#bucketAt(bucketOf(hash, buckets))]!;
    while (object !== Obj.NONE) {
      if (
        words[object + Obj.ID] === low &&
        words[object + Obj.ID + 1] === high &&
        (words[object + Obj.SHAPE]! & Obj.NAME_MASK) === name &&
        ((name & Obj.LONG) === 0 || this.#sameMore(object, key.id))
      ) {
        return object as WordIndex;
      }
      object = words[object + Obj.NEXT]!;
    }
    return Obj.NONE;
  }

  /**
   * Allocates the record of an object that is not in the table. It has no pages and is not found
   * until `link` adds it; `discard` frees it.
   * @returns NIL if no frame is left, and then nothing has changed
   */
  make(number: number, key: TmemKey): WordIndex | Nil {
    const words = this.#words;
    if (this.buckets === 0 && !this.#begin()) return NIL;
    const name = key.idShape | number;
    const long = (name & Obj.LONG) !== 0;
    const object = (long ? this.#long : this.#short).alloc();
    if (object === NIL) {
      if (this.count === 0) this.#end();
      return NIL;
    }
    put(words, object + Obj.NEXT, Obj.NONE);
    put(words, object + Obj.SHAPE, name);
    put(words, object + Obj.ID, key.id[0]!);
    put(words, object + Obj.ID + 1, key.id[1]!);
    for (let i = 0; long && i < 4; i++) put(words, object + Obj.ID_MORE + i, key.id[2 + i]!);
    return object;
  }

  /** Adds an object from `make`, which now has pages, to the table. */
  link(object: WordIndex): void {
    const words = this.#words;
    const bucketAt = this.#bucketAt(bucketOf(this.hashOf(object), this.buckets));
    put(words, object + Obj.NEXT, words[bucketAt]!);
    put(words, bucketAt, object);
    for (let step = 0; step < STEPS && this.count > this.buckets; step++) {
      if (!this.#split()) return;
    }
  }

  /** Frees the record of an object that is not in the table. */
  discard(object: WordIndex): void {
    const long = (this.#words[object + Obj.SHAPE]! & Obj.LONG) !== 0;
    (long ? this.#long : this.#short).free(object);
    for (let step = 0; step < STEPS && this.count * 2 + 1 < this.buckets; step++) this.#merge();
    if (this.count === 0) this.#end();
  }

  /** Removes an object without pages from the table, and frees it. */
  unlink(object: WordIndex): void {
    const words = this.#words;
    let at = this.#bucketAt(bucketOf(this.hashOf(object), this.buckets));
    while (words[at] !== object) {
      assert(words[at] !== Obj.NONE, "an object is in the bucket that its hash says");
      at = words[at]! + Obj.NEXT;
    }
    put(words, at, words[object + Obj.NEXT]!);
    this.discard(object);
  }

  /** The bucket of an object. */
  bucketOf(object: number): number {
    return bucketOf(this.hashOf(object), this.buckets);
  }

  /** Sets the key's object id to that of an object. */
  idOf(object: number, key: TmemKey): void {
    const words = this.#words;
    const shape = words[object + Obj.SHAPE]!;
    const long = (shape & Obj.LONG) !== 0;
    key.idShape = shape & Obj.NAME_MASK & ~Obj.POOL_MASK;
    key.id[0] = words[object + Obj.ID]!;
    key.id[1] = words[object + Obj.ID + 1]!;
    for (let i = 0; i < 4; i++) key.id[2 + i] = long ? words[object + Obj.ID_MORE + i]! : 0;
  }

  /** The first object of a bucket, or NONE; NEXT links the others. */
  firstOf(bucket: number): number {
    return this.#words[this.#bucketAt(bucket)]!;
  }

  /** The bucket of the objects at a position (scan_cursor.ts). */
  bucketAt(position: number): number {
    return bucketOf(reverseBits(position) | 0, this.buckets);
  }

  /** The position behind the last position of a bucket. */
  endOf(bucket: number): number {
    const { buckets } = this;
    const bits = 31 - Math.clz32(buckets);
    const high = 1 << bits;
    const hasMore = bucket >= high || bucket + high < buckets;
    return reverseBits(bucket) + POSITIONS / 2 ** (hasMore ? bits + 1 : bits);
  }

  /** The position of an object (scan_cursor.ts). */
  positionOf(object: number): number {
    return reverseBits(this.hashOf(object));
  }

  hashOf(object: number): number {
    const words = this.#words;
    const name = words[object + Obj.SHAPE]! & Obj.NAME_MASK;
    const low = words[object + Obj.ID]!;
    const hash = hashName(words[this.#at + Index.SEED]!, name, low, words[object + Obj.ID + 1]!);
    return (name & Obj.LONG) === 0 ? hash : hashMore(hash, words, object + Obj.ID_MORE);
  }

  /**
   * Checks all chains.
   * @param visit called with each object
   */
  verify(visit: (object: number) => void): void {
    const words = this.#words;
    const buckets = this.buckets;
    this.#short.verify();
    this.#long.verify();
    assert(this.count === 0 ? buckets === 0 : buckets >= BUCKETS_MIN, "objects are in buckets");
    assert(buckets <= Math.max(BUCKETS_MIN, 2 * this.count + 1), "the buckets are not too many");
    const perFrame = this.#frameMask + 1;
    const bucketFrames = Math.ceil(buckets / perFrame);
    const directoryFrames = Math.ceil(bucketFrames / perFrame);
    assert(words[this.#at + Index.BUCKET_FRAMES] === bucketFrames, "frames for all buckets");
    assert(words[this.#at + Index.DIRECTORY_FRAMES] === directoryFrames, "frames for all those");
    let count = 0;
    for (let bucket = 0; bucket < buckets; bucket++) {
      let object = this.firstOf(bucket);
      for (; object !== Obj.NONE; object = words[object + Obj.NEXT]!) {
        assert(count++ < this.count, "the chains form no loop");
        const slab = (words[object + Obj.SHAPE]! & Obj.LONG) !== 0 ? this.#long : this.#short;
        assert(slab.contains(object), "an object's record is of the size that its id needs");
        assert(bucketOf(this.hashOf(object), buckets) === bucket, "an object is in its bucket");
        visit(object);
      }
    }
    assert(count === this.count, "every record is an object in a chain");
  }

  /** Whether a record begins at this word; it may be free. */
  contains(at: number): boolean {
    return this.#short.contains(at) || this.#long.contains(at);
  }

  #sameMore(object: number, id: Int32Array): boolean {
    const words = this.#words;
    for (let i = 0; i < 4; i++) if (words[object + Obj.ID_MORE + i] !== id[2 + i]) return false;
    return true;
  }

  /** The word of a bucket. */
  #bucketAt(bucket: number): number {
    const words = this.#words;
    return words[this.#frameNameAt(bucket)]! + (bucket & this.#frameMask);
  }

  /** The word in the directory that names the frame of a bucket. */
  #frameNameAt(bucket: number): number {
    const shift = this.#frameShift;
    const directory = this.#words[this.#at + Index.DIRECTORY + (bucket >>> (2 * shift))]!;
    return directory + ((bucket >>> shift) & this.#frameMask);
  }

  /**
   * Creates the first buckets.
   * @returns false if there are no frames for them
   */
  #begin(): boolean {
    if (!this.#makeRoomFor(0)) return false;
    for (let bucket = 0; bucket < BUCKETS_MIN; bucket++) {
      put(this.#words, this.#bucketAt(bucket), Obj.NONE);
    }
    put(this.#words, this.#at + Index.BUCKETS, BUCKETS_MIN);
    return true;
  }

  #end(): void {
    assert(this.buckets === BUCKETS_MIN, "a table without objects has shrunk");
    this.#giveRoomOf(0);
    put(this.#words, this.#at + Index.BUCKETS, 0);
  }

  /**
   * Splits a bucket in two.
   * @returns false if there is no frame for the new one
   */
  #split(): boolean {
    const words = this.#words;
    const added = this.buckets;
    if (added === BUCKETS_MAX || !this.#makeRoomFor(added)) return false;
    const bit = 1 << (31 - Math.clz32(added));
    // The words at which to link the next object that stays, and the next that goes to the new
    // bucket. A link that is already right is not written, so the number of logged words is that of
    // the changes in the chain between objects that stay and objects that go.
    let stayAt = this.#bucketAt(added - bit);
    let goAt = this.#bucketAt(added);
    let object = words[stayAt]!;
    while (object !== Obj.NONE) {
      const next = words[object + Obj.NEXT]!;
      if ((this.hashOf(object) & bit) === 0) {
        if (words[stayAt] !== object) put(words, stayAt, object);
        stayAt = object + Obj.NEXT;
      } else {
        if (words[goAt] !== object) put(words, goAt, object);
        goAt = object + Obj.NEXT;
      }
      object = next;
    }
    if (words[stayAt] !== Obj.NONE) put(words, stayAt, Obj.NONE);
    if (words[goAt] !== Obj.NONE) put(words, goAt, Obj.NONE);
    put(words, this.#at + Index.BUCKETS, added + 1);
    return true;
  }

  /** Appends the last bucket to the one that it was split from. */
  #merge(): void {
    const words = this.#words;
    const last = this.buckets - 1;
    if (last < BUCKETS_MIN) return;
    const moved = words[this.#bucketAt(last)]!;
    if (moved !== Obj.NONE) {
      let at = this.#bucketAt(last - (1 << (31 - Math.clz32(last))));
      while (words[at] !== Obj.NONE) at = words[at]! + Obj.NEXT;
      put(words, at, moved);
    }
    put(words, this.#at + Index.BUCKETS, last);
    this.#giveRoomOf(last);
  }

  /**
   * If a frame of buckets begins with this bucket, allocates that frame, and the frame of the
   * directory that begins with it.
   * @returns false if there are none, and then nothing has changed
   */
  #makeRoomFor(bucket: number): boolean {
    if ((bucket & this.#frameMask) !== 0) return true;
    const words = this.#words;
    const shift = this.#frameShift;
    const beginsDirectory = (bucket >>> shift) % (this.#frameMask + 1) === 0;
    const frame = this.#frames.alloc(0, this.#owner);
    if (frame === NIL) return false;
    if (beginsDirectory) {
      const directory = this.#frames.alloc(0, this.#owner);
      if (directory === NIL) {
        this.#frames.free(frame);
        return false;
      }
      const at = this.#at + Index.DIRECTORY + (bucket >>> (2 * shift));
      put(words, at, this.#frames.frameToWord(directory));
      add(words, this.#at + Index.DIRECTORY_FRAMES, 1);
    }
    put(words, this.#frameNameAt(bucket), this.#frames.frameToWord(frame));
    add(words, this.#at + Index.BUCKET_FRAMES, 1);
    return true;
  }

  /** Frees the frames that begin with this bucket, which was the last of the table. */
  #giveRoomOf(bucket: number): void {
    if ((bucket & this.#frameMask) !== 0) return;
    const words = this.#words;
    const shift = this.#frameShift;
    const nameAt = this.#frameNameAt(bucket);
    this.#frames.free((words[nameAt]! >>> shift) as PageFrame);
    add(words, this.#at + Index.BUCKET_FRAMES, -1);
    if ((bucket >>> shift) % (this.#frameMask + 1) !== 0) return;
    // The word that lists the first frame of a directory's frame is that frame's first word.
    this.#frames.free((nameAt >>> shift) as PageFrame);
    add(words, this.#at + Index.DIRECTORY_FRAMES, -1);
  }
}

/** The bucket of a hash, among this many buckets. */
function bucketOf(hash: number, buckets: number): number {
  const mask = -1 >>> Math.clz32(buckets);
  const bucket = hash & mask;
  return bucket < buckets ? bucket : bucket & (mask >>> 1);
}
