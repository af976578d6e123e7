// A thread that reads pages of a store whose remote tier another thread serves.
import { parentPort, workerData } from "node:worker_threads";
import { attachStore } from "../../src/node/stores.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { fillPage } from "../doubles/store_fixture.ts";

interface Work {
  readonly share: Parameters<typeof attachStore>[0];
  readonly pool: number;
  readonly pages: number;
  readonly rounds: number;
}

const { share, pool, pages, rounds } = workerData as Work;
const store = attachStore(share);
const expected = new Uint8Array(store.pageSize);
let remote = 0;

for (let round = 0; round < rounds; round++) {
  const reads = Array.from({ length: pages }, async (_, nth) => {
    const key = new TmemKey().setObject(1).setIndex(nth);
    if (store.isRemote(pool, key)) remote++;
    const page = new Uint8Array(store.pageSize);
    if (!(await store.getAsync(pool, key, page))) throw new Error(`page ${nth} is gone`);
    if (Buffer.compare(page, fillPage(expected, "noise", nth)) !== 0) {
      throw new Error(`page ${nth} is another page`);
    }
  });
  await Promise.all(reads);
}
store.detach();
parentPort!.postMessage({ remote });
