// Vectors of slots: chains of page frames that are filled from the start without gaps.
//
// The place of a slot is the word index of its first word. A slot that crosses the border of a
// frame continues at the start of the next frame of its chain. Guarded by the pool's lock.
import { NIL, type Nil, type PageFrame, type WordIndex } from "../../base/brand.ts";
import { assert } from "../../base/errors.ts";
import type { Arena } from "../../memory/arena.ts";
import { add, journalCommit, moveBytes, put } from "../../memory/journal.ts";
import type { ObjectWriter } from "../object_writer.ts";
import * as Pool from "../pool.layout.ts";
import * as Dense from "./dense.layout.ts";
import { OwnerRecords } from "./owners.ts";
import { FrameReserve } from "./reserve.ts";

export class SlotVectors {
  readonly #arena: Arena;
  readonly #words: Int32Array;
  readonly #id: PageFrame;
  /** Word index of the class table. */
  readonly #table: number;
  readonly #returnedAt: number;
  /** Word index of the pool's count of pages. */
  readonly #pagesAt: number;
  readonly #records: OwnerRecords;
  readonly #reserve: FrameReserve;
  /** log₂ of the words of a page. */
  readonly #frameShift: number;
  readonly #wordMask: number;
  readonly #writer: ObjectWriter;
  /** log₂ of the bytes of a granule. */
  readonly #granuleShift: number;

  /**
   * @param own word index of the pool's words (dense.layout.ts)
   * @param id owner of the frames
   * @param entryMask the bits of a handle for its entry's word index
   */
  constructor(arena: Arena, own: number, id: PageFrame, entryMask: number, writer: ObjectWriter) {
    this.#arena = arena;
    this.#writer = writer;
    this.#words = arena.words;
    this.#id = id;
    this.#table = own + Dense.CLASS_TABLE;
    this.#returnedAt = own + Dense.FRAMES_RETURNED;
    this.#pagesAt = own - Pool.OWN + Pool.PAGES;
    this.#frameShift = arena.frames.pageShift - 2;
    this.#wordMask = arena.frames.wordsPerPage - 1;
    this.#granuleShift = arena.frames.pageShift - Dense.GRANULES_ORDER;
    this.#reserve = new FrameReserve(arena, own, id);
    this.#records = new OwnerRecords(arena, own, this.#reserve, entryMask);
    assert(arena.frames.framesMax <= Dense.FRAME_MASK + 1, "a frame number has 20 bits");
  }

