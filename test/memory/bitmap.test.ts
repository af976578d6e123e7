// The bitmap against a Set: any sequence; after each step the same members, the same lowest member,
// and correct summaries.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { SUPERBLOCK_WORDS } from "../../src/memory/arena.layout.ts";
import {
  bitmapAdd,
  bitmapCheck,
  bitmapDelete,
  bitmapHas,
  bitmapTakeLowest,
  layoutBitmap,
} from "../../src/memory/bitmap.ts";

/** Where the bitmap stands among words that it must not touch. */
const AT = SUPERBLOCK_WORDS + 7;
const GUARD = 0x5a5a5a5a;

type Step = { op: "add" | "delete"; member: number } | { op: "take" };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ op: fc.constant("add" as const), member: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("delete" as const), member: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("take" as const) }) },
);
// One word, borders of each level, and sizes in between.
const size = fc.oneof(
  fc.constantFrom(1, 31, 32, 33, 1023, 1024, 1025, 32_768, 32_769, 1 << 20),
  fc.integer({ min: 1, max: 40_000 }),
);

test("any sequence of add, delete and take agrees with a Set", () => {
  fc.assert(
    fc.property(size, fc.boolean(), fc.array(step, { maxLength: 80 }), (size, crowded, steps) => {
      const { layout, words: count } = layoutBitmap(AT, size);
      const words = new Int32Array(AT + count + 1);
      words.fill(GUARD, SUPERBLOCK_WORDS, AT);
      words[AT + count] = GUARD;
      const model = new Set<number>();
      // Few different members, so that words fill and empty again; or many, over the whole range.
      const spread = crowded ? Math.min(size, 40) : size;
      for (const one of steps) {
        if (one.op === "take") {
          if (model.size === 0) continue;
          const lowest = Math.min(...model);
          assert.equal(bitmapTakeLowest(words, layout), lowest);
          model.delete(lowest);
        } else {
          const member = size - 1 - (one.member % spread);
          if (one.op === "add") bitmapAdd(words, layout, member);
          else bitmapDelete(words, layout, member);
          if (one.op === "add") model.add(member);
          else model.delete(member);
          assert.equal(bitmapHas(words, layout, member), one.op === "add");
        }
        if (size < 5000) assert.equal(bitmapCheck(words, layout), model.size);
      }
      assert.equal(bitmapCheck(words, layout), model.size);
      for (const member of model) assert.ok(bitmapHas(words, layout, member));
      assert.ok(
        words.subarray(0, AT).every((word, at) => word === (at < SUPERBLOCK_WORDS ? 0 : GUARD)),
        "nothing before is touched",
      );
      assert.equal(words[AT + count], GUARD, "nothing behind is touched");
    }),
    { numRuns: 200 },
  );
});

test("gives all members of a full set, lowest first", () => {
  for (const size of [1, 32, 33, 1024, 1025, 33_000]) {
    const { layout, words: count } = layoutBitmap(AT, size);
    const words = new Int32Array(AT + count);
    for (let member = size - 1; member >= 0; member--) bitmapAdd(words, layout, member);
    assert.equal(bitmapCheck(words, layout), size);
    for (let member = 0; member < size; member++) {
      assert.equal(bitmapTakeLowest(words, layout), member);
    }
    assert.ok(
      words.every((word) => word === 0),
      "an empty set is all zero",
    );
  }
});

test("bitmapCheck finds any wrong summary bit and any member out of range", () => {
  const size = 2000;
  const { layout, words: count } = layoutBitmap(AT, size);
  const words = new Int32Array(AT + count);
  for (let member = 0; member < size; member += 70) bitmapAdd(words, layout, member);
  const level1 = layout.levelAt[1]!;
  for (let bit = level1 * 32; bit < (AT + count) * 32; bit++) {
    words[bit >>> 5]! ^= 1 << (bit & 31);
    assert.equal(bitmapCheck(words, layout), -1, `bit ${bit} is flipped`);
    words[bit >>> 5]! ^= 1 << (bit & 31);
  }
  assert.equal(bitmapCheck(words, layout), Math.ceil(size / 70));
  words[AT + (size >>> 5)]! |= 1 << (size & 31);
  assert.equal(bitmapCheck(words, layout), -1);
});

test("covers 2^20 numbers in four levels", () => {
  assert.equal(layoutBitmap(0, 1 << 20).layout.levelAt.length, 4);
  assert.equal(layoutBitmap(0, 32).layout.levelAt.length, 1);
  assert.equal(layoutBitmap(0, 1).words, 1);
});
