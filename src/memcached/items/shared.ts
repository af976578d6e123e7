// What all threads of one item store agree on besides the items: cas numbers that no two changes
// share, and how often everything was flushed. Eight words of shared memory.
import { assert } from "../../base/errors.ts";
import { FLUSH_MASK } from "./items.layout.ts";

/** u32, atomic  how many blocks of cas numbers have been handed out */
const CAS_BLOCKS = 0;
/** u32, atomic  number of flushes so far, modulo 2²⁴ */
const FLUSHES = 1;
/** s, atomic  when the next flush is due, 0 = none is */
const FLUSH_DUE = 2;
/** s, atomic, may be negative  how far the clock of a test has been moved */
const CLOCK_SHIFT = 3;
const SHARED_WORDS = 8;

/**
 * A thread takes so many cas numbers at once and gives them out by itself; 2³² blocks make 2⁴²
 * numbers, a million a second for fifty days.
 */
const BLOCK_BITS = 10;
const BLOCK_SIZE = 2 ** BLOCK_BITS;
const TWO_32 = 2 ** 32;

/** With what a process begins that goes on with another's items. */
export interface ItemsBegin {
  /** No cas number up to this one is given out again. */
  readonly casAfter: number;
  readonly flushes: number;
  /** Seconds since 1970, 0 = none. */
  readonly flushDue: number;
}

export class ItemsShared {
  readonly #words: Int32Array;
  /** The cas number given out last, in halves. */
  casLow = 0;
  casHigh = 0;
  #casNext = 0;
  #casEnd = 0;

  private constructor(words: Int32Array) {
    this.#words = words;
  }

  /** @param begin what the process before has left, if there was one */
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

  /** Puts a number into `casLow` and `casHigh` that nobody else has been given; never 0. */
  nextCas(): void {
    if (this.#casNext === this.#casEnd) {
      const block = Atomics.add(this.#words, CAS_BLOCKS, 1) >>> 0;
      this.#casNext = block * BLOCK_SIZE + 1;
      this.#casEnd = this.#casNext + BLOCK_SIZE;
    }
    const cas = this.#casNext++;
    this.casLow = cas >>> 0;
    this.casHigh = Math.floor(cas / TWO_32);
  }

  /** How often everything was flushed, modulo 2²⁴: an item of another number is gone. */
  flushes(): number {
    return Atomics.load(this.#words, FLUSHES) & FLUSH_MASK;
  }

  /** What `flushes` will be after one more. */
  flushesNext(): number {
    return (this.flushes() + 1) & FLUSH_MASK;
  }

  /** Flushes at once, or at a second that is still to come; the latter replaces what was due. */
  flush(due: number, now: number): void {
    if (due > now) {
      Atomics.store(this.#words, FLUSH_DUE, due | 0);
      return;
    }
    Atomics.store(this.#words, FLUSH_DUE, 0);
    Atomics.add(this.#words, FLUSHES, 1);
  }

  /** Whether a flush was put off that is to be done by now. */
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
