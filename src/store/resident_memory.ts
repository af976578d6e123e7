// How much of a store's free memory is populated (memory/residency.ts): enough for the next puts,
// and not more than that.
//
//   free frames:   populated                                  unpopulated
//                  ├── reserve ──┤├── excess: returned ──────┤
//
// Memory is returned in portions of the size of the reserve or more, so that it does not come and
// go. A thread that puts populates the next frames itself if the reserve runs short. Otherwise the
// thread that made the store does it, and returns what exceeds the reserve (node/give_back.ts).
import { KIB, MIB } from "../base/units.ts";
import { BLOCK_FRAMES } from "../memory/free_blocks.ts";
import {
  countReturn,
  hasHugePages,
  populateAhead,
  type ReleaseMemory,
  returnBlocks,
  returnCounts,
  returnFramesIn,
  setHugePages,
  setReturnedBy,
} from "../memory/residency.ts";
import { markFrames } from "../policy/watermarks.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";

/** A thread that puts populates so much, once less than the first figure is left. */
const SHORT_BYTES = 256 * KIB;
const PORTION_BYTES = 512 * KIB;
/** One step of the background populates so much: a few milliseconds. */
const STEP_BYTES = MIB;
/** The reserve is this part of the memory in use, 1.6 %, within these bounds. */
const RESERVE_SHIFT = 6;
const RESERVE_BYTES_MIN = SHORT_BYTES + PORTION_BYTES;
const RESERVE_BYTES_MAX = 16 * MIB;
/**
 * While less than this many times the high watermark is free, all frames within the limit are kept:
 * a store that evicts uses its free frames all the time.
 */
const FREE_MARKS = 2;

/** Blocks that one step searches for free frames between others. */
const SEARCH_BLOCKS = 64;

const BY = ["none", "koffi", "node:ffi"] as const;
/** What calls the system. */
export type ReturnedBy = (typeof BY)[number];

/** How memory is returned to the system. */
export interface GiveBackStats {
  /** What calls the system; "none" until it is first called, and if it can't be. */
  readonly by: ReturnedBy;
  /** Why memory is not returned, if so; known to the thread that made the store. */
  readonly reason: string | undefined;
  /** Bytes that have been returned. */
  readonly bytes: number;
  /** Calls of the system. */
  readonly calls: number;
  /** Time in these calls, in ms. */
  readonly ms: number;
}

/** Whether the system was asked for huge pages. */
export interface HugePagesStats {
  readonly isAsked: boolean;
  /** Why not, if the store's options want them; known to the thread that made the store. */
  readonly reason: string | undefined;
}

/** Frames that may still be populated within the limit. */
function framesToPopulate(state: StoreState): number {
  const { frames } = state.arena;
  const free = Math.min(frames.framesFree, state.framesFree);
  return Math.min(frames.framesUnpopulated, free - frames.framesFreePopulated);
}

/** Populates frames, without the lock, if the next puts may need more than there are. */
export function populateForPuts(state: StoreState): void {
  const { arena, pageSize } = state;
  if (arena.frames.framesFreePopulated * pageSize >= SHORT_BYTES) return;
  const frames = Math.min(PORTION_BYTES / pageSize, framesToPopulate(state));
  if (frames > 0) populateAhead(arena, frames);
}

/** Returns and populates memory in the background; one object for each store. */
export class ResidentMemory {
  readonly #state: StoreState;
  #usedBefore: number;
  #freeBefore = 0;
  /** Frames whose memory is yet to be returned. */
  #toReturn = 0;
  /** Blocks below this one are yet to be searched for free frames in blocks that are in use. */
  #searchEnd = 0;

  constructor(state: StoreState) {
    this.#state = state;
    this.#usedBefore = state.arena.frames.framesUsed;
  }

