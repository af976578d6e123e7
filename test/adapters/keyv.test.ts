// Keyv's own suite over the adapter, cache-manager and cacheable over the adapter, and further
// tests.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { createCache } from "cache-manager";
import { Cacheable } from "cacheable";
import fc from "fast-check";
import Keyv, { type KeyvStoreAdapter } from "keyv";
import { KeyvZcache } from "../../src/adapters/keyv.ts";
import { Cache, ZcacheError } from "../../src/index.ts";

/** Tests of the suite, with iteration, that its version 2.1 has; most of them are run twice. */
const SUITE_TESTS = 42 + 39;
const SUITE_MS = 120_000;

interface VitestReport {
  readonly numTotalTests: number;
  readonly numPassedTests: number;
  readonly testResults: readonly {
    readonly message: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

function open(): Cache<string, unknown> {
  return Cache.create<string, unknown>({ memoryMax: "8MiB", backgroundMs: 0 });
}

test("Keyv's suite for storage adapters, with iteration", { timeout: SUITE_MS }, async (t) => {
  const here = dirname(fileURLToPath(import.meta.url));
  const vitest = dirname(createRequire(import.meta.url).resolve("vitest/package.json"));
  const args = ["run", "--root", here, "--reporter", "json"];
  const program = [join(vitest, "vitest.mjs"), ...args];
  const env = { ...process.env, NODE_TEST_CONTEXT: "" };
  const run = promisify(execFile)(process.execPath, program, { env, timeout: SUITE_MS });
  const { stdout } = await run.catch((error: { stdout: string; stderr: string }) => {
    assert.ok(error.stdout?.includes('"numTotalTests"'), `${error} ${error.stderr}`);
    return error;
  });
  const report = JSON.parse(stdout.slice(stdout.indexOf("{"))) as VitestReport;
  for (const { assertionResults, message } of report.testResults) {
    for (const { fullName, status, failureMessages } of assertionResults) {
      await t.test(fullName, () => assert.equal(status, "passed", failureMessages.join("\n")));
    }
    assert.equal(message, "");
  }
  assert.equal(report.numPassedTests, report.numTotalTests);
  assert.ok(report.numTotalTests >= SUITE_TESTS, `${report.numTotalTests} tests have run`);
});

test("cache-manager works over the adapter", async () => {
  const adapter = new KeyvZcache({ cacheOptions: { memoryMax: "8MiB" } });
  const manager = createCache({ stores: [new Keyv({ store: adapter })], ttl: 60_000 });
  await manager.set("a", { n: 1 });
  await manager.mset([{ key: "b", value: [2] }]);
  assert.deepEqual(await manager.mget(["a", "b", "c"]), [{ n: 1 }, [2], undefined]);
  assert.equal(await manager.wrap("w", async () => "made"), "made");
  assert.equal(await manager.wrap("w", async () => "made again"), "made");
  await manager.set("short", 1, 20);
  await sleep(40);
  assert.equal(await manager.get("short"), undefined);
  assert.ok(adapter.cache.has("keyv:w"), [...adapter.cache.keys()].join(", "));
  await manager.del("a");
  assert.equal(await manager.get("a"), undefined);
  await manager.clear();
  assert.equal(adapter.cache.size, 0);
  await manager.disconnect();
  assert.throws(() => adapter.cache.size, ZcacheError);
});

test("cacheable works over the adapter as primary and as secondary store", async () => {
  using cache = open();
  for (const layer of ["primary", "secondary"] as const) {
    const store = new Keyv({ store: new KeyvZcache({ cache, prefix: `${layer}|` }) });
    const cacheable = new Cacheable({ [layer]: store });
    assert.equal(await cacheable.set("k", { deep: [1] }, "10m"), true);
    assert.deepEqual(await cacheable.get("k"), { deep: [1] });
    assert.deepEqual(await cacheable.getMany(["k", "none"]), [{ deep: [1] }, undefined]);
    const ours = [...cache.keys()].filter((key) => key.startsWith(layer));
    assert.equal(ours.length, 1);
    assert.equal(await cacheable.has("k"), true);
    assert.equal(await cacheable.delete("k"), true);
    assert.equal(await cacheable.get("k"), undefined);
    await cacheable.disconnect();
  }
  assert.equal(cache.size, 0);
});

test("the adapter has Keyv's type, and keeps any value if Keyv does not serialize", async () => {
  using cache = open();
  const adapter: KeyvStoreAdapter = new KeyvZcache({ cache });
  const keyv = new Keyv<unknown>({ store: adapter });
  keyv.serialize = undefined;
  keyv.deserialize = undefined;
  const values = { map: new Map([["a", 1n]]), date: new Date(5), bytes: new Uint8Array([1, 2]) };
  assert.equal(await keyv.set("v", values), true);
  assert.deepEqual(await keyv.get("v"), values);
  const stored = [true, true];
  assert.deepEqual(await keyv.setMany(["a", "b"].map((key) => ({ key, value: key }))), stored);
  assert.deepEqual(await keyv.getMany(["a", "none", "b"]), ["a", undefined, "b"]);
  assert.deepEqual(await keyv.hasMany(["a", "none"]), [true, false]);
  assert.equal(await keyv.deleteMany(["a", "none"]), false);
  assert.equal(await keyv.set("over", 1, -5), true);
  assert.equal(await keyv.has("over"), false);
});

test("without Keyv's prefix the adapter separates namespaces itself", async () => {
  using cache = open();
  cache.set("foreign", 1);
  const [a, b] = ["a", "b"].map((namespace) => {
    const store = new KeyvZcache({ cache, useKeyPrefix: false });
    return new Keyv({ store, namespace, useKeyPrefix: false });
  }) as [Keyv, Keyv];
  await a.set("k", "of a");
  await b.set("k", "of b");
  assert.equal(await a.get("k"), "of a");
  const found: unknown[] = [];
  for await (const entry of b.iterator!(undefined)) found.push(entry);
  assert.deepEqual(found, [["k", "of b"]]);
  await a.clear();
  assert.equal(await a.get("k"), undefined);
  assert.equal(await b.get("k"), "of b");
  assert.equal(cache.get("foreign"), 1);
});

const names = fc.oneof(
  fc.constantFrom("a", "a:b", "a:", "a::", "a%3Ab", "%", "user*", "^.", "🎉", "b", " ", "a\\nb"),
  fc.string({ minLength: 1, maxLength: 6 }),
);
const clearing = fc.array(
  fc.tuple(fc.constantFrom("set", "clear", "delete", "deleteMany"), fc.nat(3), fc.nat(2)),
  { maxLength: 20 },
);

for (const isShared of [false, true]) {
  test(`clear keeps to its namespace, whatever its name: ${
    isShared ? "one adapter for all" : "an adapter each"
  }`, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(names, { minLength: 4, maxLength: 4 }),
        clearing,
        async (all, steps) => {
          using cache = open();
          const one = new KeyvZcache({ cache, prefix: "P" });
          const keyvs = all.map((namespace) => {
            return new Keyv({ store: isShared ? one : new KeyvZcache({ cache }), namespace });
          });
          const model = new Map<string, number>();
          for (const [what, nth, keyNth] of steps) {
            const keyv = keyvs[nth]!;
            const key = ["k", "key", "x"][keyNth]!;
            if (what === "set") await keyv.set(key, nth);
            else if (what === "delete") await keyv.delete(key);
            else if (what === "deleteMany") await keyv.deleteMany([key, "k"]);
            else await keyv.clear();
            if (what === "set") model.set(`${nth} ${key}`, nth);
            if (what.startsWith("delete")) model.delete(`${nth} ${key}`);
            if (what === "deleteMany") model.delete(`${nth} k`);
            if (what === "clear")
              for (const one of ["k", "key", "x"]) model.delete(`${nth} ${one}`);
            for (const [at, other] of keyvs.entries()) {
              for (const key of ["k", "key", "x"]) {
                assert.equal(await other.get(key), model.get(`${at} ${key}`));
                assert.equal(await other.has(key), model.has(`${at} ${key}`));
              }
            }
          }
          assert.equal(cache.size, model.size);
        },
      ),
      { numRuns: 60 },
    );
  });
}

