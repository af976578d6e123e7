// The page frame allocator: a binary buddy system, as in the kernel, over bitmaps instead of lists.
//
// A free block of order k is one bit in the set of order k. The lowest block is taken first: what was
// never touched stays untouched, so the process holds little more than it uses, and what is freed at
// the top of the arena stays free. A block whose buddy is free too is joined with it at once, so after
// any sequence the free frames stand in the fewest possible blocks.
import { type Address, NIL, type Nil, type PageFrame, type WordIndex } from "../base/brand.ts";
import { assert } from "../base/errors.ts";
import * as Super from "./arena.layout.ts";
import {
  type BitmapLayout,
  bitmapAdd,
  bitmapDelete,
  bitmapHas,
  bitmapLowest,
  layoutBitmap,
} from "./bitmap.ts";
import * as Frame from "./frame.layout.ts";
import { assertLocked, lock, unlock } from "./mutex.ts";

/** Frames in a block of the highest order. */
export const MAX_BLOCK_FRAMES = 1 << Frame.MAX_ORDER;

/** Where the parts of an arena with `framesTotal` frames of `pageSize` bytes stand. */
export function layoutArena(framesTotal: number, pageSize: number) {
  let at = Super.SUPERBLOCK_WORDS;
  const free: BitmapLayout[] = [];
  for (let order = 0; order <= Frame.MAX_ORDER; order++) {
    const { layout, words } = layoutBitmap(at, Math.max(1, framesTotal >>> order));
    free.push(layout);
    at += words;
  }
  const tableAt = Math.ceil(at / Frame.FRAME_WORDS) * Frame.FRAME_WORDS;
  const headerBytes = (tableAt + framesTotal * Frame.FRAME_WORDS) * 4;
  return { free, tableAt, firstFrame: Math.ceil(headerBytes / pageSize) };
}

/** The frames of one arena as one thread sees them. */
export class FrameAllocator {
  readonly pageSize: number;
  readonly pageShift: number;
  readonly wordsPerPage: number;
  readonly framesTotal: number;
  /** Word index of the frame table; frame f's words begin at `tableAt + f * FRAME_WORDS`. */
  readonly tableAt: number;
  readonly firstFrame: number;
  readonly #words: Int32Array;
  readonly #free: readonly BitmapLayout[];
  readonly #owner: number;

  /** @param owner the calling thread's number, for the lock */
  constructor(words: Int32Array, owner: number) {
    this.#words = words;
    this.#owner = owner;
    this.pageShift = words[Super.PAGE_SHIFT]!;
    this.pageSize = 1 << this.pageShift;
    this.wordsPerPage = this.pageSize >>> 2;
    this.framesTotal = words[Super.FRAMES_TOTAL]!;
    const { free, tableAt, firstFrame } = layoutArena(this.framesTotal, this.pageSize);
    this.#free = free;
    this.tableAt = tableAt;
    this.firstFrame = firstFrame;
  }

