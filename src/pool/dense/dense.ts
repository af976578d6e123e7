// The dense pool: every class is full except for its last frame, at any time, after any history.
//
// malloc appends at the end of the class's vector of slots; free moves the vector's last object
// into the hole and updates that object's entry in the handle table. There is no compaction, no
// fullness group and no fragmentation: the longest operation is one copy of one object, and one
// page frame allocated or freed. Slots cross the borders of frames, so no bytes are lost there, and
// any single frames will do.
//
// Objects are mapped through buffers, so that mapped objects can move, and a mapping never prevents
// filling a hole.
import {
  type Address,
  type Handle,
  NIL,
  type PageFrame,
  type WordIndex,
} from "../../base/brand.ts";
import { EBUSY, EINVAL, ENOMEM, type Errno } from "../../base/errno.ts";
import { assert } from "../../base/errors.ts";
import type { Arena } from "../../memory/arena.ts";
import { add, put } from "../../memory/journal.ts";
import { Slab } from "../../memory/slab.ts";
import { BasePool, type PoolId } from "../base.ts";
import { BounceBuffers } from "../bounce.ts";
import { type ClassStats, describedFrame, MAP_RO, MAP_WO, type MapMode } from "../contract.ts";
import type { PoolDriver } from "../driver.ts";
import * as Pool from "../pool.layout.ts";
import * as Dense from "./dense.layout.ts";
import { ADAPTIVE, SizeClasses } from "./size_classes.ts";
import { SlotVectors } from "./vectors.ts";

export class DensePool extends BasePool {
  override readonly tellsSlack = true;
  readonly #vectors: SlotVectors;
  readonly #handles: Slab;
  readonly #classes: SizeClasses;
  /** Bits of a handle for the entry's word index; the generation has the rest of 31 bits. */
  readonly #indexBits: number;
  readonly #indexMask: number;
  readonly #generationMask: number;
  readonly #bounce: BounceBuffers;

  /** @param width granules between two classes: fixed, or ADAPTIVE */
  constructor(arena: Arena, type: string, typeIndex: number, id: PoolId, width: number) {
    const ownWords = Dense.CLASS_TABLE + Dense.GRANULES * Dense.CLASS_WORDS;
    const maxSizeBytes = arena.pageSize;
    super(arena, { type, typeIndex, ownWords, maxSizeBytes, canCompact: false }, id);
    this.#classes = new SizeClasses(arena, this.own, width);
    this.#bounce = BounceBuffers.of(arena);
    this.#indexBits = Math.ceil(Math.log2(this.words.length));
    this.#indexMask = 2 ** this.#indexBits - 1;
    this.#generationMask = 2 ** (31 - this.#indexBits) - 1;
    this.#vectors = new SlotVectors(arena, this.own, this.id, this.#indexMask, this.writer);
    const handleOwner = this.id + arena.frames.framesMax;
    this.#handles = new Slab(arena, this.own + Dense.HANDLES, Dense.ENTRY_WORDS, handleOwner);
    if (id === NIL) {
      this.#handles.format();
      this.#vectors.format();
      this.#classes.format();
    }
  }

