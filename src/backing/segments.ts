// The table of segments: which are free, how many live bytes each has, which are in memory.
//
// All words are written under the arena's lock, and through the journal.
import { type Address, NIL, type Nil, type PageFrame } from "../base/brand.ts";
import { assert } from "../base/errors.ts";
import type { Arena } from "../memory/arena.ts";
import { add, put } from "../memory/journal.ts";
import { HEADER_BYTES } from "./record.layout.ts";
import * as Log from "./segment_log.layout.ts";

/** A segment is worth cleaning if at least one part in WORTH_DEAD of it is dead. */
const WORTH_DEAD = 8;
/**
 * A segment is also worth cleaning if no more than this part of it is live: its live records fit
 * into one segment together with those of another such segment.
 */
const WORTH_SPARSE = 3 / 8;

export class SegmentTable {
  readonly #arena: Arena;
  readonly #words: Int32Array;
  readonly #at: number;
  readonly #owner: number;
  readonly #perFrame: number;
  readonly #segmentBytes: number;
  /** Order of the blocks of frames that buffer a segment. */
  readonly #bufferOrder: number;

  /**
   * @param at word index of the log's words
   * @param owner the owner number for its frames
   * @param segmentBytes bytes of a segment, a multiple of the page size
   */
  constructor(arena: Arena, at: number, owner: number, segmentBytes: number) {
    this.#arena = arena;
    this.#words = arena.words;
    this.#at = at;
    this.#owner = owner;
    this.#segmentBytes = segmentBytes;
    this.#perFrame = Math.floor(arena.frames.wordsPerPage / Log.SEGMENT_WORDS);
    this.#bufferOrder = Math.max(0, Math.log2(segmentBytes / arena.pageSize));
  }

