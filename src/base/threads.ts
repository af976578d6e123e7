// How a thread is told from others, and a dead one from one that is slow: a contract, because only
// the platform knows (node/threads.ts).

export interface Threads {
  /**
   * What names the calling thread among all that ever run on this machine's process: 1 … 2³¹ − 1.
   * The same thread always gets the same answer.
   */
  self(): number;
  /**
   * Whether the thread of that name may still run. False only if it certainly never runs again; to
   * be asked rarely, it may cost a system call.
   */
  mayRun(name: number): boolean;
}

/** Where nothing can be known: nobody is ever taken for dead, so their locks stay theirs. */
export const UNKNOWN_THREADS: Threads = { self: () => 1, mayRun: () => true };
