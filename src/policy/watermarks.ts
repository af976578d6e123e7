// When reclaim begins and when it is enough; when a full store takes pages again. Both are a state
// of two values between two marks, so that neither flutters at one: pure functions from the state
// and the numbers to the next state.
//
//   free frames:   0 ───────── low ─────────── high ──────── all
//                  reclaim ◄── begins           ends ──► no reclaim       as the kernel's zones
//
//   used frames:   0 ───────── accept ──────── limit
//                  take pages ◄── again         refuse ──►                as zswap
import { ZcacheError } from "../base/errors.ts";

/** Marks in percent of the frames that a store may hold. */
export interface Watermarks {
  /** Reclaim begins when fewer are free, in percent. */
  readonly lowPercent: number;
  /** And ends when so many are. */
  readonly highPercent: number;
}

/**
 * Percent of the limit to which a store that was full must sink before it takes pages again:
 * zswap's `accept_threshold_percent`. 100 stands for no such wait.
 */
export const ACCEPT_THRESHOLD_PERCENT = 90;

/** @throws ZcacheError ERR_OPTION unless 0 ≤ low ≤ high ≤ 100 */
export function checkWatermarks({ lowPercent, highPercent }: Watermarks): void {
  if (!(0 <= lowPercent && lowPercent <= highPercent && highPercent <= 100)) {
    throw new ZcacheError(
      "ERR_OPTION",
      `watermarks of ${lowPercent} and ${highPercent} %: allowed are 0 to 100, the low one first`,
      { context: { lowPercent, highPercent } },
    );
  }
}

/** @throws ZcacheError ERR_OPTION unless it is 1 … 100 */
export function checkAcceptThreshold(percent: number): void {
  if (!(1 <= percent && percent <= 100)) {
    throw new ZcacheError("ERR_OPTION", `accept threshold of ${percent} %: allowed are 1 to 100`, {
      context: { percent },
    });
  }
}

/** A mark in frames, rounded up, so that a small store has one too. */
export function markFrames(framesLimit: number, percent: number): number {
  return Math.ceil((framesLimit * percent) / 100);
}

/**
 * @param reclaiming what the last call returned; false at first
 * @returns whether pages are to be reclaimed now
 */
export function reclaimNext(
  reclaiming: boolean,
  framesFree: number,
  framesLimit: number,
  marks: Watermarks,
): boolean {
  const mark = reclaiming ? marks.highPercent : marks.lowPercent;
  return framesFree < markFrames(framesLimit, mark);
}

/** Frames that reclaim still has to free until it may end. */
export function framesToReclaim(
  framesFree: number,
  framesLimit: number,
  marks: Watermarks,
): number {
  return Math.max(0, markFrames(framesLimit, marks.highPercent) - framesFree);
}

/**
 * As zswap does: full at the limit (which counts as `pool_limit_hit`), and until no more than the
 * threshold is used.
 * @param full what the last call returned; false at first
 * @returns whether pages are to be refused now
 */
export function fullNext(
  full: boolean,
  framesUsed: number,
  framesLimit: number,
  acceptPercent: number,
): boolean {
  if (framesUsed >= framesLimit) return true;
  return full && framesUsed > Math.floor((framesLimit * acceptPercent) / 100);
}
