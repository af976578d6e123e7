// What is special about a cache of several shards: each key has one shard, and whatever concerns
// all keys concerns all shards. sharded.test.ts runs the other suites of the cache with shards.
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { inspect } from "node:util";
import fc from "fast-check";
import { startBackground } from "../../src/cache/background.ts";
import { Cache, type CacheOptions, ZcacheError } from "../../src/index.ts";
import { Scheduler } from "../../src/node/scheduler.ts";
import { FakeTime } from "../doubles/fake_time.ts";
import { shardOf } from "../doubles/test_caches.ts";

const MIB = 1 << 20;
const SHARDS = 3;

function open<V = unknown>(options: CacheOptions = {}): Cache<string, V> {
  return Cache.create<string, V>({
    memoryMax: "6MiB",
    shards: SHARDS,
    backgroundMs: 0,
    ...options,
  });
}

/** A key in each shard; the keys have no values. */
function keysByShard(cache: Cache<string, never> | Cache<string, string>): string[] {
  const any = cache as unknown as Cache<string, string>;
  const keys = new Map<number, string>();
  for (let nth = 0; keys.size < any.shards.length; nth++) {
    const key = `by shard ${nth}`;
    any.set(key, "x");
    keys.set(any.shards.indexOf(shardOf(any, key)), key);
    any.delete(key);
  }
  return any.shards.map((_, nth) => keys.get(nth)!);
}

function pathOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "zcache-shards-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, "c.zc");
}

const isOptionError = (message: RegExp) => (error: unknown) =>
  error instanceof ZcacheError && error.code === "ERR_OPTION" && message.test(error.message);

test("each value is in one shard, and all shards are counted, listed and cleared", () => {
  using cache = open<string>();
  const other = Cache.attach<string, string>(cache.share());
  for (let nth = 0; nth < 300; nth++) (nth % 2 ? cache : other).set(`key ${nth}`, `value ${nth}`);
  const counts = cache.shards.map(({ count }) => count);
  assert.ok(
    counts.every((count) => count > 50),
    counts.join(),
  );
  for (const one of [cache, other]) {
    assert.equal(one.size, 300);
    assert.equal(new Set(one.keys()).size, 300);
    const stats = one.stats();
    assert.deepEqual([stats.entries, stats.store.shards], [300, SHARDS]);
    assert.ok(stats.memoryMax <= 6 * MIB && stats.memoryMax > 5.9 * MIB, String(stats.memoryMax));
    assert.match(inspect(one), /^Cache \{ entries: 300, memoryUsed: \d+, memoryMax: \d+ \}$/);
  }
  for (let nth = 0; nth < 300; nth++) assert.equal(cache.get(`key ${nth}`), `value ${nth}`);
  other.get("missing");
  other.stats();
  const { hits, misses } = cache.stats();
  assert.deepEqual([hits, misses], [300, 1]);
  cache.clear("key 1");
  assert.equal(other.size, 300 - 111);
  other.clear();
  assert.deepEqual([cache.size, [...cache]], [0, []]);
  cache.group.verify();
  other.detach();
  assert.throws(() => other.get("key 1"), { code: "ERR_STORE_CLOSED" });
  cache.set("still", "open");
});

test("the number of shards is checked, and auto makes as many as the memory needs", () => {
  for (const shards of [0, 65, 1.5, -1, "3", null, "AUTO"]) {
    assert.throws(() => open({ shards: shards as never }), isOptionError(/shards/));
  }
  // A shard has at least 1 MiB.
  assert.throws(() => open({ shards: 7 }), isOptionError(/7.*1 to 6/));
  assert.throws(() => Cache.create({ memoryMax: "20GiB", shards: 4 }), isOptionError(/6 to 64/));
  for (const [memoryMax, shards] of [
    ["6MiB", 1],
    ["5GiB", 2],
  ] as const) {
    using cache = Cache.create({ memoryMax, backgroundMs: 0 });
    assert.equal(cache.stats().store.shards, shards);
    assert.ok(cache.set("k", 1) && cache.get("k") === 1);
  }
});

test("a value in any shard may have more than its part of the memory", () => {
  using cache = open<Uint8Array>({ codec: "none", tiers: false });
  const keys = keysByShard(cache as never);
  const large = new Uint8Array(2.5 * MIB).map((_, n) => n * 7);
  for (const key of keys) {
    assert.ok(cache.set(key, large), key);
    assert.deepEqual(cache.get(key), large);
    cache.clear();
  }
  const { memoryUsed } = cache.stats();
  assert.ok(memoryUsed <= 6 * MIB);
  cache.group.verify();
});

