// A store of several shards keeps the promises of a store: each operation reaches the shard that
// it concerns, or all of them, and one limit covers all.
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { EINVAL } from "../../src/base/errno.ts";
import { nodePlatform } from "../../src/node/platform.ts";
import { planShards } from "../../src/shard/plan.ts";
import { shardOfPage } from "../../src/shard/route.ts";
import { ShardedStore } from "../../src/shard/sharded_store.ts";
import { DATA, MISS } from "../../src/store/next_page.ts";
import type { StoreOptions } from "../../src/store/options.ts";
import { Store } from "../../src/store/store.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { fillPage, type PageKind, StoreModel } from "../doubles/store_fixture.ts";

const GIB = 1 << 30;
const MIB = 1 << 20;
const KINDS: readonly PageKind[] = ["same", "text", "sparse", "noise"];

function open(options: StoreOptions = {}): Store {
  return ShardedStore.create({ memoryMax: "6MiB", shards: 3, ...options }, nodePlatform());
}

function page(kind: PageKind, seed: number): Uint8Array {
  return fillPage(new Uint8Array(4096), kind, seed);
}

test("a sharded store overrides every method but those for the first shard's memory", () => {
  // What concerns no page, or only the memory of the first shard.
  const ofFirst = ["constructor", "assertOpen", "isClosed", "owner", "ownerMayRun", "arena"];
  ofFirst.push("allocate", "reserve", "isShared");
  // It calls `load`.
  ofFirst.push("getAsync");
  const all = Object.getOwnPropertyNames(Store.prototype);
  const own = Object.getOwnPropertyNames(ShardedStore.prototype);
  assert.deepEqual(
    all.filter((name) => !own.includes(name) && !ofFirst.includes(name)),
    [],
  );
});

test("random operations on two pools, beside a model, under one limit", () => {
  const operation = fc.record({
    what: fc.constantFrom("put", "put", "put", "get", "take", "flush", "flushObject", "maintain"),
    persistent: fc.boolean(),
    object: fc.integer({ min: 1, max: 5 }),
    index: fc.integer({ min: 0, max: 2000 }),
    kind: fc.constantFrom(...KINDS),
  });
  fc.assert(
    fc.property(fc.array(operation, { minLength: 300, maxLength: 900 }), (operations) => {
      const store = open({ memoryMax: "3MiB" });
      try {
        const models = [new StoreModel(store, false), new StoreModel(store, true)];
        for (const { what, persistent, object, index, kind } of operations) {
          const model = models[Number(persistent)]!;
          if (what === "put") model.put(object, index, kind);
          else if (what === "get") model.get(object, index);
          else if (what === "take") model.get(object, index, true);
          else if (what === "flush") model.flush(object, index);
          else if (what === "flushObject") model.flushObject(object);
          else store.maintain();
        }
        for (const model of models) {
          model.checkAll();
          assert.equal(store.poolInfo(model.pool)?.pages, model.pages.size);
        }
        const { mem_used_total: used, mem_limit: limit } = store.stats();
        assert.ok(limit <= 3 * MIB && used <= limit, `${used} bytes of ${limit} in use`);
      } finally {
        store.close();
      }
    }),
    { numRuns: 25 },
  );
});

test("nextPage visits the pages of an object in their order, whatever their shards", () => {
  const store = open();
  const pool = store.createPool({ persistent: true });
  const indexes = [0, 1, 2, 255, 256, 257, 600, 800, 1100, 5000, 70_000, 2 ** 33, 2 ** 40 + 1];
  const key = new TmemKey().setObject(9);
  for (const index of indexes.toReversed()) store.put(pool, key.setIndex(index), page("text", 1));
  const shards = new Set(indexes.map((index) => shardOfPage(pool, key.setIndex(index), 3)));
  assert.equal(shards.size, 3, "the pages lie in all shards");
  const seen: number[] = [];
  key.setIndex(0);
  while (store.nextPage(pool, key) === DATA) {
    seen.push(Number(key.index));
    if (!key.nextIndex()) break;
  }
  assert.deepEqual(seen, indexes);
  key.setIndex(2 ** 41);
  assert.equal(store.nextPage(pool, key), MISS);
  assert.equal(Number(key.index), 2 ** 41, "a miss leaves the key as it was");
  store.close();
});

