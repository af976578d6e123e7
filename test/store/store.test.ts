// The promises of a store, one by one: tmem's coherency, reasons, limits, options. The simulation
// (test/store/simulation.ts) covers arbitrary sequences.
import assert from "node:assert/strict";
import { test } from "node:test";
import { EINVAL, ENOSPC } from "../../src/base/errno.ts";
import { Xorshift32 } from "../../src/base/random.ts";
import { nodePlatform } from "../../src/node/platform.ts";
import { policyNames } from "../../src/policy/registry.ts";
import { MISS } from "../../src/store/next_page.ts";
import { Store } from "../../src/store/store.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { fillPage, openStore, type PageKind, StoreModel } from "../doubles/store_fixture.ts";

function fixture(persistent: boolean, options = {}) {
  const store = openStore(options);
  const pool = store.createPool({ persistent });
  const key = new TmemKey().setObject(3).setIndex(5);
  const page = (kind: PageKind, seed: number) => fillPage(new Uint8Array(4096), kind, seed);
  const got = new Uint8Array(4096);
  return { store, pool, key, page, got };
}

test("put-put-get: a get returns the last put", () => {
  for (const persistent of [false, true]) {
    const { store, pool, key, page, got } = fixture(persistent);
    for (const [n, kind] of (["text", "same", "noise", "sparse", "same"] as const).entries()) {
      assert.equal(store.put(pool, key, page(kind, n)), 0);
      assert.ok(store.get(pool, key, got));
      assert.deepEqual(got, page(kind, n));
    }
    assert.equal(store.stats().counters.duplicate_puts, 4);
    store.verify();
    store.close();
  }
});

test("get-get: both return the page, unless the first is exclusive", () => {
  const { store, pool, key, page, got } = fixture(false);
  store.put(pool, key, page("text", 1));
  assert.ok(store.get(pool, key, got) && store.get(pool, key, got));
  assert.ok(store.get(pool, key, got, true));
  got.fill(9);
  assert.equal(store.get(pool, key, got), false);
  assert.ok(
    got.every((byte) => byte === 9),
    "a miss writes nothing",
  );
  const gone = store.explain(pool, key);
  assert.deepEqual(gone, { stored: false, reason: "taken by an exclusive get" });
  store.close();
});

test("a refused put leaves no old copy", () => {
  for (const persistent of [false, true]) {
    // zbud can't store an incompressible page.
    const { store, pool, key, page, got } = fixture(persistent, { pool: "zbud" });
    assert.equal(store.put(pool, key, page("text", 1)), 0);
    assert.equal(store.put(pool, key, page("noise", 2)), ENOSPC);
    assert.equal(store.get(pool, key, got), false);
    const gone = store.explain(pool, key);
    assert.deepEqual(gone, { stored: false, reason: "refused: it compresses too poorly" });
    assert.equal(store.stats().counters.reject_compress_poor, 1);
    store.verify();
    store.close();
  }
});

test("while the store is frozen, a put is a flush, and gets work", () => {
  const { store, pool, key, page, got } = fixture(true);
  store.put(pool, key, page("text", 1));
  store.freeze(true);
  assert.ok(store.get(pool, key, got));
  assert.equal(store.put(pool, key, page("text", 2)), ENOSPC);
  assert.equal(store.get(pool, key, got), false);
  store.freeze(false);
  assert.equal(store.put(pool, key, page("text", 3)), 0);
  assert.equal(store.stats().counters.put_to_flush, 1);
  store.close();
});

test("ephemeral pages make room for persistent pages, never the reverse", () => {
  const store = openStore({ memoryMax: "1MiB" });
  const ephemeral = new StoreModel(store, false);
  const persistent = new StoreModel(store, true);
  for (let i = 0; i < 400; i++) ephemeral.put(1, i, "noise");
  for (let i = 0; i < 120; i++) assert.equal(persistent.put(2, i, "noise"), 0);
  assert.ok(store.stats().counters.evicted_ephemeral_pages > 0);
  let refused = 0;
  for (let i = 120; i < 400; i++) if (persistent.put(2, i, "noise") !== 0) refused++;
  assert.ok(refused > 0, "persistent pages are not dropped for others");
  for (let i = 0; i < 50; i++) ephemeral.put(3, i, "noise");
  persistent.checkAll();
  store.close();
});

test("memoryMax always holds, and evicted pages have a reason", () => {
  for (const policy of policyNames()) {
    const store = openStore({ memoryMax: "1MiB", policy });
    const model = new StoreModel(store, false);
    const random = new Xorshift32(1);
    for (let i = 0; i < 3000; i++) {
      const kind = (["text", "sparse", "noise", "same"] as const)[random.below(4)]!;
      assert.equal(model.put(random.below(500), random.below(3), kind), 0);
      assert.ok(store.stats().mem_used_total <= 1 << 20);
    }
    const { counters, memory, mem_used_total, compr_data_size } = store.stats();
    assert.ok(counters.evicted_ephemeral_pages > 0);
    const parts = Object.values(memory).reduce((sum, bytes) => sum + bytes, compr_data_size);
    assert.equal(parts, mem_used_total, "every byte is accounted for");
    model.checkAll();
    store.close();
  }
});

