// The background work on the memory of free frames: what a store returns and populates, when, and
// what becomes of it without the calls of the system, or if they fail.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Xorshift32 } from "../../src/base/random.ts";
import { MIB } from "../../src/base/units.ts";
import { Cache, createStore } from "../../src/index.ts";
import { manageResidentMemory } from "../../src/node/give_back.ts";
import type { MemoryCalls } from "../../src/node/memory_calls.ts";
import { Scheduler } from "../../src/node/scheduler.ts";
import { openStore } from "../../src/node/stores.ts";
import type { Store } from "../../src/store/store.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { FakeTime } from "../doubles/fake_time.ts";

const PAGE = 4096;
const PAGES = 6000;
const FREED_PERCENT = 70;

/** Calls that do to the region what the system does; `errno` is what they return. */
function playedCalls(errno = 0): MemoryCalls & { released: number } {
  return {
    released: 0,
    by: "koffi",
    systemPage: PAGE,
    madvise(region, sizeBytes) {
      if (errno !== 0) return errno;
      region.fill(0, 0, sizeBytes);
      this.released += sizeBytes;
      return 0;
    },
    mlock2: () => errno,
  };
}

/** Bytes that hardly compress, different for each page. */
function fillPage(page: Uint8Array, nth: number): void {
  const random = new Xorshift32(nth + 1);
  const words = new Uint32Array(page.buffer, page.byteOffset, page.length / 4);
  for (let i = 0; i < words.length; i++) words[i] = i % 2 === 0 ? random.next() : nth;
}

function putAll(store: Store, pool: number): void {
  const page = new Uint8Array(PAGE);
  for (let nth = 0; nth < PAGES; nth++) {
    fillPage(page, nth);
    assert.equal(store.put(pool, new TmemKey().setObject(1).setIndex(nth), page), 0);
  }
}

/** Removes most pages at random. @returns which are left */
function removeMost(store: Store, pool: number): number[] {
  const random = new Xorshift32(7);
  const left: number[] = [];
  for (let nth = 0; nth < PAGES; nth++) {
    if (random.next() % 100 >= FREED_PERCENT) left.push(nth);
    else store.flush(pool, new TmemKey().setObject(1).setIndex(nth));
  }
  return left;
}

function checkPages(store: Store, pool: number, left: readonly number[]): void {
  const [page, expected] = [new Uint8Array(PAGE), new Uint8Array(PAGE)];
  for (const nth of left) {
    assert.ok(store.get(pool, new TmemKey().setObject(1).setIndex(nth), page));
    fillPage(expected, nth);
    assert.deepEqual(page, expected);
  }
}

function managed(options: object, load: () => MemoryCalls) {
  const time = new FakeTime();
  const store = openStore({ memoryMax: "64MiB", ...options });
  manageResidentMemory(store.shards, Scheduler.of(store, undefined, time), load);
  const pool = store.createPool({ persistent: true });
  return { time, store, pool };
}

for (const shards of [1, 3]) {
  test(`what is freed at random is returned: ${shards} shard(s)`, () => {
    const calls = playedCalls();
    const { time, store, pool } = managed({ shards }, () => calls);
    putAll(store, pool);
    time.pass(1000);
    assert.equal(store.stats().giveBack.calls, 0, "a store that is used has nothing to return");
    const full = store.stats().mem_resident;
    const left = removeMost(store, pool);
    assert.equal(store.stats().mem_resident, full);
    time.pass(100);
    time.pass(2000);
    const { mem_resident, mem_used_total, giveBack } = store.stats();
    assert.equal(giveBack.by, "koffi");
    assert.equal(giveBack.reason, undefined);
    assert.equal(giveBack.bytes, calls.released);
    assert.ok(mem_resident - mem_used_total <= shards * 1.6 * MIB, `${mem_resident} are resident`);
    assert.ok(mem_resident >= mem_used_total);
    store.verify();
    checkPages(store, pool, left);
    time.pass(5000);
    assert.equal(store.stats().giveBack.calls, giveBack.calls, "nothing is returned twice");
    putAll(store, pool);
    store.verify();
    store.close();
  });
}