test("no shard refuses a page while another one has room", () => {
  const store = open({ memoryMax: "6MiB" });
  const pool = store.createPool({ persistent: true, keepsOld: true });
  const key = new TmemKey().setObject(1);
  // Only pages of one shard, more than its part of the limit can hold.
  let stored = 0;
  for (let index = 0; stored < 650; index++) {
    if (shardOfPage(pool, key.setIndex(index), 3) !== 1) continue;
    assert.equal(store.put(pool, key, page("noise", index)), 0, `page ${stored} of shard 1`);
    stored++;
  }
  store.verify();
  // And then of another one, for which the limits go back as pages are removed.
  for (let index = 0; index < 5000; index++) store.flush(pool, key.setIndex(index));
  stored = 0;
  for (let index = 0; stored < 650; index++) {
    if (shardOfPage(pool, key.setIndex(index), 3) !== 2) continue;
    assert.equal(store.put(pool, key, page("noise", index)), 0, `page ${stored} of shard 2`);
    stored++;
  }
  const { mem_used_total: used, mem_limit: limit } = store.stats();
  assert.ok(limit <= 6 * MIB && used <= limit);
  store.verify();
  store.close();
});

test("ephemeral pages of other shards make way for a persistent page", () => {
  const store = open({ memoryMax: "6MiB" });
  const ephemeral = store.createPool({ persistent: false });
  const persistent = store.createPool({ persistent: true });
  const key = new TmemKey().setObject(1);
  for (let index = 0; index < 3000; index++) {
    store.put(ephemeral, key.setIndex(index), page("noise", index));
  }
  let stored = 0;
  for (let index = 0; stored < 650; index++) {
    if (shardOfPage(persistent, key.setIndex(index), 3) !== 0) continue;
    assert.equal(store.put(persistent, key, page("noise", index)), 0, `page ${stored}`);
    stored++;
  }
  assert.ok(store.stats().mem_used_total <= store.stats().mem_limit);
  store.verify();
  store.close();
});

test("the limit can be lowered, and raised", () => {
  const store = open({ memoryMax: "6MiB" });
  const pool = store.createPool({ persistent: false });
  const key = new TmemKey().setObject(1);
  const fill = () => {
    for (let index = 0; index < 3000; index++) {
      store.put(pool, key.setIndex(index), page("noise", index));
    }
    while (store.maintain());
    return store.stats().mem_used_total;
  };
  const full = fill();
  store.limit(3 * MIB);
  while (store.maintain());
  assert.ok(store.stats().mem_used_total <= 3 * MIB);
  assert.ok(fill() <= 3 * MIB);
  store.limit(7 * MIB);
  assert.ok(fill() > full, "more than at the beginning");
  assert.ok(store.stats().mem_used_total <= 7 * MIB);
  store.limit(0);
  assert.ok(store.stats().mem_limit <= 6 * MIB);
  assert.throws(() => store.limit(GIB), { code: "ERR_OPTION" });
  assert.throws(() => store.limit(1000), { code: "ERR_OPTION" });
  store.verify();
  store.close();
});

