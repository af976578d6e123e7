// Overwrites in place: dense pools stay dense, a page is never lost or mixed with the one before,
// and work that was begun on the old page does not touch the new one.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { nodePlatform } from "../../src/node/platform.ts";
import { ObjectWriter } from "../../src/pool/object_writer.ts";
import type { StoreOptions } from "../../src/store/options.ts";
import * as Page from "../../src/store/page.layout.ts";
import * as Root from "../../src/store/store.layout.ts";
import { Store, stateOf } from "../../src/store/store.ts";
import * as Entry from "../../src/tmem/entry.layout.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { formatValues } from "../../src/values/format.ts";
import { SetRequest } from "../../src/values/request.ts";
import { Values } from "../../src/values/values.ts";
import { SimulatedThreads } from "../doubles/simulated_threads.ts";

const PAGE = 4096;

/** A page of random bytes, so many of them, and then a byte over and over. */
function pageOf(seed: number, randomBytes: number): Uint8Array {
  const page = new Uint8Array(PAGE).fill(seed & 255);
  let state = (seed * 2654435761 + 1) >>> 0;
  for (let i = 0; i < randomBytes; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    page[i] = state >>> 24;
  }
  return page;
}

const key = (page: number) => new TmemKey().setObject(1).setIndex(page);

/** A store and the same store in another simulated thread. */
function openTwice(options: StoreOptions) {
  const threads = new SimulatedThreads();
  const platform = { ...nodePlatform(), threads };
  const store = Store.create({ memoryMax: "8MiB", ...options }, platform);
  const other = Store.attach(store.share(), platform);
  return { store, other, otherName: threads.last, threads };
}

function handleOf(store: Store, pool: number, page: number): number {
  const state = stateOf(store);
  const entry = state.findLocked(pool, key(page));
  assert.ok(entry > 0);
  return state.words[entry + Entry.VALUE]!;
}

/** Bytes of the pool's page frames in which there is no data. */
function waste(store: Store): number {
  const state = stateOf(store);
  const bytes = state.words[state.gaugeAt(Root.PERSISTENT, Root.BYTES)]! >>> 0;
  return state.zpools[Root.PERSISTENT]!.totalPages() * PAGE - bytes;
}

test("a page is overwritten in place where the slot suits it, in dense pools only", () => {
  for (const pool of ["dense", "zsmalloc"]) {
    const { store } = openTwice({ pool });
    const id = store.createPool({ persistent: true }) as number;
    for (let page = 0; page < 200; page++) store.put(id, key(page), pageOf(page, 2000));
    const before = handleOf(store, id, 7);
    assert.equal(store.put(id, key(7), pageOf(1007, 2000)), 0);
    assert.equal(handleOf(store, id, 7) === before, pool === "dense", pool);
    // Too small for the slot, and too large.
    for (const randomBytes of [1000, 3000]) {
      const was = handleOf(store, id, 7);
      assert.equal(store.put(id, key(7), pageOf(2007, randomBytes)), 0);
      assert.notEqual(handleOf(store, id, 7), was);
    }
    const target = new Uint8Array(PAGE);
    assert.ok(store.get(id, key(7), target));
    assert.deepEqual(target, pageOf(2007, 3000));
    store.verify();
    store.close();
  }
});

test("overwrites waste little, and maintenance takes that back", () => {
  const sizes = fc.array(fc.integer({ min: 1500, max: 1900 }), { minLength: 900, maxLength: 900 });
  const property = fc.property(sizes, fc.integer(), (randomBytes, seed) => {
    const [overwritten, fresh] = [openTwice({}).store, openTwice({}).store];
    const ids = [overwritten, fresh].map((one) => one.createPool({ persistent: true }) as number);
    const target = new Uint8Array(PAGE);
    for (let page = 0; page < 300; page++) {
      overwritten.put(ids[0]!, key(page), pageOf(page, 1900));
    }
    for (const [nth, bytes] of randomBytes.entries()) {
      overwritten.put(ids[0]!, key(nth % 300), pageOf(nth + seed, bytes));
    }
    for (let page = 0; page < 300; page++) {
      const content = pageOf(600 + page + seed, randomBytes[600 + page]!);
      fresh.put(ids[1]!, key(page), content);
      assert.ok(overwritten.get(ids[0]!, key(page), target));
      assert.deepEqual(target, content);
    }
    const bytes = waste(fresh);
    const total = overwritten.stats().compr_data_size;
    // What classes alone waste, or the bound, and one overwrite above it.
    assert.ok(waste(overwritten) <= Math.max(bytes + total / 64, total / 32) + PAGE / 16);
    for (let step = 0; step < 20; step++) overwritten.maintain();
    overwritten.verify();
    assert.ok(waste(overwritten) <= Math.max(bytes + total / 64, total / 64) + PAGE);
    for (const page of [0, 150, 299]) {
      assert.ok(overwritten.get(ids[0]!, key(page), target));
      assert.deepEqual(target, pageOf(600 + page + seed, randomBytes[600 + page]!));
    }
    overwritten.close();
    fresh.close();
  });
  fc.assert(property, { numRuns: 8 });
});

