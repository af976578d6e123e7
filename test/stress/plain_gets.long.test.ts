// Lock-free gets by the kernels in one thread beside sets in another: a get always returns a whole
// value that was set under its key, however fast objects move.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { Xorshift32 } from "../../src/base/random.ts";
import { ItemAccess } from "../../src/memcached/items/access.ts";
import * as Item from "../../src/memcached/items/items.layout.ts";
import { openItems } from "../../src/memcached/items/open.ts";
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

for (const shards of [1, 3]) {
  test(`a thread gets what another sets, ${shards} shard(s), ${ROUNDS} rounds`, () =>
    getWhileSetting(shards));
}

async function getWhileSetting(shards: number): Promise<void> {
  const opened = openItems(checkSettings({ memoryMax: 64 << 20, shards }));
  const items = new ItemAccess(opened.shards);
  const random = new Xorshift32(5);
  const set = (nth: number) => {
    const key = keyOf(nth);
    const value = valueUnder(nth, random.below(SERIALS));
    items.lock(key, 0, key.length);
    items.meta.fill(0);
    items.meta[Item.ACCESSED] = NOW_S;
    items.meta[Item.BITS] = Item.FETCHED;
    assert.ok(items.put(value, 0, value.length));
    items.unlock();
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
}
