// The window: the raw pages of the input that are in memory at one time. The analyzer holds one
// window, so the size of the window bounds its memory, whatever the size of the input.
//
// The pages are in blocks of 16 page frames, the largest that the arena has. Blocks are allocated
// when the input reaches them, and kept for the next window.
import { type Address, NIL } from "../base/brand.ts";
import { assert, ZcacheError } from "../base/errors.ts";
import { ARENA_OWNER, type Arena } from "../memory/arena.ts";
import { MAX_ORDER } from "../memory/frame.layout.ts";

/** Pages in one block. */
export const BLOCK_PAGES = 1 << MAX_ORDER;

/** Takes one block of 16 page frames. @throws ZcacheError ERR_ARENA_FULL */
export function takeBlock(arena: Arena): Address {
  const frame = arena.frames.alloc(MAX_ORDER, ARENA_OWNER);
  if (frame === NIL) {
    throw new ZcacheError("ERR_ARENA_FULL", "the analyzer's arena has no block of 16 frames left", {
      context: { framesFree: arena.frames.framesFree },
    });
  }
  return arena.frames.frameToAddress(frame);
}

export class PageWindow {
  readonly pageSize: number;
  /** Pages that fit into the window; a multiple of BLOCK_PAGES. */
  readonly pagesMax: number;
  readonly #arena: Arena;
  readonly #blocks: Float64Array;
  #blocksTaken = 0;
  #filledBytes = 0;

  constructor(arena: Arena, pagesMax: number) {
    this.#arena = arena;
    this.pageSize = arena.pageSize;
    this.pagesMax = Math.max(1, Math.ceil(pagesMax / BLOCK_PAGES)) * BLOCK_PAGES;
    this.#blocks = new Float64Array(this.pagesMax / BLOCK_PAGES);
  }

  /** Pages in the window, including the page that is being filled. */
  get pages(): number {
    return Math.ceil(this.#filledBytes / this.pageSize);
  }

  /** Address of page `index`. */
  addressOf(index: number): Address {
    const block = Math.floor(index / BLOCK_PAGES);
    return (this.#blocks[block]! + (index % BLOCK_PAGES) * this.pageSize) as Address;
  }

  /**
   * Bytes that may be written at `nextAddress()`, up to the end of a block; 0 if the window is
   * full.
   */
  roomBytes(): number {
    const blockBytes = BLOCK_PAGES * this.pageSize;
    if (this.#filledBytes === this.#blocks.length * blockBytes) return 0;
    return blockBytes - (this.#filledBytes % blockBytes);
  }

  /** Address for the next byte of input. Only while there is room. */
  nextAddress(): Address {
    const blockBytes = BLOCK_PAGES * this.pageSize;
    const block = Math.floor(this.#filledBytes / blockBytes);
    assert(block < this.#blocks.length, "there is room in the window");
    while (this.#blocksTaken <= block) this.#blocks[this.#blocksTaken++] = takeBlock(this.#arena);
    return (this.#blocks[block]! + (this.#filledBytes % blockBytes)) as Address;
  }

  /** Counts `bytes` as written at `nextAddress()`. */
  advance(bytes: number): void {
    assert(bytes >= 0 && bytes <= this.roomBytes(), "what was written fits in the block");
    this.#filledBytes += bytes;
  }

  /** Fills the rest of the last page with zeros, as a page cache does at the end of a file. */
  padPage(): void {
    const over = this.#filledBytes % this.pageSize;
    if (over === 0) return;
    this.#arena.kernels.fill(this.nextAddress(), 0, this.pageSize - over);
    this.#filledBytes += this.pageSize - over;
  }

  /** Empties the window; its blocks stay taken. */
  clear(): void {
    this.#filledBytes = 0;
  }
}
