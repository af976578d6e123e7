// What another thread does with a cache that a test shares.
import { once } from "node:events";
import { parentPort, workerData } from "node:worker_threads";
import { Cache, type CacheShare } from "../../src/index.ts";

const { share, job } = workerData as { share: CacheShare; job: string };
const cache = Cache.attach<string, string>(share);

if (job === "overwrite") {
  cache.set("k", "by another thread");
  cache.detach();
} else if (job === "hang") {
  const waiting = cache.fetch("hangs", () => new Promise(() => undefined));
  parentPort!.postMessage("begun");
  setInterval(() => undefined, 1000);
  await waiting;
} else {
  let loads = 0;
  let failing = 0;
  /** Says that this thread asks now; a loader ends when all threads have said so. */
  const asking = () => parentPort!.postMessage("asking");
  const allAsk = () => once(parentPort!, "message");
  asking();
  const loaded = await cache.fetch("loaded", async () => {
    loads++;
    await allAsk();
    return "loaded once";
  });
  asking();
  const failure = await cache
    .fetch("fails", async () => {
      failing++;
      await allAsk();
      throw new RangeError("not today");
    })
    .catch(String);
  parentPort!.postMessage({ greeting: cache.get("greeting"), loaded, loads, failing, failure });
  cache.detach();
  process.exit(0);
}
