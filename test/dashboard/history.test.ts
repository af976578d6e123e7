// The history of the dashboard: rates, hit rates and latency between two samples; and the format of
// numbers.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { ServicePicture } from "../../src/dashboard/api.ts";
import { quantile } from "../../src/dashboard/api.ts";
import { count, duration, rate, span } from "../../src/dashboard/format.ts";
import { History, latencySince, latencySum } from "../../src/dashboard/history.ts";

function picture(more: Partial<ServicePicture>): ServicePicture {
  return {
    ...{ operations: {}, hits: 0, misses: 0, evictions: {}, latency: {} },
    connections: { now: 0, accepted: 5, refused: 0 },
    writeBack: { writtenPages: 0, writtenBytes: 0, readPages: 0, file: null },
    ...more,
  } as ServicePicture;
}

test("rates refer to the time between two samples", () => {
  const history = new History();
  const first = history.add(1000, picture({ operations: { get: 100, set: 5 }, hits: 50 }));
  assert.deepEqual([first.seconds, first.operations, first.hitRate], [0, 0, undefined]);
  const second = history.add(
    3000,
    picture({ operations: { get: 300, set: 25 }, hits: 110, misses: 40, evictions: { a: 8 } }),
  );
  assert.deepEqual(second.rates, { get: 100, set: 10 });
  assert.deepEqual([second.operations, second.hitRate, second.evictions], [110, 0.6, 4]);
  const idle = history.add(4000, picture(second.picture));
  assert.deepEqual([idle.operations, idle.hitRate], [0, undefined]);
});

test("a restarted daemon begins a new history", () => {
  const history = new History();
  history.add(1000, picture({ operations: { get: 100 } }));
  history.add(2000, picture({ operations: { get: 200 } }));
  const moment = history.add(3000, picture({ operations: { get: 3 } }));
  assert.equal(moment.seconds, 0);
  assert.equal(history.moments.length, 1);
});

test("the history is bounded", () => {
  const history = new History();
  for (let nth = 0; nth < 1000; nth++) history.add(nth * 1000, picture({}));
  assert.equal(history.moments.length, 300);
});

test("the latency of an interval", () => {
  const before = [[100, 5] as const, [200, 1] as const];
  const now = [[100, 5] as const, [200, 4] as const, [400, 1] as const];
  assert.deepEqual(latencySince(before, now), [
    [200, 3],
    [400, 1],
  ]);
  assert.equal(quantile(latencySince(before, now), 0.5), 200);
  assert.equal(quantile(latencySince(before, now), 0.99), 400);
  assert.equal(quantile([], 0.5), undefined);
  assert.deepEqual(latencySum([before, now]), [
    [100, 10],
    [200, 5],
    [400, 1],
  ]);
});

test("numbers as text", () => {
  assert.deepEqual([0, 3.21, 12, 9994, 12_345, 2_500_000].map(rate), [
    ...["0/s", "3.2/s", "12/s", "9,994/s", "12.3 k/s", "2.50 M/s"],
  ]);
  assert.deepEqual([5, 840, 12_345, 4_560_000, 1.2e9].map(duration), [
    ...["5 ns", "840 ns", "12.3 µs", "4.56 ms", "1.20 s"],
  ]);
  assert.deepEqual([5000, 180_000, 7_500_000, 280_000_000].map(span), [
    ...["5 s", "3 min", "2 h 5 min", "3 d 5 h"],
  ]);
  assert.equal(count(1_234_567), "1,234,567");
});
