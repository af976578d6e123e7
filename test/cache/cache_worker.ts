// A thread that uses the cache of a test as the test tells it to.
import { once } from "node:events";
import { parentPort, workerData } from "node:worker_threads";
import { Cache, type CacheShare } from "../../src/index.ts";

const { share, job } = workerData as { share: CacheShare; job: string };
const cache = Cache.attach<string, string>(share);

if (job === "overwrite") {
  cache.set("k", "by another thread");
  cache.detach();
} else if (job === "read") {
  parentPort!.postMessage([cache.get("before 3"), cache.get("after 7")]);
  cache.detach();
} else if (job === "hang") {
  const waiting = cache.fetch("hangs", () => new Promise(() => undefined));
  parentPort!.postMessage("begun");
  setInterval(() => undefined, 1000);
  await waiting;
} else {
  let loads = 0;
  let failing = 0;
  /** Says that this thread has asked: it has begun to load or to wait. A loader ends after all. */
  const asking = () => parentPort!.postMessage("asking");
  let told = 0;
  parentPort!.on("message", () => told++);
  const allAsk = async (times: number) => {
    while (told < times) await once(parentPort!, "message");
  };
  const loading = cache.fetch("loaded", async () => {
    loads++;
    await allAsk(1);
    return "loaded once";
  });
  asking();
  const loaded = await loading;
  const load = cache.fetch("fails", async () => {
    failing++;
    await allAsk(2);
    throw new RangeError("not today");
  });
  asking();
  const failure = await load.catch(String);
  parentPort!.postMessage({ greeting: cache.get("greeting"), loaded, loads, failing, failure });
  cache.detach();
  process.exit(0);
}
