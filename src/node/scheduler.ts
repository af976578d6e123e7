// The scheduler of background work: named tasks, run by unref'd timers in the thread that made the
// scheduler. The cache, zram, the memcached server and stores made by `createStore` use it.
//
// A task is a step that takes some milliseconds at most and says whether there is more to do. A run
// repeats the step until nothing is left or the task's budget of time is spent. A task waits for
// its own period after each run, so a slow run delays the next one and runs never overlap.
//
// An error ends the run in which it was thrown. It is counted and handed to `onError`; the task
// runs again at its next turn. When the store is closed, by any thread, all tasks end.
import type { BackgroundWork, TaskStats } from "../store/platform.ts";
import type { Store } from "../store/store.ts";

/**
 * What background work is called in statistics and messages. "recompress" is the scan of idle
 * entries, which also writes back, and removes expired values, in the same walk. "populate" and
 * "giveBack" are about the memory of free frames (give_back.ts), "pressure" about the limit of the
 * store (memory_pressure.ts).
 */
export type TaskName =
  | "maintain"
  | "recompress"
  | "expire"
  | "persist"
  | "populate"
  | "giveBack"
  | "pressure"
  | "remote";

export interface Task {
  readonly name: TaskName;
  /** Ms from the end of a run to the next. */
  readonly everyMs: number;
  /** Ms to the first run (default: `everyMs`). */
  readonly firstMs?: number;
  /** The same after a run that left work (default: `everyMs`). */
  readonly moreMs?: number;
  /** Ms after which a run begins no further step; asked once for each run (default: one step). */
  readonly budgetMs?: () => number;
  /** One bounded step. @returns whether there is more to do at once */
  step(nowMs: number): boolean;
  /** Called in place of the next run if another thread has closed the store. */
  last?(): void;
}

/** Time as the scheduler sees it; tests have a clock that stands still. */
export interface SchedulerTime {
  nowMs(): number;
  /** Calls `work` once, later. @returns cancels the call */
  after(ms: number, work: () => void): () => void;
}

/** Takes an error of a task; an error that it throws itself is an uncaught exception. */
export type OnTaskError = (task: TaskName, error: unknown) => void;

/** A longer timeout overflows in Node's timers and fires at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

const NODE_TIME: SchedulerTime = {
  nowMs: () => performance.now(),
  after: (ms, work) => {
    const timer = setTimeout(work, ms);
    timer.unref();
    return () => clearTimeout(timer);
  },
};

interface Entry {
  readonly task: Task;
  readonly stats: { -readonly [Name in keyof TaskStats]: TaskStats[Name] };
  cancel: () => void;
}

export class Scheduler implements BackgroundWork {
  readonly #isOver: () => boolean;
  readonly #onError: OnTaskError | undefined;
  readonly #time: SchedulerTime;
  readonly #entries: Entry[] = [];
  #isStopped = false;
  #onStop: (() => void) | undefined;

  /**
   * @param isOver whether what the tasks work on is closed: then the scheduler stops by itself
   * @param onError without it, an error of a task is an uncaught exception
   */
  constructor(isOver: () => boolean, onError?: OnTaskError, time: SchedulerTime = NODE_TIME) {
    this.#isOver = isOver;
    this.#onError = onError;
    this.#time = time;
  }

  /** A scheduler for a store, which stops it when the calling thread closes or detaches. */
  static of(store: Store, onError?: OnTaskError, time?: SchedulerTime): Scheduler {
    const scheduler = new Scheduler(() => store.isClosed, onError, time);
    store.background = scheduler;
    return scheduler;
  }

  /** The time by which steps are called. */
  get nowMs(): number {
    return this.#time.nowMs();
  }

  get tasks(): TaskStats[] {
    return this.#entries.map(({ stats }) => ({ ...stats }));
  }

  /** Runs a task from now on. */
  add(task: Task): void {
    const stats = { name: task.name, runs: 0, errors: 0, ms: 0 };
    const entry: Entry = { task, stats, cancel: () => {} };
    this.#entries.push(entry);
    this.#arm(entry, task.firstMs ?? task.everyMs);
  }

  /** Calls `work` once all tasks have ended, for whatever reason. */
  onStop(work: () => void): void {
    this.#onStop = work;
  }

  /** Ends all tasks: no step begins any more. */
  stop(): void {
    this.#isStopped = true;
    this.#onStop?.();
    for (const { cancel } of this.#entries) cancel();
  }

  #arm(entry: Entry, ms: number): void {
    if (this.#isStopped) return;
    entry.cancel = this.#time.after(Math.min(ms, TIMER_MS_MAX), () => this.#run(entry));
  }

  #run(entry: Entry): void {
    const { task } = entry;
    const isLast = this.#isOver();
    let isMore = false;
    try {
      if (isLast) {
        task.last?.();
        this.#onStop?.();
      } else isMore = this.#steps(entry);
    } catch (error) {
      // Another thread may close the store in the middle of a step, which is no error.
      if (isLast || !this.#isOver()) this.#failed(entry, error);
    } finally {
      if (!isLast) this.#arm(entry, isMore ? (task.moreMs ?? task.everyMs) : task.everyMs);
    }
  }

  #failed({ task, stats }: Entry, error: unknown): void {
    stats.errors++;
    if (this.#onError === undefined) throw error;
    this.#onError(task.name, error);
  }

  #steps({ task, stats }: Entry): boolean {
    const begin = this.#time.nowMs();
    const end = begin + (task.budgetMs?.() ?? 0);
    let isMore: boolean;
    stats.runs++;
    try {
      do {
        isMore = task.step(this.#time.nowMs());
      } while (isMore && !this.#isStopped && this.#time.nowMs() < end);
    } finally {
      stats.ms += this.#time.nowMs() - begin;
    }
    return isMore;
  }
}
