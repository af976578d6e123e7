// The scheduler of background work, alone and with stores: with a time that the test controls, and
// once with Node's timers.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import fc from "fast-check";
import { createStore, type Store, TmemKey, ZcacheError } from "../../src/index.ts";
import { startNbdServer, Zram } from "../../src/nbd/index.ts";
import { Command } from "../../src/nbd/protocol/protocol.ts";
import { Scheduler, type TaskName } from "../../src/node/scheduler.ts";
import { openStore, recompressInBackground } from "../../src/node/stores.ts";
import type { StoreOptions } from "../../src/store/options.ts";
import { FakeTime } from "../doubles/fake_time.ts";
import { NbdClient } from "../doubles/nbd_client.ts";
import { fillPage } from "../doubles/store_fixture.ts";

const PAGE = 4096;
const PAGES = 64;
const WATCHDOG_MS = 300_000;
const INDEX = new URL("../../src/index.js", import.meta.url).href;

async function until(what: string, isSo: () => boolean): Promise<void> {
  for (const end = Date.now() + WATCHDOG_MS; !isSo(); await sleep(20)) {
    assert.ok(Date.now() < end, what);
  }
}

/** Puts pages that the denser codec makes smaller. */
function fill(store: Store): number {
  const pool = store.createPool({ persistent: true });
  const page = new Uint8Array(PAGE);
  for (let n = 0; n < PAGES; n++) {
    assert.equal(store.put(pool, new TmemKey().setObject(1).setIndex(n), page0(page, n)), 0);
  }
  return pool;
}

function page0(page: Uint8Array, n: number): Uint8Array {
  return fillPage(page, "text", n);
}

function checkPages(store: Store, pool: number): void {
  const page = new Uint8Array(PAGE);
  for (let n = 0; n < PAGES; n++) {
    assert.ok(store.get(pool, new TmemKey().setObject(1).setIndex(n), page));
    assert.deepEqual(page, page0(new Uint8Array(PAGE), n));
  }
}

const recompressed = (store: Store) => store.stats().counters.recompressed_pages;
const DENSE: StoreOptions = { memoryMax: "4MiB", recompress: { codec: "zstd" } };

test("a task runs each period; after a run that leaves work, it runs again sooner", () => {
  const time = new FakeTime();
  const scheduler = new Scheduler(() => false, undefined, time);
  const runs: [at: number, left: number][] = [];
  let left = 5;
  scheduler.add({
    name: "recompress",
    everyMs: 100,
    moreMs: 10,
    budgetMs: () => 4,
    step: () => {
      left--;
      runs.push([time.nowMs(), left]);
      time.spend(2);
      return left > 0;
    },
  });
  time.pass(99);
  assert.deepEqual(runs, []);
  time.pass(40);
  // Two steps take the budget; the next run begins 10 ms after the end of the one before.
  assert.deepEqual(runs, [
    ...([
      [100, 4],
      [102, 3],
    ] as const),
    ...([
      [114, 2],
      [116, 1],
    ] as const),
    [128, 0],
  ] as [number, number][]);
  time.pass(89);
  assert.equal(runs.length, 5, "nothing is left: the period begins anew");
  left = 1;
  time.pass(2);
  assert.equal(runs.length, 6);
  assert.deepEqual(scheduler.tasks, [{ name: "recompress", runs: 4, errors: 0, ms: 12 }]);
});

test("any tasks with any errors: each error ends its run only, and is counted", () => {
  const names: TaskName[] = ["maintain", "recompress", "expire", "persist", "populate", "giveBack"];
  const task = fc.record({
    everyMs: fc.integer({ min: 1, max: 50 }),
    fails: fc.array(fc.boolean(), { minLength: 1, maxLength: 5 }),
  });
  fc.assert(
    fc.property(fc.array(task, { minLength: 1, maxLength: 4 }), (tasks) => {
      const time = new FakeTime();
      const reported: TaskName[] = [];
      const scheduler = new Scheduler(
        () => false,
        (name) => reported.push(name),
        time,
      );
      const turns = tasks.map(() => 0);
      for (const [nth, { everyMs, fails }] of tasks.entries()) {
        scheduler.add({
          name: names[nth]!,
          everyMs,
          step: () => {
            if (fails[turns[nth]!++ % fails.length]!) throw new TypeError("planted");
            return false;
          },
        });
      }
      time.pass(500);
      for (const [nth, { everyMs, fails }] of tasks.entries()) {
        const runs = Math.floor(500 / everyMs);
        const failed = Array.from({ length: runs }, (_, turn) => fails[turn % fails.length]);
        const errors = failed.filter(Boolean).length;
        const { name, ...counts } = scheduler.tasks[nth]!;
        assert.deepEqual(counts, { runs, errors, ms: 0 }, name);
        assert.equal(reported.filter((one) => one === name).length, errors);
      }
      scheduler.stop();
      assert.equal(time.pending, 0);
    }),
  );
});

test("without onError an error of a task is thrown, and the task runs again", () => {
  const time = new FakeTime();
  const scheduler = new Scheduler(() => false, undefined, time);
  let turns = 0;
  scheduler.add({
    name: "maintain",
    everyMs: 10,
    step: () => {
      if (turns++ === 0) throw new TypeError("planted");
      return false;
    },
  });
  assert.throws(() => time.pass(10), /planted/);
  time.pass(10);
  assert.equal(turns, 2);
});