test("an adapter shared by two Keyvs that can't be told apart refuses to clear", async () => {
  using cache = open();
  const adapter = new KeyvZcache({ cache });
  const [a, b] = ["a", "b"].map((namespace) => {
    return new Keyv({ store: adapter, namespace, throwOnErrors: true });
  }) as [Keyv, Keyv];
  await a.set("k", 1);
  await b.set("k", 2);
  await a.clear();
  assert.deepEqual([await a.get("k"), await b.get("k")], [undefined, 2]);
  b.namespace = "c";
  await assert.rejects(b.clear(), /its own KeyvZcache/);
  await assert.rejects(adapter.clear(), /its own KeyvZcache/);
  b.namespace = "b";
  assert.equal(await b.get("k"), 2);
  const plain = { cache, useKeyPrefix: false };
  const own = new KeyvZcache(plain);
  assert.ok(new Keyv({ store: own, namespace: "x", useKeyPrefix: false }));
  assert.throws(
    () => new Keyv({ store: own, namespace: "y", useKeyPrefix: false }),
    /its own KeyvZcache/,
  );
  const heard: unknown[] = [];
  adapter.on("error", (error) => heard.push(error));
  assert.deepEqual(heard, []);
});

test("errors reach Keyv's listeners, and a given cache stays open", async () => {
  using cache = open();
  const keyv = new Keyv({ store: new KeyvZcache({ cache }) });
  const told: ZcacheError[] = [];
  keyv.on("error", (error: ZcacheError) => told.push(error));
  assert.equal(await keyv.get("k".repeat(2000)), undefined);
  assert.deepEqual(
    told.map((error) => error.code),
    ["ERR_KEY"],
  );
  await keyv.disconnect();
  assert.equal(cache.size, 0);
  assert.throws(() => new KeyvZcache({ cache, cacheOptions: {} }), ZcacheError);
  assert.throws(() => new KeyvZcache({ cache: new Map() as never }), /Cache.create/);
  assert.throws(() => new KeyvZcache({ memoryMax: 5 } as never), /no option "memoryMax"/);
  assert.throws(() => new KeyvZcache({ prefx: "a" } as never), /did you mean prefix\?/);
  assert.throws(() => new KeyvZcache({ prefix: 5 } as never), /prefix must be a string, not 5/);
  await assert.rejects(new KeyvZcache({ cache }).set("k", 1, Number.NaN), ZcacheError);
});
