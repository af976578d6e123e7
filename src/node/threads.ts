// Which thread is which, and which one is dead, on Node.
//
// A worker that was terminated tells nobody: no code of its own runs any more, and the `exit` event
// reaches only the thread that made it, when that returns to its event loop. Linux knows better: a
// thread is a folder below /proc/self/task until it has ended. Its number may be given to a later
// thread, so the time at which it began goes into its name too.
//
// Elsewhere nothing is certain, and nobody is taken for dead.
import { readFileSync, readlinkSync } from "node:fs";
import { type Threads, UNKNOWN_THREADS } from "../base/threads.ts";

/** Linux gives out thread numbers below 2²². */
const START_BITS = 9;
const START_MASK = (1 << START_BITS) - 1;
/** Of the fields behind the program's name in /proc/…/stat, the start in clock ticks: field 22. */
const START_FIELD = 22 - 3;

let own: number | undefined;

const LINUX_THREADS: Threads = {
  self() {
    own ??= nameOf(ownNumber(), 0);
    return own;
  },
  mayRun(name) {
    // What can't be found out proves nothing.
    return nameOf(name >>> START_BITS, name) === name;
  },
};

/** How threads are told apart on this platform. */
export function nodeThreads(): Threads {
  return ownNumber() === 0 ? UNKNOWN_THREADS : LINUX_THREADS;
}

/** The system's number of the calling thread, 0 where it can't be known. */
function ownNumber(): number {
  try {
    return Number(/\/task\/(\d+)$/.exec(readlinkSync("/proc/thread-self"))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

/** The name of a thread of this process, 0 if there is none of this number. */
function nameOf(number: number, inDoubt: number): number {
  let stat: string;
  try {
    stat = readFileSync(`/proc/self/task/${number}/stat`, "latin1");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    // What ends while it is being read is as gone as what is not there.
    return code === "ENOENT" || code === "ESRCH" ? 0 : inDoubt;
  }
  // The program's name stands in parentheses and may hold any character.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return ((number << START_BITS) | (Number(fields[START_FIELD]) & START_MASK)) >>> 0;
}
