// The thread that reads pages in memory for the benchmark of gets.
import { parentPort } from "node:worker_threads";
import { ZcacheError } from "../../src/base/errors.ts";
import { Histogram } from "../../src/base/histogram.ts";
import { Xorshift32 } from "../../src/base/random.ts";
import { attachStore } from "../../src/node/stores.ts";
import type { Store, StoreShare } from "../../src/store/store.ts";
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

/** @returns false for a page that has just gone out */
function get(store: Store, pool: number, key: TmemKey, target: Uint8Array): boolean {
  try {
    if (store.get(pool, key, target)) return true;
  } catch (error) {
    if (error instanceof ZcacheError && error.code === "ERR_REMOTE_PAGE") return false;
    throw error;
  }
  throw new Error("a page is missing");
}

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
      // A page that has gone out all the same is none of those in memory.
      if (store.isRemote(pool, key)) continue;
      const begin = process.hrtime.bigint();
      const isFound = get(store, pool, key, target);
      if (isFound) histogram.record(Number(process.hrtime.bigint() - begin));
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
