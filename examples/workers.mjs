// One cache for all threads: node examples/workers.mjs
//
// Four workers want the same ten values. Each value is made once, by whichever asks first, and the
// others wait for it; all of them then read it from the same compressed memory.
import { once } from "node:events";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { Cache } from "zcache";

async function makeValue(key) {
  await new Promise((resolve) => setTimeout(resolve, 50));
  return { key, words: Array.from({ length: 1000 }, (_, n) => `${key} ${n}`) };
}

if (isMainThread) {
  const cache = Cache.create({ memoryMax: "64MiB" });
  const workers = Array.from({ length: 4 }, () => {
    return new Worker(new URL(import.meta.url), { workerData: cache.share() });
  });
  const counts = await Promise.all(
    workers.map(async (worker) => {
      const [[made]] = await Promise.all([once(worker, "message"), once(worker, "exit")]);
      return made;
    }),
  );
  const { entries, originalBytes, storedBytes } = cache.stats();
  console.log(`values made by each worker: ${counts.join(", ")}`);
  console.log(`${entries} values of ${originalBytes} bytes, stored in ${storedBytes}`);
  cache.close();
} else {
  const cache = Cache.attach(workerData);
  let made = 0;
  for (let n = 0; n < 10; n++) {
    await cache.fetch(`value ${n}`, (key) => {
      made++;
      return makeValue(key);
    });
  }
  parentPort.postMessage(made);
  // This thread's use ends; the cache goes on.
  cache.detach();
}
