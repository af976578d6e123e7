// A thread that changes a cache that is kept, and then does nothing until it is terminated.
import { parentPort, workerData } from "node:worker_threads";
import { Cache, type CacheShare } from "../../src/index.ts";

const cache = Cache.attach<string, number>(workerData as CacheShare);
cache.set("by a worker", 1);
cache.delete("key 5");
parentPort!.postMessage("done");
setInterval(() => undefined, 1000);
