// A worker that puts, gets and flushes its own pages in a shared store until it is terminated. It
// records each operation before and after in memory that the test can read.
import { parentPort, workerData } from "node:worker_threads";
import { Xorshift32 } from "../../src/base/random.ts";
import { nodePlatform } from "../../src/node/platform.ts";
import { Store, type StoreShare } from "../../src/store/store.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { fillPage } from "../doubles/store_fixture.ts";

export interface StoreWorkerInput {
  readonly share: StoreShare;
  readonly pool: number;
  readonly slot: number;
  readonly seed: number;
  /** INDEXES × NOTE_WORDS words of this slot. */
  readonly notes: Int32Array;
}

export const INDEXES = 48;
/**
 * Of each page: the serial that is stored (0 = none), and the one that is on its way (0 = none).
 */
export const NOTE_WORDS = 2;
export const DONE = 0;
export const PENDING = 1;
/** On its way is a flush. */
export const FLUSH = -1;

/** What a page of this serial looks like. */
export function pageOf(page: Uint8Array, serial: number): Uint8Array {
  return fillPage(
    page,
    (["text", "sparse", "same", "noise", "text"] as const)[serial % 5]!,
    serial,
  );
}

function work({ share, pool, slot, seed, notes }: StoreWorkerInput): never {
  const store = Store.attach(share, nodePlatform());
  const random = new Xorshift32(seed);
  const key = new TmemKey().setObject(slot);
  const page = new Uint8Array(store.pageSize);
  const expected = new Uint8Array(store.pageSize);
  let serial = Math.max(0, ...notes) + 1;
  parentPort?.postMessage("at work");
  for (;;) {
    const index = random.below(INDEXES);
    const at = index * NOTE_WORDS;
    key.setIndex(index);
    const dice = random.below(10);
    if (dice < 5) {
      pageOf(page, ++serial);
      notes[at + PENDING] = serial;
      const stored = store.put(pool, key, page) === 0;
      notes[at + DONE] = stored ? serial : 0;
      notes[at + PENDING] = 0;
    } else if (dice < 7) {
      notes[at + PENDING] = FLUSH;
      store.flush(pool, key);
      notes[at + DONE] = 0;
      notes[at + PENDING] = 0;
    } else {
      const found = store.get(pool, key, page);
      const done = notes[at + DONE]!;
      if (found !== (done !== 0)) throw new Error(`page ${index}: found ${found}, serial ${done}`);
      if (found && Buffer.compare(page, pageOf(expected, done)) !== 0) {
        throw new Error(`page ${index} is not that of serial ${done}`);
      }
    }
  }
}

if (parentPort !== null) work(workerData as StoreWorkerInput);
