// The page frame allocator: a binary buddy system, as in the kernel, with bitmaps instead of lists.
// free_blocks.ts has the sets of free blocks; this file the frame table, and the lock of both.
import { type Address, NIL, type Nil, type PageFrame, type WordIndex } from "../base/brand.ts";
import { assert } from "../base/errors.ts";
import type { Kernels } from "../wasm/kernels.ts";
import * as Super from "./arena.layout.ts";
import * as Frame from "./frame.layout.ts";
import {
  BLOCK_FRAMES,
  type FrameRun,
  FreeBlocks,
  layoutArena,
  usableFrames,
} from "./free_blocks.ts";
import { add, put } from "./journal.ts";
import type { LockWaits } from "./lock_waits.ts";
import { type IsDead, Mutex } from "./mutex.ts";

/** The frames of one arena as one thread sees them. */
export class FrameAllocator {
  readonly pageSize: number;
  readonly pageShift: number;
  readonly wordsPerPage: number;
  /** The frames that the memory has room for, including those of the header. */
  readonly framesMax: number;
  /** Word index of the frame table; the words of frame f begin at `tableAt + f * FRAME_WORDS`. */
  readonly tableAt: number;
  readonly firstFrame: number;
  /**
   * Frames that `alloc` leaves free for this thread: to work within a limit lower than the arena.
   * Set for one operation, and then reset to 0.
   */
  keepFree = 0;
  readonly #words: Int32Array;
  readonly #blocks: FreeBlocks;
  readonly #mutex: Mutex;

  /**
   * @param owner the calling thread, for the lock
   * @param isDead see `Mutex`
   * @param waits how this thread waits for the lock
   */
  constructor(
    words: Int32Array,
    kernels: Kernels,
    owner: number,
    isDead: IsDead,
    waits?: LockWaits,
  ) {
    this.#words = words;
    this.#mutex = new Mutex(words, kernels, Super.FRAMES_LOCK, owner, isDead);
    this.#mutex.waits = waits;
    this.pageShift = words[Super.PAGE_SHIFT]!;
    this.pageSize = 1 << this.pageShift;
    this.wordsPerPage = this.pageSize >>> 2;
    this.framesMax = Math.floor(words.length / this.wordsPerPage);
    const layout = layoutArena(this.framesMax, this.pageSize);
    this.#blocks = new FreeBlocks(words, layout, isDead);
    this.tableAt = layout.tableAt;
    this.firstFrame = layout.firstFrame;
  }

  /**
   * Adds the first frames; called once, by the arena's creator, before others attach.
   * @param frames of an arena of this size, of which its header takes some
   */
  format(frames: number): void {
    this.#words[Super.FRAMES_TOTAL] = this.firstFrame;
    this.growTo(usableFrames(frames, this.pageSize));
    this.#words[Super.HEADER_FRAMES] = frames - this.framesUsable;
  }

  /**
   * Adds free frames at the end, until there are `usable` ones, free or in use. The system gives
   * them memory when they are touched.
   * @param usable at most usableMax
   */
  growTo(usable: number): void {
    assert(usable <= this.usableMax, "an arena grows within its memory");
    this.#locked(() => {
      const from = this.framesTotal;
      const end = this.firstFrame + usable;
      if (end <= from) return;
      put(this.#words, Super.HEADER_FRAMES, this.headerFramesFor(usable));
      put(this.#words, Super.FRAMES_TOTAL, end);
      this.#blocks.addFresh(from, end);
    });
  }

  /** The end of the frames that can be allocated: an arena may grow. */
  get framesTotal(): number {
    return this.#words[Super.FRAMES_TOTAL]!;
  }

  /** Frames that can be allocated, free or in use. */
  get framesUsable(): number {
    return this.framesTotal - this.firstFrame;
  }

  /** The most that `framesUsable` can become. */
  get usableMax(): number {
    return this.framesMax - this.firstFrame;
  }

  /**
   * Frames that the header counts as: those that an arena would need which has no room to grow.
   * What is laid out for more frames is never touched.
   */
  get headerFrames(): number {
    return this.#words[Super.HEADER_FRAMES]!;
  }

