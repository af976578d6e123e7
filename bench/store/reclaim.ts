// Compares two kinds of reclaim: evicting the page that the policy chooses, and emptying the page
// frame that the pool chooses. The same requests run both ways with every kind of pool; measured
// are the hit rate and the pages evicted for each frame gained.
import { Xorshift32 } from "../../src/base/random.ts";
import { MIB } from "../../src/base/units.ts";
import { nodePlatform } from "../../src/node/platform.ts";
import { Store } from "../../src/store/store.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { readFilePages } from "./data.ts";

export interface ReclaimBenchOptions {
  readonly tiny?: boolean;
  readonly print?: (line: string) => void;
}

export interface ReclaimRow {
  readonly pool: string;
  readonly reclaim: "objects" | "frames";
  readonly hitPercent: number;
  /** Pages evicted for each frame that became free. */
  readonly pagesPerFrame: number;
  readonly nsPerRequest: number;
}

const POOLS = ["dense", "zsmalloc", "zblock", "z3fold", "zbud"];
const PAGE_SIZE = 4096;
const SKEW = 0.9;

/** Keys from a Zipf distribution, by a table of cumulative shares. */
function zipf(keys: number, random: Xorshift32): () => number {
  const sums = new Float64Array(keys);
  let sum = 0;
  for (let key = 0; key < keys; key++) sums[key] = sum += 1 / (key + 1) ** SKEW;
  return () => {
    const wanted = (random.next() / 2 ** 32) * sum;
    let [low, high] = [0, keys - 1];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (sums[middle]! < wanted) low = middle + 1;
      else high = middle;
    }
    return low;
  };
}

export function benchReclaim(options: ReclaimBenchOptions = {}): ReclaimRow[] {
  const { tiny = false, print = console.log } = options;
  const keys = tiny ? 2000 : 60_000;
  const requests = tiny ? 5000 : 600_000;
  const pages = readFilePages(keys, PAGE_SIZE, 0, 1);
  const rows: ReclaimRow[] = [];
  for (const pool of POOLS) {
    for (const reclaim of ["objects", "frames"] as const) {
      rows.push(run(pool, reclaim, pages, requests, tiny ? 2 * MIB : 32 * MIB));
    }
  }
  print(`${pages.length} pages, ${requests} requests by Zipf ${SKEW}; a miss puts the page`);
  for (const row of rows) {
    print(
      `${row.pool.padEnd(9)} ${row.reclaim.padEnd(8)} hits ${row.hitPercent.toFixed(2)} %, ` +
        `${row.pagesPerFrame.toFixed(2)} pages for a frame, ${row.nsPerRequest.toFixed(0)} ns`,
    );
  }
  return rows;
}

function run(
  pool: string,
  reclaim: "objects" | "frames",
  pages: readonly Uint8Array[],
  requests: number,
  memoryMax: number,
): ReclaimRow {
  const store = Store.create({ memoryMax, pool, reclaim }, nodePlatform());
  const id = store.createPool();
  const key = new TmemKey();
  const target = new Uint8Array(PAGE_SIZE);
  const next = zipf(pages.length, new Xorshift32(1));
  const start = performance.now();
  for (let n = 0; n < requests; n++) {
    const which = next();
    key.setObject(which >>> 6).setIndex(which & 63);
    if (!store.get(id, key, target)) store.put(id, key, pages[which]!);
  }
  const ms = performance.now() - start;
  const { counters } = store.stats();
  store.close();
  return {
    pool,
    reclaim,
    hitPercent: (counters.hits * 100) / counters.gets,
    pagesPerFrame: counters.evicted_ephemeral_pages / Math.max(1, counters.reclaimed_frames),
    nsPerRequest: (ms * 1e6) / requests,
  };
}
