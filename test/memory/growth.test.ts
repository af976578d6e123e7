// An arena that grows: whatever was allocated before and wherever it ended, it then has the free
// blocks of an arena that had this size from the beginning, and a growth that is undone leaves
// nothing.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { NIL, type PageFrame } from "../../src/base/brand.ts";
import { GIB, KIB, MIB } from "../../src/base/units.ts";
import * as Super from "../../src/memory/arena.layout.ts";
import { ARENA_BYTES_MAX, Arena, PAGE_SIZES } from "../../src/memory/arena.ts";
import { bitmapAdd, bitmapAddRange, bitmapCheck, layoutBitmap } from "../../src/memory/bitmap.ts";
import { MAX_ORDER } from "../../src/memory/frame.layout.ts";
import { stopAfter } from "../doubles/stopped.ts";

const OWNER = 77;

function freeBlocksOf({ frames }: Arena): number[] {
  return Array.from({ length: MAX_ORDER + 1 }, (_, order) => frames.freeBlocks(order));
}

const step = fc.oneof(
  fc.record({ what: fc.constant("alloc" as const), order: fc.nat(MAX_ORDER) }),
  fc.record({ what: fc.constant("free" as const), nth: fc.nat(1000) }),
  fc.record({ what: fc.constant("grow" as const), frames: fc.integer({ min: 0, max: 300 }) }),
);

test("random allocations and growth: all frames are found, and none twice", () => {
  const sizes = fc.constantFrom(...PAGE_SIZES);
  fc.assert(
    fc.property(sizes, fc.array(step, { maxLength: 60 }), (pageSize, steps) => {
      const sizeBytes = 40 * pageSize + 64 * KIB;
      const arena = Arena.create({ sizeBytes, sizeBytesMax: 1000 * pageSize, pageSize });
      const { frames } = arena;
      const held: { frame: PageFrame; order: number }[] = [];
      let usable = frames.framesUsable;
      for (const one of steps) {
        if (one.what === "alloc") {
          const frame = frames.alloc(one.order, OWNER);
          if (frame !== NIL) held.push({ frame, order: one.order });
          else assert.equal(freeBlocksOf(arena).slice(one.order).some(Boolean), false);
        } else if (one.what === "free" && held.length > 0) {
          frames.free(held.splice(one.nth % held.length, 1)[0]!.frame);
        } else if (one.what === "grow") {
          usable = Math.min(frames.usableMax, usable + one.frames);
          frames.growTo(usable);
        }
        frames.verify();
        const used = held.reduce((sum, { order }) => sum + (1 << order), 0);
        assert.deepEqual([frames.framesUsable, frames.framesUsed], [usable, used]);
        for (const { frame } of held) assert.ok(frames.isHeadOf(frame, OWNER));
      }
      for (const { frame } of held) frames.free(frame);
      frames.verify();
      const fresh = Arena.create({ sizeBytes, sizeBytesMax: 1000 * pageSize, pageSize });
      fresh.frames.growTo(usable);
      assert.deepEqual(freeBlocksOf(arena), freeBlocksOf(fresh), "the free blocks are the largest");
      for (const one of [arena, fresh]) one.close();
    }),
    { numRuns: 100 },
  );
});

test("a growth that stops at any of its writes is undone", () => {
  const arena = Arena.create({ sizeBytes: MIB, sizeBytesMax: 64 * MIB });
  const { frames } = arena;
  arena.keepJournal();
  let isFull = false;
  while (!isFull) {
    stopAfter(arena, 1000, () => {
      isFull = frames.alloc(0, OWNER) === NIL;
    });
  }
  const before = [frames.framesUsable, frames.headerFrames, ...freeBlocksOf(arena)];
  let writes = 0;
  while (!stopAfter(arena, writes, () => frames.growTo(5000))) {
    frames.resetLock();
    assert.deepEqual([frames.framesUsable, frames.headerFrames, ...freeBlocksOf(arena)], before);
    frames.verify();
    writes++;
  }
  assert.ok(writes > 20, `${writes} writes`);
  assert.equal(frames.framesUsable, 5000);
  assert.notEqual(frames.alloc(MAX_ORDER, OWNER), NIL);
  frames.verify();
  arena.close();
});