test("a step that stops the scheduler is the last one, of all tasks", () => {
  const time = new FakeTime();
  const scheduler = new Scheduler(() => false, undefined, time);
  let steps = 0;
  const step = () => {
    steps++;
    time.spend(1);
    scheduler.stop();
    return true;
  };
  scheduler.add({ name: "maintain", everyMs: 10, budgetMs: () => 100, step });
  scheduler.add({ name: "expire", everyMs: 10, step });
  time.pass(1000);
  assert.deepEqual([steps, time.pending], [1, 0]);
});

test("when another thread closes the store, each task does its last work and ends", () => {
  const time = new FakeTime();
  let isClosed = false;
  const errors: unknown[] = [];
  const scheduler = new Scheduler(
    () => isClosed,
    (_, error) => errors.push(error),
    time,
  );
  const done: string[] = [];
  scheduler.add({
    name: "persist",
    everyMs: 10,
    step: () => {
      done.push("step");
      isClosed = true;
      throw new ZcacheError("ERR_STORE_CLOSED", "closed in the middle of a step");
    },
    last: () => done.push("last"),
  });
  scheduler.add({ name: "maintain", everyMs: 100, step: () => assert.fail("it is closed") });
  time.pass(1000);
  assert.deepEqual([done, errors, time.pending], [["step", "last"], [], 0]);
});

test("a store recompresses pages that are idle for as long as its options say", () => {
  const time = new FakeTime();
  const store = openStore({ ...DENSE, recompress: { codec: "zstd", idleSeconds: 60 } });
  recompressInBackground(store, time);
  const pool = fill(store);
  time.pass(59_000);
  assert.equal(recompressed(store), 0, "nothing is idle yet");
  const used = new Uint8Array(PAGE);
  for (let seconds = 0; seconds < 60; seconds++) {
    store.get(pool, new TmemKey().setObject(1).setIndex(0), used);
    time.pass(1000);
  }
  assert.equal(recompressed(store), PAGES - 1, "all but the page that is used all the time");
  checkPages(store, pool);
  assert.deepEqual(
    store.background!.tasks.map(({ name, errors }) => [name, errors]),
    [["recompress", 0]],
  );
  store.verify();
  store.close();
  assert.equal(time.pending, 0, "closing ends it");
});

test("background work ends when its thread detaches, and when another thread closes", async () => {
  const time = new FakeTime();
  const store = openStore(DENSE);
  recompressInBackground(store, time);
  fill(store);
  const worker = new Worker(
    `import(${JSON.stringify(INDEX)}).then(({ attachStore }) =>
       attachStore(require("node:worker_threads").workerData).close())`,
    { eval: true, workerData: store.share() },
  );
  await until("the store is closed", () => store.isClosed);
  await worker.terminate();
  time.pass(3600_000);
  assert.equal(time.pending, 0);
  const other = openStore(DENSE);
  recompressInBackground(other, time);
  assert.equal(time.pending, 1);
  other.detach();
  assert.equal(time.pending, 0);
});

test("without a codec or with 0 seconds there is no background work", () => {
  for (const options of [
    { memoryMax: "2MiB" },
    { memoryMax: "2MiB", recompress: { codec: "zstd", idleSeconds: 0 } },
  ]) {
    using store = createStore({ ...options, giveBack: "off" });
    assert.equal(store.background, undefined);
  }
  for (const idleSeconds of [-1, Number.NaN, Number.POSITIVE_INFINITY, 1e9, "60", null]) {
    const options = { recompress: { codec: "zstd", idleSeconds } } as StoreOptions;
    assert.throws(() => createStore(options), /idleSeconds/);
  }
});

test("an unexpected error in the scan of a store is a warning, once, and counted", async () => {
  const time = new FakeTime();
  const warnings: string[] = [];
  const heard = (warning: Error) => warnings.push(warning.message);
  process.on("warning", heard);
  const store = openStore(DENSE);
  recompressInBackground(store, time);
  fill(store);
  const real = store.scanIdle;
  store.scanIdle = () => {
    throw new TypeError("planted in the scan");
  };
  time.pass(10_000);
  store.scanIdle = real;
  time.pass(200_000);
  await until("the warning comes", () => warnings.length > 0);
  process.off("warning", heard);
  const { errors, runs } = store.background!.tasks[0]!;
  assert.equal(errors, 40, "each of four runs a second");
  assert.ok(runs > errors);
  assert.equal(recompressed(store), PAGES, "the scan goes on afterwards");
  assert.equal(warnings.filter((text) => /planted in the scan/.test(text)).length, 1);
  store.close();
});

test("Node's timers run the tasks of a bare store and of a device of zcache/nbd", async () => {
  const folder = mkdtempSync(join(tmpdir(), "zcache-scheduler-"));
  const options = { ...DENSE, recompress: { codec: "zstd", idleSeconds: 1 } };
  using bare = createStore(options);
  const pool = fill(bare);
  using served = createStore(options);
  const device = Zram.create(served, PAGES * PAGE);
  const path = join(folder, "nbd.sock");
  const listen = [{ path }];
  const server = await startNbdServer(served, { exports: [{ device }], listen, threads: 1 });
  const client = await NbdClient.open(path);
  const page = new Uint8Array(PAGE);
  for (let n = 0; n < PAGES; n++) {
    const data = Buffer.from(page0(page, n));
    assert.equal((await client.request(Command.WRITE, n * PAGE, PAGE, { data })).error, 0);
  }
  await until("both are recompressed", () => {
    return recompressed(bare) === PAGES && recompressed(served) === PAGES;
  });
  checkPages(bare, pool);
  for (let n = 0; n < PAGES; n++) {
    const { data } = await client.request(Command.READ, n * PAGE, PAGE);
    assert.deepEqual(new Uint8Array(data!), page0(page, n));
  }
  client.close();
  await server.close();
  served.verify();
  rmSync(folder, { recursive: true });
});