  /**
   * Populates the next frames of a store that is growing.
   * @returns whether it is growing
   */
  populateStep(): boolean {
    const { arena, pageSize } = this.#state;
    const used = arena.frames.framesUsed;
    const isGrowing = used > this.#usedBefore;
    this.#usedBefore = used;
    const missing = this.#reserveFrames() - arena.frames.framesFreePopulated;
    const most = Math.min(missing, STEP_BYTES / pageSize, framesToPopulate(this.#state));
    if (isGrowing && most > 0) populateAhead(arena, most);
    return isGrowing;
  }

  /**
   * Looks how much is free; called now and then.
   * @param isUrgent counts what was not free at the last look, too
   * @returns whether to call `returnStep`
   */
  isExcessive(isUrgent = false): boolean {
    const before = this.#freeBefore;
    const now = this.#state.arena.frames.framesFreePopulated;
    this.#freeBefore = now;
    // What is free now and was free before is unlikely to be used at once.
    const idle = isUrgent ? now : Math.min(before, now);
    const excess = idle - this.#keptFrames();
    if (excess < (isUrgent ? BLOCK_FRAMES : this.#reserveFrames())) return false;
    this.#toReturn = excess;
    this.#searchEnd = Math.ceil(this.#state.arena.frames.framesTotal / BLOCK_FRAMES);
    return true;
  }

  /**
   * Returns the memory of some free frames: of whole free blocks first, until only the reserve is
   * left, then of frames between others.
   * @param systemPage bytes of the system's pages
   * @returns whether there may be more to return
   */
  returnStep(call: ReleaseMemory, systemPage: number): boolean {
    const { arena, words, platform, pageSize } = this.#state;
    const release: ReleaseMemory = (at, sizeBytes) => {
      const begin = platform.clock.nowNs();
      const isReleased = call(at, sizeBytes);
      countReturn(words, (platform.clock.nowNs() - begin) / 1000);
      return isReleased;
    };
    const excess = arena.frames.framesInPopulatedBlocks - this.#keptFrames();
    const most = Math.min(this.#toReturn, excess);
    const returned = most < BLOCK_FRAMES ? 0 : returnBlocks(arena, most, release);
    this.#toReturn -= returned;
    if (returned > 0) return this.#toReturn > 0;
    // A call for a part of a huge page splits it, so single frames keep their memory.
    if (systemPage > pageSize || hasHugePages(words)) return false;
    const first = Math.max(0, this.#searchEnd - SEARCH_BLOCKS);
    while (this.#toReturn > 0 && this.#searchEnd > first) {
      this.#toReturn -= returnFramesIn(arena, --this.#searchEnd, release);
    }
    return this.#toReturn > 0 && first > 0;
  }

  /** Records that the system was asked for huge pages, or why it was not. */
  setHugePages(reason: string | undefined): void {
    this.#state.hugePagesFailure = reason;
    if (reason === undefined) setHugePages(this.#state.words);
  }

  /** The bytes of the whole arena, for the system's calls. */
  get bytes(): Uint8Array {
    return this.#state.arena.bytes;
  }

  /** Records what calls the system. */
  begin(by: ReturnedBy): void {
    setReturnedBy(this.#state.words, BY.indexOf(by));
  }

  /** Records that nothing is returned, and why. */
  fail(reason: string): void {
    this.begin("none");
    this.#state.giveBackFailure = reason;
  }

  /** Free frames whose memory is kept. */
  #keptFrames(): number {
    const { words, root, options, framesFree } = this.#state;
    const mark = markFrames(words[root + Store.LIMIT_FRAMES]!, options.highPercent);
    const reserve = this.#reserveFrames();
    return framesFree < FREE_MARKS * mark ? Math.max(reserve, framesFree) : reserve;
  }

  /** The same of a store that has room. */
  #reserveFrames(): number {
    const { arena, pageSize } = this.#state;
    const part = arena.frames.framesUsed >>> RESERVE_SHIFT;
    return Math.max(RESERVE_BYTES_MIN, Math.min(RESERVE_BYTES_MAX, part * pageSize)) / pageSize;
  }
}

export function giveBackStats({ words, pageSize, giveBackFailure }: StoreState): GiveBackStats {
  const { frames, calls, us, by } = returnCounts(words);
  return {
    by: BY[by]!,
    reason: giveBackFailure,
    bytes: frames * pageSize,
    calls,
    ms: us / 1000,
  };
}

export function hugePagesStats({ words, hugePagesFailure }: StoreState): HugePagesStats {
  return { isAsked: hasHugePages(words), reason: hugePagesFailure };
}
