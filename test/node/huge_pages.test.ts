// Huge pages: when the system is asked for them, and what the statistics say if not.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Cache, createStore, type Store, type StoreOptions } from "../../src/index.ts";
import { useHugePages } from "../../src/node/huge_pages.ts";
import type { MemoryCalls } from "../../src/node/memory_calls.ts";
import { nodePlatform } from "../../src/node/platform.ts";
import { ShardedStore } from "../../src/shard/sharded_store.ts";

const MADV_HUGEPAGE = 14;

/** A store that nobody has asked for huge pages for. */
function open(options: StoreOptions): Store {
  return ShardedStore.create({ ...options, hugePages: "auto" }, nodePlatform());
}

function recordedCalls(errno = 0) {
  const calls: (readonly [at: number, sizeBytes: number, advice: number])[] = [];
  const made: MemoryCalls = {
    by: "koffi",
    systemPage: 4096,
    madvise: (region, sizeBytes, advice) => {
      calls.push([region.byteOffset, sizeBytes, advice]);
      return errno;
    },
    mlock2: () => assert.fail("nothing is locked"),
  };
  return { calls, load: () => made };
}

for (const shards of [1, 3]) {
  test(`the system is asked once for each arena: ${shards} shard(s)`, () => {
    const { calls, load } = recordedCalls();
    const store = open({ memoryMax: "256MiB", shards });
    useHugePages(store.shards, load, () => "always [madvise] never\n");
    const sizes = store.shards.map(({ arena }) => [0, arena.bytes.length, MADV_HUGEPAGE]);
    assert.deepEqual(calls, sizes);
    assert.deepEqual(store.stats().hugePages, { isAsked: true, reason: undefined });
    store.close();
  });
}

test("without huge pages the statistics say why, and nothing else changes", () => {
  const missing = () => {
    throw new Error("Cannot find module 'koffi'");
  };
  const madvise = () => "always [madvise] never";
  for (const [memoryMax, load, policy, reason] of [
    ["63MiB", missing, madvise, /too small/],
    ["64MiB", missing, madvise, /^Cannot find module 'koffi'$/],
    ["64MiB", missing, () => "always madvise [never]", /says never/],
    ["64MiB", missing, () => "nonsense", /says undefined/],
    ["64MiB", recordedCalls(22).load, madvise, /^madvise failed with error number 22$/],
    [
      "64MiB",
      missing,
      () => {
        throw new Error("ENOENT: no such file");
      },
      /^ENOENT/,
    ],
  ] as const) {
    const store = open({ memoryMax });
    useHugePages(store.shards, load, policy);
    const { isAsked, reason: found } = store.stats().hugePages;
    assert.equal(isAsked, false);
    assert.match(found!, reason);
    store.close();
  }
});

test("where every process gets huge pages, no call is made", () => {
  const store = open({ memoryMax: "64MiB" });
  useHugePages(
    store.shards,
    () => assert.fail("loaded"),
    () => "[always] madvise never",
  );
  assert.deepEqual(store.stats().hugePages, { isAsked: true, reason: undefined });
  store.close();
});

test("the option: off unless set, and nothing but auto and off", async () => {
  using store = createStore({ memoryMax: "64MiB" });
  assert.deepEqual(store.stats().hugePages, { isAsked: false, reason: undefined });
  assert.throws(() => createStore({ hugePages: true as never }), /hugePages/);
  assert.throws(() => Cache.create({ hugePages: "on" as never }), /hugePages on: must be/);
  using small = createStore({ memoryMax: "8MiB", hugePages: "auto" });
  assert.match(small.stats().hugePages.reason!, /too small/);
  const cache = Cache.create({ memoryMax: "8MiB", hugePages: "auto" });
  assert.match(cache.stats().store.hugePages.reason!, /too small/);
  cache.close();
});
