// What threads share beside the items: cas numbers, of which no two changes get the same, and the
// number of flushes. Eight words of shared memory.
import { assert } from "../../base/errors.ts";
import { FLUSH_MASK } from "./items.layout.ts";

/** u32, atomic  blocks of cas numbers that were assigned to threads */
const CAS_BLOCKS = 0;
/** u32, atomic  number of flushes so far, modulo 2²⁴ */
const FLUSHES = 1;
/** s, atomic  when the next flush is due, 0 = none is */
const FLUSH_DUE = 2;
/** s, atomic, may be negative  by how much `debugtime` has moved the clock */
const CLOCK_SHIFT = 3;
const SHARED_WORDS = 8;

/**
 * A thread takes so many cas numbers at once and assigns them by itself; 2³² blocks make 2⁴²
 * numbers, a million a second for fifty days.
 */
const BLOCK_BITS = 10;
const BLOCK_SIZE = 2 ** BLOCK_BITS;
const TWO_32 = 2 ** 32;

/** What a process needs to know that begins with another's items. */
export interface ItemsBegin {
  /** No cas number up to this one is assigned again. */
  readonly casAfter: number;
  readonly flushes: number;
  /** Seconds since 1970, 0 = none. */
  readonly flushDue: number;
}

export class ItemsShared {
  readonly #words: Int32Array;
  /** The cas number that was assigned last, in halves. */
  casLow = 0;
  casHigh = 0;
  #casNext = 0;
  #casEnd = 0;

  private constructor(words: Int32Array) {
    this.#words = words;
  }

  /** @param begin what the previous process has left, if there was one */
  static create(begin?: ItemsBegin): ItemsShared {
    const words = new Int32Array(new SharedArrayBuffer(SHARED_WORDS * 4));
    if (begin !== undefined) {
      words[CAS_BLOCKS] = Math.ceil(begin.casAfter / BLOCK_SIZE);
      words[FLUSHES] = begin.flushes;
      words[FLUSH_DUE] = begin.flushDue;
    }
    return ItemsShared.attach(words.buffer as SharedArrayBuffer);
  }

  /** @param memory what `share` of another thread's object gave */
  static attach(memory: SharedArrayBuffer): ItemsShared {
    assert(memory.byteLength === SHARED_WORDS * 4, "the shared words are as many as made");
    return new ItemsShared(new Int32Array(memory));
  }

  share(): SharedArrayBuffer {
    return this.#words.buffer as SharedArrayBuffer;
  }

  #takeBlock(): void {
    const block = Atomics.add(this.#words, CAS_BLOCKS, 1) >>> 0;
    this.#casNext = block * BLOCK_SIZE + 1;
    this.#casEnd = this.#casNext + BLOCK_SIZE;
  }

  /** Assigns a new cas number, in `casLow` and `casHigh`; never 0. */
  nextCas(): void {
    if (this.#casNext === this.#casEnd) this.#takeBlock();
    const cas = this.#casNext++;
    this.casLow = cas >>> 0;
    this.casHigh = Math.floor(cas / TWO_32);
  }

  /**
   * The cas number that is assigned next. Together with `casLeft` and `useCas`, for a kernel that
   * assigns some.
   */
  get casNext(): number {
    if (this.#casNext === this.#casEnd) this.#takeBlock();
    return this.#casNext;
  }

  /** How many numbers from `casNext` on this thread may assign. */
  get casLeft(): number {
    return this.#casEnd - this.#casNext;
  }

  /** So many numbers, from `casNext` on, have been assigned. */
  useCas(count: number): void {
    assert(count <= this.casLeft, "cas numbers are assigned from the block of the thread");
    this.#casNext += count;
  }

  /** The number of flushes, modulo 2²⁴: an item with another number is gone. */
  flushes(): number {
    return Atomics.load(this.#words, FLUSHES) & FLUSH_MASK;
  }

  /** The number after one more flush. */
  flushesNext(): number {
    return (this.flushes() + 1) & FLUSH_MASK;
  }

  /** Flushes at once, or at a later second, which replaces the one that was set before. */
  flush(due: number, now: number): void {
    if (due > now) {
      Atomics.store(this.#words, FLUSH_DUE, due | 0);
      return;
    }
    Atomics.store(this.#words, FLUSH_DUE, 0);
    Atomics.add(this.#words, FLUSHES, 1);
  }

  /** Whether a delayed flush is due. */
  isFlushDue(now: number): boolean {
    const due = Atomics.load(this.#words, FLUSH_DUE);
    return due !== 0 && due >>> 0 <= now;
  }

  get clockShift(): number {
    return Atomics.load(this.#words, CLOCK_SHIFT);
  }

  moveClock(seconds: number): void {
    Atomics.add(this.#words, CLOCK_SHIFT, seconds);
  }
}