test("random calls under a changing limit give the last value or none", () => {
  const call = fc.record({
    what: fc.constantFrom("set", "set", "set", "get", "delete", "resize", "clear", "touch"),
    by: fc.nat({ max: 1 }),
    key: fc.nat({ max: 400 }),
    bytes: fc.oneof(fc.nat({ max: 6000 }), fc.nat({ max: 40_000 })),
    limit: fc.constantFrom("6MiB", "4MiB", "2500KiB"),
  });
  fc.assert(
    fc.property(fc.array(call, { minLength: 300, maxLength: 1200 }), (calls) => {
      using cache = open<string>({ codec: "none", tiers: false, dictionary: false });
      const threads = [cache, Cache.attach<string, string>(cache.share())];
      const model = new Map<string, string>();
      let serial = 0;
      for (const { what, by, key, bytes, limit } of calls) {
        const thread = threads[by]!;
        const name = `key ${key}`;
        if (what === "set") {
          const value = `${name} ${serial++} `.padEnd(bytes, "x");
          if (thread.set(name, value)) model.set(name, value);
          else model.delete(name);
        } else if (what === "delete") {
          thread.delete(name);
          model.delete(name);
        } else if (what === "clear" && bytes % 7 === 0) {
          thread.clear();
          model.clear();
        } else if (what === "touch") thread.touch(name, "1h");
        else if (what === "resize") {
          thread.resize(limit);
          const { memoryUsed, memoryMax } = thread.stats();
          assert.ok(memoryUsed <= memoryMax, `${memoryUsed} of ${memoryMax}`);
        }
        const value = threads[1 - by]!.get(name);
        if (value !== undefined) assert.equal(value, model.get(name));
      }
      for (const [key, value] of cache) assert.equal(value, model.get(key));
      assert.equal(cache.size, new Set(cache.keys()).size);
      cache.group.verify();
    }),
    { numRuns: 15 },
  );
});

test("a key of bytes that changes while its value is encoded stays in its shard", () => {
  using cache = Cache.create<Uint8Array, unknown>({
    ...{ memoryMax: "6MiB", shards: SHARDS, backgroundMs: 0 },
  });
  for (let nth = 0; nth < 50; nth++) {
    const key = Buffer.from(`key ${nth}`);
    const before = Buffer.from(key);
    const changing = {
      get field() {
        key.write("changed");
        return nth;
      },
    };
    assert.ok(cache.set(key, changing));
    assert.deepEqual(cache.get(before), { field: nth });
  }
  assert.equal(cache.size, 50);
});

test("code of the caller that uses other shards while a value is encoded or decoded", () => {
  using cache = Cache.create<string, unknown>({
    ...{ memoryMax: "6MiB", shards: SHARDS, backgroundMs: 0 },
    serializer: {
      encode: (value) => {
        use();
        return Buffer.from(JSON.stringify(value));
      },
      decode: (bytes) => {
        use();
        return JSON.parse(Buffer.from(bytes).toString());
      },
    },
  });
  let uses = 0;
  const bytes = Buffer.from("a key of bytes") as never;
  const use = () => {
    const nth = uses++;
    // A key that is refused, or that is no text, may be written over the key of the call outside.
    if (nth % 3 === 0)
      assert.throws(() => cache.has(`\ud800 ${"x".repeat(60)}`), { code: "ERR_KEY" });
    if (nth % 3 > 0) assert.equal(cache.has(bytes), false);
    if (nth % 3 < 2) return;
    cache.set(`used ${nth}`, `text ${nth}`);
    cache.has(`key ${nth % 40}`);
    assert.equal(cache.get(`used ${nth}`), `text ${nth}`);
  };
  for (let nth = 0; nth < 40; nth++) cache.set(`key ${nth}`, { nth });
  for (let nth = 0; nth < 40; nth++) assert.deepEqual(cache.get(`key ${nth}`), { nth });
  assert.equal(cache.size, 40 + Math.floor(uses / 3));
  cache.group.verify();
});

test("loaders of keys in different shards that wait for each other are a cycle", async () => {
  using cache = open<string>();
  const other = Cache.attach<string, string>(cache.share());
  const [a, b, c] = keysByShard(cache) as [string, string, string];
  const isCycle = { code: "ERR_LOAD_CYCLE" };
  // In one thread.
  await assert.rejects(
    cache.fetch(a, () => cache.fetch(b, () => cache.fetch(c, () => cache.fetch(a, () => "never")))),
    isCycle,
  );
  // As two threads have it, each with its own loads: the words in shared memory tell.
  const begun: string[] = [];
  const loader = (thread: Cache<string, string>, also: string) => async (key: string) => {
    begun.push(key);
    while (begun.length < 3) await sleep(1);
    return thread.fetch(also, () => "loaded by the one who waits");
  };
  const results = await Promise.allSettled([
    cache.fetch(a, loader(cache, b)),
    other.fetch(b, loader(other, c)),
    cache.fetch(c, loader(cache, a)),
  ]);
  const codes = results.map((result) =>
    result.status === "rejected" ? (result.reason as ZcacheError).code : result.value,
  );
  assert.deepEqual(new Set(codes), new Set(["ERR_LOAD_CYCLE"]), "no load ends without the others");
  // And no wait is left behind.
  for (const key of [a, b, c]) assert.equal(await cache.fetch(key, () => "anew"), "anew");
  cache.group.verify();
  other.detach();
});