test("memory that is used again and again is not returned", () => {
  const { time, store, pool } = managed({}, () => playedCalls());
  for (let round = 0; round < 5; round++) {
    putAll(store, pool);
    time.pass(90);
    removeMost(store, pool);
    time.pass(90);
    assert.ok(store.arena.frames.framesFreePopulated > PAGES / 2, "what the next round needs");
  }
  store.close();
});

test("a store that is nearly full keeps what it has", () => {
  const calls = playedCalls();
  const { time, store } = managed({ memoryMax: "8MiB", highWatermark: 30 }, () => calls);
  const pool = store.createPool();
  putAll(store, pool);
  store.shrink(1000);
  assert.ok(store.stats().mem_resident - store.stats().mem_used_total > 2 * MIB);
  time.pass(2000);
  assert.equal(calls.released, 0);
  store.close();
});

test("what a lower limit leaves unused is returned, also by a store that is full", () => {
  const calls = playedCalls();
  const { time, store, pool } = managed({}, () => calls);
  putAll(store, pool);
  removeMost(store, pool);
  const { mem_used_total } = store.stats();
  store.limit(mem_used_total + 20 * PAGE);
  time.pass(2000);
  const { mem_resident } = store.stats();
  assert.ok(mem_resident - mem_used_total < 1.6 * MIB, `${mem_resident} are resident`);
  assert.ok(calls.released > 8 * MIB);
  store.verify();
  store.close();
});

for (const [name, load, reason] of [
  [
    "a missing library",
    () => {
      throw new Error("Cannot find module 'koffi'");
    },
    "Cannot find module 'koffi'",
  ],
  ["a call that fails", () => playedCalls(12), "madvise failed with error number 12"],
] as const) {
  test(`${name} is reported in the statistics, and changes nothing else`, () => {
    let loads = 0;
    const { time, store, pool } = managed({}, () => {
      loads++;
      return load();
    });
    putAll(store, pool);
    const left = removeMost(store, pool);
    time.pass(5000);
    const { by, bytes, reason: found } = store.stats().giveBack;
    assert.deepEqual([by, bytes, found], ["none", 0, reason]);
    assert.equal(loads, 1);
    assert.ok(store.background!.tasks.every(({ errors }) => errors === 0));
    store.verify();
    checkPages(store, pool, left);
    putAll(store, pool);
    store.close();
  });
}

test("the library is not loaded before there is memory to return, nor with giveBack off", () => {
  const load = () => assert.fail("loaded");
  for (const giveBack of ["auto", "off"] as const) {
    const { time, store, pool } = managed({ giveBack }, load);
    putAll(store, pool);
    if (giveBack === "off") removeMost(store, pool);
    time.pass(5000);
    assert.equal(store.stats().giveBack.by, "none");
    assert.equal(store.background!.tasks.length, giveBack === "auto" ? 2 : 0);
    store.close();
  }
  assert.throws(() => createStore({ giveBack: true as never }), /giveBack true/);
  assert.throws(
    () => Cache.create({ giveBack: "on" as never }),
    /giveBack on: must be one of auto, off/,
  );
});

test("a store that grows finds populated frames, within its limit; one at rest gets none", () => {
  const { time, store, pool } = managed({ memoryMax: "32MiB" }, () => playedCalls());
  const { frames } = store.arena;
  const page = new Uint8Array(PAGE);
  let unpopulated = 0;
  for (let nth = 0; nth < PAGES; nth++) {
    fillPage(page, nth);
    store.put(pool, new TmemKey().setObject(1).setIndex(nth), page);
    if (frames.framesFreePopulated === 0) unpopulated++;
    if (nth % 100 === 0) time.pass(5);
  }
  assert.equal(unpopulated, 0);
  time.pass(1000);
  const { mem_resident, mem_used_total } = store.stats();
  assert.ok(mem_resident - mem_used_total <= 1.3 * MIB, "a little more than is in use");
  time.pass(60_000);
  assert.equal(store.stats().mem_resident, mem_resident);
  store.limit(mem_used_total + 100 * PAGE);
  for (let nth = PAGES; nth < PAGES + 50; nth++) {
    fillPage(page, nth);
    store.put(pool, new TmemKey().setObject(1).setIndex(nth), page);
    time.pass(5);
  }
  assert.ok(store.stats().mem_resident <= mem_resident + MIB / 4, "no more than the limit");
  store.close();
});