for (const shards of [1, 3]) {
  test(`${shards} shards: a store grows to 64 times its size, in all threads`, () => {
    const memoryMax = 3 * MIB;
    const store = open({ memoryMax, shards });
    const pool = store.createPool({ persistent: true, keepsOld: true });
    // Attached before the growth, as other threads are.
    const other = ShardedStore.attach(store.share(), nodePlatform());
    const key = new TmemKey().setObject(3);
    const got = new Uint8Array(4096);
    const fill = (one: Store, from: number, most: number) => {
      let index = from;
      while (index < most && one.put(pool, key.setIndex(index), page("noise", index)) === 0)
        index++;
      return index;
    };
    const before = fill(store, 0, 5000);
    assert.ok(before < 768, `${before} pages in 3 MiB`);
    store.limit(12 * MIB);
    const after = fill(other, before, 5000);
    assert.ok(after > before + 2200 && after < 3072, `${after} pages in 12 MiB`);
    const { mem_used_total: used, mem_limit: limit } = other.stats();
    assert.ok(used <= limit && limit <= 12 * MIB, `${used} bytes of ${limit} in use`);
    assert.ok(limit > 12 * MIB - 65_536 * shards, `a limit of ${limit}`);
    other.limit(24 * MIB);
    const last = fill(store, after, 5500);
    assert.equal(last, 5500, "as many as fit");
    store.verify();
    for (let index = 0; index < last; index++) {
      const one = index % 2 === 0 ? store : other;
      assert.ok(one.get(pool, key.setIndex(index), got), `page ${index}`);
      assert.deepEqual(got, page("noise", index));
    }
    for (let index = 0; index < last; index++) other.flush(pool, key.setIndex(index));
    store.limit(0);
    assert.ok(store.stats().mem_limit <= memoryMax);
    const again = fill(store, 0, 5000);
    // The tables of the index and of the frames stay as large as they have become.
    assert.ok(again > before * 0.8, `${again} pages, and ${before} at the beginning`);
    store.verify();
    assert.throws(() => store.limit(store.limitMax + 65_536), {
      code: "ERR_OPTION",
      message:
        /64 times the memoryMax that it is created with, and to 4 GiB for each of its shards/,
    });
    for (const one of [other, store]) one.close();
  });
}

test("pools have the same id in all shards, also after others were destroyed", () => {
  const store = open();
  const first = store.createPool();
  const second = store.createPool({ persistent: true });
  assert.equal(store.destroyPool(first), 0);
  const third = store.createPool();
  const key = new TmemKey().setObject(2);
  for (const pool of [second, third]) {
    for (let index = 0; index < 2000; index += 50) {
      assert.equal(store.put(pool, key.setIndex(index), page("text", index)), 0);
    }
  }
  assert.equal(store.put(first, key, page("text", 1)), EINVAL);
  assert.equal(store.destroyPool(second), 0);
  assert.equal(store.poolInfo(second), null);
  const uuid = new Uint8Array(16).fill(7);
  const shared = store.createPool({ uuid });
  assert.equal(store.createPool({ uuid }), shared, "a shared pool is joined in all shards");
  store.destroyPool(shared);
  for (let index = 0; index < 2000; index += 50) {
    assert.equal(store.put(shared, key.setIndex(index), page("text", index)), 0);
  }
  store.destroyPool(shared);
  assert.equal(store.put(shared, key, page("text", 1)), EINVAL);
  store.verify();
  store.close();
});

test("another thread attaches to all shards, and finds the store closed", () => {
  const store = open();
  const pool = store.createPool({ persistent: true });
  const key = new TmemKey().setObject(4);
  for (let index = 0; index < 1500; index += 10) {
    store.put(pool, key.setIndex(index), page("text", index));
  }
  const other = ShardedStore.attach(store.share(), nodePlatform());
  const got = new Uint8Array(4096);
  for (let index = 0; index < 1500; index += 10) {
    assert.ok(other.get(pool, key.setIndex(index), got));
    assert.deepEqual(got, page("text", index));
  }
  assert.equal(other.stats().shards, 3);
  other.detach();
  const third = ShardedStore.attach(store.share(), nodePlatform());
  store.close();
  assert.equal(third.isClosed, true);
  assert.throws(() => third.get(pool, key, got), { code: "ERR_STORE_CLOSED" });
  third.detach();
});

