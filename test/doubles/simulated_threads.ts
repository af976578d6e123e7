// Threads of a simulation, all of them in one real thread: each attaches under a name of its own,
// and is dead from the moment on at which the test says so.
import type { Threads } from "../../src/base/threads.ts";

export class SimulatedThreads implements Threads {
  readonly dead = new Set<number>();
  #last = 0;

  /** A new name each time: every arena that is attached is a thread of its own. */
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