test("limit() lowers the memory in use step by step, and raises the limit again", () => {
  const store = openStore({ memoryMax: "4MiB" });
  const model = new StoreModel(store, false);
  for (let i = 0; i < 1500; i++) model.put(1, i, "text");
  const full = store.stats().mem_used_total;
  store.limit(full / 2);
  while (store.maintain());
  assert.ok(store.stats().mem_used_total <= full / 2);
  assert.throws(() => store.limit(1 << 30), { code: "ERR_OPTION" });
  store.limit(4 << 20);
  for (let i = 0; i < 1500; i++) model.put(1, i, "text");
  assert.ok(store.stats().mem_used_total > full / 2);
  model.checkAll();
  store.close();
});

test("the accept threshold: a store that was full refuses pages until there is room again", () => {
  const { store, pool, key, page } = fixture(true, { memoryMax: "4MiB", acceptThreshold: 50 });
  let index = 0;
  while (store.put(pool, key.setIndex(index), page("noise", index)) === 0) index++;
  store.limit(store.stats().mem_used_total);
  assert.equal(store.put(pool, key.setIndex(index), page("text", 1)), ENOSPC);
  store.flush(pool, key.setIndex(0));
  assert.equal(store.put(pool, key.setIndex(0), page("text", 1)), ENOSPC);
  for (let i = 0; i < (index * 2) / 3; i++) store.flush(pool, key.setIndex(i));
  assert.equal(store.put(pool, key.setIndex(0), page("text", 1)), 0);
  assert.ok(store.stats().counters.pool_limit_hit > 0);
  store.close();
});

test("zcache's admission rules: size, mean size, number of pages", () => {
  const admission = { maxZsizePercent: 50, maxMeanZsizePercent: 100, pageCountPercent: 1000 };
  const { store, pool, key, page } = fixture(true, { admission });
  assert.equal(store.put(pool, key, page("noise", 1)), ENOSPC);
  assert.equal(store.put(pool, key, page("sparse", 1)), 0);
  assert.deepEqual(store.stats().counters.reject_compress_poor, 1);
  store.close();
});

test("pools: shared by UUID, destroyed in steps, their ids never valid again", () => {
  const { store, page, key, got } = fixture(false);
  const uuid = new Uint8Array(16).fill(7);
  const one = store.createPool({ uuid });
  assert.equal(store.createPool({ uuid }), one);
  for (let i = 0; i < 200; i++) store.put(one, key.setObject(i % 7).setIndex(i), page("text", i));
  assert.equal(store.destroyPool(one), 0);
  assert.ok(store.get(one, key.setObject(3).setIndex(3), got), "another still uses it");
  assert.equal(store.destroyPool(one), 0);
  assert.equal(store.get(one, key, got), false);
  assert.equal(store.put(one, key, page("text", 1)), EINVAL);
  assert.equal(store.destroyPool(one), EINVAL);
  assert.notEqual(store.createPool({ uuid }), one);
  assert.throws(() => store.createPool({ uuid: new Uint8Array(3) }), { code: "ERR_OPTION" });
  assert.equal(store.stats().ephemeral.pool.objects, 0);
  store.verify();
  store.close();
});

test("an object's pages are found in order, and flushed together", () => {
  const { store, pool, key, page } = fixture(true);
  const indexes = [0n, 5n, 16n, 4096n, 2n ** 40n, 2n ** 64n - 1n];
  for (const index of indexes)
    store.put(pool, key.setIndex(index), page("text", Number(index % 99n)));
  const found: bigint[] = [];
  key.setIndex(0);
  while (store.nextPage(pool, key) !== MISS) {
    found.push(key.index);
    if (!key.nextIndex()) break;
  }
  assert.deepEqual(found, indexes);
  assert.equal(store.flushObject(pool, key.setIndex(0)), indexes.length);
  assert.equal(store.has(pool, key.setIndex(5)), false);
  assert.match(JSON.stringify(store.explain(pool, key)), /its object was flushed/);
  store.close();
});

test("explain reports where a page is, its sizes, codec and age", () => {
  const { store, pool, key, page, got } = fixture(false);
  store.put(pool, key, page("text", 1));
  for (let i = 0; i < 3; i++) store.tick();
  const before = store.explain(pool, key);
  assert.ok(before.stored && before.where === "memory" && before.codec === "lz4");
  assert.equal(before.ageTicks, 3);
  assert.ok(before.storedBytes < 4096 && before.evictable);
  store.get(pool, key, got);
  const after = store.explain(pool, key);
  assert.ok(after.stored && after.ageTicks === 0);
  store.put(pool, key, page("same", 5));
  assert.deepEqual(store.explain(pool, key), {
    ...after,
    where: "same-filled",
    storedBytes: 0,
    codec: "none",
  });
  store.close();
});

