// Stores that several threads open, use, leave and close at the same time: each thread reads what
// it has written until the store is closed, gets the error that says so from then on, and the
// memory of all shards goes back to the system with the last thread.
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { Xorshift32 } from "../../src/base/random.ts";
import { MIB } from "../../src/base/units.ts";
import { createStore, TmemKey } from "../../src/index.ts";
import { whyNotReturned } from "../doubles/resident.ts";
import type { ClosedReport, ClosedRound } from "./closed_store_worker.ts";

const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
const WORKER = new URL(`./closed_store_worker.${EXTENSION}`, import.meta.url);
const WORKERS = 3;
const SHARDS = 3;
const ROUNDS = Number(process.env["ZCACHE_STRESS_ROUNDS"] ?? 2) * 60;
const WATCHDOG_MS = 300_000;
/** Enough in each shard that its memory is returned. */
const PAGES = 2500;
const LATE_MS_MAX = 20;

test(`a store is opened, used and closed by ${WORKERS + 1} threads in any order`, {
  skip: whyNotReturned() ?? false,
}, async (t) => {
  const workers = Array.from({ length: WORKERS }, (_, slot) => {
    return new Worker(WORKER, { workerData: slot + 1 });
  });
  t.after(() => Promise.all(workers.map((worker) => worker.terminate())));
  const random = new Xorshift32(7);
  const page = new Uint8Array(4096);
  const ends = new Map<string, number>();
  let reads = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const store = createStore({ memoryMax: "32MiB", shards: SHARDS, codec: "none" });
    const pool = store.createPool({ persistent: true });
    for (let nth = 0; nth < PAGES; nth++) {
      page.fill(nth + 1, 0, 2048);
      assert.equal(store.put(pool, new TmemKey().setObject(0).setIndex(nth * 256), page), 0);
    }
    const arenas = store.shards.map(({ arena }) => arena.bytes);
    const signal = AbortSignal.timeout(WATCHDOG_MS);
    const share = store.share();
    const reports = workers.map(async (worker) => {
      const input: ClosedRound = { share, pool, seed: random.next() | 1 };
      const reported = once(worker, "message", { signal });
      worker.postMessage(input);
      return (await reported)[0] as ClosedReport;
    });
    await sleep(random.next() % LATE_MS_MAX);
    store.close();
    const all = await Promise.all(reports);
    for (const report of all) {
      reads += report.reads;
      const end = report.code ?? (report.isClosing ? "closed it" : "left it");
      ends.set(end, (ends.get(end) ?? 0) + 1);
      if (report.code !== undefined) {
        assert.ok(["ERR_STORE_CLOSED", "ERR_ARENA_CLOSED"].includes(report.code), report.code);
      }
    }
    for (const bytes of arenas) {
      const isReturned = bytes.subarray(4096, 4 * MIB).every((byte) => byte === 0);
      assert.ok(isReturned, `round ${round}: the memory is not returned`);
    }
    store.close();
  }
  t.diagnostic(`${reads} reads; ${[...ends].map(([end, times]) => `${end}: ${times}`).join(", ")}`);
  assert.ok(reads > ROUNDS, `${reads} reads`);
});
