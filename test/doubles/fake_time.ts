// A time for the scheduler that passes only when a test lets it.
import type { SchedulerTime } from "../../src/node/scheduler.ts";

interface Timer {
  readonly atMs: number;
  readonly work: () => void;
}

export class FakeTime implements SchedulerTime {
  #nowMs = 0;
  #timers: Timer[] = [];

  nowMs(): number {
    return this.#nowMs;
  }

  after(ms: number, work: () => void): () => void {
    const timer = { atMs: this.#nowMs + ms, work };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** Timers that are set. */
  get pending(): number {
    return this.#timers.length;
  }

  /** Takes time, as a step of a task does: no timer fires. */
  spend(ms: number): void {
    this.#nowMs += ms;
  }

  /** Lets time pass and fires the timers that are due, in order. */
  pass(ms: number): void {
    const end = this.#nowMs + ms;
    for (;;) {
      const first = this.#timers.reduce<Timer | undefined>(
        (a, b) => (b.atMs <= end && (a === undefined || b.atMs < a.atMs) ? b : a),
        undefined,
      );
      if (first === undefined) break;
      this.#timers = this.#timers.filter((other) => other !== first);
      this.#nowMs = Math.max(this.#nowMs, first.atMs);
      first.work();
    }
    this.#nowMs = Math.max(this.#nowMs, end);
  }
}
