// The words by which the benchmark of threads starts and ends windows in its workers, and in which
// they report.

/** Words of the control block. */
export const WINDOW = 0; // atomic: number of the window; workers wait for the next one
export const IS_OVER = 1; // atomic: 1 = the window is over
export const ACTIVE = 2; // threads that take part: those with lower numbers
export const SETS = 3; // sets in a thousand operations
export const VALUES = 4; // which values: an index of KINDS
export const OWN = 5; // 1 = each thread uses a cache of its own
export const IS_TIMED = 6; // 1 = locks are timed (lock_timer.ts)
export const DONE = 7; // atomic: threads that have reported
export const CONTROL_WORDS = 8;

export const KINDS = ["documents", "pages"] as const;
export type Kind = (typeof KINDS)[number];

/** What a thread reports of a window, in 64-bit floats. */
export const OPERATIONS = 0;
export const MS = 1;
export const CPU_MS = 2; // time on a processor
export const QUEUED_MS = 3; // time in which it could have run and had no processor
/** From here on, for each of TIMED: how often it was held, and ms in all. */
export const HELD = 4;
export const TIMED = ["exclusive", "beside", "reader", "key"] as const;
export type Timed = (typeof TIMED)[number];
export const REPORT_FLOATS = HELD + 2 * TIMED.length;

export interface LaneInput {
  readonly nth: number;
  readonly control: SharedArrayBuffer;
  readonly reports: SharedArrayBuffer;
  readonly counts: Readonly<Record<Kind, number>>;
  readonly pageFile: string;
  /** What the caches of both kinds share. */
  readonly shares: Readonly<Record<Kind, unknown>>;
  /** Whether the thread also makes a cache of its own for each kind. */
  readonly hasOwn: boolean;
}