  /**
   * Initializes all segments as free; called once, before others see the words.
   * @returns false if there is not enough memory for the directory and the spare buffers
   */
  format(segments: number): boolean {
    const { frames } = this.#arena;
    assert(segments >= 2, "a file has room for a segment behind its header");
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

  /** Word index of the words of a segment that was used before. */
  at(segment: number): number {
    const directory = this.#words[this.#at + Log.DIRECTORY]!;
    const frame = this.#words[directory + Math.floor(segment / this.#perFrame)]!;
    return frame + (segment % this.#perFrame) * Log.SEGMENT_WORDS;
  }

  state(segment: number): number {
    return this.#words[this.at(segment) + Log.STATE]! & Log.STATE_MASK;
  }

  /**
   * Finds, among the next segments after the cursor, the one from which cleaning gains most, and
   * advances the cursor. The gain is dead bytes; or, if few bytes are live, half a segment, because
   * two such segments fit into one. Segments without such a gain are skipped, because cleaning
   * would move the same records again and again.
   * @param lookedAt the number of segments to compare. The best of these is nearly as good as the
   *   best of all (the power of d choices).
   * @param isDamaged whether to search among damaged segments
   * @returns the segment, or NIL
   */
  pickSparse(lookedAt: number, isDamaged: boolean): number | Nil {
    const worthDead = this.#segmentBytes / WORTH_DEAD;
    const worthSparse = this.#segmentBytes * WORTH_SPARSE;
    let best: number = NIL;
    for (let left = lookedAt; left > 0; left--) {
      const segment = this.#advance();
      if (segment === NIL) break;
      if (!this.#isCleanable(segment, isDamaged)) continue;
      const live = this.liveOf(segment);
      const dead = this.filledOf(segment) - HEADER_BYTES - live;
      if (dead < worthDead && live > worthSparse) continue;
      if (best === NIL || live < this.liveOf(best)) best = segment;
    }
    return best;
  }

  /** The next segment after the cursor that can be cleaned, whatever its content; NIL for none. */
  pickNext(lookedAt: number): number | Nil {
    for (let left = lookedAt; left > 0; left--) {
      const segment = this.#advance();
      if (segment === NIL) break;
      if (this.#isCleanable(segment, false)) return segment;
    }
    return NIL;
  }

  /** Sets the state of a segment. */
  setState(segment: number, state: number): void {
    const at = this.at(segment) + Log.STATE;
    const kept = this.#words[at]! & ~((1 << Log.FILLED_SHIFT) - 1);
    put(this.#words, at, kept | state);
  }

  /**
   * Sets a segment to FLUSHING.
   * @param owner the thread that writes it
   */
  setFlushing(segment: number, owner: number): void {
    this.setState(segment, Log.FLUSHING);
    put(this.#words, this.#flusherAt(segment), owner);
  }

  /** The owner that writes a FLUSHING segment. */
  flusherOf(segment: number): number {
    return this.#words[this.#flusherAt(segment)]!;
  }

  /** Records how many bytes of a segment are filled, when it is closed. */
  setFilled(segment: number, bytes: number): void {
    const at = this.at(segment) + Log.STATE;
    const rest = this.#words[at]! & ((1 << Log.FILLED_SHIFT) - 1);
    put(this.#words, at, ((bytes / Log.FILLED_UNIT) << Log.FILLED_SHIFT) | rest);
  }

  filledOf(segment: number): number {
    const filled = this.#words[this.at(segment) + Log.STATE]! >>> Log.FILLED_SHIFT;
    return (filled & Log.FILLED_MASK) * Log.FILLED_UNIT;
  }

  /** Marks a segment as damaged, so that `pickSparse` finds it only among damaged segments. */
  setDamaged(segment: number): void {
    const at = this.at(segment) + Log.STATE;
    put(this.#words, at, this.#words[at]! | Log.DAMAGED);
  }

  /** Bytes of a segment's live records. */
  liveOf(segment: number): number {
    return this.#words[this.at(segment) + Log.LIVE]!;
  }

  /** Bytes of the live records of all segments. */
  get liveBytes(): number {
    const low = this.#words[this.#at + Log.LIVE_LOW]! >>> 0;
    return this.#words[this.#at + Log.LIVE_HIGH]! * 2 ** 32 + low;
  }

  /** Adds to the live bytes of a segment and of the log. */
  account(segment: number, bytes: number): void {
    const words = this.#words;
    const before = add(words, this.at(segment) + Log.LIVE, bytes);
    assert(before + bytes >= 0, "a record is released once");
    const live = this.liveBytes + bytes;
    put(words, this.#at + Log.LIVE_LOW, live | 0);
    put(words, this.#at + Log.LIVE_HIGH, Math.floor(live / 2 ** 32));
  }

  /** The sequence number of a segment: the later of two openings has the larger number. */
  sequenceOf(segment: number): number {
    return this.#words[this.at(segment) + Log.LINK]!;
  }

  /** Whether a segment of this number exists and was used before. */
  has(segment: number): boolean {
    return segment >= 1 && segment < this.#words[this.#at + Log.NEXT_FRESH]!;
  }

  /** Segments that can be opened. */
  get free(): number {
    const words = this.#words;
    const fresh = words[this.#at + Log.SEGMENTS]! - words[this.#at + Log.NEXT_FRESH]!;
    return fresh + words[this.#at + Log.FREE_COUNT]!;
  }

  /** Address of a segment's buffer, or NIL. */
  bufferOf(segment: number): Address | Nil {
    const frame = this.#words[this.at(segment) + Log.BUFFER]!;
    return frame === 0 ? NIL : this.#arena.frames.frameToAddress(frame as PageFrame);
  }

  /**
   * Takes a free segment and a buffer for it.
   * @returns its number; NIL if there is no free segment, no buffer, or no frame for the table
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

  /** Frees a segment's buffer: keeps it as a spare, or returns it to the arena. */
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

  /**
   * Frees a segment without live records, unless a thread is writing or cleaning it. A segment in
   * memory is then never written.
   */
  releaseIfEmpty(segment: number): void {
    const words = this.#words;
    const at = this.at(segment);
    const state = this.state(segment);
    if (words[at + Log.LIVE] !== 0 || (state !== Log.FULL && state !== Log.ON_FILE)) return;
    if (state === Log.FULL) this.dropBuffer(segment);
    put(words, at + Log.STATE, Log.FREE);
    put(words, at + Log.LINK, words[this.#at + Log.FREE_FIRST]!);
    put(words, this.#at + Log.FREE_FIRST, segment);
    add(words, this.#at + Log.FREE_COUNT, 1);
  }

  /** Segments in memory. */
  get bufferedCount(): number {
    let count = 0;
    for (let nth = 0; nth < Log.BUFFERS_MAX; nth++) if (this.#buffered(nth) !== 0) count++;
    return count;
  }

  /** The FULL segment that was opened first, or NIL. */
  oldestFull(): number | Nil {
    let oldest: number = NIL;
    for (let nth = 0; nth < Log.BUFFERS_MAX; nth++) {
      const segment = this.#buffered(nth);
      if (segment === 0 || this.state(segment) !== Log.FULL) continue;
      if (oldest === NIL || this.sequenceOf(segment) < this.sequenceOf(oldest)) oldest = segment;
    }
    return oldest;
  }

  /** Whether a thread whose owner `isOf` accepts is writing a segment. */
  isFlushing(isOf: (owner: number) => boolean): boolean {
    for (let nth = 0; nth < Log.BUFFERS_MAX; nth++) {
      const segment = this.#buffered(nth);
      if (segment === 0 || this.state(segment) !== Log.FLUSHING) continue;
      if (isOf(this.flusherOf(segment))) return true;
    }
    return false;
  }

  /** Returns to FULL the segments whose writers are gone. */
  takeBack(isGone: (owner: number) => boolean): void {
    for (let nth = 0; nth < Log.BUFFERS_MAX; nth++) {
      const segment = this.#buffered(nth);
      if (segment === 0 || this.state(segment) !== Log.FLUSHING) continue;
      if (!isGone(this.flusherOf(segment))) continue;
      this.setState(segment, Log.FULL);
      this.releaseIfEmpty(segment);
    }
  }

  /** Page frames of directory, table and buffers. */
  get framesHeld(): number {
    const words = this.#words;
    const { frames } = this.#arena;
    const directoryWords = Math.ceil(words[this.#at + Log.SEGMENTS]! / this.#perFrame);
    const order = Math.max(0, Math.ceil(Math.log2(directoryWords / frames.wordsPerPage)));
    let buffers = this.bufferedCount;
    for (let nth = 0; nth < Log.SPARES_MAX; nth++) {
      if (words[this.#at + Log.SPARES + nth] !== 0) buffers++;
    }
    const table = words[this.#at + Log.TABLE_FRAMES]!;
    return (1 << order) + table + (buffers << this.#bufferOrder);
  }

  /**
   * Advances the cursor to the next segment that was used before; after the last comes the first.
   */
  #advance(): number | Nil {
    const words = this.#words;
    const used = words[this.#at + Log.NEXT_FRESH]! - 1;
    if (used === 0) return NIL;
    const before = words[this.#at + Log.CURSOR]!;
    const segment = before >= used ? 1 : before + 1;
    // Written without the journal: a wrong cursor does no harm.
    words[this.#at + Log.CURSOR] = segment;
    return segment;
  }

  #isCleanable(segment: number, isDamaged: boolean): boolean {
    const state = this.#words[this.at(segment) + Log.STATE]! & (Log.STATE_MASK | Log.DAMAGED);
    return state === (isDamaged ? Log.ON_FILE | Log.DAMAGED : Log.ON_FILE);
  }

  /** The word that names the writer of a segment in memory. */
  #flusherAt(segment: number): number {
    const slot = this.#slotOf(segment);
    assert(slot !== NIL, "a segment that is written is in memory");
    return slot - Log.BUFFERED + Log.FLUSHERS;
  }

  /** The n-th of the segments in memory, 0 = unused. */
  #buffered(nth: number): number {
    return this.#words[this.#at + Log.BUFFERED + nth]!;
  }

  /** The word of BUFFERED that has `segment` (0: an unused word), or NIL. */
  #slotOf(segment: number): number | Nil {
    for (let nth = 0; nth < Log.BUFFERS_MAX; nth++) {
      if (this.#buffered(nth) === segment) return this.#at + Log.BUFFERED + nth;
    }
    return NIL;
  }

  #takeBuffer(): PageFrame | Nil {
    const words = this.#words;
    const fresh = this.#arena.frames.alloc(this.#bufferOrder, this.#owner);
    if (fresh !== NIL) return fresh;
    // No block of that size is free: use a spare.
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
      // Written without the journal: nothing refers to the new frame yet.
      words.fill(0, start, start + this.#arena.frames.wordsPerPage);
      put(words, directory, start);
      add(words, this.#at + Log.TABLE_FRAMES, 1);
    }
    put(words, this.#at + Log.NEXT_FRESH, segment + 1);
    return segment;
  }
}
