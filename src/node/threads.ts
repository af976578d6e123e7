// The identity of threads on Node, and whether a thread has ended.
//
// A terminated worker runs no code, and the event "exit" reaches only the thread that made it, in
// its event loop. On Linux, a thread is a folder in /proc/self/task until it has ended. A later
// thread may get the same number, so a thread's name also has the time at which it started.
//
// That time is read from a file. A process without a free file descriptor can't open the file, but
// can check that the folder exists. A thread that attaches then gets a name without a time, and
// counts as alive while any thread has its number.
//
// On other systems nothing is known, and no thread counts as ended.
import { existsSync, readFileSync, readlinkSync } from "node:fs";
import { availableParallelism } from "node:os";
import { type Threads, UNKNOWN_THREADS } from "../base/threads.ts";

/** Linux gives out thread numbers below 2²². */
const START_BITS = 9;
/** Stands for an unknown start. A start with the same bits is made one tick less. */
const START_UNKNOWN = (1 << START_BITS) - 1;
/** Of the fields behind the program's name in /proc/…/stat, the start in clock ticks: field 22. */
const START_FIELD = 22 - 3;

let own: number | undefined;

const LINUX_THREADS: Threads = {
  processors: availableParallelism(),
  self() {
    own ??= nameOf(ownNumber());
    return own;
  },
  mayRun(name) {
    const number = name >>> START_BITS;
    if (number === 0) return false;
    if ((name & START_UNKNOWN) === START_UNKNOWN) return existsSync(`/proc/self/task/${number}`);
    const found = nameOf(number);
    // An unknown start proves nothing.
    return found === name || (found & START_UNKNOWN) === START_UNKNOWN;
  },
};

/** The identity of threads on this platform. */
export function nodeThreads(): Threads {
  if (ownNumber() !== 0) return LINUX_THREADS;
  return { ...UNKNOWN_THREADS, processors: LINUX_THREADS.processors };
}

/** The system's number of the calling thread; 0 if unknown. */
function ownNumber(): number {
  try {
    return Number(/\/task\/(\d+)$/.exec(readlinkSync("/proc/thread-self"))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

/** The name of a thread of this process; 0 if no thread has this number. */
function nameOf(number: number): number {
  const inDoubt = ((number << START_BITS) | START_UNKNOWN) >>> 0;
  let stat: string;
  try {
    stat = readFileSync(`/proc/self/task/${number}/stat`, "latin1");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    // ESRCH: the thread has ended during the read.
    return code === "ENOENT" || code === "ESRCH" ? 0 : inDoubt;
  }
  // The program's name stands in parentheses and may hold any character.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const start = Math.min(Number(fields[START_FIELD]) & START_UNKNOWN, START_UNKNOWN - 1);
  return ((number << START_BITS) | start) >>> 0;
}
