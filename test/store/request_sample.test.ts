// The recording of requests for a sample of the keys: in a store of values, of one shard and of
// several, and in a store of pages. What is recorded is compared with what was done.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Cache } from "../../src/index.ts";
import { createStore } from "../../src/node/stores.ts";
import type { StoreOptions } from "../../src/store/options.ts";
import * as Sample from "../../src/store/request_sample.layout.ts";
import { isSampledBelow } from "../../src/store/request_sample.ts";
import type { RequestSampling } from "../../src/store/request_sampling.ts";
import { SampleReader } from "../../src/store/sample_reader.ts";
import * as Root from "../../src/store/store.layout.ts";
import type { Store } from "../../src/store/store.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { fillPage } from "../doubles/store_fixture.ts";

interface Event {
  readonly operation: number;
  readonly hash: number;
  readonly storedBytes: number;
  readonly plainBytes: number;
  readonly expiresS: number;
}

/** Reads all rings. */
function readAll(readers: readonly SampleReader[], nowMs = 0): Event[] {
  const events: Event[] = [];
  for (const reader of readers) reader.read(nowMs, (request) => events.push({ ...request }));
  return events;
}

function readersOf(sampling: RequestSampling): SampleReader[] {
  return sampling.rings.map((ring) => new SampleReader(ring));
}

function walk(sampling: RequestSampling) {
  while (!sampling.step());
  return sampling.pages();
}

function countOf(events: readonly Event[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { operation } of events) counts[operation] = (counts[operation] ?? 0) + 1;
  return counts;
}

class Pages {
  readonly store: Store;
  readonly pool: number;
  readonly #key = new TmemKey();
  readonly #page = new Uint8Array(4096);

  constructor(options: StoreOptions, persistent = false) {
    this.store = createStore({ memoryMax: "8MiB", ...options });
    this.pool = this.store.createPool({ persistent }) as number;
  }

