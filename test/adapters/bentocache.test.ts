// bentocache's own suite for drivers, over ours; and bentocache on top of it.
//
// The suite is written for Japa's runner, of which it takes the `test` and `group` that it is
// given: here they lead to Node's.
import assert from "node:assert/strict";
import { after, afterEach, before, test as nodeTest } from "node:test";
import { BentoCache, bentostore } from "bentocache";
import { registerCacheDriverTestSuite } from "bentocache/test_suite";
import { ZcacheBento, ZcacheBentoShared, zcacheDriver } from "../../src/adapters/bentocache.ts";
import { Cache, ZcacheError } from "../../src/index.ts";
import { sharedOptions } from "./shared_options.ts";

/** Tests that the suite of bentocache 1.6 has. */
const SUITE_TESTS = 21;

const japaAssert = {
  deepEqual: assert.deepEqual,
  notEqual: assert.notEqual,
  isTrue: (value: unknown) => assert.equal(value, true),
  isFalse: (value: unknown) => assert.equal(value, false),
  isUndefined: (value: unknown) => assert.equal(value, undefined),
};

interface JapaContext {
  readonly assert: typeof japaAssert;
  readonly cleanup: (work: () => Promise<void>) => void;
}

let registered = 0;
const shared = Cache.create<string, unknown>({ memoryMax: "8MiB", ...sharedOptions("suite-b") });
let tearDown: () => unknown = () => undefined;

function japaTest(name: string, body: (context: JapaContext) => Promise<void>): void {
  registered++;
  nodeTest(`suite: ${name}`, async (t) => {
    await body({ assert: japaAssert, cleanup: (work) => t.after(work) });
  });
}

const japaGroup = {
  setup(begin: () => Promise<() => unknown>): void {
    before(async () => {
      tearDown = await begin();
    });
  },
  tap: () => undefined,
  each: { teardown: (end: () => Promise<void>) => afterEach(end) },
};

after(async () => {
  await tearDown();
  shared.close();
});

registerCacheDriverTestSuite({
  test: japaTest as never,
  group: japaGroup as never,
  createDriver: (options) => {
    const config = { prefix: "root", cache: shared, ...options };
    return (
      shared.fleet === undefined ? new ZcacheBento(config) : new ZcacheBentoShared(config)
    ) as never;
  },
  supportsMilliseconds: true,
});

nodeTest("the suite was run", () => {
  assert.ok(registered >= SUITE_TESTS, `${registered} tests`);
});

nodeTest("bentocache with it as first layer", async () => {
  const cache = Cache.create<string, unknown>({ memoryMax: "8MiB" });
  const bento = new BentoCache({
    default: "main",
    stores: {
      main: bentostore().useL1Layer(zcacheDriver({ cache })),
      other: bentostore({ prefix: "other" }).useL1Layer(zcacheDriver({ cache })),
    },
  });
  const load = async () => ({ made: [1] });
  assert.deepEqual(await bento.getOrSet({ key: "k", factory: load, ttl: "10m" }), { made: [1] });
  const again = async () => ({ made: [2] });
  assert.deepEqual(await bento.getOrSet({ key: "k", factory: again, ttl: "10m" }), { made: [1] });
  await bento.use("other").set({ key: "k", value: 5 });
  assert.equal(await bento.use("other").get({ key: "k" }), 5);
  await bento.use("other").clear();
  assert.equal(await bento.use("other").get({ key: "k" }), undefined);
  await bento.namespace("users").set({ key: "1", value: "one" });
  assert.equal(await bento.namespace("users").get({ key: "1" }), "one");
  assert.ok([...cache.keys()].some((key) => key.endsWith("users:1")));
  assert.deepEqual(await bento.get({ key: "k" }), { made: [1] });
  await bento.disconnectAll();
  assert.ok(cache.size > 0);
  cache.close();
});

nodeTest("a driver with a cache of its own closes it; ttl and options", async () => {
  const driver = zcacheDriver({ cacheOptions: { memoryMax: "8MiB" } });
  const one = driver.factory(driver.options);
  one.set("k", "v", 60_000);
  const left = one.getRemainingTtl("k");
  assert.ok(left !== undefined && left > 0 && left <= 60_000);
  assert.equal(one.getRemainingTtl("none"), undefined);
  assert.equal(one.namespace("n").namespace("m").set("k", "deep"), true);
  assert.equal(one.get("n:m:k"), "deep");
  one.disconnect();
  one.disconnect();
  assert.throws(() => one.get("k"), ZcacheError);
  assert.throws(() => zcacheDriver({ maxSize: "1MB" } as never), /no option "maxSize"/);
});

nodeTest("namespaces whose names begin alike have values of their own", () => {
  using cache = Cache.create<string, unknown>({ backgroundMs: 0 });
  const root = zcacheDriver({ cache, prefix: "p" }).factory({ cache, prefix: "p" });
  const names = ["users", "users:admins", "user", "users%3Aadmins", "🎉"];
  const spaces = names.map((name) => root.namespace(name));
  for (const [nth, space] of spaces.entries()) space.set("k", `${nth}`);
  root.namespace("users").namespace("inner").set("k", "inner");
  for (const [nth, space] of spaces.entries()) {
    space.clear();
    for (const [at, other] of spaces.entries()) {
      assert.equal(other.get("k"), at <= nth ? undefined : `${at}`, `${names[nth]} ${names[at]}`);
    }
  }
  assert.equal(cache.size, 0, "and what is nested in it goes with a namespace");
  assert.throws(() => zcacheDriver({ prefix: 5 } as never), /prefix must be a string, not 5/);
});
