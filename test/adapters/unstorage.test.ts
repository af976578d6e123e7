// The requirements of unstorage for its drivers. The list is that of unstorage's own test of
// drivers, which its package does not contain.
import assert from "node:assert/strict";
import { after, afterEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createStorage, type Driver, prefixStorage, restoreSnapshot, snapshot } from "unstorage";
import { zcacheDriver } from "../../src/adapters/unstorage.ts";
import { Cache, ZcacheError } from "../../src/index.ts";
import { sharedOptions } from "./shared_options.ts";

const cache = Cache.create<string, unknown>({ memoryMax: "8MiB", ...sharedOptions("suite-un") });
const driver: Driver = zcacheDriver({ cache, base: "unstorage" });
const storage = createStorage({ driver });

afterEach(() => storage.clear());
after(() => cache.close());

test("a new storage is empty, and a snapshot can be restored", async () => {
  assert.equal(await storage.hasItem("s1:a"), false);
  assert.equal(await storage.getItem("s2:a"), null);
  assert.equal(await storage.getItemRaw("s2:a"), null);
  assert.deepEqual(await storage.getKeys(), []);
  await restoreSnapshot(storage, { initial: "works" }, "base");
  assert.equal(await storage.getItem("base:initial"), "works");
  assert.deepEqual(await snapshot(storage, "base"), { initial: "works" });
});

test("keys are listed as a whole, below a base and to a depth", async () => {
  const keys = ["top", "s1:a", "s1:b:c", "s2:a"];
  for (const key of [...keys, "s1:q?x=1"]) await storage.setItem(key, "text");
  assert.deepEqual((await storage.getKeys()).sort(), [...keys, "s1:q"].sort());
  assert.deepEqual((await storage.getKeys("s1")).sort(), ["s1:a", "s1:b:c", "s1:q"]);
  assert.deepEqual(await storage.getKeys(undefined, { maxDepth: 0 }), ["top"]);
  assert.deepEqual((await storage.getKeys("s1", { maxDepth: 1 })).sort(), ["s1:a", "s1:q"]);
  assert.equal(await storage.getItem("s1:q?x=2"), "text");
  // Of a storage's part, unstorage asks a driver for it only if it is mounted there.
  await driver.clear!("s1:", {});
  assert.deepEqual((await storage.getKeys()).sort(), ["s2:a", "top"]);
});

test("serialised and raw values of every kind are kept", async () => {
  const values = [{ json: ["works"] }, true, false, 0, 3.5, "text", "", "ümläut", [1, null]];
  for (const value of values) {
    await storage.setItem("/data/value.json", value);
    assert.deepEqual(await storage.getItem("data:value.json"), value);
  }
  const toJSON = () => ({ made: "text" });
  await storage.setItem("lossy", { toJSON });
  assert.deepEqual(await storage.getItem("lossy"), { made: "text" });
  class Odd {}
  await assert.rejects(storage.setItem("odd", new Odd() as never), /Cannot stringify/);
  for (const raw of [new Uint8Array([1, 2, 3]), Buffer.from("b"), new Map([[1, "one"]])]) {
    await storage.setItemRaw("raw.bin", raw);
    assert.deepEqual(await storage.getItemRaw("raw.bin"), raw);
  }
});

test("several items at once, and removal", async () => {
  await storage.setItems([1, 2, 3].map((n) => ({ key: `t:${n}`, value: `value ${n}` })));
  const asked = [{ key: "t:1" }, "t:2", "none"];
  assert.deepEqual(await storage.getItems(asked), [
    { key: "t:1", value: "value 1" },
    { key: "t:2", value: "value 2" },
    { key: "none", value: null },
  ]);
  await storage.removeItem("t:1");
  assert.equal(await storage.hasItem("t:1"), false);
  await storage.setItem("t:2", undefined as never);
  assert.equal(await storage.hasItem("t:2"), false);
  const inner = prefixStorage(storage, "t");
  assert.deepEqual(await inner.getKeys(), ["3"]);
});

test("time to live in seconds, by item and by driver, and metadata", async () => {
  const short = createStorage({ driver: zcacheDriver({ cache, base: "short", ttl: 0.03 }) });
  await short.setItem("default", "a");
  await short.setItem("long", "b", { ttl: 600 });
  await storage.setItem("ever", "ä");
  const meta = await short.getMeta("long");
  assert.ok(meta.ttl !== undefined && meta.ttl > 590 && meta.ttl <= 600);
  assert.equal((await storage.getMeta("ever"))["size"], 2);
  const ever = (await storage.getMeta("ever")).ttl;
  // What several machines share always ends: after a day, unless the option says otherwise.
  assert.ok(cache.fleet === undefined ? ever === undefined : ever! > 86_000, String(ever));
  assert.equal(await driver.getMeta!("none", {}), null);
  await sleep(60);
  assert.equal(await short.getItem("default"), null);
  assert.equal(await short.getItem("long"), "b");
  await short.clear();
  assert.equal(await storage.getItem("ever"), "ä");
});

test("a base separates drivers, and a driver closes only its own cache", async () => {
  cache.set("foreign", 1);
  await storage.setItem("k", "v");
  assert.ok(cache.has("unstorage:k"));
  await storage.clear();
  assert.equal(cache.get("foreign"), 1);
  await driver.dispose!();
  assert.equal(cache.get("foreign"), 1);
  const own = zcacheDriver({ cacheOptions: { memoryMax: "8MiB" } });
  own.setItem("k", "v");
  assert.equal(own.getInstance().size, 1);
  own.dispose();
  own.dispose();
  assert.throws(() => own.getItem("k"), ZcacheError);
  assert.throws(() => zcacheDriver({ max: 5 } as never), /no option "max"/);
});

test("drivers whose bases begin alike are separate", () => {
  using shared = Cache.create<string, unknown>({ backgroundMs: 0 });
  const bases = ["a", "a:b", "ab", "a%3Ab", "🎉", "a.*"];
  const drivers = bases.map((base) => zcacheDriver({ cache: shared, base }));
  const keep = (nth: number) => {
    for (const [at, one] of drivers.entries()) {
      for (const key of ["k", "b:k"]) {
        assert.equal(one.getItem(key), at < nth ? null : `${at}`, `${bases[at]} ${key}`);
      }
      assert.deepEqual(one.getKeys().sort(), at < nth ? [] : ["b:k", "k"]);
    }
  };
  for (const [at, one] of drivers.entries()) {
    for (const key of ["k", "b:k"]) one.setItem(key, `${at}`);
  }
  for (const [at, one] of drivers.entries()) {
    keep(at);
    one.clear("no");
    one.clear("k");
    keep(at);
    one.clear();
  }
  assert.equal(shared.size, 0);
  assert.throws(() => zcacheDriver({ base: 5 } as never), /base must be a string, not 5/);
  assert.throws(() => zcacheDriver({ bse: "a" } as never), /did you mean base\?/);
});
