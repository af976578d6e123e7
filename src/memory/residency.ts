// Which free frames have memory of the system's: populates blocks ahead of use, and returns the
// memory of blocks that stay free (free_blocks.ts has the sets).
//
// A page fault takes several times as long as an allocation. Frames are touched here without any
// lock, so that a thread which then allocates them under the arena's lock finds them populated. The
// touch is an atomic exchange of 0 for 0, which changes nothing in a frame that another thread has
// allocated meanwhile.
//
// A thread that is terminated while it touches leaves frames that count as populated and are not,
// which costs a page fault each. One that is terminated while it returns memory leaves a run that
// the next thread puts back. Requires a journal.
import type { Address } from "../base/brand.ts";
import { MIB } from "../base/units.ts";
import * as Super from "./arena.layout.ts";
import type { Arena } from "./arena.ts";
import { BLOCK_FRAMES, type FrameRun } from "./free_blocks.ts";

/** Bytes of one call of the system: about a millisecond. */
const RETURN_BYTES = 4 * MIB;

/**
 * Asks the system to take back the memory of a region of the arena, which then reads as zeros.
 * @returns whether the system has done so
 */
export type ReleaseMemory = (at: Address, sizeBytes: number) => boolean;

/**
 * Populates the lowest unpopulated blocks.
 * @param framesMax rounded up to whole blocks
 * @returns how many frames; 0 if all are populated
 */
export function populateAhead(arena: Arena, framesMax: number): number {
  const { frames, kernels, pageSize } = arena;
  const blocks = Math.ceil(framesMax / BLOCK_FRAMES);
  const run = underLock(arena, () => frames.claimUnpopulated(blocks));
  if (run === undefined) return 0;
  const count = run.blocks * BLOCK_FRAMES;
  kernels.populate(frames.frameToAddress(run.first), count * pageSize);
  return count;
}

/**
 * Returns the memory of the highest populated whole blocks, one run of at most 4 MiB.
 * @param framesMax rounded down to whole blocks, of which at least one is tried
 * @returns how many frames; 0 if there are none, or if `release` has failed
 */
export function returnBlocks(arena: Arena, framesMax: number, release: ReleaseMemory): number {
  const most = Math.floor(Math.min(framesMax, RETURN_BYTES / arena.pageSize) / BLOCK_FRAMES);
  const run = underLock(arena, () => arena.frames.beginReturn(Math.max(1, most), arena.owner));
  return run === undefined ? 0 : returnRun(arena, run, release);
}

/** As `returnBlocks`, for the smaller free blocks in the n-th whole block of the arena. */
export function returnFramesIn(arena: Arena, block: number, release: ReleaseMemory): number {
  if (!arena.frames.isPopulatedIn(block)) return 0;
  const run = underLock(arena, () => arena.frames.beginReturnIn(block, arena.owner));
  return run === undefined ? 0 : returnRun(arena, run, release);
}

function returnRun(arena: Arena, run: FrameRun, release: ReleaseMemory): number {
  const { frames, words } = arena;
  let isReturned = false;
  let count = 0;
  try {
    for (const { first, length } of regionsOf(run)) {
      const at = (frames.frameToAddress(run.first) + first * arena.pageSize) as Address;
      isReturned = release(at, length * arena.pageSize);
      if (!isReturned) break;
      count += length;
    }
  } finally {
    frames.markReturned();
    underLock(arena, () => frames.endReturn(isReturned));
  }
  Atomics.add(words, Super.RETURNED_FRAMES, count);
  return isReturned ? count : 0;
}

/** The adjacent frames of a run, counted from its first. */
function regionsOf({ blocks, mask }: FrameRun): { first: number; length: number }[] {
  if (blocks > 1) return [{ first: 0, length: blocks * BLOCK_FRAMES }];
  const regions: { first: number; length: number }[] = [];
  for (let first = 0; first < BLOCK_FRAMES; ) {
    let end = first;
    while (end < BLOCK_FRAMES && ((mask >>> end) & 1) === 1) end++;
    if (end > first) regions.push({ first, length: end - first });
    first = Math.max(end, first + 1);
  }
  return regions;
}

/** Runs `work`, which changes no word that readers look at, as a transaction. */
function underLock<T>({ lock }: Arena, work: () => T): T {
  lock.lockBeside();
  try {
    const result = work();
    lock.commitBeside();
    return result;
  } finally {
    lock.unlock();
  }
}

/** Counts of all threads, modulo 2³². */
export interface ReturnCounts {
  frames: number;
  calls: number;
  us: number;
  /** A number that the caller has chosen: what calls the system. */
  by: number;
}

/** Records that the system was asked for huge pages. */
export function setHugePages(words: Int32Array): void {
  Atomics.store(words, Super.HUGE_PAGES, 1);
}

export function hasHugePages(words: Int32Array): boolean {
  return Atomics.load(words, Super.HUGE_PAGES) !== 0;
}

/** @param by a number that the caller has chosen: what calls the system */
export function setReturnedBy(words: Int32Array, by: number): void {
  Atomics.store(words, Super.RETURNED_BY, by);
}

/** Counts a call of the system. */
export function countReturn(words: Int32Array, us: number): void {
  Atomics.add(words, Super.RETURN_CALLS, 1);
  Atomics.add(words, Super.RETURN_US, Math.round(us));
}

export function returnCounts(words: Int32Array): ReturnCounts {
  const count = (at: number) => Atomics.load(words, at) >>> 0;
  return {
    frames: count(Super.RETURNED_FRAMES),
    calls: count(Super.RETURN_CALLS),
    us: count(Super.RETURN_US),
    by: count(Super.RETURNED_BY),
  };
}
