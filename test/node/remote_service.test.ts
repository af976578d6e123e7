// A store whose remote tier is served in the background by the thread that made the store.
import assert from "node:assert/strict";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { UNUSED } from "../../src/backing/outbox.layout.ts";
import { EINVAL, ENOMEM, ENOSPC } from "../../src/base/errno.ts";
import { MIB } from "../../src/base/units.ts";
import { createStore } from "../../src/node/stores.ts";
import { statesOf } from "../../src/shard/sharded_store.ts";
import type { StoreOptions } from "../../src/store/options.ts";
import type { Store } from "../../src/store/store.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { RemoteCluster, RemoteDouble, type RemoteDoubleOptions } from "../doubles/remote.ts";
import { fillPage } from "../doubles/store_fixture.ts";
import { temporaryFolder } from "../doubles/temporary_folder.ts";

const WATCHDOG_MS = 120_000;
const PAGES = 600;

/** Lets messages arrive by themselves, as a network does. */
function run(cluster: RemoteCluster): () => void {
  const timer = setInterval(() => {
    for (let n = 0; n < 500 && cluster.step(); n++);
  }, 1);
  return () => clearInterval(timer);
}

async function until(what: string, isSo: () => boolean): Promise<void> {
  for (let waited = 0; !isSo(); waited += 5) {
    assert.ok(waited < WATCHDOG_MS, what);
    await sleep(5);
  }
}

const keyOf = (nth: number) => new TmemKey().setObject(1).setIndex(nth);

/** Puts pages that memory has no room for; waits where nothing can leave yet. */
async function fill(store: Store, pool: number, pages = PAGES): Promise<void> {
  const page = new Uint8Array(store.pageSize);
  for (let nth = 0; nth < pages; nth++) {
    fillPage(page, "noise", nth);
    await until(`page ${nth} finds room`, () => store.put(pool, keyOf(nth), page) === 0);
  }
}

async function withStore(
  work: (store: Store, pool: number, cluster: RemoteCluster) => Promise<void>,
  options: StoreOptions = {},
  remoteOptions: RemoteDoubleOptions = {},
): Promise<RemoteCluster> {
  const cluster = new RemoteCluster({ seed: 1 });
  const stop = run(cluster);
  const remote = new RemoteDouble(cluster, remoteOptions);
  const store = createStore({ memoryMax: MIB, giveBack: "off", ...options, remote });
  try {
    await store.remote!.ready;
    await work(store, store.createPool({ persistent: true }), cluster);
  } finally {
    store.close();
    stop();
  }
  return cluster;
}

for (const shards of [1, 3]) {
  test(`pages go out, and come back to the same bytes: ${shards} shards`, async () => {
    const check = async (store: Store, pool: number) => {
      await fill(store, pool, PAGES * shards);
      const { persistent, remote, memory } = store.stats();
      assert.ok(persistent.pagesRemote > 0 && remote!.accepts && memory.remote > 0);
      const page = new Uint8Array(store.pageSize);
      const expected = new Uint8Array(store.pageSize);
      for (let nth = 0; nth < PAGES * shards; nth++) {
        assert.ok(await store.getAsync(pool, keyOf(nth), page));
        assert.deepEqual(page, fillPage(expected, "noise", nth));
      }
      store.verify();
    };
    await withStore(check, { memoryMax: shards * MIB, shards });
  });
}

test("a synchronous get of a remote page says so, and a flush removes the record", async () => {
  await withStore(async (store, pool, cluster) => {
    await fill(store, pool);
    const page = new Uint8Array(store.pageSize);
    const nth = Array.from({ length: PAGES }, (_, n) => n).find((n) =>
      store.isRemote(pool, keyOf(n)),
    )!;
    assert.throws(() => store.get(pool, keyOf(nth), page), { code: "ERR_REMOTE_PAGE" });
    const where = store.explain(pool, keyOf(nth));
    assert.ok(where.stored && where.where === "remote");
    assert.ok(await store.getAsync(pool, keyOf(nth), page, true));
    assert.equal(await store.getAsync(pool, keyOf(nth), page), false);
    assert.equal(store.flushObject(pool, keyOf(0)), PAGES - 1);
    await until("the cluster is empty", () => cluster.records === 0);
  });
});

