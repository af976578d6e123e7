// Counters of one device: every thread adds to counters of its own, and a reader sums them up.
import { MAX_THREADS } from "../memory/arena.layout.ts";
import type { Arena } from "../memory/arena.ts";
import type { IoStat } from "./stat.ts";
import * as Device from "./zram.layout.ts";

export class ZramCounters {
  readonly #floats: Float64Array;
  readonly #first: number;
  readonly #own: number;

  /** @param at word index of the device */
  constructor(arena: Arena, at: number) {
    this.#floats = new Float64Array(arena.memory.buffer);
    this.#first = (at + Device.COUNTERS) / 2;
    this.#own = this.#first + (arena.thread - 1) * Device.COUNTERS_PER_THREAD;
  }

  /** @param what a counter of zram.layout.ts */
  count(what: number): void {
    this.#floats[this.#own + what]! += 1;
  }

  ioStat(): IoStat {
    return {
      failed_reads: this.#sum(Device.FAILED_READS),
      failed_writes: this.#sum(Device.FAILED_WRITES),
      invalid_io: this.#sum(Device.INVALID_IO),
      notify_free: this.#sum(Device.NOTIFY_FREE),
    };
  }

  requests(): { reads: number; writes: number; discards: number } {
    return {
      reads: this.#sum(Device.READS),
      writes: this.#sum(Device.WRITES),
      discards: this.#sum(Device.DISCARDS),
    };
  }

  #sum(what: number): number {
    let sum = 0;
    for (let nth = 0; nth < MAX_THREADS; nth++) {
      sum += this.#floats[this.#first + nth * Device.COUNTERS_PER_THREAD + what]!;
    }
    return sum;
  }
}
