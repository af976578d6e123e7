// The buddy allocator against a plain model with sets of numbers instead of bitmaps: the same block
// for each request, the same free blocks of each order, and nothing lost.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { NIL, type PageFrame } from "../../src/base/brand.ts";
import { AssertionError } from "../../src/base/errors.ts";
import { GIB, KIB, MIB } from "../../src/base/units.ts";
import * as Super from "../../src/memory/arena.layout.ts";
import { ARENA_BYTES_MAX, Arena, PAGE_SIZES } from "../../src/memory/arena.ts";
import { MAX_ORDER, ownerOf, STATE } from "../../src/memory/frame.layout.ts";
import type { FrameAllocator } from "../../src/memory/frames.ts";

const OWNER = 77;
const ORDERS = Array.from({ length: MAX_ORDER + 1 }, (_, order) => order);

function freeBlocksOf(frames: FrameAllocator): number[] {
  return ORDERS.map((order) => frames.freeBlocks(order));
}

class ModelFrames {
  /** Free blocks by order, named by their first frame. */
  readonly free: Set<number>[] = ORDERS.map(() => new Set<number>());
  readonly held: { frame: number; order: number }[] = [];
  readonly #first: number;
  readonly #end: number;

  constructor(first: number, end: number) {
    this.#first = first;
    this.#end = end;
    for (let frame = first; frame < end; frame++) this.#join(frame, 0);
  }

  get framesUsed(): number {
    return this.held.reduce((sum, block) => sum + 2 ** block.order, 0);
  }

  alloc(order: number): number {
    const have = ORDERS.find((k) => k >= order && this.free[k]!.size > 0);
    if (have === undefined) return NIL;
    const frame = Math.min(...this.free[have]!);
    this.free[have]!.delete(frame);
    for (let k = have - 1; k >= order; k--) this.free[k]!.add(frame + 2 ** k);
    this.held.push({ frame, order });
    return frame;
  }

  release(index: number): number {
    const [block] = this.held.splice(index % this.held.length, 1);
    this.#join(block!.frame, block!.order);
    return block!.frame;
  }

  #join(frame: number, order: number): void {
    const length = 2 ** order;
    const buddy = (frame / length) % 2 === 0 ? frame + length : frame - length;
    const whole = buddy >= this.#first && buddy + length <= this.#end;
    if (order < MAX_ORDER && whole && this.free[order]!.delete(buddy)) {
      this.#join(Math.min(frame, buddy), order + 1);
    } else {
      this.free[order]!.add(frame);
    }
  }
}

function compare({ frames, words }: Arena, model: ModelFrames): void {
  frames.verify();
  assert.deepEqual(
    freeBlocksOf(frames),
    model.free.map((blocks) => blocks.size),
  );
  assert.equal(frames.framesUsed, model.framesUsed);
  assert.equal(frames.framesUsed + frames.framesFree, frames.framesTotal - frames.firstFrame);
  const seen = new Set<number>();
  for (const { frame, order } of model.held) {
    assert.ok(frames.isHeadOf(frame, OWNER));
    for (let i = frame; i < frame + 2 ** order; i++) {
      assert.ok(!seen.has(i), "a frame is in one block");
      seen.add(i);
      assert.equal(ownerOf(words[frames.tableAt + i * 4 + STATE]!), OWNER);
    }
  }
}

const step = fc.oneof(
  fc.record({ op: fc.constant("alloc" as const), order: fc.nat(MAX_ORDER), times: fc.nat(5) }),
  fc.record({ op: fc.constant("free" as const), index: fc.nat(1000), times: fc.nat(5) }),
);
// Sizes in 64 KiB, odd ones too, so that the last block of a 64 KiB arena has no buddy.
const shape = fc.record({
  pageSize: fc.constantFrom(...PAGE_SIZES),
  sizeBytes: fc.integer({ min: 3, max: 45 }).map((count) => count * 64 * KIB),
});

