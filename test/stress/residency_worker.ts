// A worker that puts, removes and reads pages of its own, and checks each page that it reads, while
// another thread returns and populates memory of the same store.
import { parentPort, workerData } from "node:worker_threads";
import { Xorshift32 } from "../../src/base/random.ts";
import { attachStore, type StoreShare, TmemKey } from "../../src/index.ts";

export interface ResidencyInput {
  readonly share: StoreShare;
  readonly pool: number;
  /** The worker's number; its pages are those of one object. */
  readonly slot: number;
  readonly bursts: number;
}

export interface ResidencyReport {
  readonly reads: number;
  readonly wrong: number;
}

const PAGES = 6000;
/** Operations of one kind in a row, at most: the use of memory rises and falls. */
const BURST = 3000;

const { share, pool, slot, bursts } = workerData as ResidencyInput;
const store = attachStore(share);
const random = new Xorshift32(slot + 1);
const key = new TmemKey();
const page = new Uint8Array(store.pageSize);
const expected = new Uint8Array(store.pageSize);
/** The seeds of the pages that are stored. */
const seeds = new Map<number, number>();
let reads = 0;
let wrong = 0;

/** Bytes that compress to any size. */
function fillPage(target: Uint8Array, seed: number): void {
  const bytes = new Xorshift32(seed);
  const words = new Uint32Array(target.buffer);
  const different = bytes.next() % words.length;
  for (let nth = 0; nth < words.length; nth++) words[nth] = nth < different ? bytes.next() : seed;
}

function put(nth: number): void {
  const seed = (random.next() >>> 1) + 1;
  fillPage(page, seed);
  if (store.put(pool, key, page) === 0) seeds.set(nth, seed);
  else seeds.delete(nth);
}

function read(nth: number): void {
  const seed = seeds.get(nth);
  const isThere = store.get(pool, key, page);
  reads++;
  if (seed !== undefined) fillPage(expected, seed);
  const isRight = seed === undefined ? !isThere : isThere && Buffer.compare(page, expected) === 0;
  if (!isRight) wrong++;
}

for (let burst = 0; burst < bursts; burst++) {
  const [kind, count] = [random.next() % 3, random.next() % BURST];
  for (let step = 0; step < count; step++) {
    const nth = random.next() % PAGES;
    key.setObject(slot).setIndex(nth);
    if (kind === 0) put(nth);
    else if (kind === 1) seeds.delete(nth) && store.flush(pool, key);
    else read(nth);
  }
}
for (const nth of seeds.keys()) {
  key.setObject(slot).setIndex(nth);
  read(nth);
}
store.detach();
parentPort!.postMessage({ reads, wrong } satisfies ResidencyReport);
