// Loads in several threads, some of which are terminated: each fetch gets a value or an error, and
// none waits for a thread that has ended.
import assert from "node:assert/strict";
import { once } from "node:events";
import { afterEach, mock, test } from "node:test";
import { Worker } from "node:worker_threads";
import { SingleFlight } from "../../src/cache/single_flight.ts";
import { Cache, ZcacheError } from "../../src/index.ts";
import { NOT_WATCHED, WATCH_FRONT, WATCHES } from "../../src/store/versions.ts";
import { createCache } from "../doubles/test_caches.ts";
import type { Order, Report } from "./fetch_worker.ts";

const WORKER = new URL("./fetch_worker.js", import.meta.url);
/** These tests look for hangs; without one, each takes a small fraction of this time. */
const timeout = 120_000;

/** A test that fails leaves no thread, which would keep the process alive. */
const workers: Worker[] = [];
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.terminate()));
});

class Thread {
  readonly worker: Worker;
  readonly reports: Report[] = [];

  constructor(cache: Cache<string, string>) {
    this.worker = new Worker(WORKER, { workerData: { share: cache.share() } });
    workers.push(this.worker);
    this.worker.on("message", (report: Report) => this.reports.push(report));
  }

  /** Begins to attach, and waits until it has. */
  static async start(cache: Cache<string, string>): Promise<Thread> {
    const thread = new Thread(cache);
    await thread.hears(({ begun }) => begun === true);
    return thread;
  }

  order(order: Order): void {
    this.worker.postMessage(order);
  }

  end(key: string): void {
    this.worker.postMessage({ end: key });
  }

  async hears(isIt: (report: Report) => boolean): Promise<Report> {
    for (;;) {
      const found = this.reports.find(isIt);
      if (found !== undefined) return found;
      await once(this.worker, "message");
    }
  }

  /** Begins a load, and waits until its loader runs. */
  async begin(order: Order): Promise<void> {
    this.order(order);
    await this.hears(({ key, begun }) => key === order.key && begun === true);
  }

  async detach(): Promise<void> {
    this.worker.postMessage("detach");
    await once(this.worker, "exit");
  }
}

function open(): Cache<string, string> {
  return createCache<string, string>({ memoryMax: "8MiB", backgroundMs: 0 });
}

/** Checks that no load is in progress and that the store is intact. */
function checkIdle(cache: Cache<string, string>): void {
  for (const { words, versions } of cache.shards) {
    for (let nth = 0; nth < WATCHES; nth++) {
      assert.equal(words[versions.watchAt(nth, 0)], NOT_WATCHED);
    }
  }
  cache.group.verify();
}

test("concurrent fetches of all threads wait for one load, and get its value or error", {
  timeout,
}, async () => {
  using cache = open();
  const threads = await Promise.all([1, 2, 3].map(() => Thread.start(cache)));
  const [first] = threads;
  for (const how of ["value", "failure"] as const) {
    await first!.begin({ key: how, how });
    for (const thread of threads.slice(1)) thread.order({ key: how, how });
    const here = cache.fetch(how, () => assert.fail("a second load"));
    const outcome = Promise.allSettled([here]);
    // Some fetches begin during the load, and some after its end.
    first!.end(how);
    const [result] = await outcome;
    if (how === "value") {
      assert.deepEqual(result, { status: "fulfilled", value: "value of a worker" });
      for (const thread of threads) {
        assert.equal((await thread.hears(({ value }) => value !== undefined)).value, result.value);
      }
    } else {
      assert.ok(result!.status === "rejected" && result!.reason instanceof ZcacheError);
      const { code, message, context, cause, stack } = result!.reason;
      assert.deepEqual([code, message, context], ["ERR_IO", "no failure", { key: "failure" }]);
      assert.ok(cause instanceof RangeError && cause.message === "below");
      assert.match(stack ?? "", /fetch_worker/);
    }
  }
  const loads = threads.flatMap(({ reports }) => reports.filter(({ key }) => key === "value"));
  assert.equal(loads.filter(({ begun }) => begun).length, 1);
  for (const thread of threads) await thread.worker.terminate();
});

test("a waiter never sees a load that has no thread and has not ended", async () => {
  using cache = open();
  const { words, versions } = cache.shards[0]!;
  const slots = Array.from({ length: WATCHES }, (_, nth) => versions.watchAt(nth, 0) + WATCH_FRONT);
  const owned = () => slots.find((at) => Atomics.load(words, at) !== 0);
  let at: number | undefined;
  let ticket = 0;
  let ends = 0;
  const original = Atomics.store;
  const store = mock.method(Atomics, "store", (array: Int32Array, index: number, value: number) => {
    const result = original(array, index, value);
    if (index === at && value === 0) {
      assert.notEqual(Atomics.load(words, index + 1), ticket, "the load has ended before");
      ends++;
    }
    return result;
  });
  const value = await cache.fetch("k", () => {
    at = owned();
    ticket = Atomics.load(words, at! + 1);
    return "value";
  });
  store.mock.restore();
  assert.deepEqual([value, ends], ["value", 1]);
});

