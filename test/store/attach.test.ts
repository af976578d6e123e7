// Failed attempts to attach to a store, and memory that outlives the thread that allocated it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Cache, TmemKey } from "../../src/index.ts";
import { attachItems, openItems } from "../../src/memcached/items/open.ts";
import { DEFAULT_SETTINGS } from "../../src/memcached/settings.ts";
import { MAX_THREADS, THREADS } from "../../src/memory/arena.layout.ts";
import { nodePlatform } from "../../src/node/platform.ts";
import { policyNames } from "../../src/policy/registry.ts";
import * as Root from "../../src/store/store.layout.ts";
import { Store, stateOf } from "../../src/store/store.ts";
import { Zram } from "../../src/zram/zram.ts";
import { SimulatedThreads } from "../doubles/simulated_threads.ts";
import { fillPage } from "../doubles/store_fixture.ts";

const MIB = 1 << 20;

/** Thread numbers in use. */
function threadsOf({ words }: { readonly words: Int32Array }): number {
  return words.subarray(THREADS, THREADS + MAX_THREADS).filter((name) => name !== 0).length;
}

test("failing to attach to a full store leaves no thread number and no scratch behind", () => {
  const cache = Cache.create({ memoryMax: MIB, dictionary: false });
  const items = openItems({ ...DEFAULT_SETTINGS, memoryMax: MIB, dictionary: false });
  const page = Store.create({ memoryMax: MIB }, nodePlatform());
  const kinds = [
    { store: cache.store, attach: () => Cache.attach(cache.share()) },
    { store: items.shards.group.stores[0]!, attach: () => attachItems(items.share()) },
    { store: page, attach: () => Store.attach(page.share(), nodePlatform()) },
  ];
  for (const { store, attach } of kinds) {
    const attached = [];
    let failure: unknown;
    for (let nth = 1; nth < MAX_THREADS && failure === undefined; nth++) {
      try {
        attached.push(attach());
      } catch (error) {
        failure = error;
      }
    }
    assert.equal((failure as { code?: string }).code, "ERR_ARENA_FULL");
    assert.equal(threadsOf(store.arena), 1 + attached.length);
    const { framesUsed } = store.arena.frames;
    for (let nth = 0; nth < 10; nth++) assert.throws(attach, { code: "ERR_ARENA_FULL" });
    assert.equal(threadsOf(store.arena), 1 + attached.length);
    assert.equal(store.arena.frames.framesUsed, framesUsed);
    store.verify();
  }
  cache.close();
  items.close();
  page.close();
});

test("a thread that attaches has the eviction policy of the one that created the store", () => {
  for (const policy of policyNames()) {
    const cache = Cache.create<string, Uint8Array>({ memoryMax: MIB, dictionary: false, policy });
    const other = Cache.attach<string, Uint8Array>(cache.share());
    assert.equal(stateOf(other.store).policies[0]!.name, policy);
    for (let nth = 0; nth < 3000; nth++) {
      (nth % 2 === 0 ? cache : other).set(`${nth}`, fillPage(new Uint8Array(900), "noise", nth));
      (nth % 3 === 0 ? cache : other).get(`${nth >>> 1}`);
    }
    assert.ok(cache.size < 3000, "values were evicted");
    cache.store.verify();
    other.store.verify();
    const share = cache.share();
    const [store] = share.group.stores;
    const stores = [{ ...store!, options: { ...store!.options, policy: "none" } }];
    assert.throws(() => Cache.attach({ ...share, group: { ...share.group, stores } }), {
      code: "ERR_OPTION",
      message: /no eviction policy is called "none"; available: /,
    });
    other.detach();
    cache.close();
  }
});

test("a device survives the death of the thread that created it", () => {
  const threads = new SimulatedThreads();
  const platform = { ...nodePlatform(), threads };
  const root = Store.create({ memoryMax: 4 * MIB }, platform);
  const maker = Store.attach(root.share(), platform);
  const { last } = threads;
  const device = Zram.attach(root, Zram.create(maker, MIB).share());
  const page = fillPage(new Uint8Array(4096), "text", 1);
  assert.equal(device.write(8192, page), 0);
  threads.dead.add(last);
  // The next thread that attaches gets the scratch of the dead one.
  const others = Array.from({ length: 8 }, () => Store.attach(root.share(), platform));
  for (const other of others) {
    const at = other.reserve(4096);
    other.arena.bytes.fill(0xff, at, at + 4096);
  }
  const found = new Uint8Array(4096);
  assert.equal(device.read(8192, found), 0);
  assert.deepEqual(found, page);
  assert.equal(device.sizeBytes, MIB);
  root.verify();
});

test("a dead maintainer is forgotten, and threads that put do its work", () => {
  const threads = new SimulatedThreads();
  const platform = { ...nodePlatform(), threads };
  const root = Store.create({ memoryMax: 2 * MIB, lowWatermark: 20 }, platform);
  const maintainer = Store.attach(root.share(), platform);
  const { words } = root.arena;
  const at = root.share().zcacheStore + Root.MAINTAINER;
  words[at] = maintainer.owner;
  threads.dead.add(threads.last);
  const pool = root.createPool();
  const key = new TmemKey().setObject(1);
  const page = new Uint8Array(4096);
  for (let n = 0; n < 4000; n++) {
    assert.equal(root.put(pool, key.setIndex(n), fillPage(page, "text", n)), 0);
  }
  assert.equal(words[at], 0);
  root.verify();
});
