// Gets that take no lock (values/find_value.as.ts) beside threads that overwrite, delete, evict and
// are terminated: a get returns a whole value that was set under its key, or none.
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { Cache } from "../../src/index.ts";
import { fill, type OptimisticReadsInput } from "./optimistic_reads_worker.ts";
import { startWatchdog } from "./watchdog.ts";

const READERS = 2;
const WRITERS = 2;
/** Writers that are terminated, one after the other, each after so many hits of readers. */
const TERMINATED = 5 * Number(process.env["ZCACHE_STRESS_ROUNDS"] ?? 1);
const HITS = 10_000;
const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
const WORKER = new URL(`./optimistic_reads_worker.${EXTENSION}`, import.meta.url);

test("gets beside sets, deletes, evictions and terminations return whole values", async () => {
  const watchdog = startWatchdog("optimistic reads");
  const cache = Cache.create<string, Buffer>({ memoryMax: "8MiB", backgroundMs: 0 });
  const progress = new Int32Array(new SharedArrayBuffer(8));
  const failures: Error[] = [];
  let seed = 1;
  const start = (isReader: boolean) => {
    const input: OptimisticReadsInput = { share: cache.share(), seed: seed++, isReader, progress };
    const worker = new Worker(WORKER, { workerData: input });
    worker.on("error", (error) => failures.push(error as Error));
    return worker;
  };
  const readers = Array.from({ length: READERS }, () => start(true));
  const ends = readers.map((reader) => new Promise((resolve) => reader.once("exit", resolve)));
  const writers = Array.from({ length: WRITERS }, () => start(false));
  // A thread that attaches needs scratch, which a full cache has for a few of them only.
  await Promise.all([...readers, ...writers].map((worker) => once(worker, "message")));
  fill(cache);
  assert.ok(cache.stats().evictions > 0, "there are more values than room");
  for (let nth = 1; nth <= TERMINATED && failures.length === 0; nth++) {
    while (Atomics.load(progress, 0) < nth * HITS && failures.length === 0) {
      await sleep(1);
      watchdog.progress();
    }
    await writers.shift()!.terminate();
    writers.push(start(false));
  }
  Atomics.store(progress, 1, 1);
  await Promise.all(ends);
  await Promise.all(writers.map((writer) => writer.terminate()));
  cache.close();
  await watchdog.end();
  assert.deepEqual(failures, []);
});