test("any sequence of blocks agrees with the model, and nothing is lost", () => {
  fc.assert(
    fc.property(shape, fc.array(step, { maxLength: 40 }), (shape, steps) => {
      using arena = Arena.create(shape);
      const { frames } = arena;
      const model = new ModelFrames(frames.firstFrame, frames.framesTotal);
      compare(arena, model);
      const atStart = freeBlocksOf(frames);
      let peak = 0;
      for (const one of steps) {
        for (let times = 0; times <= one.times; times++) {
          if (one.op === "alloc") {
            assert.equal(frames.alloc(one.order, OWNER), model.alloc(one.order));
          } else if (model.held.length > 0) {
            frames.free(model.release(one.index + times * 7) as PageFrame);
          }
          peak = Math.max(peak, model.framesUsed);
        }
        compare(arena, model);
        assert.equal(frames.framesPeak, peak);
      }
      while (model.held.length > 0) frames.free(model.release(0) as PageFrame);
      compare(arena, model);
      assert.deepEqual(freeBlocksOf(frames), atStart, "all joined again");
    }),
    { numRuns: 100 },
  );
});

for (const pageSize of PAGE_SIZES) {
  test(`a full arena of ${pageSize}-byte frames refuses, then recovers`, () => {
    using arena = Arena.create({ sizeBytes: 40 * 64 * KIB, pageSize });
    const { frames, words } = arena;
    const atStart = freeBlocksOf(frames);
    const held: PageFrame[] = [];
    for (let frame = frames.firstFrame; frame < frames.framesTotal; frame++) {
      held.push(frames.alloc(0, OWNER) as PageFrame);
    }
    assert.equal(new Set(held).size, held.length);
    assert.equal(frames.framesFree, 0);
    for (const order of ORDERS) assert.equal(frames.alloc(order, OWNER), NIL);
    assert.equal(words[Super.ALLOC_FAILURES], ORDERS.length);
    frames.verify();
    // Every second frame is free: half the arena, and no two frames together.
    const every2nd = held.filter((frame) => frame % 2 === 0);
    for (const frame of every2nd) frames.free(frame);
    frames.verify();
    assert.equal(frames.alloc(1, OWNER), NIL);
    assert.equal(frames.alloc(0, OWNER), every2nd.toSorted((a, b) => a - b)[0], "the lowest first");
    frames.free(every2nd[0]!);
    for (const frame of held) if (frame % 2 !== 0) frames.free(frame);
    frames.verify();
    assert.deepEqual(freeBlocksOf(frames), atStart);
  });
}

test("the content of a block survives all operations on other blocks", () => {
  using arena = Arena.create({ sizeBytes: MIB });
  const { frames, bytes, pageSize } = arena;
  const kept = frames.alloc(2, OWNER) as PageFrame;
  const at = frames.frameToAddress(kept);
  bytes.fill(0xa5, at, at + 4 * pageSize);
  const others = ORDERS.map((order) => frames.alloc(order, OWNER) as PageFrame);
  for (const [order, frame] of others.entries()) {
    const from = frames.frameToAddress(frame);
    bytes.fill(order, from, from + pageSize * 2 ** order);
  }
  for (const frame of others) frames.free(frame);
  assert.ok(bytes.subarray(at, at + 4 * pageSize).every((byte) => byte === 0xa5));
});

test("freeing anything but a block in use is a bug, and so is an order beyond the largest", () => {
  using arena = Arena.create({ sizeBytes: MIB });
  const { frames } = arena;
  const block = frames.alloc(2, OWNER) as number;
  const bad = [block + 1, block + 3, block + 4, 0, -1, -2, frames.firstFrame - 1];
  bad.push(frames.framesTotal, 2 ** 31, Number.NaN, 1.5);
  for (const frame of bad) {
    assert.throws(() => frames.free(frame as PageFrame), AssertionError, `frame ${frame}`);
  }
  for (const order of [-1, MAX_ORDER + 1, 2 ** 31, Number.NaN]) {
    assert.throws(() => frames.alloc(order, OWNER), AssertionError, `order ${order}`);
  }
  frames.verify();
  frames.free(block as PageFrame);
  assert.throws(() => frames.free(block as PageFrame), AssertionError, "freed twice");
  frames.verify();
  assert.equal(frames.framesUsed, 0);
});

