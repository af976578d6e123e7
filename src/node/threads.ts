// Which thread is which, and which one is dead, on Node.
//
// A worker that was terminated tells nobody: no code of its own runs any more, and the `exit` event
// reaches only the thread that made it, when that returns to its event loop. Linux knows better: a
// thread is a folder below /proc/self/task until it has ended. Its number may be given to a later
// thread, so the time at which it began goes into its name too.
//
// That time is read from a file. A process without a free file descriptor can't open it, but can
// still ask whether the folder exists: a thread that attaches then gets a name without a time,
// which any later thread of the same number keeps alive.
//
// Elsewhere nothing is certain, and nobody is taken for dead.
import { existsSync, readFileSync, readlinkSync } from "node:fs";
import { type Threads, UNKNOWN_THREADS } from "../base/threads.ts";

/** Linux gives out thread numbers below 2²². */
const START_BITS = 9;
/** In the place of the start: not known. Times that would read the same are one tick less. */
const START_UNKNOWN = (1 << START_BITS) - 1;
/** Of the fields behind the program's name in /proc/…/stat, the start in clock ticks: field 22. */
const START_FIELD = 22 - 3;

let own: number | undefined;

const LINUX_THREADS: Threads = {
  self() {
    own ??= nameOf(ownNumber());
    return own;
  },
  mayRun(name) {
    const number = name >>> START_BITS;
    if (number === 0) return false;
    if ((name & START_UNKNOWN) === START_UNKNOWN) return existsSync(`/proc/self/task/${number}`);
    const found = nameOf(number);
    // What can't be found out proves nothing.
    return found === name || (found & START_UNKNOWN) === START_UNKNOWN;
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
function nameOf(number: number): number {
  const inDoubt = ((number << START_BITS) | START_UNKNOWN) >>> 0;
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
  const start = Math.min(Number(fields[START_FIELD]) & START_UNKNOWN, START_UNKNOWN - 1);
  return ((number << START_BITS) | start) >>> 0;
}