  #keyOf(nth: number): TmemKey {
    return this.#key.setObject(nth).setIndex(0);
  }

  tryPut(nth: number): boolean {
    fillPage(this.#page, nth % 5 === 0 ? "same" : "text", nth + 1);
    return this.store.put(this.pool, this.#keyOf(nth), this.#page) === 0;
  }

  put(nth: number): void {
    assert.ok(this.tryPut(nth));
  }

  get(nth: number, exclusive = false): boolean {
    return this.store.get(this.pool, this.#keyOf(nth), this.#page, exclusive);
  }

  flush(nth: number): void {
    this.store.flush(this.pool, this.#keyOf(nth));
  }
}

for (const shards of [1, 3]) {
  test(`pages, ${shards} shards: each request is recorded, for all keys or for some`, () => {
    const pages = new Pages({ shards });
    const { store } = pages;
    const act = () => {
      for (let nth = 0; nth < 300; nth++) pages.put(nth);
      for (let nth = 0; nth < 400; nth++) pages.get(nth);
      for (let nth = 0; nth < 50; nth++) pages.get(nth, true);
      for (let nth = 100; nth < 150; nth++) pages.flush(nth);
    };
    const all = store.inspection.sampleRequests(1);
    const readers = readersOf(all);
    act();
    assert.equal(readAll(readers).length, 0, "nothing is recorded before it begins");
    all.begin();
    for (let nth = 0; nth < 300; nth++) pages.flush(nth);
    readAll(readers);
    act();
    const events = readAll(readers);
    assert.deepEqual(countOf(events), {
      [Sample.PUT]: 300,
      [Sample.HIT]: 350,
      [Sample.MISS]: 100,
      [Sample.REMOVE]: 100,
    });
    const puts = events.filter(({ operation }) => operation === Sample.PUT);
    assert.equal(puts.filter(({ storedBytes }) => storedBytes === 0).length, 60, "same-filled");
    assert.ok(puts.every(({ plainBytes }) => plainBytes === 4096));
    const stored = walk(all);
    assert.equal(stored.length, 200);
    const hashes = new Set(puts.map(({ hash }) => hash));
    assert.ok(stored.every(({ hash }) => hashes.has(hash)));
    all.end();
    act();
    assert.equal(readAll(readers).length, 0, "nothing is recorded after its end");

    const some = store.inspection.sampleRequests(0.25);
    some.begin();
    const limit = some.share * 2 ** 32;
    const expected = events.filter(({ hash }) => isSampledBelow(hash, limit));
    assert.ok(expected.length > 100 && expected.length < 350, `${expected.length} of 850`);
    for (let nth = 0; nth < 300; nth++) pages.flush(nth);
    readAll(readers);
    act();
    assert.deepEqual(readAll(readers), expected);
    some.end();
    store.verify();
    store.close();
  });
}

for (const shards of [1, 3]) {
  test(`a cache, ${shards} shards: values with their expiry, and deleted ones`, () => {
    const cache = Cache.create<string, string>({ memoryMax: "16MiB", shards });
    const sampling = cache.group.inspection.sampleRequests(1);
    sampling.begin();
    const readers = readersOf(sampling);
    const nowS = Date.now() / 1000;
    cache.set("stays", "a".repeat(100));
    cache.set("expires", "b".repeat(200), { ttl: 3_600_000 });
    const puts = readAll(readers).sort((a, b) => a.plainBytes - b.plainBytes);
    assert.deepEqual(countOf(puts), { [Sample.PUT]: 2 });
    const [stays, expires] = puts;
    assert.equal(stays!.expiresS, 0);
    const left = expires!.expiresS - nowS;
    assert.ok(left > 3500 && left < 7200, `it expires in ${left} s`);
    const stored = walk(sampling).sort((a, b) => a.plainBytes - b.plainBytes);
    assert.deepEqual(
      stored.map(({ hash, expiresS, plainBytes }) => [hash, expiresS, plainBytes]),
      puts.map(({ hash, expiresS, plainBytes }) => [hash, expiresS, plainBytes]),
    );
    for (const key of ["stays", "expires", "none"]) cache.get(key);
    assert.deepEqual(countOf(readAll(readers)), { [Sample.HIT]: 2, [Sample.MISS]: 1 });
    // A cache with more memory might still have a value that this one does not have.
    for (const key of ["stays", "none"]) cache.delete(key);
    const removals = readAll(readers);
    assert.ok(removals.every(({ operation }) => operation === Sample.REMOVE));
    assert.equal(new Set(removals.map(({ hash }) => hash)).size, 2);
    sampling.end();
    cache.close();
  });
}

test("persistent pages that were never written are no misses", () => {
  const pages = new Pages({}, true);
  const sampling = pages.store.inspection.sampleRequests(1);
  sampling.begin();
  for (let nth = 0; nth < 10; nth++) pages.put(nth);
  for (let nth = 0; nth < 20; nth++) pages.get(nth);
  const expected = { [Sample.PUT]: 10, [Sample.HIT]: 10 };
  assert.deepEqual(countOf(readAll(readersOf(sampling))), expected);
  pages.store.close();
});

test("what finds the ring full is counted, and the oldest requests stay", () => {
  const pages = new Pages({});
  const sampling = pages.store.inspection.sampleRequests(1);
  sampling.begin();
  for (let nth = 0; nth < Sample.SAMPLES_MAX + 100; nth++) pages.get(nth);
  const readers = readersOf(sampling);
  assert.equal(readers[0]!.dropped, 100);
  assert.equal(readAll(readers).length, Sample.SAMPLES_MAX);
  for (let nth = 0; nth < 10; nth++) pages.get(nth);
  assert.equal(readAll(readers).length, 10);
  sampling.begin();
  assert.equal(readersOf(sampling)[0]!.dropped, 0, "a new recording begins at 0");
  pages.store.close();
});

test("a place that a terminated thread has claimed is skipped after a while", () => {
  const pages = new Pages({});
  const sampling = pages.store.inspection.sampleRequests(1);
  sampling.begin();
  const readers = readersOf(sampling);
  pages.get(1);
  const { memory, root } = sampling.rings[0]!;
  Atomics.add(new Int32Array(memory), root + Root.SAMPLE_NEXT, 1);
  pages.get(2);
  assert.equal(readAll(readers, 1000).length, 1);
  assert.equal(readAll(readers, 1900).length, 0, "it may still be written");
  assert.equal(readAll(readers, 2000).length, 1);
  assert.equal(readers[0]!.dropped, 1);
  pages.store.close();
});

test("a full store evicts pages for the ring, or says that there is no room", () => {
  const full = new Pages({ memoryMax: "2MiB" });
  for (let nth = 0; nth < 4000; nth++) full.put(nth);
  const sampling = full.store.inspection.sampleRequests(1);
  sampling.begin();
  for (let nth = 0; nth < 4000; nth++) full.get(nth);
  const { [Sample.HIT]: hits = 0, [Sample.MISS]: misses = 0 } = countOf(
    readAll(readersOf(sampling)),
  );
  assert.ok(hits > 0 && misses > 0 && hits + misses === 4000);
  full.store.verify();
  full.store.close();

  const disk = new Pages({ memoryMax: "2MiB" }, true);
  for (let nth = 0; disk.tryPut(nth); nth++);
  assert.throws(() => disk.store.inspection.sampleRequests(1), { code: "ERR_ARENA_FULL" });
  disk.store.verify();
  disk.store.close();
});

test("the ring stays for the next recording, and counts against the limit", () => {
  const pages = new Pages({});
  const used = () => pages.store.stats().mem_used_total;
  const before = used();
  pages.store.inspection.sampleRequests(1);
  const after = used();
  assert.equal(after - before, 64 * 1024);
  pages.store.inspection.sampleRequests(0.5);
  assert.equal(used(), after);
  pages.store.verify();
  pages.store.close();
});
