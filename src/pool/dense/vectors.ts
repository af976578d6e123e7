// The vectors of slots: chains of page frames that are filled from the start without gaps.
//
// A slot is named by its place: the word index of its first word. A slot that crosses the border of
// a frame goes on at the start of the next frame of its chain. Guarded by the pool's lock.
import { NIL, type Nil, type PageFrame, type WordIndex } from "../../base/brand.ts";
import { assert } from "../../base/errors.ts";
import type { Arena } from "../../memory/arena.ts";
import {
  listAddTail,
  listCheck,
  listDel,
  listEmpty,
  listFirst,
  listInit,
  listLast,
  listNext,
  listPrev,
} from "../../memory/list.ts";
import { SLAB_HEAD_WORDS, Slab } from "../../memory/slab.ts";
import * as Pool from "../pool.layout.ts";
import * as Dense from "./dense.layout.ts";
import { FrameReserve } from "./reserve.ts";

/** Words of a frame's record, by kind: the smallest with room for the frame's owners is taken. */
const RECORD_WORDS = [2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 24, 40, 72, 136, 258, 513] as const;

export class SlotVectors {
  readonly #arena: Arena;
  readonly #words: Int32Array;
  readonly #id: PageFrame;
  /** Word index of the class table. */
  readonly #table: number;
  readonly #returnedAt: number;
  /** Word index of the pool's count of pages. */
  readonly #pagesAt: number;
  readonly #records: readonly Slab[];
  readonly #reserve: FrameReserve;
  /** log₂ of the words of a page. */
  readonly #frameShift: number;
  readonly #wordMask: number;
  readonly #granuleShift: number;