test("an overwrite whose thread dies half-way leaves the old page", () => {
  const { copy } = ObjectWriter.prototype;
  for (let bytes = 1; bytes < 2500; bytes += 311) {
    const { store, other, otherName, threads } = openTwice({});
    const id = store.createPool({ persistent: true }) as number;
    for (let page = 0; page < 50; page++) store.put(id, key(page), pageOf(page, 2000));
    ObjectWriter.prototype.copy = function (target, source, sizeBytes) {
      copy.call(this, target, source, Math.min(bytes, sizeBytes));
      throw new Error("terminated");
    };
    other.arena.lock.unlock = () => {};
    try {
      assert.throws(() => other.put(id, key(9), pageOf(1009, 2000)), /terminated/);
    } finally {
      ObjectWriter.prototype.copy = copy;
    }
    threads.dead.add(otherName);
    store.verify();
    const target = new Uint8Array(PAGE);
    assert.ok(store.get(id, key(9), target));
    assert.deepEqual(target, pageOf(9, 2000));
    store.close();
  }
});

test("a page that is overwritten while it is recompressed stays as it was put", () => {
  const { store, other } = openTwice({ recompress: { codec: "deflate", idleSeconds: 0 } });
  const id = store.createPool({ persistent: true }) as number;
  // Random digits, which the denser codec makes much smaller than LZ4.
  const before = pageOf(1, PAGE).map((byte) => 48 + (byte % 10));
  const after = before.with(100, before[100]! ^ 1);
  assert.equal(store.put(id, key(1), before), 0);
  const value = handleOf(store, id, 1);
  const { codecs } = stateOf(store);
  const of = codecs.of.bind(codecs);
  let isOverwritten = false;
  // Asked for between the copy of the old page and its exchange.
  codecs.of = (codec, ...more) => {
    if (codec === Page.DENSE && !isOverwritten) {
      isOverwritten = true;
      assert.equal(other.put(id, key(1), after), 0);
    }
    return of(codec, ...more);
  };
  store.scanIdle({ entries: 10, recompress: { idleTicks: 0 } });
  assert.ok(isOverwritten);
  assert.equal(handleOf(store, id, 1), value, "it was overwritten in place");
  const target = new Uint8Array(PAGE);
  assert.ok(store.get(id, key(1), target));
  assert.deepEqual(target, after);
  codecs.of = of;
  store.scanIdle({ entries: 10, recompress: { idleTicks: 0 } });
  assert.ok(store.get(id, key(1), target));
  assert.deepEqual(target, after);
  assert.equal(stateOf(store).counter("recompressed_pages"), 1);
  store.close();
});

test("a value that is set anew while its expiry is being handled stays", () => {
  const { store, other } = openTwice({ content: "values" });
  formatValues(store, () => 7);
  const name = Buffer.from("a key");
  const open = (one: Store) =>
    new Values(
      one,
      () => 1000,
      () => 5,
    );
  const set = (values: Values, text: string, expiresMs: number) => {
    const value = Buffer.from(text);
    const sizes = { keyBytes: name.length, metaBytes: 0, valueBytes: value.length };
    const request = { key: name, meta: Buffer.alloc(0), value, ...sizes, expiresMs };
    values.set(Object.assign(new SetRequest(), request));
  };
  const [values, others] = [open(store), open(other)];
  set(values, "x".repeat(100), 2000);
  const { lock } = store.arena;
  const unlock = lock.unlock.bind(lock);
  // The first release of the lock is that of the walk, which has picked the value.
  lock.unlock = () => {
    lock.unlock = unlock;
    unlock();
    set(others, "y".repeat(100), 9000);
  };
  store.scanIdle({ entries: 10, nowMs: 3000 });
  assert.ok(values.find(name, name.length));
  store.close();
});
