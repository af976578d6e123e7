// The page frame allocator: a binary buddy system, as in the kernel, with bitmaps instead of lists.
//
// A free block of order k is one bit in the set of order k. The lowest block is allocated first:
// untouched memory stays untouched, so that the process commits little more than it uses, and what
// is freed at the top of the arena stays free. A freed block is joined with its buddy at once if
// that is free, so that free frames always form the fewest possible blocks.
import { type Address, NIL, type Nil, type PageFrame, type WordIndex } from "../base/brand.ts";
import { assert } from "../base/errors.ts";
import type { Kernels } from "../wasm/kernels.ts";
import * as Super from "./arena.layout.ts";
import {
  type BitmapLayout,
  bitmapAdd,
  bitmapCheck,
  bitmapDelete,
  bitmapHas,
  bitmapTakeLowest,
  layoutBitmap,
} from "./bitmap.ts";
import * as Frame from "./frame.layout.ts";
import { add, put } from "./journal.ts";
import { type IsDead, Mutex } from "./mutex.ts";

/** The positions of the parts of an arena with `framesTotal` frames of `pageSize` bytes. */
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
  /** Word index of the frame table; the words of frame f begin at `tableAt + f * FRAME_WORDS`. */
  readonly tableAt: number;
  readonly firstFrame: number;
  /**
   * Frames that `alloc` leaves free for this thread: to work within a limit lower than the arena.
   * Set for one operation, and then reset to 0.
   */
  keepFree = 0;
  readonly #words: Int32Array;
  readonly #free: readonly BitmapLayout[];
  readonly #mutex: Mutex;

  /**
   * @param owner the calling thread, for the lock
   * @param isDead see `Mutex`
   */
  constructor(words: Int32Array, kernels: Kernels, owner: number, isDead: IsDead) {
    this.#words = words;
    this.#mutex = new Mutex(words, kernels, Super.FRAMES_LOCK, owner, isDead);
    this.pageShift = words[Super.PAGE_SHIFT]!;
    this.pageSize = 1 << this.pageShift;
    this.wordsPerPage = this.pageSize >>> 2;
    this.framesTotal = words[Super.FRAMES_TOTAL]!;
    const { free, tableAt, firstFrame } = layoutArena(this.framesTotal, this.pageSize);
    this.#free = free;
    this.tableAt = tableAt;
    this.firstFrame = firstFrame;
  }

  /** Initializes all frames as free; called once, by the arena's creator, before others attach. */
  format(): void {
    this.#mutex.lock();
    for (let frame = this.firstFrame; frame < this.framesTotal; ) {
      let order = Frame.MAX_ORDER;
      while (frame % (1 << order) !== 0 || frame + (1 << order) > this.framesTotal) order--;
      this.#addFreeLocked(frame, order);
      this.#words[Super.FRAMES_FREE]! += 1 << order;
      frame += 1 << order;
    }
    this.#words[Super.FRAMES_TOUCHED] = this.firstFrame;
    this.#mutex.unlock();
  }

  /**
   * Allocates the lowest free block of 2^order contiguous frames; its content is undefined.
   * @param owner the owner's number, a frame number such as that of a pool's descriptor
   * @returns the block's first frame, or NIL if there is no such block
   */
  alloc(order: number, owner: number): PageFrame | Nil {
    assert(order >= 0 && order <= Frame.MAX_ORDER, "a block has an order of 0 … MAX_ORDER");
    this.#mutex.lock();
    try {
      return this.#allocLocked(order, owner);
    } finally {
      this.#mutex.unlock();
    }
  }

  /**
   * As `alloc`, but the frames of the block are then freed one by one: for owners of many frames,
   * at a fraction of the cost of single allocations.
   * @returns the first of 2^order frames, or NIL
   */
  allocSingles(order: number, owner: number): PageFrame | Nil {
    assert(order >= 0 && order <= Frame.MAX_ORDER, "a block has an order of 0 … MAX_ORDER");
    this.#mutex.lock();
    try {
      const frame = this.#allocLocked(order, owner);
      for (let i = 0; frame !== NIL && i < 1 << order; i++)
        this.#setStateLocked(frame + i, 0, owner);
      return frame;
    } finally {
      this.#mutex.unlock();
    }
  }

  /** Frees a block that `alloc` has returned; `frame` is its first. */
  free(frame: PageFrame): void {
    this.#mutex.lock();
    try {
      this.#freeLocked(frame);
    } finally {
      this.#mutex.unlock();
    }
  }

  /** The STATE word of a frame (see frame.layout.ts); 0 for a frame that does not exist. */
  state(frame: number): number {
    // `frame | 0`, so that a fraction or NaN, from an invented share or handle, is no frame.
    if (frame < this.firstFrame || frame >= this.framesTotal || frame !== (frame | 0)) return 0;
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

  /** The frame whose list link is at this word index. */
  frameOfLink(link: WordIndex): PageFrame {
    return ((link - this.tableAt - Frame.LINK) / Frame.FRAME_WORDS) as PageFrame;
  }

  /** The word index of the owner's word of a frame. */
  privateOf(frame: PageFrame): WordIndex {
    return (this.tableAt + frame * Frame.FRAME_WORDS + Frame.PRIVATE) as WordIndex;
  }

  /** The address of a frame. By multiplication: a shift would wrap past 2 GiB. */
  frameToAddress(frame: PageFrame): Address {
    return (frame * this.pageSize) as Address;
  }

  /** The first word of a frame. */
  frameToWord(frame: PageFrame): WordIndex {
    return (frame * this.wordsPerPage) as WordIndex;
  }

  /** Free frames. */
  get framesFree(): number {
    return this.#words[Super.FRAMES_FREE]!;
  }

  /** Frames in use, without those of the arena's header. */
  get framesUsed(): number {
    return this.framesTotal - this.firstFrame - this.framesFree;
  }

  /** The most frames ever in use at once. */
  get framesPeak(): number {
    return this.#words[Super.FRAMES_PEAK]!;
  }

  /** Free blocks of 2^order frames. */
  freeBlocks(order: number): number {
    return this.#words[Super.FREE_BLOCKS + order]!;
  }

  /** Frees the allocator's lock, whose owner the caller knows to be dead. */
  resetLock(): void {
    this.#mutex.reset();
  }

  /** The blocks of an owner. Reads all frames, so it is for rare use. */
  blocksOf(owner: number): PageFrame[] {
    const blocks: PageFrame[] = [];
    for (let frame = this.firstFrame; frame < this.framesTotal; frame++) {
      if (this.isHeadOf(frame, owner)) blocks.push(frame as PageFrame);
    }
    return blocks;
  }

  /** Assigns a block in use to another owner. */
  handOver(frame: PageFrame, owner: number): void {
    this.#mutex.lock();
    try {
      this.#setStateLocked(frame, Frame.orderOf(this.state(frame)), owner);
    } finally {
      this.#mutex.unlock();
    }
  }

  /** Checks that each frame is in exactly one free block or in use, and that the counts agree. */
  verify(): void {
    this.#mutex.lock();
    try {
      this.#verifyLocked();
    } finally {
      this.#mutex.unlock();
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
      const members = bitmapCheck(this.#words, this.#free[order]!);
      assert(members === blocks[order], "the set of each order holds its blocks and no others");
    }
  }

  #allocLocked(order: number, owner: number): PageFrame | Nil {
    const words = this.#words;
    this.#mutex.assertLocked();
    const isWithin = words[Super.FRAMES_FREE]! - (1 << order) >= this.keepFree;
    const frame = isWithin ? this.#takeLocked(order) : NIL;
    if (frame === NIL) {
      add(words, Super.ALLOC_FAILURES, 1);
      return NIL;
    }
    this.#setStateLocked(frame, order, owner);
    const end = frame + (1 << order);
    if (end > words[Super.FRAMES_TOUCHED]!) put(words, Super.FRAMES_TOUCHED, end);
    const used = this.framesTotal - this.firstFrame - words[Super.FRAMES_FREE]!;
    if (used > words[Super.FRAMES_PEAK]!) put(words, Super.FRAMES_PEAK, used);
    return frame as PageFrame;
  }

  #freeLocked(frame: PageFrame): void {
    const words = this.#words;
    this.#mutex.assertLocked();
    const state = this.state(frame);
    assert(Frame.isHead(state), "only the first frame of a block that is in use is given back");
    const order = Frame.orderOf(state);
    const stateAt = this.tableAt + frame * Frame.FRAME_WORDS;
    for (let i = 0; i < 1 << order; i++) put(words, stateAt + i * Frame.FRAME_WORDS, 0);
    this.#joinLocked(frame, order);
  }

  #takeLocked(order: number): number | Nil {
    const words = this.#words;
    // Takes the lowest of the smallest sufficient blocks; splits a larger block only if there is
    // none, which preserves large blocks.
    let have = order;
    while (words[Super.FREE_BLOCKS + have] === 0) {
      if (++have > Frame.MAX_ORDER) return NIL;
    }
    const frame = bitmapTakeLowest(words, this.#free[have]!) << have;
    add(words, Super.FREE_BLOCKS + have, -1);
    add(words, Super.FRAMES_FREE, -(1 << order));
    while (have > order) {
      have--;
      this.#addFreeLocked(frame + (1 << have), have);
    }
    return frame;
  }

  #joinLocked(frame: number, order: number): void {
    const words = this.#words;
    let start = frame;
    let k = order;
    while (this.#buddyIsFree(start, k)) {
      bitmapDelete(words, this.#free[k]!, (start >>> k) ^ 1);
      add(words, Super.FREE_BLOCKS + k, -1);
      start &= ~(1 << k);
      k++;
    }
    this.#addFreeLocked(start, k);
    add(words, Super.FRAMES_FREE, 1 << order);
  }

  #buddyIsFree(frame: number, order: number): boolean {
    // A buddy beyond the last frame is a bit beyond the last member, which is never set.
    return (
      order < Frame.MAX_ORDER && bitmapHas(this.#words, this.#free[order]!, (frame >>> order) ^ 1)
    );
  }

  #addFreeLocked(frame: number, order: number): void {
    bitmapAdd(this.#words, this.#free[order]!, frame >>> order);
    add(this.#words, Super.FREE_BLOCKS + order, 1);
  }

  #setStateLocked(frame: number, order: number, owner: number): void {
    const at = this.tableAt + frame * Frame.FRAME_WORDS;
    put(this.#words, at, Frame.headState(owner, order));
    const tail = Frame.tailState(owner, order);
    for (let i = 1; i < 1 << order; i++) {
      put(this.#words, at + i * Frame.FRAME_WORDS, tail);
    }
  }
}
