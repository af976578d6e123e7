// Background work, training and listeners of a cache: what happens if they fail, and if another
// thread closes the cache.
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { documentAt } from "../../bench/documents.ts";
import { type DictionaryReport, DictionaryTrainer } from "../../src/cache/dictionary.ts";
import { Cache, createStore, ZcacheError } from "../../src/index.ts";
import { formatValues } from "../../src/values/format.ts";
import { Values } from "../../src/values/values.ts";

const INDEX = new URL("../../src/index.js", import.meta.url).href;
const WATCHDOG_MS = 300_000;

function code(name: string) {
  return (error: unknown) => error instanceof ZcacheError && error.code === name;
}

/** Runs code in a worker. @returns the first message of the worker */
async function inWorker(source: string, workerData: unknown): Promise<unknown> {
  const worker = new Worker(
    `(async () => {
      const { parentPort, workerData } = require("node:worker_threads");
      const { Cache } = await import(${JSON.stringify(INDEX)});
      ${source}
    })()`,
    { eval: true, workerData },
  );
  const [message] = await once(worker, "message", { signal: AbortSignal.timeout(WATCHDOG_MS) });
  await worker.terminate();
  return message;
}

test("a worker closes the cache: timers of the creating thread end without error", async () => {
  const cache = Cache.create<string, string>({ memoryMax: "4MiB", backgroundMs: 1 });
  cache.on("evict", () => undefined);
  const other = Cache.attach(cache.share());
  other.on("evict", () => undefined);
  await inWorker("Cache.attach(workerData).close(); parentPort.postMessage(1)", cache.share());
  assert.throws(() => cache.get("a"), code("ERR_STORE_CLOSED"));
  // Background tasks run every ms, listeners every 20 ms: an error would be uncaught.
  for (let turn = 0; turn < 50; turn++) await sleep(2);
  assert.throws(() => cache.on("evict", () => undefined), code("ERR_STORE_CLOSED"));
  assert.throws(() => cache.train(), code("ERR_STORE_CLOSED"));
  cache.close();
  other.close();
});

test("other listeners are called if one throws, and its error is uncaught", async () => {
  const told = (await inWorker(
    `
    const thrown = [];
    process.on("uncaughtException", (error) => thrown.push(error.message));
    const cache = Cache.create({ memoryMax: "1MiB", dictionary: false });
    let heard = 0;
    cache.on("evict", () => { throw new Error("a listener's"); });
    cache.on("evict", (key) => {
      heard++;
      cache.get(key);
      cache.set("from a listener", "x".repeat(100));
    });
    for (let i = 0; heard === 0 || thrown.length < heard; i++) {
      cache.set("k" + i, Buffer.from(crypto.getRandomValues(new Uint8Array(4000))));
      if (i % 50 === 0) await new Promise((done) => setTimeout(done, 5));
      if (heard > 0) await new Promise((done) => setTimeout(done, 5));
    }
    cache.store.verify();
    const stored = cache.set("after", 1);
    const counts = { heard, length: thrown.length };
    cache.on("evict", () => cache.close());
    for (let i = 0; ; i++) {
      try {
        cache.set("more" + i, Buffer.from(crypto.getRandomValues(new Uint8Array(4000))));
      } catch (error) {
        parentPort.postMessage({ ...counts, message: thrown[0], stored, code: error.code });
        break;
      }
      if (i % 50 === 0) await new Promise((done) => setTimeout(done, 5));
    }`,
    undefined,
  )) as { heard: number; length: number; message: string; stored: boolean; code: string };
  assert.ok(told.heard > 0 && told.length >= told.heard);
  assert.equal(told.message, "a listener's");
  assert.deepEqual([told.stored, told.code], [true, "ERR_STORE_CLOSED"]);
});

test("a failed training is reported: its thread can't start, throws or is terminated", async () => {
  const store = createStore({ memoryMax: "16MiB", content: "values", pageSize: 8192 });
  formatValues(store, () => 7);
  const values = new Values(
    store,
    () => 0,
    () => 9,
  );
  const open = (codec: string, codecOptions: object, onFault: (error: ZcacheError) => void) => {
    const onReport = (report: DictionaryReport) => assert.fail(JSON.stringify(report));
    return new DictionaryTrainer(
      [values],
      { sizeBytes: 64 * 1024, codec, codecOptions },
      onReport,
      onFault,
    );
  };
  /** Samples values until a training starts by itself. */
  const feed = (trainer: DictionaryTrainer) => {
    for (let nth = 0, bytes = 0; bytes < 3 << 20; nth++) {
      const text = Buffer.from(JSON.stringify(documentAt(nth))).subarray(0, store.pageSize);
      values.bytes.set(text, values.bufferAt);
      trainer.sample(values.bytes, values.bufferAt, text.length);
      bytes += text.length;
    }
  };
  const failed = (codec: string, codecOptions: object) =>
    new Promise<ZcacheError>((resolve) => feed(open(codec, codecOptions, resolve)));
  assert.equal((await failed("no such codec", {})).code, "ERR_WORKER");
  const unstartable = await failed("lz4", { level: () => 1 });
  assert.ok(code("ERR_WORKER")(unstartable) && /can't start a thread/.test(unstartable.message));
  const asked = open("no such codec", {}, (error) => assert.fail(error.message));
  await assert.rejects(asked.train(), code("ERR_WORKER"));
  const ended = open("lz4", {}, (error) => assert.fail(error.message));
  const training = ended.train();
  ended.stop();
  await assert.rejects(training, code("ERR_STORE_CLOSED"));
  // A later training is possible.
  await assert.rejects(asked.train(), code("ERR_WORKER"));
  store.close();
});

test("close during a training: train() rejects, and no fault is reported", async () => {
  const cache = Cache.create<string, unknown>({ memoryMax: "16MiB" });
  cache.on("fault", (error) => assert.fail(error.message));
  for (let nth = 0; nth < 500; nth++) cache.set(`k${nth}`, documentAt(nth));
  const training = cache.train()!;
  cache.close();
  await assert.rejects(training, code("ERR_STORE_CLOSED"));
});
