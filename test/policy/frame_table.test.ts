// A table in page frames is cleared, whatever the frames held before.
import assert from "node:assert/strict";
import { test } from "node:test";
import { NIL, type PageFrame } from "../../src/base/brand.ts";
import { Arena } from "../../src/memory/arena.ts";
import { FrameTable } from "../../src/policy/frame_table.ts";

test("a table in frames that were used before consists of zeros", () => {
  // What a frame holds: one word at some place, or a pattern of 64 bits of which one half is zero.
  const contents: ((frame: Int32Array) => void)[] = [
    (frame) => frame.fill(-1),
    (frame) => frame.fill(7, 1023),
    (frame) => frame.fill(7, 500, 501),
    (frame) =>
      frame.forEach((_, nth) => {
        frame[nth] = nth % 2;
      }),
    (frame) =>
      frame.forEach((_, nth) => {
        frame[nth] = 1 - (nth % 2);
      }),
    (frame) => frame.fill(0),
  ];
  const arena = Arena.create({ sizeBytes: 1 << 20 });
  const { frames, words } = arena;
  const used: PageFrame[] = [];
  for (let frame = frames.alloc(0, 5); frame !== NIL; frame = frames.alloc(0, 5)) used.push(frame);
  for (const [nth, frame] of used.entries()) {
    const at = frames.frameToWord(frame);
    contents[nth % contents.length]!(words.subarray(at, at + 1024));
  }
  for (const frame of used) frames.free(frame);
  const at = frames.frameToWord(frames.alloc(0, 5) as PageFrame);
  const table = new FrameTable(arena, { at, owner: 6, words: 200 * 1024, what: "test" });
  table.format();
  for (let nth = 0; nth < table.length; nth++) assert.equal(words[table.wordAt(nth)], 0);
});
