// The background scan of a cache with many shards: each shard is reached within a bounded time, and
// all of them together take the time of one.
import assert from "node:assert/strict";
import { test } from "node:test";
import { startBackground } from "../../src/cache/background.ts";
import { createStore } from "../../src/index.ts";
import { Scheduler } from "../../src/node/scheduler.ts";
import type { Store } from "../../src/store/store.ts";
import { FakeTime } from "../doubles/fake_time.ts";

const EVERY_MS = 100;
const SECONDS = 60;

/** One of `shards` shards for a minute, in which a step of the scan takes `stepMs`. */
function scanOne(shards: number, stepMs: number, steps: number): { rounds: number; ms: number } {
  const time = new FakeTime();
  const store = createStore({ memoryMax: "1MiB", content: "values", giveBack: "off" });
  const scheduler = new Scheduler(() => false, undefined, time);
  let left = 0;
  let ms = 0;
  const scanned: Pick<Store, "scanIdle" | "tick" | "maintain" | "inspection"> = {
    inspection: store.inspection,
    maintain: () => false,
    tick: () => {
      left = steps;
    },
    scanIdle: () => {
      left--;
      ms += stepMs;
      time.spend(stepMs);
      return { ended: left <= 0, recompressed: 0, writtenBack: 0, expired: 0 } as never;
    },
  };
  const turn = { nth: shards - 1, shards };
  const counts = startBackground(scheduler, scanned as Store, { everyMs: EVERY_MS, turn });
  while (time.nowMs() < SECONDS * 1000) time.pass(10);
  scheduler.stop();
  store.close();
  return { rounds: counts().rounds, ms };
}

test("each of 64 shards is scanned about once a second", () => {
  for (const shards of [1, 3, 10, 64]) {
    const { rounds } = scanOne(shards, 0.01, 3);
    assert.ok(rounds > SECONDS * 0.45, `${rounds} rounds of one of ${shards} shards`);
  }
});

test("scans of many shards take no more of the time than that of one", () => {
  for (const [shards, stepMs] of [
    [64, 0.05],
    [64, 1],
    [64, 5],
    [20, 1],
  ] as const) {
    const one = scanOne(1, stepMs, 100_000).ms;
    const all = scanOne(shards, stepMs, 100_000).ms * shards;
    assert.ok(
      all < one * 1.6,
      `${shards} shards, steps of ${stepMs} ms: ${all} ms, one: ${one} ms`,
    );
  }
});