test("other threads read remote pages through the thread that serves them", async () => {
  const check = async (store: Store, pool: number) => {
    // What is above the limit is for the threads that attach.
    store.limit(MIB);
    await fill(store, pool);
    const threads = [1, 2].map(async () => {
      const worker = new Worker(new URL("./remote_worker.js", import.meta.url), {
        workerData: { share: store.share(), pool, pages: PAGES, rounds: 3 },
      });
      const [{ remote }] = (await once(worker, "message")) as [{ remote: number }];
      assert.ok(remote > 0);
    });
    await Promise.all(threads);
    store.verify();
  };
  await withStore(check, { memoryMax: 2 * MIB }, { timeoutMs: WATCHDOG_MS });
});

test("pages return in the background once there is room", async () => {
  await withStore(async (store, pool) => {
    await fill(store, pool);
    const before = store.stats().persistent.pagesRemote;
    assert.ok(before > 0);
    for (let nth = 0; nth < PAGES; nth++)
      if (!store.isRemote(pool, keyOf(nth))) store.flush(pool, keyOf(nth));
    await until("pages return", () => store.stats().counters.repatriated_pages > 0);
    store.verify();
  });
});

test("a prefix that has an owner: the store works without it, and takes over later", async () => {
  const cluster = new RemoteCluster({ seed: 2 });
  const stop = run(cluster);
  const first = new RemoteDouble(cluster);
  await first.acquire();
  const orphan = {
    ...{ key: { epoch: 1, run: "1.0.1.0", name: "0.1" }, prefixBytes: 0, codec: "lz4" },
    ...{ dictionary: 0, plainBytes: 4096, data: new Uint8Array(10), isPersistent: true },
  };
  await first.put([orphan]);
  const store = createStore({ memoryMax: MIB, giveBack: "off", remote: new RemoteDouble(cluster) });
  try {
    await assert.rejects(store.remote!.ready, { code: "ERR_REMOTE_OWNED" });
    assert.equal(store.stats().remote!.accepts, false);
    const pool = store.createPool({ persistent: true });
    assert.equal(store.put(pool, keyOf(0), new Uint8Array(4096).fill(1)), 0);
    first.loseLease();
    await until("the store takes over", () => store.stats().remote!.accepts);
    await until("the records of the dead owner are gone", () => cluster.records === 0);
  } finally {
    store.close();
    stop();
  }
});

test("putAsync waits for room that pages leave, and is refused without any", async () => {
  const check = async (store: Store, pool: number, cluster: RemoteCluster) => {
    const page = new Uint8Array(store.pageSize);
    const refused: number[] = [];
    for (let nth = 0; nth < PAGES; nth++) {
      fillPage(page, "noise", nth);
      // A synchronous put is refused where this one waits.
      const result = store.put(pool, keyOf(nth), page);
      if (result !== 0) refused.push(nth);
      if (result !== 0) assert.equal(await store.putAsync(pool, keyOf(nth), page), 0);
    }
    assert.ok(refused.length > 0, "memory was full");
    for (let nth = 0; nth < PAGES; nth++) {
      assert.ok(await store.getAsync(pool, keyOf(nth), page), `page ${nth}`);
      assert.deepEqual(page, fillPage(new Uint8Array(store.pageSize), "noise", nth));
    }
    // Nothing arrives any more: after the tier's timeout the page is refused.
    cluster.isPaused = true;
    let result = 0;
    for (let nth = PAGES; result === 0; nth++) {
      result = await store.putAsync(pool, keyOf(nth), fillPage(page, "noise", nth));
    }
    assert.ok([ENOMEM, ENOSPC].includes(result as never), String(result));
    assert.equal(await store.putAsync(pool + 1, keyOf(0), page), EINVAL);
    cluster.isPaused = false;
    store.verify();
  };
  await withStore(check);
  await withStore(check, { memoryMax: 3 * MIB, shards: 3 }, {});
});

