// The table of segments: which is free, which holds how much, which is in memory.
//
// Everything is under the arena's lock, and written so that it can be undone.
import { type Address, NIL, type Nil, type PageFrame } from "../base/brand.ts";
import { assert } from "../base/errors.ts";
import type { Arena } from "../memory/arena.ts";
import { add, put } from "../memory/journal.ts";
import { SEGMENT_BYTES, SEGMENTS_MAX } from "./record.layout.ts";
import * as Log from "./segment_log.layout.ts";

export class SegmentTable {
  readonly #arena: Arena;
  readonly #words: Int32Array;
  readonly #at: number;
  readonly #owner: number;
  readonly #perFrame: number;
  /** Blocks of so many frames hold a segment. */
  readonly #bufferOrder: number;

  /**
   * @param at word index of the log's own words  @param owner number under which frames are taken
   */
  constructor(arena: Arena, at: number, owner: number) {
    this.#arena = arena;
    this.#words = arena.words;
    this.#at = at;
    this.#owner = owner;
    this.#perFrame = Math.floor(arena.frames.wordsPerPage / Log.SEGMENT_WORDS);
    this.#bufferOrder = Math.max(0, Math.log2(SEGMENT_BYTES / arena.pageSize));
  }

  /**
   * Makes all segments free; once, before others see the words.
   * @returns false if there is not enough memory for the directory and the spare buffers
   */
  format(segments: number): boolean {
    const { frames } = this.#arena;
    assert(segments >= 2 && segments <= SEGMENTS_MAX, "a file has a number of segments");
    const directoryWords = Math.ceil(segments / this.#perFrame);
    const order = Math.max(0, Math.ceil(Math.log2(directoryWords / frames.wordsPerPage)));
    const directory = frames.alloc(order, this.#owner);
    if (directory === NIL) return false;
    const at = frames.frameToWord(directory);
    this.#words.fill(0, at, at + directoryWords);
    this.#words[this.#at + Log.DIRECTORY] = at;
    this.#words[this.#at + Log.SEGMENTS] = segments;
    this.#words[this.#at + Log.NEXT_FRESH] = 1;
    this.#words[this.#at + Log.CURSOR] = 1;
    for (let nth = 0; nth < Log.SPARES_MAX; nth++) {
      const spare = frames.alloc(this.#bufferOrder, this.#owner);
      if (spare === NIL) return false;
      this.#words[this.#at + Log.SPARES + nth] = spare;
    }
    return true;
  }

  /** Word index of what is known of a segment that was used once. */
  at(segment: number): number {
    const directory = this.#words[this.#at + Log.DIRECTORY]!;
    const frame = this.#words[directory + Math.floor(segment / this.#perFrame)]!;
    return frame + (segment % this.#perFrame) * Log.SEGMENT_WORDS;
  }

  state(segment: number): number {
    return this.#words[this.at(segment) + Log.STATE]! & Log.STATE_MASK;
  }

  /** Whether a segment of this number exists and was used once. */
  has(segment: number): boolean {
    return segment >= 1 && segment < this.#words[this.#at + Log.NEXT_FRESH]!;
  }

  /** Segments that can be opened. */
  get free(): number {
    const words = this.#words;
    const fresh = words[this.#at + Log.SEGMENTS]! - words[this.#at + Log.NEXT_FRESH]!;
    return fresh + words[this.#at + Log.FREE_COUNT]!;
  }

  /** Where a segment lies in memory, or NIL. */
  bufferOf(segment: number): Address | Nil {
    const frame = this.#words[this.at(segment) + Log.BUFFER]!;
    return frame === 0 ? NIL : this.#arena.frames.frameToAddress(frame as PageFrame);
  }

  /**
   * Takes a free segment and a buffer for it.
   * @returns its number; NIL if there is no segment, or no buffer, or no frame for the table
   */
  open(): number | Nil {
    const words = this.#words;
    const slot = this.#slotOf(0);
    if (slot === NIL || this.free === 0) return NIL;
    const frame = this.#takeBuffer();
    if (frame === NIL) return NIL;
    const segment = this.#takeNumber();
    if (segment === NIL) return NIL;
    const at = this.at(segment);
    put(words, at + Log.STATE, Log.OPEN);
    put(words, at + Log.LIVE, 0);
    put(words, at + Log.BUFFER, frame);
    put(words, at + Log.LINK, add(words, this.#at + Log.NEXT_SEQUENCE, 1));
    put(words, slot, segment);
    return segment;
  }

  /** Gives a segment's buffer back: kept as a spare, or to the arena. */
  dropBuffer(segment: number): void {
    const words = this.#words;
    const at = this.at(segment) + Log.BUFFER;
    const frame = words[at]!;
    put(words, at, 0);
    put(words, this.#slotOf(segment) as number, 0);
    for (let nth = 0; nth < Log.SPARES_MAX; nth++) {
      const spare = this.#at + Log.SPARES + nth;
      if (words[spare] !== 0) continue;
      put(words, spare, frame);
      return;
    }
    this.#arena.frames.free(frame as PageFrame);
  }

  /** Makes a segment free, whose records nobody wants, and that is not in memory. */
  release(segment: number): void {
    const words = this.#words;
    const at = this.at(segment);
    put(words, at + Log.STATE, Log.FREE);
    put(words, at + Log.LINK, words[this.#at + Log.FREE_FIRST]!);
    put(words, this.#at + Log.FREE_FIRST, segment);
    add(words, this.#at + Log.FREE_COUNT, 1);
  }

  /** The n-th of the segments in memory, 0 = none there. */
  buffered(nth: number): number {
    return this.#words[this.#at + Log.BUFFERED + nth]!;
  }

  /** Frames held: directory, table, buffers. */
  get framesHeld(): number {
    const words = this.#words;
    const { frames } = this.#arena;
    const directoryWords = Math.ceil(words[this.#at + Log.SEGMENTS]! / this.#perFrame);
    const order = Math.max(0, Math.ceil(Math.log2(directoryWords / frames.wordsPerPage)));
    let buffers = 0;
    for (let nth = 0; nth < Log.BUFFERS_MAX; nth++) if (this.buffered(nth) !== 0) buffers++;
    for (let nth = 0; nth < Log.SPARES_MAX; nth++) {
      if (words[this.#at + Log.SPARES + nth] !== 0) buffers++;
    }
    const table = words[this.#at + Log.TABLE_FRAMES]!;
    return (1 << order) + table + (buffers << this.#bufferOrder);
  }

  /** The word of BUFFERED that holds `segment` (0: an unused one), or NIL. */
  #slotOf(segment: number): number | Nil {
    for (let nth = 0; nth < Log.BUFFERS_MAX; nth++) {
      if (this.buffered(nth) === segment) return this.#at + Log.BUFFERED + nth;
    }
    return NIL;
  }

  #takeBuffer(): PageFrame | Nil {
    const words = this.#words;
    const fresh = this.#arena.frames.alloc(this.#bufferOrder, this.#owner);
    if (fresh !== NIL) return fresh;
    // No block of that size is left: what the spares are for.
    for (let nth = 0; nth < Log.SPARES_MAX; nth++) {
      const at = this.#at + Log.SPARES + nth;
      const frame = words[at]!;
      if (frame === 0) continue;
      put(words, at, 0);
      return frame as PageFrame;
    }
    return NIL;
  }

  #takeNumber(): number | Nil {
    const words = this.#words;
    const first = words[this.#at + Log.FREE_FIRST]!;
    if (first !== 0) {
      put(words, this.#at + Log.FREE_FIRST, words[this.at(first) + Log.LINK]!);
      add(words, this.#at + Log.FREE_COUNT, -1);
      return first;
    }
    const segment = words[this.#at + Log.NEXT_FRESH]!;
    const directory = words[this.#at + Log.DIRECTORY]! + Math.floor(segment / this.#perFrame);
    if (words[directory] === 0) {
      const frame = this.#arena.frames.alloc(0, this.#owner);
      if (frame === NIL) return NIL;
      const start = this.#arena.frames.frameToWord(frame);
      // Of a frame that was free: nothing leads to it yet.
      words.fill(0, start, start + this.#arena.frames.wordsPerPage);
      put(words, directory, start);
      add(words, this.#at + Log.TABLE_FRAMES, 1);
    }
    put(words, this.#at + Log.NEXT_FRESH, segment + 1);
    return segment;
  }
}