  /**
   * @param own word index of the pool's own words (dense.layout.ts)
   * @param id owner of the frames  @param metadataOwner owner of the frames of the records
   */
  constructor(arena: Arena, own: number, id: PageFrame, metadataOwner: number) {
    this.#arena = arena;
    this.#words = arena.words;
    this.#id = id;
    this.#table = own + Dense.CLASS_TABLE;
    this.#returnedAt = own + Dense.FRAMES_RETURNED;
    this.#pagesAt = own - Pool.OWN + Pool.PAGES;
    this.#frameShift = arena.frames.pageShift - 2;
    this.#wordMask = arena.frames.wordsPerPage - 1;
    this.#granuleShift = arena.frames.pageShift - Dense.GRANULES_ORDER;
    this.#reserve = new FrameReserve(arena, own, id);
    this.#records = RECORD_WORDS.map((recordWords, kind) => {
      const head = own + Dense.RECORDS + kind * SLAB_HEAD_WORDS;
      return new Slab(arena, head, recordWords, metadataOwner);
    });
  }

  /** Makes an empty vector of each class; once, by the pool's maker. */
  format(): void {
    for (const slab of this.#records) slab.format();
    for (let index = 0; index < Dense.GRANULES; index++) {
      const at = this.classAt(index);
      listInit(this.#words, at + Dense.CHAIN);
      this.#words[at + Dense.TAIL_END] = this.#arena.pageSize;
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

  /** Frames that hold records or are in reserve. */
  get metadataFrames(): number {
    return this.#records.reduce((sum, slab) => sum + slab.framesHeld, this.#reserve.count);
  }

  /** Adds a slot at the end of a class. @returns its place, or NIL if no frame is left */
  push(index: number): WordIndex | Nil {
    const words = this.#words;
    const pageSize = this.#arena.pageSize;
    const at = this.classAt(index);
    const slotBytes = this.slotBytes(index);
    let start = words[at + Dense.TAIL_END]!;
    let grown: PageFrame | Nil = NIL;
    if (start === pageSize) {
      grown = this.#grow(at, index, 0);
      if (grown === NIL) return NIL;
      start = 0;
    }
    const frame = this.#tail(at);
    let end = start + slotBytes;
    if (end > pageSize) {
      end -= pageSize;
      if (this.#grow(at, index, end) === NIL) {
        if (grown !== NIL) this.#dropTail(index);
        return NIL;
      }
    }
    words[at + Dense.TAIL_END] = end;
    words[at + Dense.COUNT]!++;
    return ((frame << this.#frameShift) + (start >>> 2)) as WordIndex;
  }

  /** The place of a class's last slot; the class must not be empty. */
  last(index: number): WordIndex {
    const words = this.#words;
    const at = this.classAt(index);
    const tail = this.#tail(at);
    const start = words[at + Dense.TAIL_END]! - this.slotBytes(index);
    if (start >= 0) return ((tail << this.#frameShift) + (start >>> 2)) as WordIndex;
    const frames = this.#arena.frames;
    const frame = frames.frameOfLink(listPrev(words, frames.linkOf(tail)));
    return ((frame << this.#frameShift) + ((start + this.#arena.pageSize) >>> 2)) as WordIndex;
  }

  /**
   * Takes the last slot, which nobody owns any more, off a class, and its frame if that is empty.
   */
  pop(index: number): void {
    const words = this.#words;
    const at = this.classAt(index);
    words[at + Dense.COUNT]!--;
    let end = words[at + Dense.TAIL_END]! - this.slotBytes(index);
    if (end <= 0) {
      this.#dropTail(index);
      end += this.#arena.pageSize;
    }
    words[at + Dense.TAIL_END] = end;
  }

  /** The class of the slot at a place inside a frame of this pool. */
  classOf(place: number): number {
    const frame = (place >>> this.#frameShift) as PageFrame;
    return this.#words[this.#recordOf(frame)]! >>> Dense.CLASS_SHIFT;
  }

  /**
   * The word index of the owner (a handle) of the slot that begins at this place, or NIL if none
   * does: a place that comes from outside may be any number.
   */
  ownerAt(place: number): number | Nil {
    const frame = (place >>> this.#frameShift) as PageFrame;
    if (!this.#arena.frames.isHeadOf(frame, this.#id)) return NIL;
    const record = this.#recordOf(frame);
    if (record === 0) return NIL;
    const shape = this.#words[record]!;
    const slotBytes = this.slotBytes(shape >>> Dense.CLASS_SHIFT);
    const offset = ((place & this.#wordMask) << 2) - (shape & Dense.FIRST_START_MASK);
    const nth = (offset / slotBytes) | 0;
    if (offset < 0 || nth * slotBytes !== offset) return NIL;
    return record + Dense.OWNERS + nth;
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
    const kernels = this.#arena.kernels;
    const inFrame = this.#bytesInFrame(place);
    if (sizeBytes <= inFrame) {
      kernels.copy(place * 4, source, sizeBytes);
      return;
    }
    kernels.copy(place * 4, source, inFrame);
    kernels.copy(this.#continuation(place), source + inFrame, sizeBytes - inFrame);
  }

  /** Copies `sizeBytes` from one slot to another. */
  move(from: number, to: number, sizeBytes: number): void {
    const inFrame = this.#bytesInFrame(from);
    if (sizeBytes <= inFrame) {
      this.copyIn(to, from * 4, sizeBytes);
      return;
    }
    // The source is in two pieces, and either may meet the border of the target.
    this.copyIn(to, from * 4, inFrame);
    const rest = this.#continuation(from);
    const room = this.#bytesInFrame(to);
    if (inFrame < room) {
      this.copyIn(to + (inFrame >>> 2), rest, sizeBytes - inFrame);
    } else {
      const at = this.#continuation(to) + inFrame - room;
      this.#arena.kernels.copy(at, rest, sizeBytes - inFrame);
    }
  }

  /** The n-th frame of a class, counted from its first, or NIL. */
  frameAt(index: number, n: number): PageFrame | Nil {
    const head = this.classAt(index) + Dense.CHAIN;
    let link = listFirst(this.#words, head);
    for (let i = 0; i < n && link !== head; i++) link = listNext(this.#words, link);
    return link === head ? NIL : this.#arena.frames.frameOfLink(link);
  }

  /** Adds to `handles` the owners of the slots that begin in a frame. */
  ownersIn(frame: PageFrame, handles: number[]): void {
    const record = this.#recordOf(frame);
    for (let i = 0; i < this.#startsIn(record); i++) {
      const owner = this.#words[record + Dense.OWNERS + i]!;
      if (owner !== 0) handles.push(owner);
    }
  }

  /** Gives back all frames of all classes, and all records; calls `before` for each frame first. */
  clear(before: (frame: PageFrame) => void): void {
    for (let index = 0; index < Dense.GRANULES; index++) {
      const at = this.classAt(index);
      while (!listEmpty(this.#words, at + Dense.CHAIN)) {
        before(this.#tail(at));
        this.#dropTail(index);
      }
    }
    this.#reserve.clear();
  }

  /**
   * Walks a class: full but for its last frame.
   * @param check called with each slot's place and owner
   * @returns its frames
   */
  verify(index: number, check: (place: number, owner: number) => void): number {
    const words = this.#words;
    const at = this.classAt(index);
    const { pageSize, frames } = this.#arena;
    const head = at + Dense.CHAIN;
    const slotBytes = this.slotBytes(index);
    const held = listCheck(words, head, frames.framesTotal);
    assert(held === words[at + Dense.CLASS_FRAMES], "the chain of a class is whole");
    const filled = (held - 1) * pageSize + words[at + Dense.TAIL_END]!;
    assert(
      filled === words[at + Dense.COUNT]! * slotBytes,
      "a class is full but for its last frame",
    );
    assert(words[at + Dense.TAIL_END]! > 0, "the last frame holds something");
    let start = 0;
    for (let link = listFirst(words, head); link !== head; link = listNext(words, link)) {
      const frame = frames.frameOfLink(link);
      assert(frames.isHeadOf(frame, this.#id), "the pool owns its frames");
      const record = this.#recordOf(frame);
      assert(words[record]! >>> Dense.CLASS_SHIFT === index, "a frame's record names its class");
      const first = words[record]! & Dense.FIRST_START_MASK;
      assert(first === start, "slots follow each other without gaps");
      const end = listNext(words, link) === head ? words[at + Dense.TAIL_END]! : pageSize;
      let nth = record + Dense.OWNERS;
      for (; start < end; start += slotBytes) {
        check((frame << this.#frameShift) + (start >>> 2), words[nth++]!);
      }
      for (; nth < record + Dense.OWNERS + this.#startsIn(record); nth++) {
        assert(words[nth] === 0, "behind the last slot nobody owns anything");
      }
      start -= pageSize;
    }
    return held;
  }

  /** Walks the records' slabs. @returns records in use, which are as many as frames */
  verifyRecords(): number {
    let used = 0;
    for (const slab of this.#records) {
      slab.verify();
      used += slab.recordsUsed;
    }
    return used;
  }

  /** Adds a frame whose first slot begins at `firstStart`. @returns the frame, or NIL */
  #grow(at: number, index: number, firstStart: number): PageFrame | Nil {
    const words = this.#words;
    const frames = this.#arena.frames;
    const slab = this.#slabOf(this.slotBytes(index));
    const record = slab.alloc();
    if (record === NIL) return NIL;
    const frame = this.#reserve.take();
    if (frame === NIL) {
      slab.free(record);
      return NIL;
    }
    words[record] = (index << Dense.CLASS_SHIFT) | firstStart;
    for (let i = Dense.OWNERS; i < slab.recordWords; i++) words[record + i] = 0;
    words[frames.privateOf(frame)] = record;
    listAddTail(words, frames.linkOf(frame), at + Dense.CHAIN);
    words[at + Dense.CLASS_FRAMES]!++;
    words[this.#pagesAt]!++;
    return frame;
  }

  #dropTail(index: number): void {
    const at = this.classAt(index);
    const frames = this.#arena.frames;
    const frame = this.#tail(at);
    this.#slabOf(this.slotBytes(index)).free(this.#recordOf(frame));
    listDel(this.#words, frames.linkOf(frame));
    this.#words[at + Dense.CLASS_FRAMES]!--;
    this.#words[this.#pagesAt]!--;
    this.#words[this.#returnedAt]!++;
    this.#reserve.give(frame);
  }

  #tail(at: number): PageFrame {
    return this.#arena.frames.frameOfLink(listLast(this.#words, at + Dense.CHAIN));
  }

  #recordOf(frame: PageFrame): WordIndex {
    return this.#words[this.#arena.frames.privateOf(frame)]! as WordIndex;
  }

  /** Bytes from a place to the end of its frame. */
  #bytesInFrame(place: number): number {
    return this.#arena.pageSize - ((place & this.#wordMask) << 2);
  }

  /** The address at which a slot that crosses the border goes on. */
  #continuation(place: number): number {
    const frames = this.#arena.frames;
    const frame = (place >>> this.#frameShift) as PageFrame;
    const next = frames.frameOfLink(listNext(this.#words, frames.linkOf(frame)));
    return frames.frameToAddress(next);
  }

  /** How many slots can begin in the frame of this record. */
  #startsIn(record: number): number {
    const shape = this.#words[record]!;
    const first = shape & Dense.FIRST_START_MASK;
    return Math.ceil((this.#arena.pageSize - first) / this.slotBytes(shape >>> Dense.CLASS_SHIFT));
  }

  /** The slab whose records have room for a frame of these slots. */
  #slabOf(slotBytes: number): Slab {
    const needed = Dense.OWNERS + Math.ceil(this.#arena.pageSize / slotBytes);
    let kind = 0;
    while (RECORD_WORDS[kind]! < needed) kind++;
    return this.#records[kind]!;
  }
}