  /** Initializes an empty vector for each class; called once, by the pool's creator. */
  format(): void {
    for (let index = 0; index < Dense.GRANULES; index++) {
      put(this.#words, this.classAt(index) + Dense.TAIL_END, this.#arena.pageSize);
    }
  }

  /** Word index of a class's words. */
  classAt(index: number): number {
    return this.#table + index * Dense.CLASS_WORDS;
  }

  /** Bytes of a class's slots. */
  slotBytes(index: number): number {
    return (index + 1) << this.#granuleShift;
  }

  /** Frames of a class: exactly as many as its objects fill. */
  framesOf(index: number): number {
    const filledBytes = this.#words[this.classAt(index) + Dense.COUNT]! * this.slotBytes(index);
    return Math.ceil(filledBytes / this.#arena.pageSize);
  }

  /** The class of a frame, or NIL if it holds records or is in reserve. */
  classOfFrame(frame: PageFrame): number | Nil {
    return this.#words[this.#arena.frames.linkOf(frame) + Dense.RECORD] === 0
      ? NIL
      : this.#classOfFrame(frame);
  }

  /** The part of a frame that slots fill: all, except in the class's last frame. */
  filledShare(frame: PageFrame, index: number): number {
    const at = this.classAt(index);
    if (this.#words[at + Dense.TAIL] !== frame) return 1;
    return this.#words[at + Dense.TAIL_END]! / this.#arena.pageSize;
  }

  /** Frames of records and of the reserve. */
  get metadataFrames(): number {
    return this.#records.frames + this.#reserve.count;
  }

  /**
   * Appends a slot to a class.
   * @returns its place, or NIL if no frame is left
   */
  push(index: number): WordIndex | Nil {
    const words = this.#words;
    const pageSize = this.#arena.pageSize;
    const at = this.classAt(index);
    let start = words[at + Dense.TAIL_END]!;
    let grown: PageFrame | Nil = NIL;
    if (start === pageSize) {
      grown = this.#grow(index, 0);
      if (grown === NIL) return NIL;
      start = 0;
    }
    const frame = words[at + Dense.TAIL]!;
    let end = start + this.slotBytes(index);
    if (end > pageSize) {
      end -= pageSize;
      if (this.#grow(index, end) === NIL) {
        if (grown !== NIL) this.#dropTail(index);
        return NIL;
      }
    }
    put(words, at + Dense.TAIL_END, end);
    add(words, at + Dense.COUNT, 1);
    return ((frame << this.#frameShift) + (start >>> 2)) as WordIndex;
  }

  /** The place of a class's last slot; the class must not be empty. */
  last(index: number): WordIndex {
    const words = this.#words;
    const at = this.classAt(index);
    let frame = words[at + Dense.TAIL]! as PageFrame;
    let start = words[at + Dense.TAIL_END]! - this.slotBytes(index);
    if (start < 0) {
      frame = this.#previous(frame);
      start += this.#arena.pageSize;
    }
    return ((frame << this.#frameShift) + (start >>> 2)) as WordIndex;
  }

  /** Removes the last slot, at place `last`, from a class, and its frame if that is empty. */
  pop(index: number, last: WordIndex): void {
    const words = this.#words;
    const at = this.classAt(index);
    const owner = this.ownerOf(last);
    const frame = (last >>> this.#frameShift) as PageFrame;
    put(words, owner, owner === this.#recordOf(frame) ? ~frame : Dense.NOBODY);
    add(words, at + Dense.COUNT, -1);
    let end = words[at + Dense.TAIL_END]! - this.slotBytes(index);
    if (end <= 0) {
      this.#dropTail(index);
      end += this.#arena.pageSize;
    } else {
      this.#reserve.trim();
    }
    put(words, at + Dense.TAIL_END, end);
  }

  /** The class of the slot at a place inside a frame of this pool. */
  classOf(place: number): number {
    return this.#classOfFrame((place >>> this.#frameShift) as PageFrame);
  }

  /** The word index of the owner (a handle) of the slot at a place. */
  ownerOf(place: number): number {
    const words = this.#words;
    const link = this.#arena.frames.linkOf((place >>> this.#frameShift) as PageFrame);
    const slot = (words[link + Dense.PREV]! >>> Dense.FRAME_BITS) + 1;
    const nth = this.#granulesFromFirst(place, words[link + Dense.NEXT]!) / slot;
    return words[link + Dense.RECORD]! + nth;
  }

  /**
   * The word index of the owner of the slot at this place, or NIL if no slot begins there: the
   * place may be any number.
   */
  ownerAt(place: number): number | Nil {
    const frame = (place >>> this.#frameShift) as PageFrame;
    if (!this.#arena.frames.isHeadOf(frame, this.#id)) return NIL;
    const words = this.#words;
    const link = this.#arena.frames.linkOf(frame);
    const record = words[link + Dense.RECORD]!;
    if (record === 0) return NIL;
    const slot = (words[link + Dense.PREV]! >>> Dense.FRAME_BITS) + 1;
    const granules = this.#granulesFromFirst(place, words[link + Dense.NEXT]!);
    const nth = (granules / slot) | 0;
    return granules >= 0 && nth * slot === granules ? record + nth : NIL;
  }

  /** Copies the first `sizeBytes` of the slot at `place` to the address `target`. */
  copyOut(place: number, target: number, sizeBytes: number): void {
    const kernels = this.#arena.kernels;
    const inFrame = this.#bytesInFrame(place);
    if (sizeBytes <= inFrame) {
      kernels.copy(target, place * 4, sizeBytes);
      return;
    }
    kernels.copy(target, place * 4, inFrame);
    kernels.copy(target + inFrame, this.#continuation(place), sizeBytes - inFrame);
  }

  /** Copies `sizeBytes` from the address `source` into the slot at `place`. */
  copyIn(place: number, source: number, sizeBytes: number): void {
    const inFrame = this.#bytesInFrame(place);
    if (sizeBytes <= inFrame) {
      this.#writer.copy(place * 4, source, sizeBytes);
      return;
    }
    this.#writer.copy(place * 4, source, inFrame);
    this.#writer.copy(this.#continuation(place), source + inFrame, sizeBytes - inFrame);
  }

  /** Copies `sizeBytes` from one slot to another, in up to three pieces. */
  move(from: number, to: number, sizeBytes: number): void {
    const words = this.#words;
    const kernels = this.#arena.kernels;
    const fromRoom = this.#bytesInFrame(from);
    const toRoom = this.#bytesInFrame(to);
    const first = Math.min(sizeBytes, fromRoom, toRoom);
    moveBytes(words, kernels, to * 4, from * 4, first);
    if (first === sizeBytes) return;
    // After the first border, one of the two continues in its next frame, or both do.
    const fromNext = fromRoom < sizeBytes ? this.#continuation(from) - fromRoom : 0;
    const toNext = toRoom < sizeBytes ? this.#continuation(to) - toRoom : 0;
    const second = Math.min(sizeBytes, Math.max(fromRoom, toRoom));
    if (second > first) {
      const source = (fromRoom <= first ? fromNext : from * 4) + first;
      const target = (toRoom <= first ? toNext : to * 4) + first;
      moveBytes(words, kernels, target, source, second - first);
    }
    if (sizeBytes > second) {
      moveBytes(words, kernels, toNext + second, fromNext + second, sizeBytes - second);
    }
  }

  /** The n-th frame of a class, counted from its first, or NIL. */
  frameAt(index: number, n: number): PageFrame | Nil {
    let frame = this.#words[this.classAt(index) + Dense.HEAD]! as PageFrame;
    for (let i = 0; i < n && (frame as number) !== 0; i++) frame = this.#next(frame);
    return (frame as number) === 0 ? NIL : frame;
  }

  /** Adds to `handles` the owners of the slots that begin in a frame. */
  ownersIn(frame: PageFrame, handles: number[]): void {
    const record = this.#recordOf(frame);
    for (let i = 0; i < this.#startsIn(frame); i++) {
      const owner = this.#words[record + i]!;
      if (owner > Dense.NOBODY) handles.push(owner);
    }
  }

  /** Frees all frames of all classes, and all records; calls `before` with each frame first. */
  clear(before: (frame: PageFrame) => void): void {
    for (let index = 0; index < Dense.GRANULES; index++) {
      const tailAt = this.classAt(index) + Dense.TAIL;
      while (this.#words[tailAt] !== 0) {
        before(this.#words[tailAt]! as PageFrame);
        this.#dropTail(index);
        // A step per frame, because the journal has no room for a whole pool.
        journalCommit(this.#words);
      }
    }
    this.#reserve.clear();
  }

  /**
   * Checks that a class is full except for its last frame.
   * @param check called with each slot's place and owner
   * @returns its frames
   */
  verify(index: number, check: (place: number, owner: number) => void): number {
    const words = this.#words;
    const at = this.classAt(index);
    const { pageSize, frames } = this.#arena;
    const slotBytes = this.slotBytes(index);
    const held = this.framesOf(index);
    const tailEnd = words[at + Dense.TAIL_END]!;
    const filled = (held - 1) * pageSize + tailEnd;
    assert(
      filled === words[at + Dense.COUNT]! * slotBytes,
      "a class is full but for its last frame",
    );
    let start = 0;
    let seen = 0;
    let previous = 0;
    let frame = words[at + Dense.HEAD]! as PageFrame;
    while ((frame as number) !== 0) {
      assert(++seen <= held, "the chain of a class has no loop");
      assert(frames.isHeadOf(frame, this.#id), "the pool owns its frames");
      const link = frames.linkOf(frame);
      assert(words[link + Dense.PREV] === packed(previous, index), "a frame names its class");
      const first = words[link + Dense.NEXT]! >>> Dense.FRAME_BITS;
      assert(first << this.#granuleShift === start, "slots follow each other without gaps");
      const record = this.#recordOf(frame);
      const end = seen === held ? tailEnd : pageSize;
      let nth = record;
      for (; start < end; start += slotBytes) {
        check((frame << this.#frameShift) + (start >>> 2), words[nth++]!);
      }
      for (; nth < record + this.#startsIn(frame); nth++) {
        const unowned = nth === record ? ~frame : Dense.NOBODY;
        assert(words[nth] === unowned, "words after the last slot are unowned");
      }
      start -= pageSize;
      previous = frame;
      frame = this.#next(frame);
    }
    assert(seen === held && previous === words[at + Dense.TAIL], "the chain of a class is whole");
    return held;
  }

  /** Checks the records, and the sum of frames, of which `pages` are those of the classes. */
  verifyFrames(pages: number): void {
    const { frames } = this.#arena;
    assert(this.#records.verify() === pages, "there is a record for each frame");
    let held = 0;
    for (let frame = frames.firstFrame; frame < frames.framesTotal; frame++) {
      if (frames.isHeadOf(frame, this.#id)) held++;
    }
    assert(held === pages + this.metadataFrames, "each frame is in a chain or in reserve");
  }

  /** Adds a frame whose first slot begins at `firstStart`. @returns the frame, or NIL */
  #grow(index: number, firstStart: number): PageFrame | Nil {
    const words = this.#words;
    const { frames } = this.#arena;
    const frame = this.#reserve.take();
    if (frame === NIL) return NIL;
    const record = this.#records.alloc(frame, this.#starts(index, firstStart));
    if (record === NIL) {
      this.#reserve.give(frame);
      return NIL;
    }
    const at = this.classAt(index);
    const tail = words[at + Dense.TAIL]!;
    const link = frames.linkOf(frame);
    put(words, link + Dense.NEXT, packed(0, firstStart >>> this.#granuleShift));
    put(words, link + Dense.PREV, packed(tail, index));
    put(words, link + Dense.RECORD, record);
    if (tail === 0) put(words, at + Dense.HEAD, frame);
    else add(words, frames.linkOf(tail as PageFrame) + Dense.NEXT, frame);
    put(words, at + Dense.TAIL, frame);
    add(words, this.#pagesAt, 1);
    return frame;
  }

  #dropTail(index: number): void {
    const words = this.#words;
    const { frames } = this.#arena;
    const at = this.classAt(index);
    const frame = words[at + Dense.TAIL]! as PageFrame;
    const before = this.#previous(frame);
    this.#records.free(this.#recordOf(frame), this.#startsIn(frame));
    put(words, at + Dense.TAIL, before);
    if ((before as number) === 0) put(words, at + Dense.HEAD, 0);
    else add(words, frames.linkOf(before) + Dense.NEXT, -frame);
    add(words, this.#pagesAt, -1);
    add(words, this.#returnedAt, 1);
    this.#reserve.give(frame);
  }

  /** The next frame of a chain, or 0. */
  #next(frame: PageFrame): PageFrame {
    const link = this.#arena.frames.linkOf(frame);
    return (this.#words[link + Dense.NEXT]! & Dense.FRAME_MASK) as PageFrame;
  }

  /** The previous frame of a chain, or 0. */
  #previous(frame: PageFrame): PageFrame {
    const link = this.#arena.frames.linkOf(frame);
    return (this.#words[link + Dense.PREV]! & Dense.FRAME_MASK) as PageFrame;
  }

  #classOfFrame(frame: PageFrame): number {
    return this.#words[this.#arena.frames.linkOf(frame) + Dense.PREV]! >>> Dense.FRAME_BITS;
  }

  #recordOf(frame: PageFrame): WordIndex {
    return this.#words[this.#arena.frames.linkOf(frame) + Dense.RECORD]! as WordIndex;
  }

  /** Granules from a frame's first start to a place in it; a fraction if none begins there. */
  #granulesFromFirst(place: number, next: number): number {
    const granuleWords = 1 << (this.#granuleShift - 2);
    return (place & this.#wordMask) / granuleWords - (next >>> Dense.FRAME_BITS);
  }

  /** Bytes from a place to the end of its frame. */
  #bytesInFrame(place: number): number {
    return this.#arena.pageSize - ((place & this.#wordMask) << 2);
  }

  /** The address at which a slot continues that crosses the border. */
  #continuation(place: number): number {
    const frame = (place >>> this.#frameShift) as PageFrame;
    return this.#arena.frames.frameToAddress(this.#next(frame));
  }

  /** How many slots can begin in a frame. */
  #startsIn(frame: PageFrame): number {
    const next = this.#words[this.#arena.frames.linkOf(frame) + Dense.NEXT]!;
    const first = (next >>> Dense.FRAME_BITS) << this.#granuleShift;
    return this.#starts(this.#classOfFrame(frame), first);
  }

  #starts(index: number, firstStart: number): number {
    return Math.ceil((this.#arena.pageSize - firstStart) / this.slotBytes(index));
  }
}

/** Combines a frame number, or 0, with the other number in its word, which is below 2048. */
function packed(frame: number, other: number): number {
  return (other << Dense.FRAME_BITS) | frame;
}
