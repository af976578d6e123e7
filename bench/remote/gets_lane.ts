// The thread that reads pages in memory for the benchmark of gets.
import { parentPort } from "node:worker_threads";
import { Histogram } from "../../src/base/histogram.ts";
import { Xorshift32 } from "../../src/base/random.ts";
import { attachStore } from "../../src/node/stores.ts";
import type { StoreShare } from "../../src/store/store.ts";
import { TmemKey } from "../../src/tmem/key.ts";

export interface GetsWork {
  readonly share: StoreShare;
  readonly pool: number;
  readonly pages: readonly number[];
  readonly ms: number;
}

export interface GetsReport {
  readonly gets: number;
  readonly p50Ns: number;
  readonly p99Ns: number;
  readonly p999Ns: number;
}

/** Gets between two looks at the time. */
const BATCH = 256;

function run({ share, pool, pages, ms }: GetsWork): GetsReport {
  const store = attachStore(share);
  const key = new TmemKey().setObject(1);
  const target = new Uint8Array(store.pageSize);
  const histogram = new Histogram();
  const random = new Xorshift32(1);
  const end = performance.now() + ms;
  while (performance.now() < end) {
    for (let n = 0; n < BATCH; n++) {
      key.setIndex(pages[random.below(pages.length)]!);
      const begin = process.hrtime.bigint();
      const isFound = store.get(pool, key, target);
      histogram.record(Number(process.hrtime.bigint() - begin));
      if (!isFound) throw new Error("a page is missing");
    }
  }
  const at = (share: number) => histogram.percentile(share);
  const report = {
    ...{ gets: histogram.count, p50Ns: at(0.5), p99Ns: at(0.99), p999Ns: at(0.999) },
  };
  store.detach();
  return report;
}

parentPort!.on("message", (work: GetsWork) => parentPort!.postMessage(run(work)));
