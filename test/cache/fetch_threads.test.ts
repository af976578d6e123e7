// Loads in several threads, some of which are terminated: whoever waits gets a value or an error,
// and never waits for a thread that is gone.
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { Cache, ZcacheError } from "../../src/index.ts";
import { NOT_WATCHED, WATCHES } from "../../src/store/versions.ts";
import type { Order, Report } from "./fetch_worker.ts";

const WORKER = new URL("./fetch_worker.js", import.meta.url);
/** For a hang, which these tests are about: no test takes a fraction of that. */
const timeout = 120_000;

class Thread {
  readonly worker: Worker;
  readonly reports: Report[] = [];

  constructor(cache: Cache<string, string>) {
    this.worker = new Worker(WORKER, { workerData: { share: cache.share() } });
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
  return Cache.create<string, string>({ memoryMax: "8MiB", backgroundMs: 0 });
}

/** No load is under way, and all is whole. */
function checkIdle(cache: Cache<string, string>): void {
  const { words, versions } = cache.values;
  for (let nth = 0; nth < WATCHES; nth++) {
    assert.equal(words[versions.watchAt(nth, 0)], NOT_WATCHED);
  }
  cache.store.verify();
}

test("all threads that ask at once wait for one load, or get its error", { timeout }, async () => {
  using cache = open();
  const threads = await Promise.all([1, 2, 3].map(() => Thread.start(cache)));
  const [first] = threads;
  for (const how of ["value", "failure"] as const) {
    await first!.begin({ key: how, how });
    for (const thread of threads.slice(1)) thread.order({ key: how, how });
    const here = cache.fetch(how, () => assert.fail("a second load"));
    const outcome = Promise.allSettled([here]);
    // Some ask while the load is under way, and some when it has ended.
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

test("a thread is terminated while it loads, and its number is given out again", {
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
  // Nobody waited for these.
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
  // It has taken the order, and so has joined: a loader of its own would have said so.
  await dying.begin({ key: "other", how: "value" });
  await dying.worker.terminate();
  end();
  await assert.rejects(loading, /no value/);
  assert.equal(await cache.fetch("k", () => "anew"), "anew");
  assert.equal(await cache.fetch("other", () => "anew"), "anew");
  checkIdle(cache);
});

test("loads of two threads that wait for each other are refused", { timeout }, async () => {
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

test("a load goes on for another thread when all of its own have given up", {
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
