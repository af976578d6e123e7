// Options of all methods: an unknown name is refused and the nearest one suggested; an invalid
// value is an error with a code and the allowed range.
import assert from "node:assert/strict";
import { test } from "node:test";
import { zcacheDriver as bentoDriver } from "../../src/adapters/bentocache.ts";
import { ZcacheChunkStore } from "../../src/adapters/chunk_store.ts";
import { KeyvZcache } from "../../src/adapters/keyv.ts";
import { zcacheDriver } from "../../src/adapters/unstorage.ts";
import {
  Arena,
  Cache,
  type CacheOptions,
  createStore,
  nodeCodecs,
  type StoreOptions,
  trainDictionary,
  ZcacheError,
  Zswap,
} from "../../src/index.ts";
import { startMemcachedServer } from "../../src/memcached/index.ts";
import { startNbdServer } from "../../src/nbd/index.ts";
import { Zram } from "../../src/zram/zram.ts";

function refusal(pattern: RegExp) {
  return (error: unknown) => {
    assert.ok(error instanceof ZcacheError && error.code === "ERR_OPTION", String(error));
    assert.match(error.message, pattern);
    return true;
  };
}

/** Values that options are given by mistake, some of which run code or can't be made text of. */
function strangers(): unknown[] {
  const boo = () => {
    throw new Error("it is asked for its text");
  };
  return [
    ...[null, true, false, 0, -1, 2.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 60, 10n, "", "x"],
    ...[Symbol("s"), [], {}, () => 1, new Date(), Object.create(null)],
    { toString: boo, valueOf: boo, [Symbol.toPrimitive]: boo },
    new Proxy({}, {}),
  ];
}

test("a misspelt option name is reported, in all methods", async () => {
  using cache = Cache.create<string, unknown>({ backgroundMs: 0 });
  using store = createStore({ memoryMax: "4MiB" });
  const uuid = new Uint8Array(16);
  const slips: [meant: string, call: () => unknown][] = [
    ["ttl", () => cache.set("k", 1, { tll: 5 } as never)],
    ["ttl", () => cache.set("k", undefined, { tll: 5 } as never)],
    ["ttl", () => cache.setMany([["k", 1]], { tll: 5 } as never)],
    ["ttl", () => cache.touch("k", { ttls: 5 } as never)],
    ["allowStale", () => cache.get("k", { allowstale: true } as never)],
    ["allowStale", () => cache.getMany(["k"], { allowStal: true } as never)],
    ["memoryMax", () => Cache.create({ memorymax: 5 } as never)],
    ["max", () => Cache.create({ near: { mac: 5 } } as never)],
    ["path", () => Cache.create({ persist: { pth: "x" } } as never)],
    ["path", () => Cache.create({ writeBack: { pat: "x" } } as never)],
    ["level", () => Cache.create({ codecOptions: { levle: 3 } } as never)],
    ["serializer", () => Cache.attach(cache.share(), { serialiser: {} } as never)],
    ["memoryMax", () => createStore({ memoryMx: 5 } as never)],
    ["codec", () => createStore({ recompress: { codc: "zstd" } } as never)],
    ["maxZsizePercent", () => createStore({ admission: { maxZsizePercnt: 5 } } as never)],
    ["persistent", () => store.createPool({ persistant: true } as never)],
    ["maxPoolPercent", () => new Zswap(store, { maxPoolPercnt: 5, uuid } as never)],
    ["pageSize", () => Arena.create({ sizeBytes: 1 << 20, pagesize: 4096 } as never)],
    ["zstd", () => nodeCodecs({ zstt: "wasm" } as never)],
    ["level", () => nodeCodecs().create("zstd", store.arena, { leve: 3 } as never)],
    ["prefix", () => new KeyvZcache({ cache, prefx: "a" } as never)],
    ["base", () => zcacheDriver({ cache, bas: "a" } as never)],
    ["prefix", () => bentoDriver({ cache, prefxi: "a" } as never)],
  ];
  for (const [meant, call] of slips) {
    assert.throws(call, refusal(new RegExp(`did you mean ${meant}\\?`)), meant);
  }
  const loader = () => assert.fail("the options are checked before it runs");
  await assert.rejects(
    cache.fetch("k", loader, { forceRefesh: true } as never),
    refusal(/forceRefresh\?/),
  );
  await assert.rejects(cache.fetch("k", loader, { ttl: -1 }), refusal(/ttl/));
  await assert.rejects(startMemcachedServer({ memoryMx: 1 } as never), refusal(/memoryMax\?/));
  await assert.rejects(
    startNbdServer(store, { exports: [], listen: [], thread: 1 } as never),
    refusal(/threads\?/),
  );
  assert.equal(cache.size, 0);
});

