// A reserve of page frames. A vector takes or returns a frame with about every second object, and
// the buddy allocator's work for one frame is half the time of such an operation. So frames are
// allocated a block at a time, and a returned frame is kept for the next class that needs one.
//
// The reserve counts as the pool's metadata: 1/1024 of its pages, but at least 4 and at most 16
// frames (64 KiB with pages of 4 KiB). A few more may stay for a moment: a free that empties a
// frame is the longest operation already, so the next free that does not returns a frame to the
// arena.
//
// Guarded by the pool's lock.
import { NIL, type Nil, type PageFrame } from "../../base/brand.ts";
import type { Arena } from "../../memory/arena.ts";
import { add, put } from "../../memory/journal.ts";
import * as Pool from "../pool.layout.ts";
import * as Dense from "./dense.layout.ts";

export class FrameReserve {
  readonly #arena: Arena;
  readonly #words: Int32Array;
  readonly #countAt: number;
  readonly #framesAt: number;
  readonly #pagesAt: number;
  readonly #owner: PageFrame;

  /** @param own word index of the pool's words (dense.layout.ts) */
  constructor(arena: Arena, own: number, owner: PageFrame) {
    this.#arena = arena;
    this.#words = arena.words;
    this.#countAt = own + Dense.RESERVED;
    this.#framesAt = own + Dense.RESERVE;
    this.#pagesAt = own - Pool.OWN + Pool.PAGES;
    this.#owner = owner;
  }

  get count(): number {
    return this.#words[this.#countAt]!;
  }

  /** @returns a frame, its PRIVATE 0, or NIL if the arena has none */
  take(): PageFrame | Nil {
    if (this.count === 0) this.#refill();
    if (this.count === 0) return NIL;
    const last = add(this.#words, this.#countAt, -1) - 1;
    return this.#words[this.#framesAt + last]! as PageFrame;
  }

  /** Adds an unused frame to the reserve; frees one if there are too many. */
  give(frame: PageFrame): void {
    if (this.count >= this.#limit() + Dense.RESERVE_WAITING_MAX) this.#arena.frames.free(frame);
    else this.#keep(frame);
  }

  /** Frees a frame if the reserve exceeds its share of the pool. */
  trim(): void {
    if (this.count > this.#limit()) this.#arena.frames.free(this.take() as PageFrame);
  }

  /** Frees all frames. */
  clear(): void {
    while (this.count > 0) this.#arena.frames.free(this.take() as PageFrame);
  }

  #limit(): number {
    const share = this.#words[this.#pagesAt]! >>> Dense.RESERVE_SHARE_SHIFT;
    return Math.max(Dense.RESERVE_LIMIT_MIN, Math.min(Dense.RESERVE_LIMIT_MAX, share));
  }

  #keep(frame: PageFrame): void {
    // Marks the frame as one without slots: see SlotVectors.ownerAt.
    put(this.#words, this.#arena.frames.privateOf(frame), 0);
    put(this.#words, this.#framesAt + add(this.#words, this.#countAt, 1), frame);
  }

  /**
   * Allocates the largest available block. Its lowest frame is to be used first, so it goes on top.
   */
  #refill(): void {
    for (let order = Math.floor(Math.log2(this.#limit())); order >= 0; order--) {
      const first = this.#arena.frames.allocSingles(order, this.#owner);
      if (first === NIL) continue;
      for (let i = (1 << order) - 1; i >= 0; i--) this.#keep((first + i) as PageFrame);
      return;
    }
  }
}
