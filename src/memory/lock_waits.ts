// How a thread waits for locks of one kind: it spins for a while and then sleeps, and counts both.
//
// Spinning pays if the lock becomes free sooner than a sleeping thread could be woken. A lock is
// held for some microseconds, so it pays whenever the owner has a processor, and a thread that goes
// to sleep instead leaves its processor idle. If the owner has lost its processor, spinning ends
// before it has cost more than the sleep that follows.
import { platformClock } from "../base/clock.ts";
import type { Kernels } from "../wasm/kernels.ts";
import * as Reader from "./reader.layout.ts";

/** Turns of 10 to 20 ns: 20 to 40 µs. With 300, sixteen threads did a third less. */
const TURNS = 2000;

export class LockWaits {
  /** Turns to spin before sleeping: none on a single processor. */
  readonly turns: number;
  readonly #kernels: Kernels;
  /** Address of the counters of this kind (reader.layout.ts); 0 = they are not counted. */
  #counters = 0;

  /** @param processors that the threads of this process may run on */
  constructor(kernels: Kernels, processors: number) {
    this.#kernels = kernels;
    this.turns = processors > 1 ? TURNS : 0;
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

  /** Counts a wait. @param sleeps times that the thread slept */
  ended(beginNs: number, sleeps: number): void {
    if (this.#counters === 0) return;
    const kernels = this.#kernels;
    kernels.addLong(this.#counters + Reader.CONTENDED * 8, 1);
    kernels.addLong(this.#counters + Reader.WAITED_NS * 8, this.since(beginNs));
    if (sleeps !== 0) kernels.addLong(this.#counters + Reader.SLEPT * 8, sleeps);
  }

  /** Counts waits that ended by spinning, elsewhere and in a time that nobody has measured. */
  spun(times: number): void {
    if (this.#counters !== 0) this.#kernels.addLong(this.#counters + Reader.CONTENDED * 8, times);
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
