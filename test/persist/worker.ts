// A thread that changes a cache with `persist`: until it is terminated, or once.
import { parentPort, workerData } from "node:worker_threads";
import { Cache, type CacheShare } from "../../src/index.ts";

const { share, seed } = workerData as { share: CacheShare; seed: number };
const cache = Cache.attach<string, number | string>(share);

/** Calls before the message to the parent; some of them set keys that no thread deletes. */
const CALLS_AT_FIRST = 10;

if (seed === 0) {
  cache.set("by a worker", 1);
  cache.delete("key 5");
  parentPort!.postMessage("done");
  setInterval(() => undefined, 1000);
} else {
  // An earlier message would let the parent terminate this thread before it has changed anything.
  for (let n = seed; ; n++) {
    // Other threads use the same keys; some values are longer than a page.
    const key = `key ${(n * 7) % 50}`;
    if (n % 5 === 0) cache.delete(key);
    else cache.set(key, `${seed}/${n} `.repeat(n % 29 === 0 ? 6000 : n % 100));
    if (n === seed + CALLS_AT_FIRST) parentPort!.postMessage("begun");
  }
}