  /** Makes every frame free; once, by the arena's maker, before anyone else attaches. */
  format(): void {
    lock(this.#words, Super.FRAMES_LOCK, this.#owner);
    for (let frame = this.firstFrame; frame < this.framesTotal; ) {
      let order = Frame.MAX_ORDER;
      while (frame % (1 << order) !== 0 || frame + (1 << order) > this.framesTotal) order--;
      this.#addFreeLocked(frame, order);
      frame += 1 << order;
    }
    this.#words[Super.FRAMES_TOUCHED] = this.firstFrame;
    unlock(this.#words, Super.FRAMES_LOCK, this.#owner);
  }

  /**
   * Takes a block of 2^order contiguous frames, the lowest there is; its bytes hold leftovers.
   * @param owner the frame number that stands for whoever takes it (a pool's descriptor)
   * @returns the block's first frame, or NIL if there is no such block
   */
  alloc(order: number, owner: number): PageFrame | Nil {
    const words = this.#words;
    lock(words, Super.FRAMES_LOCK, this.#owner);
    const frame = this.#takeLocked(order);
    if (frame === NIL) {
      words[Super.ALLOC_FAILURES]!++;
    } else {
      this.#setStateLocked(frame, order, owner);
      const end = frame + (1 << order);
      if (end > words[Super.FRAMES_TOUCHED]!) words[Super.FRAMES_TOUCHED] = end;
      const used = this.framesTotal - this.firstFrame - words[Super.FRAMES_FREE]!;
      if (used > words[Super.FRAMES_PEAK]!) words[Super.FRAMES_PEAK] = used;
    }
    unlock(words, Super.FRAMES_LOCK, this.#owner);
    return frame as PageFrame | Nil;
  }

  /** Gives back a block that `alloc` handed out; `frame` is its first. */
  free(frame: PageFrame): void {
    const words = this.#words;
    const stateAt = this.tableAt + frame * Frame.FRAME_WORDS;
    const state = words[stateAt]!;
    assert(Frame.isHead(state), "only the first frame of a block that is in use is given back");
    const order = Frame.orderOf(state);
    lock(words, Super.FRAMES_LOCK, this.#owner);
    for (let i = 0; i < 1 << order; i++) words[stateAt + i * Frame.FRAME_WORDS] = 0;
    this.#joinLocked(frame, order);
    unlock(words, Super.FRAMES_LOCK, this.#owner);
  }

  /** The STATE word of a frame (see frame.layout.ts); 0 for a frame that does not exist. */
  state(frame: number): number {
    if (frame < this.firstFrame || frame >= this.framesTotal) return 0;
    return this.#words[this.tableAt + frame * Frame.FRAME_WORDS]!;
  }

  /** @returns whether `frame` is the first of a block that `owner` holds */
  isHeadOf(frame: number, owner: number): boolean {
    const state = this.state(frame);
    return Frame.isHead(state) && Frame.ownerOf(state) === owner;
  }

  /** The word index of a frame's list link. */
  linkOf(frame: PageFrame): WordIndex {
    return (this.tableAt + frame * Frame.FRAME_WORDS + Frame.LINK) as WordIndex;
  }

  /** The frame whose list link stands at this word index. */
  frameOfLink(link: WordIndex): PageFrame {
    return ((link - this.tableAt - Frame.LINK) / Frame.FRAME_WORDS) as PageFrame;
  }

  /** The word index of the word that a frame's owner may use. */
  privateOf(frame: PageFrame): WordIndex {
    return (this.tableAt + frame * Frame.FRAME_WORDS + Frame.PRIVATE) as WordIndex;
  }

  /** The first byte of a frame. By multiplication: a shift would wrap past 2 GiB. */
  frameToAddress(frame: PageFrame): Address {
    return (frame * this.pageSize) as Address;
  }

  /** The first word of a frame. */
  frameToWord(frame: PageFrame): WordIndex {
    return (frame * this.wordsPerPage) as WordIndex;
  }

  /** Frames that are free now, all orders together. */
  get framesFree(): number {
    return this.#words[Super.FRAMES_FREE]!;
  }

  /** Frames in use now, without those of the arena's own header. */
  get framesUsed(): number {
    return this.framesTotal - this.firstFrame - this.framesFree;
  }

  /** The most frames that were ever in use at once. */
  get framesPeak(): number {
    return this.#words[Super.FRAMES_PEAK]!;
  }

  /** Free blocks of 2^order frames. */
  freeBlocks(order: number): number {
    return this.#words[Super.FREE_BLOCKS + order]!;
  }

  /** Walks all frames: every one is free in exactly one block or in use, and the counts agree. */
  verify(): void {
    lock(this.#words, Super.FRAMES_LOCK, this.#owner);
    try {
      this.#verifyLocked();
    } finally {
      unlock(this.#words, Super.FRAMES_LOCK, this.#owner);
    }
  }

  #verifyLocked(): void {
    const blocks = new Array<number>(Frame.MAX_ORDER + 1).fill(0);
    let free = 0;
    for (let frame = this.firstFrame; frame < this.framesTotal; ) {
      const state = this.state(frame);
      let order = Frame.orderOf(state);
      if (state === 0) {
        order = this.#free.findIndex(
          (map, k) => frame % (1 << k) === 0 && bitmapHas(this.#words, map, frame >>> k),
        );
        assert(order !== -1, "a frame without a state is in a free block");
        assert(!this.#buddyIsFree(frame, order), "two free buddies are joined");
        blocks[order]!++;
        free += 1 << order;
      } else {
        assert(Frame.isHead(state), "a block in use begins with its head");
      }
      for (let i = 1; i < 1 << order; i++) {
        const tail = this.state(frame + i);
        assert(state === 0 ? tail === 0 : tail === (state & ~8), "the tails agree with the head");
      }
      frame += 1 << order;
    }
    assert(free === this.framesFree, "used + free = total");
    for (let order = 0; order <= Frame.MAX_ORDER; order++) {
      assert(blocks[order] === this.freeBlocks(order), "the count of each order is right");
    }
  }

  #takeLocked(order: number): number | Nil {
    const words = this.#words;
    assertLocked(words, Super.FRAMES_LOCK, this.#owner);
    // The lowest of the blocks that are just large enough; a larger one is split only when there is
    // none, which keeps large blocks whole.
    for (let have = order; have <= Frame.MAX_ORDER; have++) {
      if (words[Super.FREE_BLOCKS + have] === 0) continue;
      const index = bitmapLowest(words, this.#free[have]!) as number;
      const frame = index << have;
      this.#removeFreeLocked(frame, have);
      for (let half = have - 1; half >= order; half--) this.#addFreeLocked(frame + (1 << half), half);
      return frame;
    }
    return NIL;
  }

  #joinLocked(frame: number, order: number): void {
    let start = frame;
    let k = order;
    while (k < Frame.MAX_ORDER && this.#buddyIsFree(start, k)) {
      this.#removeFreeLocked(start ^ (1 << k), k);
      start &= ~(1 << k);
      k++;
    }
    this.#addFreeLocked(start, k);
  }

  #buddyIsFree(frame: number, order: number): boolean {
    if (order >= Frame.MAX_ORDER) return false;
    const buddy = frame ^ (1 << order);
    if (buddy + (1 << order) > this.framesTotal) return false;
    return bitmapHas(this.#words, this.#free[order]!, buddy >>> order);
  }

  #addFreeLocked(frame: number, order: number): void {
    bitmapAdd(this.#words, this.#free[order]!, frame >>> order);
    this.#words[Super.FREE_BLOCKS + order]!++;
    this.#words[Super.FRAMES_FREE]! += 1 << order;
  }

  #removeFreeLocked(frame: number, order: number): void {
    bitmapDelete(this.#words, this.#free[order]!, frame >>> order);
    this.#words[Super.FREE_BLOCKS + order]!--;
    this.#words[Super.FRAMES_FREE]! -= 1 << order;
  }

  #setStateLocked(frame: number, order: number, owner: number): void {
    const at = this.tableAt + frame * Frame.FRAME_WORDS;
    this.#words[at] = Frame.headState(owner, order);
    const tail = Frame.tailState(owner, order);
    for (let i = 1; i < 1 << order; i++) this.#words[at + i * Frame.FRAME_WORDS] = tail;
  }
}
