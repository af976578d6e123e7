// Names threads, and tells a dead thread from a slow one. A contract, because only the platform
// knows (node/threads.ts).

export interface Threads {
  /**
   * The calling thread's name, unique among all threads that this process ever runs: 1 … 2³¹ − 1,
   * always the same for one thread.
   */
  self(): number;
  /**
   * Whether the thread of that name may still run. False only if it certainly never runs again. May
   * cost a system call, so it should be called rarely.
   */
  mayRun(name: number): boolean;
  /** Processors that the threads of this process may run on: with one, no thread spins. */
  readonly processors: number;
}

/** For platforms that can't know: no thread is ever taken for dead, and no lock is taken over. */
export const UNKNOWN_THREADS: Threads = { self: () => 1, mayRun: () => true, processors: 2 };
