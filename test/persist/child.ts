// A process with several threads that set and delete values in some caches until it is killed. Each
// thread reports after each flush how many calls it has made.
import { writeSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { isMainThread, Worker, workerData } from "node:worker_threads";
import { Cache, type CacheShare } from "../../src/index.ts";
import { BATCH, CACHES, callOf, OPTIONS, THREADS, valueSetBy } from "./model.ts";

interface Start {
  readonly run: number;
  readonly thread: number;
  readonly shares: CacheShare[];
}

async function work(run: number, thread: number, caches: Cache<string, string>[]): Promise<void> {
  const done = caches.map(() => 0);
  for (let round = 1; ; round++) {
    for (const [nth, cache] of caches.entries()) {
      const count = 1 + ((round * 7 + nth * 3) % BATCH);
      for (let i = 0; i < count; i++) {
        const n = ++done[nth]!;
        const call = callOf(run, nth, thread, n);
        if (call.what === "delete") cache.delete(call.key);
        else cache.set(call.key, valueSetBy(run, thread, n, call));
      }
      cache.flush();
      writeSync(1, `${nth} ${thread} ${done[nth]}\n`);
    }
    await turn();
  }
}

if (isMainThread) {
  const [folder = "", seed = "0"] = process.argv.slice(2);
  const run = Number(seed);
  const caches = Array.from({ length: CACHES }, (_, nth) =>
    Cache.create<string, string>(OPTIONS(folder, nth)),
  );
  const shares = caches.map((cache) => cache.share());
  for (let thread = 1; thread < THREADS; thread++) {
    new Worker(new URL(import.meta.url), { workerData: { run, thread, shares } });
  }
  writeSync(1, "ready\n");
  await work(run, 0, caches);
} else {
  const { run, thread, shares } = workerData as Start;
  await work(
    run,
    thread,
    shares.map((share) => Cache.attach<string, string>(share)),
  );
}
