// The free blocks of an arena: sets of blocks of page frames, one for each order, as bitmaps.
//
// A free block of order k is one bit in the set of order k. The lowest block is allocated first,
// and what is freed at the top of the arena stays free. A freed block is joined with its buddy at
// once if that is free, so that free frames always form the fewest possible blocks.
//
// The system populates a page, gives it memory, when it is first touched. Blocks of the largest
// order, whole blocks from here on, form two sets: populated ones, of which any frame may have
// memory, and unpopulated ones, of which no frame has. Unpopulated blocks are allocated last, so
// the process has little more memory than it uses. In smaller free blocks, a bit for each frame
// says that it is bare: it has no memory. residency.ts populates whole blocks ahead of use, and
// returns the memory of frames that stay free.
//
// While a thread returns the memory of free frames, they are in no set:
//
//   RETURN_FROM, RETURN_BLOCKS   a run of whole blocks, or one block of which RETURN_MASK
//   RETURN_MASK                  names some frames; all these count as free
//   RETURNER                     the thread, from `beginReturn` until the system's calls have ended
//
// The thread does not hold the lock meanwhile. If it dies, any other thread puts the frames back.
// An allocation that finds no other block waits for the end of the calls.
//
// Guarded by FRAMES_LOCK, which the frame allocator (frames.ts) takes.
import { NIL, type Nil, type PageFrame } from "../base/brand.ts";
import { assert } from "../base/errors.ts";
import * as Super from "./arena.layout.ts";
import {
  type BitmapLayout,
  bitmapAdd,
  bitmapAddRange,
  bitmapCheck,
  bitmapDelete,
  bitmapHas,
  bitmapHighest,
  bitmapLowest,
  bitmapTakeLowest,
  layoutBitmap,
} from "./bitmap.ts";
import { FRAME_WORDS, MAX_ORDER } from "./frame.layout.ts";
import { add, put } from "./journal.ts";
import type { IsDead } from "./mutex.ts";

/** Time between two checks that a thread that returns memory is alive. */
const RETURNER_LOOK_MS = 20;
/** Frames of a whole block. */
export const BLOCK_FRAMES = 1 << MAX_ORDER;
/** The mask of all frames of a whole block. */
const WHOLE = (1 << BLOCK_FRAMES) - 1;

export interface ArenaLayout {
  /** By order; of whole blocks, the populated ones. */
  readonly free: readonly BitmapLayout[];
  readonly unpopulated: BitmapLayout;
  /** Word index of the bits of bare frames. */
  readonly bareAt: number;
  /** Word index of the frame table. */
  readonly tableAt: number;
  readonly firstFrame: number;
}

/** Free frames that were taken off the sets, or moved from one to the other. */
export interface FrameRun {
  readonly first: PageFrame;
  /** Whole blocks from there on. */
  readonly blocks: number;
  /** The frames of each block that belong to the run; bit 0 is the first. */
  readonly mask: number;
}

/** The positions of the parts of an arena with `framesTotal` frames of `pageSize` bytes. */
export function layoutArena(framesTotal: number, pageSize: number): ArenaLayout {
  let at = Super.SUPERBLOCK_WORDS;
  const addSet = (order: number): BitmapLayout => {
    const { layout, words } = layoutBitmap(at, Math.max(1, framesTotal >>> order));
    at += words;
    return layout;
  };
  const free: BitmapLayout[] = [];
  for (let order = 0; order <= MAX_ORDER; order++) free.push(addSet(order));
  const unpopulated = addSet(MAX_ORDER);
  const bareAt = at;
  at += Math.ceil(framesTotal / 32);
  const tableAt = Math.ceil(at / FRAME_WORDS) * FRAME_WORDS;
  const headerBytes = (tableAt + framesTotal * FRAME_WORDS) * 4;
  return { free, unpopulated, bareAt, tableAt, firstFrame: Math.ceil(headerBytes / pageSize) };
}

