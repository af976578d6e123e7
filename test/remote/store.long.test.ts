// A store whose cold pages are in a real cluster: all masters get pages, a master that dies loses
// none of them, and nothing is left in the cluster at the end.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { MIB } from "../../src/base/units.ts";
import { createStore } from "../../src/node/stores.ts";
import { createRemote } from "../../src/remote/remote.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { noServers, startCluster } from "../doubles/engine_servers.ts";
import { fillPage } from "../doubles/store_fixture.ts";

const PAGES = 1500;
const WATCHDOG_MS = 60_000;
const keyOf = (nth: number) => new TmemKey().setObject(1).setIndex(nth);

async function until(what: string, isSo: () => boolean): Promise<void> {
  for (let waited = 0; !isSo(); waited += 5) {
    assert.ok(waited < WATCHDOG_MS, what);
    await sleep(5);
  }
}

test("pages in a cluster survive the death of a master", { skip: noServers }, async () => {
  const cluster = await startCluster({ masters: 3, replicas: 1 });
  const options = { nodes: cluster.nodes, prefix: "zcache-store", copies: 2, timeoutMs: 30_000 };
  const store = createStore({ memoryMax: 2 * MIB, remote: createRemote(options) });
  try {
    await store.remote!.ready;
    const pool = store.createPool({ persistent: true });
    const page = new Uint8Array(store.pageSize);
    const expected = new Uint8Array(store.pageSize);
    const put = (nth: number) => store.put(pool, keyOf(nth), fillPage(page, "noise", nth)) === 0;
    for (let nth = 0; nth < PAGES; nth++) await until(`page ${nth} finds room`, () => put(nth));
    await until("all pages have arrived", () => store.stats().remote!.in_transit === 0);
    assert.ok(store.stats().persistent.pagesRemote > PAGES / 2);
    const { nodes } = store.remote!.figures();
    assert.ok(nodes.filter(({ role }) => role === "master").every(({ requests }) => requests > 10));
    const readAll = async () => {
      for (let nth = 0; nth < PAGES; nth += 50) {
        const reads = Array.from({ length: 50 }, async (_, more) => {
          const target = new Uint8Array(store.pageSize);
          assert.ok(await store.getAsync(pool, keyOf(nth + more), target), `page ${nth + more}`);
          return target;
        });
        for (const [more, read] of (await Promise.all(reads)).entries()) {
          assert.deepEqual(read, fillPage(expected, "noise", nth + more));
        }
      }
    };
    await readAll();
    const restart = await cluster.killMaster(cluster.servers[0]!);
    await readAll();
    await restart();
    store.verify();
    assert.equal(store.flushObject(pool, keyOf(0)), PAGES);
    await until("all records are removed", () => store.stats().remote!.removals_waiting === 0);
    assert.ok(await store.remote!.empty());
  } finally {
    store.close();
    await cluster.end();
  }
});