test("a sequence of operations has the same results with any pool, codec and policy", () => {
  const answers = new Map<string, string>();
  for (const pool of ["dense", "zsmalloc", "zblock", "z3fold"]) {
    for (const codec of ["lz4", "zstd", "deflate", "none"]) {
      for (const policy of policyNames()) {
        for (const reclaim of ["objects", "frames"] as const) {
          const answer = sequence({ pool, codec, policy, reclaim, memoryMax: "3MiB" });
          answers.set(answer, `${pool} ${codec} ${policy} ${reclaim}`);
        }
      }
    }
  }
  assert.deepEqual([...answers.values()].length, 1, [...answers.values()].join("; "));
});

/** Some hundred operations with room for all pages. @returns what they gave */
function sequence(options: object): string {
  const store = openStore(options);
  const models = [new StoreModel(store, true), new StoreModel(store, false)];
  const random = new Xorshift32(42);
  const answers: (number | boolean)[] = [];
  for (let step = 0; step < 300; step++) {
    const model = models[random.below(2)]!;
    const [object, index, dice] = [random.below(5), random.below(20), random.below(10)];
    const kind = (["text", "sparse", "noise", "same"] as const)[random.below(4)]!;
    if (dice < 5) answers.push(model.put(object, index, kind));
    else if (dice < 8) answers.push(model.get(object, index, dice === 7));
    else model.flush(object, index);
  }
  for (const model of models) model.checkAll();
  const { ephemeral, persistent } = store.stats();
  answers.push(ephemeral.samePages, persistent.samePages, ephemeral.pagesInMemory);
  store.close();
  return answers.join();
}

test("errors of options name what is wrong and what is allowed", () => {
  const wrong: [object, string, RegExp][] = [
    [{ memoryMax: 5 }, "ERR_OPTION", /memoryMax 5: must be from 1048576 to/],
    [{ memoryMax: "much" }, "ERR_OPTION", /memoryMax/],
    [{ pageSize: 5000 }, "ERR_OPTION", /pageSize 5000: must be one of 4096, 8192/],
    [{ policy: "random" }, "ERR_OPTION", /policy random: must be one of .*sieve/],
    [{ reclaim: "all" }, "ERR_OPTION", /reclaim all: must be one of objects, frames/],
    [{ pool: "slab" }, "ERR_POOL_UNKNOWN", /slab/],
    [{ codec: "gzip" }, "ERR_CODEC_UNKNOWN", /gzip/],
    [{ lowWatermark: 9, highWatermark: 3 }, "ERR_OPTION", /watermarks of 9 and 3/],
    [{ acceptThreshold: 0 }, "ERR_OPTION", /accept threshold/],
    [
      { memory: 1 },
      "ERR_OPTION",
      /no option "memory"; did you mean memoryMax\? options: memoryMax/,
    ],
    [{ writeBack: {} }, "ERR_OPTION", /writeBack.path/],
    [{ writeBack: { path: "x", size: 3 } }, "ERR_OPTION", /writeBack has no option "size"/],
  ];
  for (const [options, code, message] of wrong) {
    assert.throws(() => Store.create(options, nodePlatform()), { code, message });
  }
});

test("typed errors after close and for invalid shares", () => {
  const { store, pool, key, got } = fixture(false);
  const share = store.share();
  assert.throws(() => store.get(pool, key, new Uint8Array(10)), { code: "ERR_OPTION" });
  assert.throws(() => store.get(pool, key.setIndex(-1), got), { code: "ERR_KEY" });
  store.close();
  store.close();
  assert.throws(() => store.get(pool, key, got), { code: "ERR_STORE_CLOSED" });
  assert.throws(() => Store.attach(share, nodePlatform()), /closed/);
  assert.throws(() => Store.attach({} as never, nodePlatform()), { code: "ERR_STORE_SHARE" });
});

test("a page without room is refused with ENOSPC, and nothing is lost", () => {
  const { store, pool, key, page } = fixture(true, { memoryMax: "1MiB" });
  const results = new Set<number>();
  for (let i = 0; i < 600; i++) results.add(store.put(pool, key.setIndex(i), page("noise", i)));
  assert.deepEqual(results, new Set([0, ENOSPC]));
  store.verify();
  store.close();
});

test("limit: 0 and memoryMax mean the whole arena, whatever its size is rounded to", () => {
  const { store } = fixture(true, { memoryMax: (1 << 21) + 5000 });
  const all = store.stats().mem_limit;
  for (const bytes of [0, (1 << 21) + 5000]) {
    store.limit(1 << 20);
    assert.equal(store.stats().mem_limit, 1 << 20);
    store.limit(bytes);
    assert.equal(store.stats().mem_limit, all);
  }
  for (const bytes of [-1, 1, Number.NaN, 1 << 28]) {
    assert.throws(() => store.limit(bytes), { code: "ERR_OPTION" });
  }
  store.close();
});