test("which pages may go out is in the statistics, with RAMster's names", async () => {
  await withStore(async (store, pool) => {
    const enabled = () => {
      const { eph_remotify_enable, pers_remotify_enable } = store.stats().remote!;
      return [eph_remotify_enable, pers_remotify_enable];
    };
    assert.deepEqual(enabled(), [true, true]);
    store.remotify({ persistent: false });
    assert.deepEqual(enabled(), [true, false]);
    const page = new Uint8Array(store.pageSize);
    let stored = 0;
    while (store.put(pool, keyOf(stored), fillPage(page, "noise", stored)) === 0) stored++;
    assert.equal(store.stats().counters.pers_pages_remoted, 0);
    store.remotify({ ephemeral: false, persistent: true });
    assert.deepEqual(enabled(), [false, true]);
    assert.equal(await store.putAsync(pool, keyOf(stored), page), 0);
    await until("a page has gone", () => store.stats().counters.pers_pages_remoted > 0);
    const { counters } = store.stats();
    assert.equal(counters.eph_pages_remoted, 0);
    assert.equal(counters.pers_pages_remote_failed + counters.pers_pages_remote_nomem, 0);
  });
});

test("a read that a thread has asked for is given up when the thread dies", async () => {
  await withStore(
    async (store, pool, cluster) => {
      store.limit(MIB);
      await fill(store, pool);
      cluster.isPaused = true;
      const worker = new Worker(new URL("./remote_worker.js", import.meta.url), {
        workerData: { share: store.share(), pool, pages: PAGES, rounds: 1 },
      });
      const outbox = statesOf(store)[0]!.outbox!;
      const fetches = Array.from({ length: outbox.fetches.count }, (_, nth) => nth);
      const stateOf = (nth: number) => store.arena.words[outbox.fetches.stateAt(nth)];
      await until("all fetches are in use", () => fetches.every((nth) => stateOf(nth) !== UNUSED));
      await worker.terminate();
      cluster.isPaused = false;
      await until("all fetches are free", () => fetches.every((nth) => stateOf(nth) === UNUSED));
      const page = new Uint8Array(store.pageSize);
      assert.ok(await store.getAsync(pool, keyOf(0), page));
      store.verify();
    },
    { memoryMax: 2 * MIB },
  );
});

test("a full cluster: pages go to the file, and nothing is lost", async () => {
  const path = join(temporaryFolder("remote"), "pages.zc");
  const writeBack = { path, max: "16MiB", existing: "discard" as const };
  const cluster = new RemoteCluster({ seed: 3, recordsMax: 1 });
  const stop = run(cluster);
  const store = createStore({
    ...{ memoryMax: MIB, giveBack: "off" as const, writeBack },
    remote: new RemoteDouble(cluster),
  });
  try {
    await store.remote!.ready;
    const pool = store.createPool({ persistent: true });
    await fill(store, pool);
    await until("the cluster refuses", () => store.stats().counters.pers_pages_remote_nomem > 0);
    assert.ok(store.stats().persistent.pagesInFile > 0);
    await until("no page is in transit", () => store.stats().remote!.in_transit === 0);
    const page = new Uint8Array(store.pageSize);
    for (let nth = 0; nth < PAGES; nth++) {
      assert.ok(await store.getAsync(pool, keyOf(nth), page));
      assert.deepEqual(page, fillPage(new Uint8Array(4096), "noise", nth));
    }
    store.verify();
  } finally {
    store.close();
    stop();
  }
});

test("a cluster that was emptied: persistent pages are errors, again and again", async () => {
  await withStore(async (store, pool, cluster) => {
    await fill(store, pool);
    cluster.empty();
    const nth = Array.from({ length: PAGES }, (_, n) => n).find((n) =>
      store.isRemote(pool, keyOf(n)),
    )!;
    const page = new Uint8Array(store.pageSize);
    for (const _ of [1, 2]) {
      await assert.rejects(store.getAsync(pool, keyOf(nth), page), { code: "ERR_CORRUPT" });
    }
    assert.equal(store.stats().counters.lost_pages, 2);
    assert.equal(store.put(pool, keyOf(nth), page), 0);
    assert.ok(await store.getAsync(pool, keyOf(nth), page));
  });
});

test("pages of a pool that may not go out stay", async () => {
  await withStore(async (store, pool) => {
    store.remotify({ persistent: false });
    const page = new Uint8Array(store.pageSize);
    let refused = 0;
    for (let nth = 0; nth < PAGES; nth++) {
      if (store.put(pool, keyOf(nth), fillPage(page, "noise", nth)) !== 0) refused++;
    }
    assert.ok(refused > 0);
    assert.equal(store.stats().persistent.pagesRemote, 0);
  });
});
