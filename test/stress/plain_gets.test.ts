// Gets by the kernels in one thread, beside sets in another: what is read without a lock is always
// a value that was set, whole, and under its own key, however fast the objects move.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { Xorshift32 } from "../../src/base/random.ts";
import { openItemStore } from "../../src/memcached/item_stores.ts";
import * as Item from "../../src/memcached/items/items.layout.ts";
import { checkSettings } from "../../src/memcached/settings.ts";
import {
  KEYS,
  keyOf,
  NOW_S,
  type PlainGetsInput,
  SERIALS,
  valueUnder,
} from "./plain_gets_worker.ts";

const ROUNDS = 20_000 * Number(process.env["ZCACHE_STRESS_ROUNDS"] ?? 1);
const SETS = 200;
const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
const WORKER = new URL(`./plain_gets_worker.${EXTENSION}`, import.meta.url);

test(`a thread gets what another sets, ${ROUNDS} rounds`, async () => {
  const opened = openItemStore(checkSettings({ memoryMax: 32 << 20 }));
  const { store } = opened;
  const random = new Xorshift32(5);
  const set = (nth: number) => {
    const key = keyOf(nth);
    const value = valueUnder(nth, random.below(SERIALS));
    store.prepare(value, 0, value.length);
    store.lock(key, 0, key.length);
    store.meta.fill(0);
    store.meta[Item.ACCESSED] = NOW_S;
    store.meta[Item.BITS] = Item.FETCHED;
    assert.ok(store.put());
    store.unlock();
  };
  for (let nth = 0; nth < KEYS; nth++) set(nth);
  const input: PlainGetsInput = { share: opened.share(), rounds: ROUNDS };
  const worker = new Worker(WORKER, { workerData: input });
  let hits: number | undefined;
  let failure: Error | undefined;
  worker.on("message", (message: number) => {
    hits = message;
  });
  worker.on("error", (error) => {
    failure = error as Error;
  });
  while (hits === undefined && failure === undefined) {
    for (let i = 0; i < SETS; i++) set(random.below(KEYS));
    // The worker's word comes in between.
    await new Promise(setImmediate);
  }
  await worker.terminate();
  opened.close();
  if (failure !== undefined) throw failure;
  assert.ok(hits! > ROUNDS, `only ${hits} values were found`);
});