test("statistics, sizes and samples cover all shards", () => {
  const store = open();
  const pool = store.createPool({ persistent: true });
  const key = new TmemKey().setObject(4);
  for (let index = 0; index < 1500; index++) {
    store.put(pool, key.setIndex(index), page(index % 5 === 0 ? "same" : "text", index));
  }
  const { persistent, counters, shards, latency } = store.stats();
  assert.deepEqual([shards, counters.puts, persistent.samePages], [3, 1500, 300]);
  assert.equal(persistent.pagesInMemory, 1200);
  assert.ok(latency.put.count >= 1500 / 16 - 3);
  const sizes = store.inspection.sizes();
  while (!sizes.step());
  assert.deepEqual([sizes.looked, sizes.sameFilled], [1200, 300]);
  let drawn = 0;
  const taker = { take: () => drawn++, sameFilled: () => drawn++ };
  const sampler = store.inspection.sample(2000, 1, taker);
  while (!sampler.step());
  assert.deepEqual([drawn, sampler.population], [1500, 1500]);
  const words = new Int32Array(512);
  let frames = 0;
  for (let count = -1; count !== 0; frames += count) {
    count = store.inspection.describeFrames(frames, words);
  }
  assert.equal(frames, store.inspection.framesTotal);
  store.close();
});

test("write-back files that more shards have left are removed; others stay", () => {
  const folder = mkdtempSync(join(tmpdir(), "zcache-shards-"));
  const path = join(folder, "file");
  const files = () =>
    readdirSync(folder)
      .filter((name) => !name.endsWith(".lock"))
      .sort();
  const create = (shards: number, own = path) =>
    open({ memoryMax: "8MiB", shards, writeBack: { path: own, max: "8MiB" } });
  create(5).close();
  assert.deepEqual(files(), ["file", "file.1", "file.2", "file.3", "file.4"]);
  const other = create(1, `${path}.3`);
  writeFileSync(`${path}.7`, "not of zcache");
  create(2).close();
  assert.deepEqual(files(), ["file", "file.1", "file.3", "file.7"]);
  other.close();
  create(1).close();
  assert.deepEqual(files(), ["file", "file.7"]);
  // A file beside a foreign one is never that of another shard.
  writeFileSync(path, "not of zcache either");
  const writeBack = { path, max: "8MiB", existing: "discard" } as const;
  assert.throws(() => open({ memoryMax: "8MiB", shards: 2, writeBack }), {
    code: "ERR_FILE_LOCKED",
  });
  rmSync(folder, { recursive: true });
});

test("auto: one shard where one arena suffices, else as few as have room to lend", () => {
  assert.equal(planShards(64 * MIB, "auto").shards, 1);
  // A store that several threads write: two for each, up to eight, of 64 MiB or more.
  assert.equal(planShards(GIB, "auto", 1).shards, 1);
  assert.equal(planShards(GIB, "auto", 2).shards, 4);
  assert.equal(planShards(GIB, "auto", 16).shards, 8);
  assert.equal(planShards(192 * MIB, "auto", 16).shards, 3);
  assert.equal(planShards(64 * MIB, "auto", 16).shards, 1);
  assert.equal(planShards(64 * GIB, "auto", 16).shards, 22);
  assert.equal(planShards(GIB, 2, 16).shards, 2);
  const store = ShardedStore.create({ memoryMax: 256 * MIB, threads: 2 }, nodePlatform());
  assert.equal(store.stats().shards, 4);
  store.close();
  assert.throws(() => ShardedStore.create({ threads: 0 }, nodePlatform()), {
    code: "ERR_OPTION",
    message: /threads 0/,
  });
  assert.equal(planShards(3 * GIB, "auto").shards, 1);
  assert.equal(planShards(8 * GIB, "auto").shards, 3);
  assert.equal(planShards(20 * GIB, "auto").shards, 7);
  for (const memory of [5 * GIB, 8 * GIB, 16 * GIB, 20 * GIB]) {
    const { shards, arenaBytes } = planShards(memory, "auto");
    assert.ok(shards * arenaBytes > memory * 1.15, "limits can move");
  }
  assert.throws(() => planShards(20 * GIB, 2), { code: "ERR_OPTION" });
  assert.throws(() => planShards(2 * MIB, 3), { code: "ERR_OPTION" });
});
