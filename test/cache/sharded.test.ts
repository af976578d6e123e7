// The suites of the cache again, with three shards.
import { useShards } from "../doubles/test_caches.ts";

useShards(3);
for (const suite of ["cache", "fetch", "fetch_model", "fetch_threads", "near", "reentrancy"]) {
  await import(new URL(`./${suite}.test.js`, import.meta.url).href);
}
