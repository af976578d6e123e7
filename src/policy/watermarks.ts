// Decides when reclaim begins and ends, and when a full store takes pages again. Each of the
// two states, reclaiming and full, begins at one mark and ends at another (hysteresis), so that it
// does not change with every page. Pure functions from state and numbers to the next state.
//
//   free frames:   0 ───────── low ─────────── high ──────── all
//                  reclaim ◄── begins           ends ──► no reclaim       as the kernel's zones
//
//   used frames:   0 ───────── accept ──────── limit
//                  take pages ◄── again         refuse ──►                as zswap
import { ZcacheError } from "../base/errors.ts";

/** Watermarks, in percent of the frames that a store may hold. */
export interface Watermarks {
  /** Reclaim begins when less than this is free. */
  readonly lowPercent: number;
  /** Reclaim ends when this much is free. */
  readonly highPercent: number;
}

/**
 * After a store was full, it takes pages again once its use has fallen to this percentage of the
 * limit: zswap's `accept_threshold_percent`. 100 means at once.
 */
export const ACCEPT_THRESHOLD_PERCENT = 90;

/** @throws ZcacheError ERR_OPTION unless 0 ≤ low ≤ high ≤ 100 */
export function checkWatermarks({ lowPercent, highPercent }: Watermarks): void {
  if (!(0 <= lowPercent && lowPercent <= highPercent && highPercent <= 100)) {
    throw new ZcacheError(
      "ERR_OPTION",
      `watermarks of ${lowPercent} and ${highPercent} %: must be from 0 to 100, the low one first`,
      { context: { lowPercent, highPercent } },
    );
  }
}

/** @throws ZcacheError ERR_OPTION unless it is 1 … 100 */
export function checkAcceptThreshold(percent: number): void {
  if (!(1 <= percent && percent <= 100)) {
    throw new ZcacheError("ERR_OPTION", `accept threshold of ${percent} %: must be from 1 to 100`, {
      context: { percent },
    });
  }
}

/** A watermark in frames, rounded up so that a small store has a mark too. */
export function markFrames(framesLimit: number, percent: number): number {
  return Math.ceil((framesLimit * percent) / 100);
}

/**
 * @param reclaiming the result of the last call; false at first
 * @returns whether to reclaim pages now
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

/** Frames that reclaim has yet to free before it ends. */
export function framesToReclaim(
  framesFree: number,
  framesLimit: number,
  marks: Watermarks,
): number {
  return Math.max(0, markFrames(framesLimit, marks.highPercent) - framesFree);
}

/**
 * As in zswap: the store is full at the limit (counted as `pool_limit_hit`), and stays full until
 * no more than the threshold is used.
 * @param full the result of the last call; false at first
 * @returns whether to refuse pages now
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
