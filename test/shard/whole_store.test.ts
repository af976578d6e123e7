// What concerns a store as a whole covers all of its shards: its limit under churn, explanations,
// freezing, and the end of a pool.
//
// ZCACHE_CHURN=3000000 makes the churn longer.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Xorshift32 } from "../../src/base/random.ts";
import { MIB } from "../../src/base/units.ts";
import { Cache, createStore } from "../../src/index.ts";
import { shardOfPage } from "../../src/shard/route.ts";
import { TmemKey } from "../../src/tmem/key.ts";

const CHURN = Number(process.env["ZCACHE_CHURN"] ?? 60_000);
const SHARDS = 4;
const LIMIT = 16 * MIB;
/** Operations between two looks at the memory in use. */
const LOOK = 500;

test(`the limit holds over all shards during ${CHURN} operations on pages`, (t) => {
  const store = createStore({ memoryMax: LIMIT, shards: SHARDS, giveBack: "off" });
  const pools = [store.createPool(), store.createPool({ persistent: true })];
  const random = new Xorshift32(1);
  const page = new Uint8Array(4096);
  const key = new TmemKey();
  let most = 0;
  for (let nth = 0; nth < CHURN; nth++) {
    const pool = pools[random.next() % 8 === 0 ? 1 : 0]!;
    key.setObject(random.next() % 40).setIndex((random.next() >>> 4) % 1000);
    // Between all of a page and hardly anything is noise.
    if (random.next() % 4 === 0) store.flush(pool, key);
    else {
      const noise = (random.next() >>> 3) % 4097;
      for (let at = 0; at < noise; at += 4) page[at] = random.next();
      page.fill(nth, noise);
      store.put(pool, key, page);
    }
    if (nth % LOOK === 0) most = Math.max(most, store.stats().mem_used_total);
  }
  assert.ok(most <= LIMIT * 1.01, `${most} bytes were in use`);
  assert.ok(most > LIMIT * 0.9, `the limit was reached: ${most}`);
  store.verify();
  t.diagnostic(
    `most ${most} of ${LIMIT}; peak of the process ${process.resourceUsage().maxRSS} KiB`,
  );
  store.close();
});

test(`the limit holds over all shards during ${CHURN} operations on values`, (t) => {
  const cache = Cache.create({ memoryMax: LIMIT, shards: SHARDS, backgroundMs: 0 });
  const random = new Xorshift32(2);
  const text = Array.from({ length: 4000 }, () => (random.next() >>> 8).toString(36)).join(" ");
  let most = 0;
  for (let nth = 0; nth < CHURN; nth++) {
    const key = `key ${(random.next() >>> 5) % 20_000}`;
    const dice = random.next() % 8;
    if (dice === 0) cache.delete(key);
    else if (dice < 3) cache.get(key);
    else {
      const from = (random.next() >>> 5) % 15_000;
      // Some values are longer than a page.
      const length = random.next() % 64 === 0 ? 12_000 : (random.next() >>> 5) % 3000;
      cache.set(key, text.slice(from, from + length));
    }
    if (nth % LOOK === 0) most = Math.max(most, cache.stats().memoryUsed);
  }
  assert.ok(most <= LIMIT * 1.01, `${most} bytes were in use`);
  assert.ok(most > LIMIT * 0.9, `the limit was reached: ${most}`);
  cache.group.verify();
  t.diagnostic(
    `most ${most} of ${LIMIT}; peak of the process ${process.resourceUsage().maxRSS} KiB`,
  );
  cache.close();
});

test("explain, freeze and the end of a pool cover all shards", () => {
  const store = createStore({ memoryMax: LIMIT, shards: SHARDS, giveBack: "off" });
  const pool = store.createPool({ persistent: true });
  const page = new Uint8Array(4096).fill(7, 100);
  const key = new TmemKey().setObject(3);
  // Runs of neighbours belong to one shard: so many runs reach all of them.
  const indexes = Array.from({ length: 40 }, (_, nth) => nth * 256);
  const shards = new Set(indexes.map((index) => shardOfPage(pool, key.setIndex(index), SHARDS)));
  assert.equal(shards.size, SHARDS);
  for (const index of indexes) {
    page[0] = index;
    page[1] = index >>> 8;
    assert.equal(store.put(pool, key.setIndex(index), page), 0);
  }
  for (const index of indexes) {
    const found = store.explain(pool, key.setIndex(index));
    assert.ok(found.stored && found.kind === "persistent", JSON.stringify(found));
    assert.equal(store.explain(pool, key.setIndex(index + 1)).stored, false);
  }
  store.freeze(true);
  for (const index of indexes) store.put(pool, key.setIndex(index), page);
  assert.equal(
    store.poolInfo(pool)!.pages,
    0,
    "a put into a frozen store only removes the old page",
  );
  store.freeze(false);
  for (const index of indexes) assert.equal(store.put(pool, key.setIndex(index), page), 0);
  assert.equal(store.poolInfo(pool)!.pages, indexes.length);
  assert.equal(store.flushObject(pool, key), indexes.length);
  for (const index of indexes) assert.equal(store.put(pool, key.setIndex(index), page), 0);
  assert.equal(store.destroyPool(pool), 0);
  for (const shard of store.shards) {
    assert.equal(shard.stats().persistent.pagesInMemory, 0);
  }
  store.verify();
  store.close();
});
