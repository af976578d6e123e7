// Records of one size in the arena, for structures that are not page data (zspage descriptors,
// handle entries). A slab is one page frame divided into records: the kernel's kmem_cache.
//
//  frame table:  LINK     in the list of slabs with room; in no list if the slab is full
//                PRIVATE  used << 16 | first free record (NO_RECORD if none)
//  slab:         records; the first word of a free record is the number of the next free one
//
// An empty slab is returned to the frame allocator, so that metadata shrinks with its load. Guarded
// by the lock of the slab's owner, such as a pool's.
import { NIL, type Nil, type PageFrame, type WordIndex } from "../base/brand.ts";
import { assert } from "../base/errors.ts";
import type { Arena } from "./arena.ts";
import { add, keep, put } from "./journal.ts";
import { listAdd, listCheck, listDel, listEmpty, listFirst, listInit, listNext } from "./list.ts";
import { FRAMES, NO_RECORD, RECORDS_USED, WITH_ROOM } from "./slab.layout.ts";

export class Slab {
  readonly recordWords: number;
  readonly recordsPerFrame: number;
  readonly #arena: Arena;
  readonly #words: Int32Array;
  readonly #headAt: number;
  readonly #owner: number;

  /**
   * @param headAt word index of SLAB_HEAD_WORDS words that the owner provides
   * @param recordWords words per record, 1 or more
   * @param owner the owner number for its frames
   */
  constructor(arena: Arena, headAt: number, recordWords: number, owner: number) {
    this.#arena = arena;
    this.#words = arena.words;
    this.#headAt = headAt;
    this.#owner = owner;
    this.recordWords = recordWords;
    assert(recordWords >= 1 && recordWords <= arena.frames.wordsPerPage, "a record fits a frame");
    // 0xffff means "none", so that a slab of 64 KiB with tiny records leaves its end unused.
    this.recordsPerFrame = Math.min(NO_RECORD, Math.floor(arena.frames.wordsPerPage / recordWords));
  }

  /** Initializes an empty slab; called once, by its creator. */
  format(): void {
    listInit(this.#words, this.#headAt + WITH_ROOM);
    put(this.#words, this.#headAt + RECORDS_USED, 0);
    put(this.#words, this.#headAt + FRAMES, 0);
  }

  /**
   * Allocates a record.
   * @returns its word index, with undefined content, or NIL if no frame is left
   */
  alloc(): WordIndex | Nil {
    const words = this.#words;
    const frames = this.#arena.frames;
    const head = this.#headAt + WITH_ROOM;
    const frame = listEmpty(words, head)
      ? this.#grow()
      : frames.frameOfLink(listFirst(words, head));
    if (frame === NIL) return NIL;
    const privateAt = frames.privateOf(frame);
    const state = words[privateAt]!;
    const record = state & NO_RECORD;
    const at = frames.frameToWord(frame) + record * this.recordWords;
    const next = words[at]! & NO_RECORD;
    // Logs the list link, because the new owner may write to the record without the journal.
    keep(words, at);
    put(words, privateAt, (((state >>> 16) + 1) << 16) | next);
    if (next === NO_RECORD) listDel(words, frames.linkOf(frame));
    add(words, this.#headAt + RECORDS_USED, 1);
    return at as WordIndex;
  }

  /** Frees the record at this word index. */
  free(at: WordIndex): void {
    const words = this.#words;
    const frames = this.#arena.frames;
    const frame = Math.floor(at / frames.wordsPerPage) as PageFrame;
    assert(frames.isHeadOf(frame, this.#owner), "a record lies in a frame of its owner");
    const privateAt = frames.privateOf(frame);
    const state = words[privateAt]!;
    const used = (state >>> 16) - 1;
    assert(used >= 0, "a record is freed once");
    const first = state & NO_RECORD;
    add(words, this.#headAt + RECORDS_USED, -1);
    if (used === 0) {
      if (first !== NO_RECORD) listDel(words, frames.linkOf(frame));
      add(words, this.#headAt + FRAMES, -1);
      frames.free(frame);
      return;
    }
    put(words, at, first);
    const record = (at - frames.frameToWord(frame)) / this.recordWords;
    put(words, privateAt, (used << 16) | record);
    if (first === NO_RECORD) listAdd(words, frames.linkOf(frame), this.#headAt + WITH_ROOM);
  }

  /**
   * @returns whether a record can begin at this word index, in a slab of this owner. Two slabs of
   *   one owner with different records are not distinguished; their records must carry a mark of
   *   their own.
   */
  contains(at: number): boolean {
    const frame = Math.floor(at / this.#arena.frames.wordsPerPage);
    return (
      this.#arena.frames.isHeadOf(frame, this.#owner) &&
      (at % this.#arena.frames.wordsPerPage) % this.recordWords === 0 &&
      (at % this.#arena.frames.wordsPerPage) / this.recordWords < this.recordsPerFrame
    );
  }

  get recordsUsed(): number {
    return this.#words[this.#headAt + RECORDS_USED]!;
  }

  /** Page frames of all slabs. */
  get framesHeld(): number {
    return this.#words[this.#headAt + FRAMES]!;
  }

  /** Checks the slabs with room: each has a free record, and as many as counted. */
  verify(): void {
    const words = this.#words;
    const frames = this.#arena.frames;
    const head = this.#headAt + WITH_ROOM;
    const listed = listCheck(words, head, this.framesHeld);
    assert(listed >= 0, "the list of slabs with room is whole");
    let free = 0;
    for (let link = listFirst(words, head); link !== head; link = listNext(words, link)) {
      const frame = frames.frameOfLink(link);
      const state = words[frames.privateOf(frame)]!;
      let length = 0;
      for (let record = state & NO_RECORD; record !== NO_RECORD; length++) {
        assert(length < this.recordsPerFrame, "the free records of a slab form no loop");
        record = words[frames.frameToWord(frame) + record * this.recordWords]! & NO_RECORD;
      }
      assert(length + (state >>> 16) === this.recordsPerFrame, "used + free = records of a slab");
      assert(length > 0, "a slab in the list has room");
      free += length;
    }
    const total = this.framesHeld * this.recordsPerFrame;
    assert(this.recordsUsed + free === total, "records used + free = records of all slabs");
  }

  #grow(): PageFrame | Nil {
    const words = this.#words;
    const frames = this.#arena.frames;
    const frame = frames.alloc(0, this.#owner);
    if (frame === NIL) return NIL;
    const start = frames.frameToWord(frame);
    for (let record = 0; record < this.recordsPerFrame; record++) {
      const last = record === this.recordsPerFrame - 1;
      words[start + record * this.recordWords] = last ? NO_RECORD : record + 1;
    }
    put(words, frames.privateOf(frame), 0);
    listAdd(words, frames.linkOf(frame), this.#headAt + WITH_ROOM);
    add(words, this.#headAt + FRAMES, 1);
    return frame;
  }
}