test("new Cache() says what to call instead", () => {
  const Class = Cache as unknown as new (options?: object) => Cache;
  for (const make of [() => new Class(), () => new Class({ memoryMax: 5 })]) {
    assert.throws(make, refusal(/Cache\.create/));
  }
});

test("any value of an option is accepted or refused with a code", () => {
  const cacheNames: (keyof CacheOptions)[] = [
    ...(["memoryMax", "ttl", "staleWhileRevalidate", "codec", "codecOptions", "tiers"] as const),
    ...(["dictionary", "policy", "pageSize", "writeBack", "persist", "near", "classes"] as const),
    "backgroundMs",
  ];
  const storeNames: (keyof StoreOptions)[] = [
    ...([
      "memoryMax",
      "pageSize",
      "codec",
      "codecOptions",
      "recompress",
      "content",
      "pool",
    ] as const),
    ...(["ephemeralPool", "persistentPool", "policy", "reclaim", "lowWatermark"] as const),
    ...(["highWatermark", "acceptThreshold", "admission", "writeBack"] as const),
  ];
  const tried = (name: string, value: unknown, open: (options: object) => { close(): void }) => {
    try {
      open({ memoryMax: "2MiB", backgroundMs: 0, [name]: value }).close();
      assert.notEqual(value, null, `${name}: null is nothing`);
    } catch (error) {
      assert.ok(error instanceof ZcacheError, `${name}: ${(error as Error).stack}`);
      assert.ok(error.message.length > 15, error.message);
    }
  };
  for (const value of strangers()) {
    for (const name of [...cacheNames, "serializer"]) {
      tried(name, value, (options) => Cache.create(options));
    }
    for (const name of storeNames) {
      tried(name, value, ({ memoryMax, [name as "x"]: one }: { memoryMax?: string; x?: unknown }) =>
        createStore({ memoryMax, [name]: one } as StoreOptions),
      );
    }
    tried("options", value, () => Cache.create(value as never));
    tried("options", value, () => createStore(value as never));
  }
});

test("any argument is accepted or refused with a code", async () => {
  using cache = Cache.create<string, unknown>({ memoryMax: "4MiB", backgroundMs: 0 });
  using store = createStore({ memoryMax: "4MiB" });
  const zram = Zram.create(store, 1 << 16);
  const uuid = new Uint8Array(16);
  const check = (name: string, error: unknown) =>
    assert.ok(error instanceof ZcacheError, `${name}: ${(error as Error)?.stack}`);
  for (const value of strangers() as never[]) {
    const calls: Record<string, () => unknown> = {
      key: () => cache.get(value),
      "key of set": () => cache.set(value, 1),
      has: () => cache.has(value),
      delete: () => cache.delete(value),
      touch: () => cache.touch("k", value),
      remainingTtl: () => cache.remainingTtl(value),
      set: () => cache.set("k", 1, value),
      ttl: () => cache.set("k", 1, { ttl: value }),
      staleWhileRevalidate: () => cache.set("k", 1, { staleWhileRevalidate: value }),
      get: () => cache.get("k", value),
      allowStale: () => cache.get("k", { allowStale: value }),
      resize: () => cache.resize(value),
      on: () => cache.on(value, () => undefined),
      listener: () => cache.on("dictionary", value).off("dictionary", value),
      attach: () => Cache.attach(value),
      createPool: () => store.createPool(value),
      uuid: () => store.createPool({ uuid: value }),
      client: () => store.createPool({ client: value }),
      persistent: () => store.createPool({ persistent: value }),
      zswap: () => new Zswap(store, { maxPoolPercent: value, uuid }),
      "options of zswap": () => new Zswap(store, value),
      arena: () => Arena.create({ sizeBytes: value }),
      "page size": () => Arena.create({ sizeBytes: 1 << 20, pageSize: value }),
      "options of an arena": () => Arena.create(value),
      zram: () => Zram.create(store, value),
      "number of zram": () => Zram.create(store, 4096, value),
      dictionary: () => nodeCodecs().create("lz4", store.arena, { dictionary: value }),
      level: () => nodeCodecs().create("zstd", store.arena, { level: value }).close?.(),
      implementation: () => nodeCodecs({ zstd: value }),
      samples: () => trainDictionary(value, 64),
      "size of a dictionary": () => trainDictionary([new Uint8Array(8)], value),
      chunkLength: () => new ZcacheChunkStore(value, { store }),
      keyv: () => new KeyvZcache(value),
      unstorage: () => zcacheDriver({ cache, ttl: value }),
      bentocache: () => bentoDriver({ cache, prefix: value }),
    };
    for (const [name, call] of Object.entries(calls)) {
      try {
        call();
      } catch (error) {
        check(name, error);
      }
    }
    await cache.fetch("k", value).catch((error) => check("loader", error));
    await cache.fetch("f", () => 1, value).catch((error) => check("fetch", error));
  }
  cache.store.verify();
  store.verify();
  zram.destroy();
});