/** Frames that can be allocated in an arena of so many frames; 0 or less: it is too small. */
export function usableFrames(frames: number, pageSize: number): number {
  return frames > 0 ? frames - layoutArena(frames, pageSize).firstFrame : 0;
}

export class FreeBlocks {
  readonly #words: Int32Array;
  readonly #free: readonly BitmapLayout[];
  readonly #unpopulated: BitmapLayout;
  readonly #bareAt: number;
  readonly #isDead: IsDead;

  constructor(words: Int32Array, layout: ArenaLayout, isDead: IsDead) {
    this.#words = words;
    this.#free = layout.free;
    this.#unpopulated = layout.unpopulated;
    this.#bareAt = layout.bareAt;
    this.#isDead = isDead;
  }

  /** Free blocks of an order. */
  count(order: number): number {
    const words = this.#words;
    const blocks = words[Super.FREE_BLOCKS + order]!;
    if (order !== MAX_ORDER) return blocks;
    const returning = words[Super.RETURN_MASK] === WHOLE ? words[Super.RETURN_BLOCKS]! : 0;
    return blocks + words[Super.UNPOPULATED_BLOCKS]! + returning;
  }

  /** Adds frames that were never used, and so have no memory: whole blocks a word at a time. */
  addFresh(from: number, end: number): void {
    const firstBlock = Math.ceil(from / BLOCK_FRAMES);
    const endBlock = end >>> MAX_ORDER;
    if (firstBlock >= endBlock) {
      for (let frame = from; frame < end; frame++) this.#addFreshFrame(frame);
      return;
    }
    for (let frame = from; frame < firstBlock << MAX_ORDER; frame++) this.#addFreshFrame(frame);
    bitmapAddRange(this.#words, this.#unpopulated, firstBlock, endBlock);
    add(this.#words, Super.UNPOPULATED_BLOCKS, endBlock - firstBlock);
    add(this.#words, Super.FRAMES_FREE, (endBlock - firstBlock) << MAX_ORDER);
    for (let frame = endBlock << MAX_ORDER; frame < end; frame++) this.#addFreshFrame(frame);
  }

  /** Takes a block. @returns its first frame, or NIL if there is none */
  take(order: number): number | Nil {
    const frame = this.#takeNow(order);
    if (frame !== NIL || this.#words[Super.RETURN_BLOCKS] === 0) return frame;
    this.#awaitReturn();
    return this.#takeNow(order);
  }

  /** Gives a block back. */
  give(frame: number, order: number): void {
    add(this.#words, Super.FRAMES_FREE, 1 << order);
    this.#join(frame, order);
  }

  /** As FrameAllocator.claimUnpopulated. */
  claimUnpopulated(blocksMax: number): FrameRun | undefined {
    const words = this.#words;
    const map = this.#unpopulated;
    if (words[Super.UNPOPULATED_BLOCKS] === 0) return undefined;
    const first = bitmapLowest(words, map);
    const endMax = Math.min(first + blocksMax, map.size);
    let end = first;
    for (; end < endMax && bitmapHas(words, map, end); end++) {
      bitmapDelete(words, map, end);
      this.#add(end << MAX_ORDER, MAX_ORDER);
    }
    add(words, Super.UNPOPULATED_BLOCKS, first - end);
    return runOf(first, end - first, WHOLE);
  }

  /** As FrameAllocator.beginReturn. */
  beginReturn(blocksMax: number, returner: number): FrameRun | undefined {
    const words = this.#words;
    if (!this.endAbandonedReturn() || words[Super.FREE_BLOCKS + MAX_ORDER] === 0) return undefined;
    const map = this.#free[MAX_ORDER]!;
    const end = bitmapHighest(words, map) + 1;
    const firstMin = Math.max(0, end - blocksMax);
    let first = end;
    for (; first > firstMin && bitmapHas(words, map, first - 1); first--) {
      bitmapDelete(words, map, first - 1);
    }
    add(words, Super.FREE_BLOCKS + MAX_ORDER, first - end);
    return this.#beginReturn(runOf(first, end - first, WHOLE), returner);
  }

  /** As FrameAllocator.beginReturnIn. */
  beginReturnIn(block: number, returner: number): FrameRun | undefined {
    const words = this.#words;
    if (!this.endAbandonedReturn()) return undefined;
    const mask = this.populatedIn(block);
    if (mask === 0) return undefined;
    for (let order = 0; order < MAX_ORDER; order++) {
      const first = block << (MAX_ORDER - order);
      for (let nth = 0; nth < BLOCK_FRAMES >>> order; nth++) {
        const isTaken = ((mask >>> (nth << order)) & 1) === 1;
        if (!isTaken || !this.#has(order, first + nth)) continue;
        bitmapDelete(words, this.#free[order]!, first + nth);
        add(words, Super.FREE_BLOCKS + order, -1);
        this.#clearBare((first + nth) << order, order);
      }
    }
    return this.#beginReturn(runOf(block, 1, mask), returner);
  }

  /** As FrameAllocator.endReturn. */
  endReturn(isReturned: boolean): void {
    // A run with a returner is that of another thread: this one has been put back before.
    if (Atomics.load(this.#words, Super.RETURNER) === 0) this.#putBack(isReturned);
  }

  /**
   * Puts the run back if no thread works on it any more. Whether its memory was returned is not
   * known.
   * @returns whether no thread works on a run
   */
  endAbandonedReturn(): boolean {
    const words = this.#words;
    if (words[Super.RETURN_BLOCKS] === 0) return true;
    const returner = Atomics.load(words, Super.RETURNER);
    if (returner !== 0 && !this.#isDead(returner)) return false;
    this.#putBack(false);
    return true;
  }

  /**
   * The frames of a whole block that are in smaller free blocks, of which a frame may have memory;
   * as bits.
   */
  populatedIn(block: number): number {
    const bare = this.#bareIn(block);
    let mask = 0;
    for (let order = 0; order < MAX_ORDER; order++) {
      const first = block << (MAX_ORDER - order);
      for (let nth = 0; nth < BLOCK_FRAMES >>> order; nth++) {
        const bits = ((1 << (1 << order)) - 1) << (nth << order);
        if ((bits & ~bare) !== 0 && this.#has(order, first + nth)) mask |= bits;
      }
    }
    return mask;
  }

  /** Whether a frame belongs to the run whose memory is being returned. */
  isReturning(frame: number): boolean {
    const words = this.#words;
    const nth = (frame >>> MAX_ORDER) - words[Super.RETURN_FROM]!;
    if (nth < 0 || nth >= words[Super.RETURN_BLOCKS]!) return false;
    return ((words[Super.RETURN_MASK]! >>> (frame % BLOCK_FRAMES)) & 1) === 1;
  }

  /** The order of the one free block that begins at a frame, whose buddy is not free. */
  verifyBlock(frame: number): number {
    const orders: number[] = [];
    for (let order = 0; order <= MAX_ORDER; order++) {
      if (frame % (1 << order) === 0 && this.#has(order, frame >>> order)) orders.push(order);
    }
    const isWhole = frame % BLOCK_FRAMES === 0;
    const block = frame >>> MAX_ORDER;
    const map = this.#unpopulated;
    const isUnpopulated = isWhole && block < map.size && bitmapHas(this.#words, map, block);
    if (isUnpopulated) orders.push(MAX_ORDER);
    assert(orders.length === 1, "a frame without a state is in one free block");
    assert(!this.#buddyIsFree(frame, orders[0]!), "two free buddies are joined");
    if (orders[0] === MAX_ORDER)
      assert(this.#bareIn(block) === 0, "bare frames are in small blocks");
    return orders[0]!;
  }

  /**
   * Checks all sets and counts.
   * @param blocks blocks that `verifyBlock` has found, by order
   */
  verify(blocks: readonly number[]): void {
    const words = this.#words;
    const unpopulated = bitmapCheck(words, this.#unpopulated);
    assert(unpopulated === words[Super.UNPOPULATED_BLOCKS], "unpopulated blocks are counted");
    for (let order = 0; order <= MAX_ORDER; order++) {
      const members = bitmapCheck(words, this.#free[order]!);
      const counted = words[Super.FREE_BLOCKS + order]!;
      assert(members === counted, "the count of each order is right");
      const found = blocks[order]! - (order === MAX_ORDER ? unpopulated : 0);
      assert(members === found, "the set of each order holds its blocks and no others");
    }
    let bare = 0;
    for (let block = 0; block << MAX_ORDER < words[Super.FRAMES_TOTAL]!; block++) {
      const mask = this.#bareIn(block);
      bare += bitsIn(mask);
      assert((mask & ~this.#freeIn(block)) === 0, "bare frames are free");
    }
    assert(bare === words[Super.BARE_FRAMES], "bare frames are counted");
  }

  #takeNow(order: number): number | Nil {
    const words = this.#words;
    // Takes the lowest of the smallest sufficient blocks; splits a larger block only if there is
    // none, which preserves large blocks.
    let have = order;
    while (have <= MAX_ORDER && words[Super.FREE_BLOCKS + have] === 0) have++;
    let frame: number;
    if (have <= MAX_ORDER) {
      frame = bitmapTakeLowest(words, this.#free[have]!) << have;
      add(words, Super.FREE_BLOCKS + have, -1);
    } else {
      if (words[Super.UNPOPULATED_BLOCKS] === 0) return NIL;
      have = MAX_ORDER;
      frame = bitmapTakeLowest(words, this.#unpopulated) << MAX_ORDER;
      add(words, Super.UNPOPULATED_BLOCKS, -1);
      if (order < MAX_ORDER) this.#setBare(frame, MAX_ORDER);
    }
    add(words, Super.FRAMES_FREE, -(1 << order));
    while (have > order) {
      have--;
      this.#add(frame + (1 << have), have);
    }
    if (words[Super.BARE_FRAMES] !== 0) this.#clearBare(frame, order);
    return frame;
  }

  #has(order: number, block: number): boolean {
    const map = this.#free[order]!;
    return block < map.size && bitmapHas(this.#words, map, block);
  }

  #add(frame: number, order: number): void {
    bitmapAdd(this.#words, this.#free[order]!, frame >>> order);
    add(this.#words, Super.FREE_BLOCKS + order, 1);
  }

  #addFreshFrame(frame: number): void {
    this.#setBare(frame, 0);
    this.give(frame, 0);
  }

  #addUnpopulated(block: number): void {
    bitmapAdd(this.#words, this.#unpopulated, block);
    add(this.#words, Super.UNPOPULATED_BLOCKS, 1);
  }

  /** Adds a block, joined with all its free buddies. */
  #join(frame: number, order: number): void {
    const words = this.#words;
    let start = frame;
    let k = order;
    while (this.#buddyIsFree(start, k)) {
      bitmapDelete(words, this.#free[k]!, (start >>> k) ^ 1);
      add(words, Super.FREE_BLOCKS + k, -1);
      start &= ~(1 << k);
      k++;
    }
    if (k === MAX_ORDER && words[Super.BARE_FRAMES] !== 0) {
      const isBare = this.#bareIn(start >>> MAX_ORDER) === WHOLE;
      this.#clearBare(start, MAX_ORDER);
      if (isBare) {
        this.#addUnpopulated(start >>> MAX_ORDER);
        return;
      }
    }
    this.#add(start, k);
  }

  #buddyIsFree(frame: number, order: number): boolean {
    // A buddy beyond the last frame is a bit beyond the last member, which is never set.
    return order < MAX_ORDER && bitmapHas(this.#words, this.#free[order]!, (frame >>> order) ^ 1);
  }

  /** The bare frames of a whole block, as bits. */
  #bareIn(block: number): number {
    const frame = block << MAX_ORDER;
    return (this.#words[this.#bareAt + (frame >>> 5)]! >>> (frame & 31)) & WHOLE;
  }

  /** The frames of a whole block that are in smaller free blocks, as bits. */
  #freeIn(block: number): number {
    let mask = 0;
    for (let order = 0; order < MAX_ORDER; order++) {
      const first = block << (MAX_ORDER - order);
      for (let nth = 0; nth < BLOCK_FRAMES >>> order; nth++) {
        if (this.#has(order, first + nth)) mask |= ((1 << (1 << order)) - 1) << (nth << order);
      }
    }
    return mask;
  }

  #setBare(frame: number, order: number): void {
    const words = this.#words;
    const at = this.#bareAt + (frame >>> 5);
    put(words, at, words[at]! | bitsOf(frame, order));
    add(words, Super.BARE_FRAMES, 1 << order);
  }

  #clearBare(frame: number, order: number): void {
    const words = this.#words;
    const at = this.#bareAt + (frame >>> 5);
    const bits = words[at]! & bitsOf(frame, order);
    if (bits === 0) return;
    put(words, at, words[at]! & ~bits);
    add(words, Super.BARE_FRAMES, -bitsIn(bits));
  }

  #beginReturn(run: FrameRun, returner: number): FrameRun {
    const words = this.#words;
    put(words, Super.RETURN_FROM, run.first >>> MAX_ORDER);
    put(words, Super.RETURN_BLOCKS, run.blocks);
    put(words, Super.RETURN_MASK, run.mask);
    put(words, Super.RETURNER, returner);
    return run;
  }

  #putBack(isReturned: boolean): void {
    const words = this.#words;
    const first = words[Super.RETURN_FROM]!;
    const end = first + words[Super.RETURN_BLOCKS]!;
    const mask = words[Super.RETURN_MASK]!;
    for (let block = first; block < end; block++) {
      const frame = block << MAX_ORDER;
      if (mask !== WHOLE) this.#putBackIn(frame, mask, isReturned);
      else if (isReturned) this.#addUnpopulated(block);
      else this.#add(frame, MAX_ORDER);
    }
    put(words, Super.RETURN_BLOCKS, 0);
    put(words, Super.RETURNER, 0);
  }

  /** Frame by frame, because buddies may have been freed meanwhile. */
  #putBackIn(first: number, mask: number, isReturned: boolean): void {
    for (let nth = 0; nth < BLOCK_FRAMES; nth++) {
      if (((mask >>> nth) & 1) === 0) continue;
      if (isReturned) this.#setBare(first + nth, 0);
      this.#join(first + nth, 0);
    }
  }

  /**
   * Waits for the run, which has the last free blocks of their size, and puts it back. Its thread
   * is in calls of the system that take some milliseconds at most.
   */
  #awaitReturn(): void {
    while (!this.endAbandonedReturn()) {
      const returner = Atomics.load(this.#words, Super.RETURNER);
      if (returner !== 0) Atomics.wait(this.#words, Super.RETURNER, returner, RETURNER_LOOK_MS);
    }
  }
}

function runOf(firstBlock: number, blocks: number, mask: number): FrameRun {
  return { first: (firstBlock << MAX_ORDER) as PageFrame, blocks, mask };
}

/** The bits of a block in its word of bare frames. */
function bitsOf(frame: number, order: number): number {
  return ((1 << (1 << order)) - 1) << (frame & 31);
}

/** How many bits are set. */
function bitsIn(mask: number): number {
  let count = 0;
  for (let rest = mask; rest !== 0; rest &= rest - 1) count++;
  return count;
}
