// Rounds of the idle scan: each tick of the store's clock begins a round, which ends when all
// entries have been looked at.
//
// An entry has the tick of its last use, modulo 128. So an age in seconds becomes a number of
// ticks, and the length of a tick depends on the ages that a scan needs.

import type { IdleScanOptions } from "../store/idle_scan.ts";
import type { Store } from "../store/store.ts";
import type { Task } from "./scheduler.ts";

export interface ScanPlan {
  /** Ms from one tick of the store's clock to the next. */
  readonly tickMs: number;
  /** What the next step looks for; undefined: nothing. */
  readonly scan: IdleScanOptions | undefined;
}

export interface ScanCounts {
  readonly rounds: number;
  readonly recompressed: number;
  readonly writtenBack: number;
  readonly expired: number;
}

/** A tick is a quarter of the shortest age, or longer because of TICKS_MAX. */
const TICKS_TO_IDLE = 4;
/** The longest age in ticks: an entry's age counts to 127, and `ticksToAge` rounds up. */
export const TICKS_MAX = 120;
const TICK_SECONDS_MIN = 1;

/** The length of a tick for ages in seconds. */
export function tickSecondsFor(...ages: readonly number[]): number {
  return Math.max(
    TICK_SECONDS_MIN,
    Math.min(...ages) / TICKS_TO_IDLE,
    Math.max(...ages) / TICKS_MAX,
  );
}

/** Ticks after which an entry has an age: the first may come right after the entry was used. */
export function ticksToAge(seconds: number, tickSeconds: number): number {
  return Math.ceil(seconds / tickSeconds) + 1;
}

export class ScanRounds {
  readonly #store: Store;
  readonly #plan: () => ScanPlan;
  readonly #counts = { rounds: 0, recompressed: 0, writtenBack: 0, expired: 0 };
  #tickedMs: number;
  #isRoundDone = false;

  /**
   * @param plan asked before each step
   * @param nowMs a time of any origin, as `step` gets it
   */
  constructor(store: Store, plan: () => ScanPlan, nowMs: number) {
    this.#store = store;
    this.#plan = plan;
    this.#tickedMs = nowMs;
  }

  get counts(): ScanCounts {
    return this.#counts;
  }

  /** One step of the scan. @returns whether the round goes on */
  step(nowMs: number): boolean {
    const { tickMs, scan } = this.#plan();
    if (nowMs - this.#tickedMs >= tickMs) {
      this.#tickedMs = nowMs;
      this.#isRoundDone = false;
      this.#store.tick();
    }
    if (this.#isRoundDone || scan === undefined) return false;
    const { ended, recompressed, writtenBack, expired } = this.#store.scanIdle(scan);
    const counts = this.#counts;
    counts.recompressed += recompressed;
    counts.writtenBack += writtenBack;
    counts.expired += expired;
    if (ended) counts.rounds++;
    this.#isRoundDone = ended;
    return !ended;
  }

  /** Begins a round now, without a tick. */
  restart(): void {
    this.#isRoundDone = false;
  }
}

/** Entries of one step: some milliseconds if all of them are recompressed. */
export const SCAN_ENTRIES = 256;
/** Between two steps of a round, and between two looks at whether a round begins. */
const STEP_EVERY_MS = 20;
const REST_MS = 250;

/** The task that scans a store of pages, one step at a time: the thread also has other work. */
export function scanTask(step: (nowMs: number) => boolean): Task {
  return { name: "recompress", everyMs: REST_MS, moreMs: STEP_EVERY_MS, step };
}