  /** What `headerFrames` is once the arena has grown to so many usable frames. */
  headerFramesFor(usable: number): number {
    if (usable <= this.framesUsable) return this.headerFrames;
    let header = this.headerFrames;
    // The header of a larger arena is larger: a few turns, because a frame has room for many.
    for (let before = -1; header !== before; ) {
      before = header;
      header = Math.max(header, layoutArena(usable + header, this.pageSize).firstFrame);
    }
    return header;
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
    return this.framesUsable - this.framesFree;
  }

  /** The most frames in use at once, ever or since `resetPeak`. */
  get framesPeak(): number {
    return this.#words[Super.FRAMES_PEAK]!;
  }

  /** Forgets that more frames were in use than now. */
  resetPeak(): void {
    this.#locked(() => put(this.#words, Super.FRAMES_PEAK, this.framesUsed));
  }

  /** Free blocks of 2^order frames. */
  freeBlocks(order: number): number {
    return this.#blocks.count(order);
  }

  /** Free frames that have no memory. */
  get framesUnpopulated(): number {
    const words = this.#words;
    return words[Super.UNPOPULATED_BLOCKS]! * BLOCK_FRAMES + words[Super.BARE_FRAMES]!;
  }

  /** Free frames that may have memory, those of `beginReturn` included. */
  get framesFreePopulated(): number {
    return this.framesFree - this.framesUnpopulated;
  }

  /** The same in whole blocks, of 2^MAX_ORDER frames, without those of `beginReturn`. */
  get framesInPopulatedBlocks(): number {
    return this.#words[Super.FREE_BLOCKS + Frame.MAX_ORDER]! * BLOCK_FRAMES;
  }

  /**
   * Takes the lowest run of unpopulated blocks as populated: the caller touches them afterwards,
   * without the lock. Other threads may meanwhile allocate them.
   * @param blocksMax 1 or more
   */
  claimUnpopulated(blocksMax: number): FrameRun | undefined {
    return this.#locked(() => this.#blocks.claimUnpopulated(blocksMax));
  }

  /**
   * Takes the highest run of populated whole blocks off the free lists, so that its memory can be
   * returned without the lock. There is one such run at a time.
   * @param blocksMax 1 or more
   * @param returner the calling thread, which then calls `markReturned` and `endReturn`
   */
  beginReturn(blocksMax: number, returner: number): FrameRun | undefined {
    return this.#locked(() => this.#blocks.beginReturn(blocksMax, returner));
  }

  /**
   * Whether `beginReturnIn` may find frames in a block. Needs no lock, and may be wrong while
   * another thread changes the block.
   */
  isPopulatedIn(block: number): boolean {
    return this.#blocks.populatedIn(block) !== 0;
  }

  /** As `beginReturn`, for the smaller free blocks in the n-th whole block of the arena. */
  beginReturnIn(block: number, returner: number): FrameRun | undefined {
    return this.#locked(() => this.#blocks.beginReturnIn(block, returner));
  }

  /** Says, before the lock is taken for `endReturn`, that the system's call has ended. */
  markReturned(): void {
    Atomics.store(this.#words, Super.RETURNER, 0);
    Atomics.notify(this.#words, Super.RETURNER);
  }

  /** Puts the run back on the free lists, if no other thread has done so. */
  endReturn(isReturned: boolean): void {
    this.#locked(() => this.#blocks.endReturn(isReturned));
  }

  /** Puts back a run whose thread has died. */
  endDeadReturn(): void {
    if (this.#words[Super.RETURN_BLOCKS] !== 0) {
      this.#locked(() => this.#blocks.endAbandonedReturn());
    }
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
        if (this.#blocks.isReturning(frame)) {
          free++;
          frame++;
          continue;
        }
        order = this.#blocks.verifyBlock(frame);
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
    this.#blocks.verify(blocks);
  }

  #allocLocked(order: number, owner: number): PageFrame | Nil {
    const words = this.#words;
    this.#mutex.assertLocked();
    const isWithin = words[Super.FRAMES_FREE]! - (1 << order) >= this.keepFree;
    const frame = isWithin ? this.#blocks.take(order) : NIL;
    if (frame === NIL) {
      add(words, Super.ALLOC_FAILURES, 1);
      return NIL;
    }
    this.#setStateLocked(frame, order, owner);
    const used = this.framesUsed;
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
    this.#blocks.give(frame, order);
  }

  #locked<T>(work: () => T): T {
    this.#mutex.lock();
    try {
      return work();
    } finally {
      this.#mutex.unlock();
    }
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
