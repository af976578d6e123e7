// Watermarks: the decisions at each number of frames, without flutter.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ZcacheError } from "../../src/base/errors.ts";
import {
  ACCEPT_THRESHOLD_PERCENT,
  checkAcceptThreshold,
  checkWatermarks,
  framesToReclaim,
  fullNext,
  markFrames,
  reclaimNext,
} from "../../src/policy/watermarks.ts";

const limit = fc.integer({ min: 1, max: 2 ** 20 });
const percent = fc.integer({ min: 0, max: 100 });
const marks = fc
  .tuple(percent, percent)
  .map(([a, b]) => ({ lowPercent: Math.min(a, b), highPercent: Math.max(a, b) }));
const walk = fc.array(fc.integer({ min: -2000, max: 2000 }), { maxLength: 200 });

test("reclaim begins below the low watermark and ends at the high one, nowhere else", () => {
  fc.assert(
    fc.property(limit, marks, walk, (limit, marks, walk) => {
      const low = markFrames(limit, marks.lowPercent);
      const high = markFrames(limit, marks.highPercent);
      let free = limit;
      let reclaiming = false;
      for (const change of walk) {
        free = Math.min(limit, Math.max(0, free + Math.round((change * limit) / 4000)));
        const next = reclaimNext(reclaiming, free, limit, marks);
        if (!reclaiming && next) assert.ok(free < low);
        if (reclaiming && !next) assert.ok(free >= high);
        if (free < low) assert.ok(next);
        if (free >= high) assert.ok(!next);
        if (low <= free && free < high) assert.equal(next, reclaiming);
        assert.equal(
          reclaimNext(next, free, limit, marks),
          next,
          "the same frames, the same state",
        );
        if (next) assert.ok(framesToReclaim(free, limit, marks) > 0);
        reclaiming = next;
      }
      const missing = framesToReclaim(free, limit, marks);
      assert.equal(reclaimNext(true, free + missing, limit, marks), false, "then it is enough");
      if (missing > 0) assert.ok(reclaimNext(true, free + missing - 1, limit, marks));
    }),
  );
});

test("marks of a large store, and of the smallest", () => {
  const marks = { lowPercent: 2, highPercent: 4 };
  assert.equal(reclaimNext(false, 20, 1000, marks), false);
  assert.equal(reclaimNext(false, 19, 1000, marks), true);
  assert.equal(reclaimNext(true, 39, 1000, marks), true);
  assert.equal(reclaimNext(true, 40, 1000, marks), false);
  assert.equal(framesToReclaim(19, 1000, marks), 21);
  assert.equal(framesToReclaim(50, 1000, marks), 0);
  assert.equal(reclaimNext(false, 0, 3, marks), true, "the last frame is below any mark");
  assert.equal(reclaimNext(false, 1, 3, marks), false);
  assert.equal(reclaimNext(false, 0, 3, { lowPercent: 0, highPercent: 0 }), false, "none wanted");
});

test("a full store takes pages again once its use has fallen to the threshold", () => {
  fc.assert(
    fc.property(limit, fc.integer({ min: 1, max: 100 }), walk, (limit, percent, walk) => {
      const threshold = Math.floor((limit * percent) / 100);
      let used = 0;
      let full = false;
      for (const change of walk) {
        used = Math.max(0, used + Math.round((change * limit) / 4000));
        const next = fullNext(full, used, limit, percent);
        if (used >= limit) assert.ok(next);
        else if (used <= threshold) assert.ok(!next);
        else assert.equal(next, full);
        assert.equal(fullNext(next, used, limit, percent), next);
        full = next;
      }
    }),
  );
});

test("the accept threshold in numbers; 100 % means no wait", () => {
  assert.equal(fullNext(false, 999, 1000, ACCEPT_THRESHOLD_PERCENT), false);
  assert.equal(fullNext(false, 1000, 1000, ACCEPT_THRESHOLD_PERCENT), true);
  assert.equal(fullNext(true, 901, 1000, ACCEPT_THRESHOLD_PERCENT), true);
  assert.equal(fullNext(true, 900, 1000, ACCEPT_THRESHOLD_PERCENT), false);
  assert.equal(fullNext(true, 999, 1000, 100), false);
});

test("invalid watermarks are refused", () => {
  checkWatermarks({ lowPercent: 0, highPercent: 0 });
  checkWatermarks({ lowPercent: 2.5, highPercent: 100 });
  for (const [lowPercent, highPercent] of [
    [5, 4],
    [-1, 4],
    [1, 101],
    [Number.NaN, 4],
    [1, Number.NaN],
  ] as const) {
    assert.throws(() => checkWatermarks({ lowPercent, highPercent }), isOptionError);
  }
  checkAcceptThreshold(1);
  checkAcceptThreshold(100);
  for (const percent of [0, 101, Number.NaN]) {
    assert.throws(() => checkAcceptThreshold(percent), isOptionError);
  }
});

function isOptionError(error: unknown): boolean {
  return error instanceof ZcacheError && error.code === "ERR_OPTION";
}
