// Simulated threads within one real thread: each attaches with its own thread number, and is dead
// from the moment that the test chooses.
import type { Threads } from "../../src/base/threads.ts";

export class SimulatedThreads implements Threads {
  readonly dead = new Set<number>();
  readonly processors = 2;
  #last = 0;

  /** A new name for each call: every attached arena is a separate thread. */
  self(): number {
    return ++this.#last;
  }

  mayRun(name: number): boolean {
    return name !== 0 && !this.dead.has(name);
  }

  /** The name that was given out last. */
  get last(): number {
    return this.#last;
  }
}