test("evictions of all shards are reported", async () => {
  using cache = open<Uint8Array>({ codec: "none", tiers: false, dictionary: false });
  const gone = new Set<number>();
  cache.on("evict", (key) => gone.add(shards.get(key)!));
  const shards = new Map<string, number>();
  for (let nth = 0; gone.size < SHARDS; nth++) {
    assert.ok(nth < 100_000, "an eviction in each shard");
    const key = `key ${nth}`;
    cache.set(key, new Uint8Array(4000).fill(nth));
    shards.set(key, cache.shards.indexOf(shardOf(cache as never, key)));
    if (nth % 300 === 0) await sleep(25);
  }
});

test("shards write their snapshots one after the other", async (t) => {
  const path = pathOf(t);
  using cache = open<Uint8Array>({
    ...{ codec: "none", tiers: false, dictionary: false },
    persist: { path, max: "48MiB", flushMs: 1 },
  });
  // Each log becomes longer than a sixteenth of a shard's part of `max`, and not full.
  const value = new Uint8Array(4000);
  const keys = keysByShard(cache as never);
  for (let nth = 0; nth < 330 * SHARDS; nth++) cache.set(keys[nth % SHARDS]!, value.fill(nth));
  cache.flush();
  assert.equal(cache.stats().persist!.snapshots, 0);
  let most = 0;
  for (let waited = 0; cache.stats().persist!.snapshots < SHARDS; waited++) {
    assert.ok(waited < 60_000, "all snapshots are written, in time");
    const writing = readdirSync(join(path, "..")).filter((name) => name.endsWith(".tmp"));
    most = Math.max(most, writing.length);
    await sleep(1);
  }
  assert.equal(most, 1);
});

test("the scans of all shards together run as often as that of one", () => {
  using cache = open();
  const everyMs = 10;
  const runs = (shards: number) => {
    const time = new FakeTime();
    const schedulers = cache.group.stores.slice(0, shards).map((store, nth) => {
      const scheduler = new Scheduler(() => false, undefined, time);
      startBackground(scheduler, store, { everyMs, turn: { nth, shards } });
      return scheduler;
    });
    time.pass(60 * everyMs);
    return schedulers.map(({ tasks }) => tasks.find(({ name }) => name === "recompress")!.runs);
  };
  assert.deepEqual(runs(1), [60]);
  assert.deepEqual(runs(3), [20, 20, 20]);
});

test("a restart has all values, with the same shards or others, unless they are discarded", (t) => {
  const path = pathOf(t);
  const persist = { path, max: "64MiB" };
  const values = new Map<string, unknown>();
  for (let nth = 0; nth < 200; nth++) {
    values.set(
      `key ${nth}`,
      nth % 9 === 0 ? "long ".repeat(4000) + nth : { nth, tags: ["a", "b"] },
    );
  }
  let cache = open({ persist });
  cache.setMany(values);
  const other = Cache.attach<string, unknown>(cache.share());
  for (let nth = 0; nth < 200; nth += 5) {
    other.delete(`key ${nth}`);
    values.delete(`key ${nth}`);
  }
  other.set("by another", 1);
  values.set("by another", 1);
  other.close();
  cache.close();
  let before: number = SHARDS;
  for (const shards of [SHARDS, "auto", 2, "auto", 1, SHARDS] as const) {
    cache = open({ persist, shards });
    if (shards !== "auto") before = shards;
    assert.deepEqual(new Map(cache), values);
    const { recovered, path: told, logBytes } = cache.stats().persist!;
    assert.deepEqual([recovered.entries, recovered.wasClosed, told], [values.size, true, path]);
    assert.ok(logBytes > 0 && cache.stats().store.shards === before);
    cache.group.verify();
    cache.close();
  }
  cache = open({ persist: { ...persist, existing: "discard" }, shards: 2 });
  assert.equal(cache.size, 0);
  cache.close();
  const names = readdirSync(join(path, ".."));
  assert.ok(
    names.every((name) => name.includes("-of-2.")),
    names.join(),
  );
});

test("a cache that its thread has left keeps the changes of other threads, in all shards", (t) => {
  const persist = { path: pathOf(t), max: "64MiB" };
  let cache = open<number>({ persist });
  const other = Cache.attach<string, number>(cache.share());
  cache.detach();
  for (let nth = 0; nth < 100; nth++) other.set(`key ${nth}`, nth);
  other.flush();
  other.close();
  cache.close();
  cache = open<number>({ persist });
  for (let nth = 0; nth < 100; nth++) assert.equal(cache.get(`key ${nth}`), nth);
  cache.close();
});
