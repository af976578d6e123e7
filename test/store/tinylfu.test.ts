// tinylfu in a store: gets of all threads count, hits and misses.
import assert from "node:assert/strict";
import { test } from "node:test";
import { KIB, MIB } from "../../src/base/units.ts";
import { nodePlatform } from "../../src/node/platform.ts";
import { Store } from "../../src/store/store.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { fillPage, openStore } from "../doubles/store_fixture.ts";

/** Pages that are put once and never asked for: several times what the store has room for. */
const SCANNED = 3000;
const HOT = 30;

interface Fixture {
  readonly store: Store;
  put(object: number): void;
  get(object: number, by?: Store): boolean;
}

function open(memoryMax = MIB): Fixture {
  const store = openStore({ memoryMax, policy: "tinylfu" });
  const pool = store.createPool() as number;
  const key = new TmemKey();
  const page = new Uint8Array(store.pageSize);
  return {
    store,
    put: (object) => {
      const result = store.put(pool, key.setObject(object), fillPage(page, "text", object));
      assert.equal(result, 0);
    },
    get: (object, by = store) => by.get(pool, key.setObject(object), page),
  };
}

test("a scan evicts no frequently requested pages, even those of another thread", () => {
  const { store, put, get } = open();
  using other = Store.attach(store.share(), nodePlatform());
  for (let object = 0; object < HOT; object++) put(object);
  for (let times = 0; times < 10; times++) {
    for (let object = 0; object < HOT; object++) {
      assert.ok(get(object, object % 2 === 0 ? store : other));
    }
  }
  for (let object = 1000; object < 1000 + SCANNED; object++) put(object);
  const stayed = Array.from({ length: HOT }, (_, object) => get(object)).filter(Boolean).length;
  assert.ok(stayed >= 0.8 * HOT, `${stayed} of ${HOT}`);
  assert.ok(store.stats().counters.evicted_ephemeral_pages > SCANNED / 2);
  store.verify();
  other.detach();
  store.close();
});

test("a page with earlier misses stays once stored, and pages without requests go", () => {
  // What a sketch confuses is a matter of chance: several stores, of slightly different sizes.
  const sizes = [0, 64, 128, 192].map((more) => (1024 + more) * KIB);
  let stayed = 0;
  let newcomers = 0;
  for (const memoryMax of sizes) {
    const { store, put, get } = open(memoryMax);
    for (let object = 1000; object < 1000 + SCANNED; object++) put(object);
    for (let times = 0; times < 6; times++) {
      for (let object = 0; object < HOT; object++) assert.ok(!get(object));
    }
    for (let object = 0; object < HOT; object++) put(object);
    for (let object = 5000; object < 5000 + SCANNED; object++) put(object);
    for (let object = 0; object < HOT; object++) {
      if (get(object)) stayed++;
      if (get(5000 + object)) newcomers++;
    }
    store.verify();
    store.close();
  }
  const all = HOT * sizes.length;
  assert.ok(stayed >= 0.8 * all, `${stayed} of ${all}`);
  assert.ok(newcomers < 0.5 * all, `${newcomers} of ${all} newcomers`);
});
