// Messages between the benchmark and its child processes: a job, and its answer.
import type { Speed } from "./lane.ts";

export type Task = "memory" | "hits" | "speed" | "collector";

export interface Job {
  readonly contender: string;
  readonly task: Task;
  readonly values: "text" | "bytes";
  readonly count: number;
  /** File with the pages, for bytes. */
  readonly pageFile: string | undefined;
  readonly memoryBytes: number | undefined;
  /** "hits": number of requests. "speed" and "collector": ms of each measurement. */
  readonly amount: number;
  readonly threads: 1 | 2;
  readonly folder: string;
}

export interface Answer {
  /** Why the contender was skipped; then the only field. */
  readonly skipped?: string;
  readonly rawBytes?: number;
  readonly nowBytes?: number;
  readonly peakBytes?: number;
  readonly fileBytes?: number;
  readonly hitRate?: number;
  readonly speed?: Speed;
  /** The sum of all threads. */
  readonly mixedPerSecond?: number;
  /** Share of the time that the collector took, 0 … 1; its longest pause. */
  readonly collectorShare?: number;
  readonly pauseMsMax?: number;
}

/** The data of a worker thread of the child. */
export interface LaneJob {
  readonly job: Job;
  readonly rawBytes: number;
  /** `share()` of the first thread's cache; undefined: this thread has a cache of its own. */
  readonly share: unknown;
  readonly seed: number;
}
