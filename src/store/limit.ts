// The limit of a store on memory in use, in page frames of data. It may be above the size that the
// store was created with: then the arena grows.
import { ZcacheError } from "../base/errors.ts";
import { KIB } from "../base/units.ts";
import { usableFrames } from "../memory/free_blocks.ts";
import { put } from "../memory/journal.ts";
import type { StoreState } from "./state.ts";
import * as Root from "./store.layout.ts";
import { transaction } from "./transaction.ts";

/** The size of an arena is a multiple of this. */
const ARENA_UNIT = 64 * KIB;

export function limitOf({ words, root }: StoreState): number {
  return words[root + Root.LIMIT_FRAMES]!;
}

/** The limit with what the arena's header takes, in bytes. */
export function limitBytes(state: StoreState): number {
  return (limitOf(state) + state.arena.frames.headerFrames) * state.pageSize;
}

/** @param frames at most usableMax of the arena's frames */
export function setLimitLocked(state: StoreState, frames: number): void {
  const { words, root, arena } = state;
  if (frames > arena.frames.framesUsable) arena.frames.growTo(frames);
  put(words, root + Root.LIMIT_FRAMES, frames);
}

/**
 * Sets the limit.
 * @param bytes, memoryMax as of `limitFrames`
 * @throws ZcacheError ERR_OPTION
 */
export function setLimit(state: StoreState, bytes: number, memoryMax: number): void {
  transaction(state, () => setLimitLocked(state, limitFrames(state, bytes, memoryMax)));
}

/**
 * @param bytes a limit of the memory in use; 0 and `memoryMax` stand for all of it
 * @returns how many frames of data may be in use
 * @throws ZcacheError ERR_OPTION
 */
function limitFrames(
  { arena: { frames }, pageSize }: StoreState,
  bytes: number,
  memoryMax: number,
): number {
  const { headerFrames, framesMax, usableMax } = frames;
  const wanted = bytes === 0 ? memoryMax : bytes;
  // An arena is memoryMax rounded down.
  const unit = wanted === memoryMax ? ARENA_UNIT : pageSize;
  const total = (Math.floor(wanted / unit) * unit) / pageSize;
  const usable = Math.min(total - headerFrames, usableFrames(total, pageSize));
  if (usable >= 1 && usable <= usableMax) return usable;
  const max = framesMax * pageSize;
  const min = (headerFrames + 1) * pageSize;
  throw limitError(bytes, min, max);
}

/** The error for a limit that a store can't have. */
export function limitError(bytes: number, min: number, max: number): ZcacheError {
  const context = { bytes, min, max };
  const more =
    bytes > max
      ? ": a store can grow to 64 times the memoryMax that it is created with, and to 4 GiB for " +
        "each of its shards; create it with limitMax for more"
      : "";
  const allowed = `must be 0, or from ${min} to ${max}${more}`;
  return new ZcacheError("ERR_OPTION", `limit of ${bytes} bytes: ${allowed}`, { context });
}
