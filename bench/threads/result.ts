// What the benchmark of threads finds.
import type { Kind } from "./control.ts";

/** What the threads of a window report, each with REPORT_FLOATS. */
export type Reports = readonly Float64Array[];

/** Medians for one mix of one kind of values; operations per second of all threads together. */
export interface ThreadsRow {
  readonly kind: Kind;
  readonly sets: number;
  readonly one: number;
  /** Processor time of an operation of one thread in µs. */
  readonly oneCpuUs: number;
  /** As twoByOne and ownByOne, by processor time: what it would be if nobody slept. */
  readonly twoByOneCpu: number;
  readonly ownByOneCpu: number;
  /** Medians over the rounds of the ratio of neighbouring windows. */
  readonly twoByOne: number;
  readonly ownByOne: number;
  readonly manyByTwo: number;
  /** As manyByTwo, by processor time. */
  readonly manyByTwoCpu: number;
  /** Operations of the slowest of many threads ÷ those of the fastest, over all windows. */
  readonly slowestByFastest: number;
  /** Share of the processor time that two threads wanted and other processes had. */
  readonly stolen: number;
  /** Reports of windows with one and with two threads in which locks were timed. */
  readonly timed: readonly [one: Reports, two: Reports];
}
