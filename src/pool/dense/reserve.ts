// A few page frames in reserve. A vector takes or returns a frame with about every second object,
// and the buddy allocator's work for one frame is half the time of such an operation: so frames are
// taken a block at a time, and a frame that is returned is kept for the next class that needs one.
//
// The frames in reserve count as the pool's metadata: at most 16, 64 KiB at 4 KiB pages. Guarded by
// the pool's lock.
import { NIL, type Nil, type PageFrame } from "../../base/brand.ts";
import type { Arena } from "../../memory/arena.ts";
import { MAX_ORDER } from "../../memory/frame.layout.ts";
import * as Dense from "./dense.layout.ts";

export class FrameReserve {
  readonly #arena: Arena;
  readonly #words: Int32Array;
  readonly #countAt: number;
  readonly #framesAt: number;
  readonly #owner: PageFrame;

  /** @param own word index of the pool's own words (dense.layout.ts) */
  constructor(arena: Arena, own: number, owner: PageFrame) {
    this.#arena = arena;
    this.#words = arena.words;
    this.#countAt = own + Dense.RESERVED;
    this.#framesAt = own + Dense.RESERVE;
    this.#owner = owner;
  }

  get count(): number {
    return this.#words[this.#countAt]!;
  }

  /** @returns a frame, its PRIVATE 0, or NIL if the arena has none */
  take(): PageFrame | Nil {
    if (this.count === 0) this.#refill();
    if (this.count === 0) return NIL;
    const last = --this.#words[this.#countAt]!;
    return this.#words[this.#framesAt + last]! as PageFrame;
  }

  /** Keeps a frame that is no longer needed, or gives it back to the arena. */
  give(frame: PageFrame): void {
    if (this.count === Dense.RESERVE_MAX) {
      this.#arena.frames.free(frame);
      return;
    }
    // Nobody may take the frame for one with a record: see SlotVectors.ownerAt.
    this.#words[this.#arena.frames.privateOf(frame)] = 0;
    this.#words[this.#framesAt + this.#words[this.#countAt]!++] = frame;
  }

  /** Gives all frames back to the arena. */
  clear(): void {
    while (this.count > 0) this.#arena.frames.free(this.take() as PageFrame);
  }

  /** Takes the largest block there is. The lowest frame is to be taken first, so it goes on top. */
  #refill(): void {
    for (let order = MAX_ORDER; order >= 0; order--) {
      const first = this.#arena.frames.allocSingles(order, this.#owner);
      if (first === NIL) continue;
      for (let i = (1 << order) - 1; i >= 0; i--) this.give((first + i) as PageFrame);
      return;
    }
  }
}
