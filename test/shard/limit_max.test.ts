// The option `limitMax`: a store has the shards from the start that a later limit needs, and its
// limit, and memory, can grow and shrink between the two.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Xorshift32 } from "../../src/base/random.ts";
import { GIB, KIB, MIB } from "../../src/base/units.ts";
import { Cache, createStore, ZcacheError } from "../../src/index.ts";
import { loadMemoryCalls } from "../../src/node/memory_calls.ts";
import { planShards } from "../../src/shard/plan.ts";
import type { Store } from "../../src/store/store.ts";
import { TmemKey } from "../../src/tmem/key.ts";

const PAGE = 4096;
const WAIT_MS = 300_000;

function fillPage(page: Uint8Array, nth: number): Uint8Array {
  const random = new Xorshift32(nth + 1);
  const words = new Uint32Array(page.buffer, page.byteOffset, page.length / 4);
  for (let i = 0; i < words.length; i++) words[i] = random.next();
  return page;
}

/** Resident bytes of the arenas, which no other mapping of the process is as large as. */
function residentBytes({ shards }: Store): number {
  const sizes = new Set(shards.map(({ arena }) => `${arena.bytes.length / KIB} kB`));
  let isArena = false;
  let sum = 0;
  for (const line of readFileSync("/proc/self/smaps", "utf8").split("\n")) {
    const [name, value] = line.split(/:\s+/) as [string, string | undefined];
    if (name === "Size") isArena = sizes.has(value!);
    if (name === "Rss" && isArena) sum += Number.parseInt(value!, 10) * KIB;
  }
  return sum;
}

test("limitMax decides the number of shards, and is checked", () => {
  assert.equal(planShards(GIB, "auto", 1, 20 * GIB).shards, planShards(20 * GIB, "auto").shards);
  assert.equal(planShards(GIB, "auto", 1, 3 * GIB).shards, 1);
  for (const [options, message] of [
    [{ limitMax: "32MiB" }, /limitMax/],
    [{ limitMax: "5GiB" }, /limitMax/],
    [{ limitMax: "4GiB", shards: 1 }, /shards 1: must be from 2 .*limitMax/],
  ] as const) {
    assert.throws(
      () => createStore({ memoryMax: "64MiB", ...options }),
      (error) =>
        error instanceof ZcacheError && error.code === "ERR_OPTION" && message.test(error.message),
    );
  }
});

test("a cache grows up to its limitMax; beyond, the error names the option and the most", () => {
  using cache = Cache.create({ memoryMax: "1GiB", limitMax: "20GiB", backgroundMs: 0 });
  assert.equal(cache.group.stores.length, 7);
  for (const size of ["20GiB", "1GiB", "512MiB", "20GiB"]) cache.resize(size);
  const { memoryMax } = cache.stats();
  assert.ok(memoryMax > 20 * GIB - MIB && memoryMax <= 20 * GIB, String(memoryMax));
  const most = cache.group.limitMax;
  assert.ok(most >= 20 * GIB);
  assert.throws(
    () => cache.resize(most + GIB),
    (error: ZcacheError) =>
      error.code === "ERR_OPTION" &&
      error.message.includes(String(most)) &&
      error.message.includes("limitMax"),
  );
  cache.set("key", "value");
  cache.resize("1GiB");
  assert.equal(cache.get("key"), "value");
  cache.group.verify();
});

test("resident memory follows the limit, up and down", async (t) => {
  try {
    loadMemoryCalls();
  } catch (error) {
    return t.skip((error as Error).message);
  }
  const low = 96 * MIB;
  const store = createStore({ memoryMax: low, limitMax: "6GiB", codec: "none" });
  assert.equal(store.shards.length, 2);
  const empty = residentBytes(store);
  assert.ok(empty < 4 * MIB, `an empty store has ${empty} bytes`);
  const pool = store.createPool();
  const page = new Uint8Array(PAGE);
  const key = (nth: number) => new TmemKey().setObject(1).setIndex(nth);
  const pages = 70_000;
  store.limit(6 * GIB);
  for (let nth = 0; nth < pages; nth++) store.put(pool, key(nth), fillPage(page, nth));
  const wanted = new Uint8Array(PAGE);
  for (let nth = 0; nth < pages; nth += 7) {
    assert.ok(store.get(pool, key(nth), page), `page ${nth} is there`);
    assert.deepEqual(page, fillPage(wanted, nth));
  }
  store.verify();
  const full = residentBytes(store);
  assert.ok(full >= pages * PAGE, String(full));
  store.limit(low);
  const until = performance.now() + WAIT_MS;
  while (store.stats().mem_used_total > low || residentBytes(store) > low * 1.02) {
    assert.ok(performance.now() < until, `${residentBytes(store)} bytes are resident`);
    while (store.maintain());
    await sleep(5);
  }
  store.verify();
  let left = 0;
  for (let nth = 0; nth < pages; nth++) {
    if (!store.get(pool, key(nth), page)) continue;
    left++;
    assert.deepEqual(page, fillPage(wanted, nth));
  }
  assert.ok(left > 10_000, String(left));
  store.limit(6 * GIB);
  for (let nth = 0; nth < pages; nth++) store.put(pool, key(nth), fillPage(page, nth));
  assert.ok(store.has(pool, key(0)) && residentBytes(store) >= pages * PAGE);
  store.verify();
  store.close();
  return undefined;
});