test("a waiter that gives up while its load ends is not taken off the next load", async () => {
  using cache = open();
  using other = Cache.attach<string, string>(cache.share());
  const flights = [new SingleFlight(cache.shards[0]!), new SingleFlight(other.shards[0]!)] as const;
  const key = Buffer.from("k");
  const begun = flights[0].begin(key, 1).begun!;
  const joined = flights[1].begin(key, 1).joined!;
  // When the waiter has decided to give up, the load ends, and the next one has a waiter already.
  let next = begun;
  let again = joined;
  const result = await flights[1].wait(joined, () => {
    flights[0].end(key, 1, begun, []);
    next = flights[0].begin(key, 1).begun!;
    again = flights[1].begin(key, 1).joined!;
    return false;
  });
  assert.deepEqual([result.isOver, next.at, again.ticket], [false, begun.at, next.ticket]);
  assert.equal(flights[0].isAwaited(next), true);
  flights[0].end(key, 1, next, [new RangeError("no value")]);
  const { isOver, failure } = await flights[1].wait(again, () => true);
  assert.deepEqual([isOver, (failure[0] as Error).message], [true, "no value"]);
});

test("a thread is terminated during its load, and another thread gets its number", {
  timeout,
}, async () => {
  using cache = open();
  const keys = Array.from({ length: 20 }, (_, n) => `key ${n}`);
  const dying = await Thread.start(cache);
  for (const key of keys) await dying.begin({ key, how: "value" });
  const waiting = keys.slice(0, 10).map((key) => cache.fetch(key, () => "by who waited"));
  await dying.worker.terminate();
  const others = [await Thread.start(cache), await Thread.start(cache)];
  assert.deepEqual(new Set(await Promise.all(waiting)), new Set(["by who waited"]));
  // No fetch waited for these loads.
  for (const key of keys.slice(10)) assert.equal(await cache.fetch(key, () => "anew"), "anew");
  checkIdle(cache);
  for (const other of others) await other.detach();
});

test("a thread is terminated while it waits", { timeout }, async () => {
  using cache = open();
  const dying = await Thread.start(cache);
  let end = () => {};
  const ending = new Promise<void>((resolve) => {
    end = resolve;
  });
  const loading = cache.fetch("k", async () => {
    await ending;
    throw new Error("no value");
  });
  dying.order({ key: "k", how: "value" });
  // The thread has joined the load: otherwise its own loader would have reported.
  await dying.begin({ key: "other", how: "value" });
  await dying.worker.terminate();
  end();
  await assert.rejects(loading, /no value/);
  assert.equal(await cache.fetch("k", () => "anew"), "anew");
  assert.equal(await cache.fetch("other", () => "anew"), "anew");
  checkIdle(cache);
});

test("loads of two threads that wait for each other are rejected", { timeout }, async () => {
  using cache = open();
  const thread = await Thread.start(cache);
  await thread.begin({ key: "a", how: "also", also: "b" });
  const here = cache.fetch("b", async () => {
    thread.end("a");
    return cache.fetch("a", () => assert.fail("it is being loaded"));
  });
  const there = thread.hears(({ key, begun }) => key === "a" && begun !== true);
  const [one, other] = [await here.then(String, (error) => error.code), (await there).code];
  assert.deepEqual([one, other], ["ERR_LOAD_CYCLE", "ERR_LOAD_CYCLE"]);
  assert.equal(await cache.fetch("a", () => "well again"), "well again");
  checkIdle(cache);
  await thread.detach();
});

test("a load goes on for another thread when all callers of its own thread have given up", {
  timeout,
}, async () => {
  using cache = open();
  for (const isAwaited of [true, false]) {
    const thread = await Thread.start(cache);
    await thread.begin({ key: "k", how: "abort" });
    const here = isAwaited ? cache.fetch("k", () => assert.fail("it is being loaded")) : undefined;
    thread.worker.postMessage("stop");
    await thread.hears(({ message }) => message?.includes("aborted") === true);
    if (isAwaited) {
      thread.end("k");
      assert.equal(await here, "k of a worker");
    } else {
      await thread.hears(({ code }) => code === "told");
      assert.equal(await cache.fetch("k", () => "here"), "here");
    }
    assert.equal(
      thread.reports.some(({ code }) => code === "told"),
      !isAwaited,
    );
    checkIdle(cache);
    cache.clear();
    await thread.detach();
  }
});