test("isHeadOf and state answer for any number", () => {
  using arena = Arena.create({ sizeBytes: MIB });
  const { frames } = arena;
  const block = frames.alloc(1, OWNER) as number;
  assert.equal(frames.isHeadOf(block, OWNER), true);
  assert.equal(frames.isHeadOf(block, OWNER + 1), false);
  assert.equal(frames.isHeadOf(block + 1, OWNER), false, "a tail is no head");
  const link = frames.linkOf(block as PageFrame);
  assert.equal(frames.frameOfLink(link), block);
  // Neighbouring words of the table, seen through a fraction of a frame number.
  arena.words[link + 1] = arena.words[link - 1]!;
  const bad = [
    block + 0.5,
    block + 2,
    0,
    -1,
    2 ** 31,
    2 ** 32,
    Number.NaN,
    Number.POSITIVE_INFINITY,
  ];
  for (const frame of bad) assert.equal(frames.isHeadOf(frame, OWNER), false, `frame ${frame}`);
});

test("verify finds wrong words", () => {
  using arena = Arena.create({ sizeBytes: MIB });
  const { frames, words } = arena;
  const block = frames.alloc(2, OWNER) as number;
  const stateAt = frames.tableAt + block * 4;
  const freeAt = frames.tableAt + (frames.framesTotal - 1) * 4;
  const bitmapAt = Super.SUPERBLOCK_WORDS;
  const counted = ORDERS.map((order) => Super.FREE_BLOCKS + order);
  for (const at of [stateAt, stateAt + 4, freeAt, bitmapAt, Super.FRAMES_FREE, ...counted]) {
    const right = words[at]!;
    words[at] = right ^ 2;
    assert.throws(() => frames.verify(), AssertionError, `word ${at}`);
    words[at] = right;
  }
  frames.verify();
});

for (const pageSize of [4 * KIB, 64 * KIB]) {
  test(`the largest arena is made lazily, ${pageSize}-byte frames reach to its end`, () => {
    const before = process.memoryUsage.rss();
    using arena = Arena.create({ sizeBytes: 4 * GIB - 64 * KIB, pageSize });
    const { frames, words, bytes, kernels } = arena;
    assert.equal(arena.sizeBytes, ARENA_BYTES_MAX);
    const atStart = freeBlocksOf(frames);
    // Blocks first, then what is left one by one: every frame that there is.
    const held: PageFrame[] = [];
    for (let order = MAX_ORDER; order >= 0; order--) {
      for (;;) {
        const frame = frames.alloc(order, OWNER);
        if (frame === NIL) break;
        held.push(frame);
      }
    }
    assert.equal(frames.framesFree, 0);
    const last = frames.framesTotal - 1;
    const high = [2 * GIB - pageSize, 2 * GIB, 3 * GIB, last * pageSize];
    for (const address of high) {
      const frame = (address / pageSize) as PageFrame;
      assert.notEqual(frames.state(frame), 0, "the frame was handed out");
      assert.equal(frames.frameToAddress(frame), address);
      bytes[address + pageSize - 1] = 0x5a;
      words[frames.frameToWord(frame)] = frame;
      const copy = frames.frameToAddress(held[0]!);
      kernels.copy(copy, address, pageSize);
      assert.equal(bytes[copy + pageSize - 1], 0x5a);
      assert.equal(words[copy / 4], frame);
      assert.equal(kernels.equal(copy, address, pageSize), 1);
    }
    for (const frame of held) frames.free(frame);
    assert.deepEqual(freeBlocksOf(frames), atStart);
    frames.verify();
    // 16 MiB of frame table at 4 KiB, and what the run itself takes.
    const grown = process.memoryUsage.rss() - before;
    assert.ok(grown < 96 * MIB, `resident memory grew by ${grown} bytes`);
  });
}