  protected override mallocLocked(sizeBytes: number): Handle | Errno {
    const entry = this.#handles.alloc();
    if (entry === NIL) return ENOMEM;
    const index = this.#classes.find(sizeBytes);
    const place = this.#vectors.push(index);
    if (place === NIL) {
      this.#handles.free(entry);
      return ENOMEM;
    }
    const generation = add(this.words, this.at + Pool.SERIAL, 1) & this.#generationMask;
    const handle = ((generation << this.#indexBits) | entry) as Handle;
    put(this.words, entry, place);
    put(this.words, this.#vectors.ownerOf(place), handle);
    this.#classes.grown(index, this.words[this.at + Pool.PAGES]!);
    return handle;
  }

  protected override freeLocked(handle: Handle): 0 | Errno {
    const words = this.words;
    const owner = this.#ownerOf(handle);
    if (owner === NIL) return EINVAL;
    if (words[this.own + Dense.MAPPINGS] !== 0 && this.#isMapped(handle)) return EBUSY;
    const entry = this.#entryOf(handle);
    const hole = words[entry]!;
    const index = this.#vectors.classOf(hole);
    const donor = this.#classes.donor(index);
    const last = this.#vectors.last(donor);
    if (last !== hole) {
      this.#vectors.move(last, hole, this.#vectors.slotBytes(donor));
      const moved = words[this.#vectors.ownerOf(last)]! as Handle;
      put(words, owner, moved);
      put(words, this.#entryOf(moved), hole);
    }
    this.#vectors.pop(donor, last);
    this.#classes.shrunk(donor);
    this.#handles.free(entry);
    return 0;
  }

  /** Reads the entry only: the words that prove a handle live are in other cache lines. */
  override readShared(handle: Handle, target: Address, sizeBytes: number): 0 | Errno {
    this.assertAlive();
    this.#vectors.copyOut(this.words[this.#entryOf(handle)]!, target, sizeBytes);
    return 0;
  }

  override writeShared(handle: Handle, source: Address, sizeBytes: number): 0 | Errno {
    this.assertAlive();
    this.#vectors.copyIn(this.words[this.#entryOf(handle)]!, source, sizeBytes);
    return 0;
  }

  override slackOf(handle: Handle, sizeBytes: number): number {
    const room = this.#vectors.slotBytes(this.#vectors.classOf(this.words[this.#entryOf(handle)]!));
    if (sizeBytes > room) return NIL;
    // A class that was merged into the one above may have objects left, in smaller slots.
    return Math.max(0, room - this.#vectors.slotBytes(this.#classes.find(sizeBytes)));
  }

  protected override readLocked(handle: Handle, target: Address, sizeBytes: number): 0 | Errno {
    const place = this.#locate(handle, sizeBytes);
    if (place === NIL) return EINVAL;
    this.#vectors.copyOut(place, target, sizeBytes);
    return 0;
  }

  protected override writeLocked(handle: Handle, source: Address, sizeBytes: number): 0 | Errno {
    const place = this.#locate(handle, sizeBytes);
    if (place === NIL) return EINVAL;
    this.#vectors.copyIn(place, source, sizeBytes);
    return 0;
  }

  protected override mapLocked(handle: Handle, mode: MapMode, sizeBytes: number): Address | Errno {
    const place = this.#locate(handle, sizeBytes);
    if (place === NIL) return EINVAL;
    const slot = this.#mappedSlot(0 as Handle);
    const nth =
      slot === NIL ? NIL : this.#bounce.take(this.at, this.generation, handle, mode, sizeBytes);
    if (nth === NIL) return EBUSY;
    const buffer = this.#bounce.address(nth);
    if (mode !== MAP_WO) this.#vectors.copyOut(place, buffer, sizeBytes);
    put(this.words, slot, handle);
    add(this.words, this.own + Dense.MAPPINGS, 1);
    return buffer;
  }

  protected override unmapLocked(handle: Handle): 0 | Errno {
    const nth = this.#bounce.find(this.generation, handle);
    if (nth === NIL) return EINVAL;
    const place = this.#placeOf(handle);
    assert(place !== NIL, "a mapped object is not freed");
    if (this.#bounce.mode(nth) !== MAP_RO) {
      this.#vectors.copyIn(place, this.#bounce.address(nth), this.#bounce.sizeBytes(nth));
    }
    put(this.words, this.#mappedSlot(handle), 0);
    add(this.words, this.own + Dense.MAPPINGS, -1);
    this.#bounce.give(nth);
    return 0;
  }

  // The pool has no order of age: the owner of the objects may keep one, and any order of frees
  // empties whole frames. Here the classes with the most frames are emptied first, each from its
  // start, where the oldest objects are.
  protected override beginReclaimLocked(pass: number, handles: Handle[]): number {
    const { words, own } = this;
    if (words[own + Dense.CURSOR_PASS] !== pass + 1) {
      put(words, own + Dense.CURSOR_PASS, pass + 1);
      put(words, own + Dense.CURSOR_CLASS, this.#largestClass());
      put(words, own + Dense.CURSOR_FRAME, 0);
    }
    for (let classesSeen = 0; classesSeen <= Dense.GRANULES; ) {
      const index = words[own + Dense.CURSOR_CLASS]!;
      const frame = this.#vectors.frameAt(index, words[own + Dense.CURSOR_FRAME]!);
      if (frame === NIL) {
        put(words, own + Dense.CURSOR_CLASS, (index + Dense.GRANULES - 1) % Dense.GRANULES);
        put(words, own + Dense.CURSOR_FRAME, 0);
        classesSeen++;
        continue;
      }
      this.#vectors.ownersIn(frame, handles);
      this.#dropMapped(handles);
      if (handles.length > 0) return words[own + Dense.FRAMES_RETURNED]!;
      add(words, own + Dense.CURSOR_FRAME, 1);
    }
    return NIL;
  }

  protected override endReclaimLocked(returnedBefore: number): number {
    const freed = this.words[this.own + Dense.FRAMES_RETURNED]! - returnedBefore;
    // The holes were filled with objects from the end, which have not been tried: the same frame is
    // next. The cursor advances only if nothing was freed.
    if (freed === 0) add(this.words, this.own + Dense.CURSOR_FRAME, 1);
    return freed;
  }

  protected override metadataFramesLocked(): number {
    return this.#handles.framesHeld + this.#vectors.metadataFrames;
  }

  protected override classStatsLocked(): ClassStats[] {
    const classes: ClassStats[] = [];
    for (let index = 0; index < Dense.GRANULES; index++) {
      const at = this.#vectors.classAt(index);
      const objects = this.words[at + Dense.COUNT]!;
      if (objects === 0) continue;
      const sizeBytes = this.#vectors.slotBytes(index);
      const pages = this.#vectors.framesOf(index);
      const capacity = Math.floor((pages * this.arena.pageSize) / sizeBytes);
      classes.push({ name: `size ${sizeBytes}`, sizeBytes, objects, capacity, pages });
    }
    return classes;
  }

  override describeFrame(frame: PageFrame): number {
    this.assertAlive();
    const index = this.#vectors.classOfFrame(frame);
    if (index === NIL) return NIL;
    return describedFrame(this.#vectors.slotBytes(index), this.#vectors.filledShare(frame, index));
  }

  protected override verifyLocked(): { objects: number; pages: number } {
    let objects = 0;
    let pages = 0;
    for (let index = 0; index < Dense.GRANULES; index++) {
      pages += this.#vectors.verify(index, (place, owner) => {
        assert(this.#placeOf(owner as Handle) === place, "an object is found by its handle");
        objects++;
      });
    }
    this.#classes.verify();
    this.#handles.verify();
    assert(this.#handles.recordsUsed === objects, "there is a handle for each object");
    this.#vectors.verifyFrames(pages);
    return { objects, pages };
  }

  protected override destroyLocked(): void {
    this.#bounce.giveAllOf(this.generation);
    const handles: Handle[] = [];
    this.#vectors.clear((frame) => {
      handles.length = 0;
      this.#vectors.ownersIn(frame, handles);
      for (const handle of handles) this.#handles.free(this.#entryOf(handle));
    });
  }

  #entryOf(handle: Handle): WordIndex {
    return (handle & this.#indexMask) as WordIndex;
  }

  /** The place of a live object, or NIL. */
  #placeOf(handle: Handle): WordIndex | typeof NIL {
    if (this.#ownerOf(handle) === NIL) return NIL;
    return this.words[this.#entryOf(handle)]! as WordIndex;
  }

  /**
   * The word index of the owner word of a live object's slot, or NIL. The entry of a dead handle
   * may hold anything; a handle is live if the slot to which its entry leads is owned by this very
   * handle, generation included.
   */
  #ownerOf(handle: Handle): number {
    if (!(handle > 0 && handle <= 0x7fff_ffff)) return NIL;
    const entry = this.#entryOf(handle);
    if (entry >= this.words.length) return NIL;
    const owner = this.#vectors.ownerAt(this.words[entry]!);
    return owner !== NIL && this.words[owner] === handle ? owner : NIL;
  }

  /** The place of a live object whose slot has room for `sizeBytes`, else NIL. */
  #locate(handle: Handle, sizeBytes: number): WordIndex | typeof NIL {
    const place = this.#placeOf(handle);
    if (place === NIL) return NIL;
    const room = this.#vectors.slotBytes(this.#vectors.classOf(place));
    return sizeBytes >= 0 && sizeBytes <= room ? place : NIL;
  }

  #largestClass(): number {
    let largest = 0;
    let most = -1;
    for (let index = 0; index < Dense.GRANULES; index++) {
      const frames = this.#vectors.framesOf(index);
      if (frames >= most) {
        most = frames;
        largest = index;
      }
    }
    return largest;
  }

  #isMapped(handle: Handle): boolean {
    return this.#mappedSlot(handle) !== NIL;
  }

  /** The word of `handle` (0: an unused word) in the table of mapped handles, or NIL. */
  #mappedSlot(handle: Handle): number {
    const start = this.own + Dense.MAPPED;
    for (let at = start; at < start + Dense.MAPPINGS_MAX; at++) {
      if (this.words[at] === handle) return at;
    }
    return NIL;
  }

  #dropMapped(handles: Handle[]): void {
    if (this.words[this.own + Dense.MAPPINGS] === 0) return;
    for (let i = handles.length - 1; i >= 0; i--) {
      if (this.#isMapped(handles[i]!)) handles.splice(i, 1);
    }
  }
}

/** The drivers: `dense`, and variants with classes at fixed distances for comparison. */
export const DENSE_DRIVERS: readonly PoolDriver[] = [
  {
    type: "dense",
    summary: "every class full but for its last page: densest, no compaction, no pauses",
    open: (arena, index, id) => new DensePool(arena, "dense", index, id, ADAPTIVE),
  },
  ...[1, 2, 4, 8].map(
    (width): PoolDriver => ({
      type: `dense-d${width * 8}`,
      summary: `dense with ${width * 8} bytes from class to class at 4 KiB pages`,
      variant: true,
      open: (arena, index, id) => new DensePool(arena, `dense-d${width * 8}`, index, id, width),
    }),
  ),
];
