// A node that does not answer for a while: pages and values on other nodes are read and written as
// ever, what is in memory is read without a wait, and what waits for the node succeeds in the end.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Remote } from "../../src/backing/remote_contract.ts";
import { MIB } from "../../src/base/units.ts";
import { Cache } from "../../src/index.ts";
import { createStore } from "../../src/node/stores.ts";
import { createRemote } from "../../src/remote/remote.ts";
import { SLOTS, slotOf } from "../../src/remote/slots.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { noServers, startCluster } from "../doubles/engine_servers.ts";
import { fillPage } from "../doubles/store_fixture.ts";

const PAGES = 10_000;
/** Written while a node is stopped; fewer than the slots for pages in transit. */
const MORE_PAGES = 100;
const OBJECTS = 61;
const VALUES = 60;
const WATCHDOG_MS = 60_000;
/** Longer than the watchdog: nothing succeeds because a request was given up. */
const TIMEOUT_MS = 300_000;
const MASTERS = 3;
/** A node that is stopped is not taken for failed. */
const PATIENT = ["--cluster-node-timeout", "300000"];
const options = { skip: noServers, timeout: 300_000 };

async function until(what: string, isSo: () => boolean): Promise<void> {
  for (let waited = 0; !isSo(); waited += 5) {
    assert.ok(waited < WATCHDOG_MS, what);
    await sleep(5);
  }
}

/** Records which pages are stored on the first master, and which on others. */
function watchPuts(remote: Remote): { readonly slow: Set<number>; readonly others: Set<number> } {
  const pages = { slow: new Set<number>(), others: new Set<number>() };
  const put = remote.put.bind(remote);
  remote.put = async (records) => {
    const results = await put(records);
    for (const { key } of records) {
      const isSlow = slotOf(Buffer.from(key.run, "latin1")) < SLOTS / MASTERS;
      const index = Number.parseInt(key.name.split(".")[0]!, 16);
      pages[isSlow ? "slow" : "others"].add(index);
    }
    return results;
  };
  return pages;
}

test("a store: a slow node delays its own pages only", options, async () => {
  const cluster = await startCluster({ masters: MASTERS, options: PATIENT });
  const { nodes, servers } = cluster;
  const remote = createRemote({ nodes, prefix: "slow", timeoutMs: TIMEOUT_MS });
  const stored = watchPuts(remote);
  const store = createStore({ memoryMax: 32 * MIB, remote });
  try {
    await store.remote!.ready;
    const pool = store.createPool({ persistent: true });
    const keyOf = (nth: number) => new TmemKey().setObject(nth % OBJECTS).setIndex(nth);
    const page = new Uint8Array(store.pageSize);
    const expected = (nth: number) => fillPage(page, "noise", nth);
    const put = (nth: number) =>
      until(`page ${nth} is put`, () => store.put(pool, keyOf(nth), expected(nth)) === 0);
    for (let nth = 0; nth < PAGES; nth++) await put(nth);
    await until("all pages have arrived", () => store.stats().remote!.in_transit === 0);
    const isAway = (nth: number) => store.isRemote(pool, keyOf(nth));
    const away = [...stored.slow, ...stored.others].filter(isAway);
    servers[0]!.pause();
    const waiting = new Set(away);
    const read = async (nth: number) => {
      const target = new Uint8Array(store.pageSize);
      assert.ok(await store.getAsync(pool, keyOf(nth), target), `page ${nth}`);
      assert.deepEqual(target, expected(nth));
      waiting.delete(nth);
    };
    const reads = Promise.all(away.map(read));
    const isSlow = (nth: number) => stored.slow.has(nth);
    await until("pages of other nodes are read", () => [...waiting].every(isSlow));
    assert.ok(waiting.size > 0 && waiting.size < away.length);
    const before = stored.others.size;
    for (let nth = PAGES; nth < PAGES + MORE_PAGES; nth++) await put(nth);
    await until("pages go to other nodes", () => stored.others.size > before + MORE_PAGES / 4);
    for (let nth = PAGES; nth < PAGES + MORE_PAGES; nth++) if (!isAway(nth)) await read(nth);
    assert.ok(waiting.size > 0, "the node is still stopped");
    servers[0]!.resume();
    await reads;
    await until("all pages have arrived", () => store.stats().remote!.in_transit === 0);
    assert.equal(store.stats().counters.pers_pages_remote_failed, 0);
    store.verify();
  } finally {
    servers[0]!.resume();
    store.close();
    await cluster.end();
  }
});

test("a cache of a fleet: a slow node delays its own values only", options, async () => {
  const cluster = await startCluster({ masters: MASTERS, options: PATIENT });
  const { nodes, servers } = cluster;
  const remote = { nodes, prefix: "slow", mode: "shared", timeoutMs: TIMEOUT_MS } as const;
  const cache = Cache.create<string, string>({ memoryMax: 8 * MIB, remote });
  try {
    const load = async (key: string) => `value of ${key}`;
    const fetched = new Set<string>();
    const fetchAll = (prefix: string) =>
      Promise.all(
        Array.from({ length: VALUES }, async (_, nth) => {
          assert.equal(await cache.fetch(`${prefix}${nth}`, load), `value of ${prefix}${nth}`);
          fetched.add(`${prefix}${nth}`);
        }),
      );
    await fetchAll("a");
    servers[0]!.pause();
    const fetches = fetchAll("b");
    await until("values of other nodes are loaded", () => fetched.size > VALUES * 1.5);
    assert.ok(fetched.size < 2 * VALUES, "the node is still stopped");
    // Copies are read without a wait; some may have been dropped.
    const copies = [...fetched].filter((key) => cache.has(key));
    assert.ok(copies.length > 0);
    for (const key of copies) assert.equal(cache.get(key), `value of ${key}`);
    servers[0]!.resume();
    await fetches;
  } finally {
    servers[0]!.resume();
    cache.close();
    await cluster.end();
  }
});
