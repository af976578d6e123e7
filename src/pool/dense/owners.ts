// Owner records: for each slot that begins in a frame, the handle of its object.
//
// Records of the same number of words form a stack over page frames of their own; the last record
// replaces a freed one. So records occupy as many frames as they fill, whatever was freed before,
// as the pool itself does. The first word of a moved record leads to its frame, whose reference is
// then updated.
//
// Guarded by the pool's lock. The content of a freed record is logged, because its place may be
// reused in the same transaction; so a new record need not be logged.
import { NIL, type Nil, type PageFrame, type WordIndex } from "../../base/brand.ts";
import { assert } from "../../base/errors.ts";
import type { Arena } from "../../memory/arena.ts";
import { add, keep, put } from "../../memory/journal.ts";
import * as Dense from "./dense.layout.ts";
import type { FrameReserve } from "./reserve.ts";

/**
 * Words of a record, by kind. An unused word in each record costs a tenth of all metadata, another
 * kind costs half a frame; so the small sizes, which most frames have, are exact.
 */
const KIND_OF_WORDS = [1, 2, 3, 4, 5, 6, 7, 9, 12, 17, 24, 36, 60, 102, 204, 512] as const;

export class OwnerRecords {
  readonly #arena: Arena;
  readonly #words: Int32Array;
  readonly #own: number;
  readonly #reserve: FrameReserve;
  readonly #entryMask: number;
  readonly #frameShift: number;
  /** Records per frame, by kind. */
  readonly #perFrame: readonly number[];
  /** The kind for each number of words. */
  readonly #kinds = new Uint8Array(Dense.GRANULES + 1);

  /**
   * @param own word index of the pool's words (dense.layout.ts)
   * @param entryMask the bits of a handle for its entry's word index
   */
  constructor(arena: Arena, own: number, reserve: FrameReserve, entryMask: number) {
    this.#arena = arena;
    this.#words = arena.words;
    this.#own = own;
    this.#reserve = reserve;
    this.#entryMask = entryMask;
    this.#frameShift = arena.frames.pageShift - 2;
    this.#perFrame = KIND_OF_WORDS.map((words) => Math.floor(arena.frames.wordsPerPage / words));
    for (let words = 1, kind = 0; words <= Dense.GRANULES; words++) {
      if (words > KIND_OF_WORDS[kind]!) kind++;
      this.#kinds[words] = kind;
    }
  }

  /** Page frames of records. */
  get frames(): number {
    return this.#words[this.#own + Dense.RECORD_FRAMES]!;
  }

  /**
   * Allocates a frame's record, with at least `starts` words, all unowned.
   * @returns it, or NIL
   */
  alloc(frame: PageFrame, starts: number): WordIndex | Nil {
    const words = this.#words;
    const kind = this.#kinds[starts]!;
    const at = this.#kindAt(kind);
    if (words[at + Dense.KIND_TAIL] === 0 || words[at + Dense.KIND_USED] === this.#perFrame[kind]) {
      if (!this.#grow(at)) return NIL;
    }
    const size = KIND_OF_WORDS[kind]!;
    const record = this.#recordAt(at, add(words, at + Dense.KIND_USED, 1), size);
    words[record] = ~frame;
    for (let i = 1; i < size; i++) words[record + i] = Dense.NOBODY;
    return record as WordIndex;
  }

  /** Frees a record with room for `starts` words. */
  free(record: WordIndex, starts: number): void {
    const words = this.#words;
    const kind = this.#kinds[starts]!;
    const at = this.#kindAt(kind);
    const size = KIND_OF_WORDS[kind]!;
    const used = words[at + Dense.KIND_USED]! - 1;
    const last = this.#recordAt(at, used, size);
    if (last !== record) {
      const frame = this.#frameOf(last);
      put(words, this.#arena.frames.linkOf(frame) + Dense.RECORD, record);
      for (let i = 0; i < size; i++) put(words, record + i, words[last + i]!);
    }
    for (let i = 0; i < size; i++) keep(words, last + i);
    put(words, at + Dense.KIND_USED, used);
    if (used === 0) this.#shrink(at, kind);
  }

  /**
   * Checks that each record is the one to which its frame refers.
   * @returns records in use
   */
  verify(): number {
    const { frames } = this.#arena;
    const words = this.#words;
    let records = 0;
    let held = 0;
    for (let kind = 0; kind < Dense.RECORD_KINDS; kind++) {
      const at = this.#kindAt(kind);
      let used = words[at + Dense.KIND_USED]!;
      let tail = words[at + Dense.KIND_TAIL]! as PageFrame;
      assert((tail === 0) === (used === 0), "the last frame of records holds something");
      for (; (tail as number) !== 0; tail = words[frames.linkOf(tail) + Dense.PREV]! as PageFrame) {
        assert(words[frames.privateOf(tail)] === 0, "a frame of records holds no slots");
        for (let nth = 0; nth < used; nth++) {
          const record = frames.frameToWord(tail) + nth * KIND_OF_WORDS[kind]!;
          const owner = words[frames.privateOf(this.#frameOf(record))];
          assert(owner === record, "a frame names its record");
        }
        records += used;
        used = this.#perFrame[kind]!;
        held++;
      }
    }
    assert(held === this.frames, "the frames of the records are counted");
    return records;
  }

  /** The frame of a record. */
  #frameOf(record: number): PageFrame {
    const first = this.#words[record]!;
    if (first < 0) return ~first as PageFrame;
    return (this.#words[first & this.#entryMask]! >>> this.#frameShift) as PageFrame;
  }

  #kindAt(kind: number): number {
    return this.#own + Dense.RECORDS + kind * Dense.KIND_WORDS;
  }

  /** The n-th record of a kind's last frame. */
  #recordAt(at: number, nth: number, size: number): number {
    const tail = this.#words[at + Dense.KIND_TAIL]! as PageFrame;
    return this.#arena.frames.frameToWord(tail) + nth * size;
  }

  #grow(at: number): boolean {
    const words = this.#words;
    const frame = this.#reserve.take();
    if (frame === NIL) return false;
    put(words, this.#arena.frames.linkOf(frame) + Dense.PREV, words[at + Dense.KIND_TAIL]!);
    put(words, at + Dense.KIND_TAIL, frame);
    put(words, at + Dense.KIND_USED, 0);
    add(words, this.#own + Dense.RECORD_FRAMES, 1);
    return true;
  }

  #shrink(at: number, kind: number): void {
    const words = this.#words;
    const frame = words[at + Dense.KIND_TAIL]! as PageFrame;
    const before = words[this.#arena.frames.linkOf(frame) + Dense.PREV]!;
    put(words, at + Dense.KIND_TAIL, before);
    put(words, at + Dense.KIND_USED, before === 0 ? 0 : this.#perFrame[kind]!);
    add(words, this.#own + Dense.RECORD_FRAMES, -1);
    this.#reserve.give(frame);
  }
}