test("the largest growth is one transaction, and the header counts as in a new arena", () => {
  const arena = Arena.create({ sizeBytes: 64 * MIB, sizeBytesMax: ARENA_BYTES_MAX });
  const { frames, words } = arena;
  const small = Arena.create({ sizeBytes: 64 * MIB });
  assert.equal(frames.headerFrames, small.frames.firstFrame, "room to grow counts as nothing");
  assert.equal(frames.framesUsable, small.frames.framesUsable);
  assert.equal(arena.sizeBytes, 64 * MIB);
  arena.keepJournal();
  const far = frames.frameToAddress((frames.framesMax - 1) as PageFrame);
  assert.ok(stopAfter(arena, words[Super.JOURNAL_LIMIT]!, () => frames.growTo(frames.usableMax)));
  assert.equal(frames.headerFrames, frames.firstFrame);
  assert.equal(arena.sizeBytes, ARENA_BYTES_MAX);
  arena.bytes[far] = 1;
  // Another thread sees it at once, and one that attaches later too.
  const other = Arena.attach(arena.share());
  assert.equal(other.frames.framesUsable, frames.usableMax);
  other.detach();
  assert.throws(() => frames.growTo(frames.usableMax + 1), /within its memory/);
  for (const one of [arena, small]) one.close();
});

test("sizes that an arena can't grow to", () => {
  for (const sizeBytesMax of [MIB - 1, 5 * GIB, Number.NaN]) {
    assert.throws(() => Arena.create({ sizeBytes: MIB, sizeBytesMax }), { code: "ERR_OPTION" });
  }
});

test("a range of numbers is added to a bitmap as one number after the other", () => {
  const range = fc
    .tuple(fc.nat(4999), fc.nat(4999))
    .map(([a, b]) => [Math.min(a, b), Math.max(a, b)]);
  fc.assert(
    fc.property(fc.array(range, { minLength: 1, maxLength: 4 }), (ranges) => {
      const { layout, words: length } = layoutBitmap(512, 5000);
      const [whole, single] = [new Int32Array(512 + length), new Int32Array(512 + length)];
      for (const [from, last] of ranges) {
        bitmapAddRange(whole, layout, from!, last! + 1);
        for (let one = from!; one <= last!; one++) bitmapAdd(single, layout, one);
      }
      assert.deepEqual(whole, single);
      assert.ok(bitmapCheck(whole, layout) > 0);
    }),
    { numRuns: 200 },
  );
});

test("no two words of the superblock have the same place", () => {
  const sizes: Record<string, number> = { FREE_BLOCKS: MAX_ORDER + 1, THREADS: Super.MAX_THREADS };
  sizes["ATTACHMENTS"] = Super.MAX_THREADS;
  sizes["POOL_LOCKS"] = Super.POOL_LOCKS_MAX * Super.POOL_LOCK_WORDS;
  // What is no place: sizes, versions, values of a word, a place within a line.
  const others =
    /^(WRITES.*|POOL_LOCK.*_(MAX|WORDS|COUNTERS)|MAX_THREADS|SUPERBLOCK_WORDS|ARENA_.*)$/;
  const taken = new Map<number, string>();
  for (const [name, at] of Object.entries(Super)) {
    if (others.test(name) && name !== "ARENA_LOCK") continue;
    for (let word = at; word < at + (sizes[name] ?? 1); word++) {
      assert.equal(taken.get(word), undefined, `word ${word} is that of ${name}`);
      taken.set(word, name);
    }
  }
  assert.ok(Math.max(...taken.keys()) < Super.SUPERBLOCK_WORDS);
});
