// How a thread waits for locks of one kind: it spins for a while and then sleeps, and counts both.
//
// Spinning pays if the lock becomes free sooner than a sleeping thread could be woken: always with
// a processor for each thread, hardly ever if the owner of the lock has lost its processor, and
// never on a single processor. So the limit of turns follows what the last waits were like. Nothing
// of this costs an acquisition that finds the lock free.
import { platformClock } from "../base/clock.ts";
import type { Kernels } from "../wasm/kernels.ts";
import * as Reader from "./reader.layout.ts";

/** Turns of 10 to 20 ns to spin: at first, at least and at most, which is 20 to 40 µs. */
const TURNS = 200;
const TURNS_MIN = 16;
const TURNS_MAX = 2000;
/** A wait that ended by spinning leaves room for waits this many times as long. */
const ROOM = 4;
/** The weight of one wait is 1 ÷ 2 to this power. */
const WEIGHT_SHIFT = 3;
/**
 * A thread that has slept and has the lock after this time could as well have spun: being woken
 * takes most of it. After a longer time, the owner was not running.
 */
const SHORT_NS = 200_000;

export class LockWaits {
  /** Turns to spin before sleeping. */
  turns: number;
  readonly #kernels: Kernels;
  readonly #turnsMax: number;
  /** Address of the counters of this kind (reader.layout.ts); 0 = they are not counted. */
  #counters = 0;

  /** @param processors that the threads of this process may run on */
  constructor(kernels: Kernels, processors: number) {
    this.#kernels = kernels;
    this.#turnsMax = processors > 1 ? TURNS_MAX : 0;
    this.turns = Math.min(TURNS, this.#turnsMax);
  }

  /** Counts at this address from now on. */
  countAt(address: number): void {
    this.#counters = address;
  }

  /** @returns the time, for `ended` */
  begin(): number {
    return platformClock.nowNs();
  }

  /** @returns ns since `begin` */
  since(beginNs: number): number {
    return platformClock.nowNs() - beginNs;
  }

  /**
   * Counts a wait, and learns from it.
   * @param turns of the loop in which the wait ended, if it ended by spinning
   * @param sleeps times that the thread slept
   */
  ended(beginNs: number, turns: number, sleeps: number): void {
    const waitedNs = this.since(beginNs);
    this.#adapt(waitedNs, turns, sleeps);
    if (this.#counters === 0) return;
    const kernels = this.#kernels;
    kernels.addLong(this.#counters + Reader.CONTENDED * 8, 1);
    kernels.addLong(this.#counters + Reader.WAITED_NS * 8, waitedNs);
    if (sleeps !== 0) kernels.addLong(this.#counters + Reader.SLEPT * 8, sleeps);
  }

  #adapt(waitedNs: number, turns: number, sleeps: number): void {
    let next = this.turns;
    if (sleeps === 0) next += (ROOM * turns - next) >> WEIGHT_SHIFT;
    else if (waitedNs < SHORT_NS) next *= 2;
    else next >>= 1;
    this.turns = Math.min(this.#turnsMax, Math.max(TURNS_MIN, next));
  }
}

/** Waits for locks of one kind, by all threads since the arena was created. */
export interface LockCounts {
  /** Acquisitions that had to wait. */
  readonly contended: number;
  /** Time that they took, in ns. */
  readonly waitedNs: number;
  /** Times that a thread slept meanwhile. */
  readonly slept: number;
}

/** @param address of the counters of one kind; `count` of them, so many bytes apart, are summed */
export function sumCounts(
  kernels: Kernels,
  address: number,
  count: number,
  strideBytes: number,
): LockCounts {
  const sum = (counter: number) => {
    let total = 0;
    for (let nth = 0; nth < count; nth++) {
      total += kernels.readLong(address + nth * strideBytes + counter * 8);
    }
    return total;
  };
  return {
    contended: sum(Reader.CONTENDED),
    waitedNs: sum(Reader.WAITED_NS),
    slept: sum(Reader.SLEPT),
  };
}
