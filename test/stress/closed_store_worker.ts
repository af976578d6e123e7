// A worker of closed_store.long.test.ts: round by round, it attaches to a store, uses it until its
// work is done or another thread closes the store, and leaves it or closes it.
import { parentPort, workerData } from "node:worker_threads";
import { Xorshift32 } from "../../src/base/random.ts";
import { attachStore, type Store, type StoreShare, TmemKey, ZcacheError } from "../../src/index.ts";

export interface ClosedRound {
  readonly share: StoreShare;
  readonly pool: number;
  readonly seed: number;
}

export interface ClosedReport {
  /** Pages that were read back. */
  readonly reads: number;
  /** Code of the error that ended the work; undefined: it was done. */
  readonly code: string | undefined;
  readonly isClosing: boolean;
}

const PAGES = 300;
const STEPS_MAX = 1500;
const slot = workerData as number;

/** A page that is different for each worker, page and time. */
function fillPage(page: Uint8Array, seed: number): void {
  const random = new Xorshift32(seed);
  const words = new Uint32Array(page.buffer);
  for (let nth = 0; nth < words.length; nth++) words[nth] = nth % 3 === 0 ? random.next() : seed;
}

/** @throws ZcacheError once the store is closed; Error if a page is not as it was put */
function use(store: Store, pool: number, random: Xorshift32, count: (reads: number) => void): void {
  const seeds = new Map<number, number>();
  const [page, expected] = [new Uint8Array(store.pageSize), new Uint8Array(store.pageSize)];
  const key = new TmemKey();
  const steps = random.next() % STEPS_MAX;
  for (let step = 0; step < steps; step++) {
    const nth = random.next() % PAGES;
    // Runs of 256 pages are in one shard.
    key.setObject(slot).setIndex(nth * 100);
    const seed = seeds.get(nth);
    if (random.next() % 3 === 0) {
      const next = (random.next() >>> 1) + 1;
      fillPage(page, next);
      if (store.put(pool, key, page) !== 0) throw new Error("the store has room for all pages");
      seeds.set(nth, next);
    } else if (seed !== undefined) {
      if (!store.get(pool, key, page)) throw new Error(`page ${nth} is missing`);
      fillPage(expected, seed);
      if (Buffer.compare(page, expected) !== 0) throw new Error(`page ${nth} is another one`);
      count(1);
    }
  }
}

function run({ share, pool, seed }: ClosedRound): ClosedReport {
  const random = new Xorshift32(seed);
  const isClosing = random.next() % 4 === 0;
  let reads = 0;
  let store: Store | undefined;
  let code: string | undefined;
  try {
    store = attachStore(share);
    use(store, pool, random, (more) => {
      reads += more;
    });
  } catch (error) {
    if (!(error instanceof ZcacheError)) throw error;
    code = error.code;
  }
  if (isClosing) store?.close();
  else store?.detach();
  return { reads, code, isClosing: isClosing && store !== undefined };
}

parentPort!.on("message", (round: ClosedRound) => parentPort!.postMessage(run(round)));
