// Hostile byte arrays: subclasses and own properties that report any length, place and methods;
// buffers that are shared, resizable or detached. Every function that takes bytes uses the real
// bytes, and runs no code of the array's, which would see the memory of all threads.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ZcacheChunkStore } from "../../src/adapters/chunk_store.ts";
import {
  Arena,
  Cache,
  Cleancache,
  createStore,
  Frontswap,
  finalizeZstdDictionary,
  nodeCodecs,
  TmemKey,
  trainDictionary,
  ZcacheError,
  Zswap,
} from "../../src/index.ts";
import { Zram } from "../../src/zram/zram.ts";

const PAGE = 4096;
const LIES = ["length", "byteLength", "byteOffset", "buffer", "constructor"] as const;
const METHODS = ["set", "subarray", "slice", "fill", "copyWithin", Symbol.iterator] as const;

/** An array over real bytes whose properties say something else, as own ones or by its class. */
function liar(real: Uint8Array, lie: unknown, isOwn: boolean): Uint8Array {
  class Liar extends Uint8Array {
    static get [Symbol.species](): Uint8ArrayConstructor {
      return assert.fail("the species is not asked for");
    }
  }
  const bytes = new (isOwn ? Uint8Array : Liar)(real.length);
  bytes.set(real);
  const target = isOwn ? bytes : Liar.prototype;
  for (const name of LIES) Object.defineProperty(target, name, { get: () => lie });
  for (const name of METHODS) {
    Object.defineProperty(target, name, {
      value: () => assert.fail(`${String(name)} is not called`),
    });
  }
  return bytes;
}

/** What there is in an array, whatever it says. */
function realBytes(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from({ length: Object.keys(bytes).length }, (_, i) => bytes[i]!);
}

const lies = fc.constantFrom<unknown>(
  ...[0, 1, 3, 100, 5000, 1e9, -5, 2.5, Number.NaN, "7", undefined, null],
  { valueOf: () => assert.fail("no value of a lie is asked for") },
  new ArrayBuffer(8),
);

function code(name: string) {
  return (error: unknown) => error instanceof ZcacheError && error.code === name;
}

test("a cache stores the real bytes, under the real key", () => {
  using cache = Cache.create<string | Uint8Array, unknown>({
    memoryMax: "16MiB",
    backgroundMs: 0,
    serializer: {
      encode: (value) => (value as { bytes: Uint8Array }).bytes,
      decode: (bytes) => ({ bytes }),
    },
  });
  cache.set("canary", "c".repeat(3000));
  const real = fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc.constant(new Uint8Array(20_000).fill(7)),
  );
  fc.assert(
    fc.property(real, lies, fc.boolean(), (bytes, lie, isOwn) => {
      cache.set("own", liar(bytes, lie, true));
      assert.deepEqual(cache.get("own"), bytes);
      cache.set("encoded", { bytes: liar(bytes, lie, isOwn) });
      assert.deepEqual(cache.get("encoded"), { bytes });
      if (bytes.length < 1024) {
        cache.set(liar(bytes, lie, isOwn), "by key");
        assert.equal(cache.get(bytes), "by key");
        assert.ok(cache.delete(liar(bytes, lie, isOwn)));
      }
      assert.equal(cache.get("canary"), "c".repeat(3000));
    }),
    { numRuns: 100 },
  );
  cache.store.verify();
});

test("buffers that are shared, resizable or detached", () => {
  using cache = Cache.create<string | Uint8Array, unknown>({ memoryMax: "8MiB", backgroundMs: 0 });
  const Resizable = ArrayBuffer as unknown as new (
    length: number,
    options: { maxByteLength: number },
  ) => ArrayBuffer & { resize(length: number): void };
  const resizable = new Resizable(64, { maxByteLength: 128 });
  const tracking = new Uint8Array(resizable).fill(5);
  const fixed = new Uint8Array(resizable, 32, 32);
  const Growable = SharedArrayBuffer as unknown as new (
    length: number,
    options: { maxByteLength: number },
  ) => SharedArrayBuffer & { grow(length: number): void };
  const growable = new Growable(64, { maxByteLength: 20_000 });
  const growing = new Uint8Array(growable).fill(6);
  const trips = (bytes: Uint8Array) => {
    assert.ok(cache.set("k", bytes));
    return cache.get("k");
  };
  assert.deepEqual(trips(tracking), new Uint8Array(64).fill(5));
  resizable.resize(128);
  assert.deepEqual(
    trips(tracking),
    Uint8Array.from({ length: 128 }, (_, i) => (i < 64 ? 5 : 0)),
  );
  resizable.resize(8);
  assert.deepEqual(trips(tracking), new Uint8Array(8).fill(5));
  assert.deepEqual(trips(fixed), new Uint8Array(0), "out of bounds");
  assert.deepEqual(trips(growing), new Uint8Array(64).fill(6));
  growable.grow(20_000);
  assert.deepEqual((trips(growing) as Uint8Array).length, 20_000);
  structuredClone(resizable, { transfer: [resizable] });
  assert.deepEqual(trips(tracking), new Uint8Array(0), "detached");
  for (const fake of [Object.create(Uint8Array.prototype), new Proxy(new Uint8Array(4), {})]) {
    assert.throws(() => cache.get(fake), code("ERR_KEY"));
  }
  cache.store.verify();
});

test("stores, devices and frontends store and load the real pages", () => {
  using store = createStore({ memoryMax: "16MiB" });
  const pool = store.createPool({ uuid: liar(new Uint8Array(16).fill(1), 3, false) });
  assert.ok(pool > 0);
  const zram = Zram.create(store, 1 << 20);
  const cleancache = new Cleancache(store);
  const fs = cleancache.initFs(PAGE);
  const frontswap = new Frontswap(store, liar(new Uint8Array(16).fill(2), 1e9, true));
  const zswap = new Zswap(store, { uuid: liar(new Uint8Array(16).fill(3), 0, false) });
  const key = new TmemKey().setObject(1).setIndex(0);
  let nth = 0;
  fc.assert(
    fc.property(lies, fc.boolean(), fc.nat(100), (lie, isOwn, seed) => {
      const page = new Uint8Array(PAGE).map((_, i) => (i * 7 + seed) >> 3);
      const pageIn = () => liar(page, lie, isOwn);
      const pageOut = () => liar(new Uint8Array(PAGE), lie, isOwn);
      const filled = (fill: (target: Uint8Array) => boolean) => {
        const target = pageOut();
        assert.ok(fill(target));
        assert.deepEqual(realBytes(target), page);
      };
      assert.equal(store.put(pool, key, pageIn()), 0);
      filled((target) => store.get(pool, key, target));
      assert.equal(zram.write(PAGE / 2, pageIn()), 0);
      filled((target) => zram.read(PAGE / 2, target) === 0);
      nth++;
      cleancache.putPage(fs, liar(new Uint8Array([1, 2, 3]), lie, isOwn), nth, pageIn());
      filled((target) => cleancache.getPage(fs, new Uint8Array([1, 2, 3]), nth, target));
      assert.ok(frontswap.store(0, nth, pageIn()));
      filled((target) => frontswap.load(0, nth, target));
      frontswap.invalidatePage(0, nth);
      assert.ok(zswap.store(0, nth, pageIn()));
      filled((target) => zswap.load(0, nth, target));
    }),
    { numRuns: 60 },
  );
  const wrong = [
    new Uint8Array(PAGE - 1),
    liar(new Uint8Array(PAGE + 1), PAGE, false),
    new Uint16Array(PAGE / 2),
    new DataView(new ArrayBuffer(PAGE)),
    { length: PAGE },
    null,
  ] as Uint8Array[];
  for (const page of wrong) {
    assert.throws(() => store.put(pool, key, page), code("ERR_OPTION"));
    assert.throws(() => store.get(pool, key, page), code("ERR_OPTION"));
  }
  for (const bytes of wrong.slice(2)) {
    assert.throws(() => zram.write(0, bytes), code("ERR_OPTION"));
    assert.throws(() => zram.read(0, bytes), code("ERR_OPTION"));
  }
  let asked = 0;
  const offset = { valueOf: () => (asked++ === 0 ? 0 : -100) } as unknown as number;
  assert.ok(zram.read(offset, new Uint8Array(8)) < 0 && asked === 0, "an object is no offset");
  assert.ok(zram.read(0.5, new Uint8Array(8)) < 0);
  store.verify();
});

test("a detached buffer is not written to", () => {
  using store = createStore({ memoryMax: "4MiB" });
  const pool = store.createPool({ persistent: true });
  const zram = Zram.create(store, 1 << 16);
  store.detach();
  const page = new Uint8Array(PAGE).fill(9);
  const key = new TmemKey().setObject(1);
  const before = store.arena.bytes.slice();
  assert.throws(() => store.put(pool, key, page), code("ERR_STORE_CLOSED"));
  assert.throws(() => zram.write(0, page), code("ERR_STORE_CLOSED"));
  assert.throws(() => zram.write(5, page.subarray(0, 100)), code("ERR_STORE_CLOSED"));
  assert.ok(Buffer.from(before).equals(store.arena.bytes));
});

test("codecs, trainers and chunks", (_, done) => {
  const arena = Arena.create({ sizeBytes: 8 << 20 });
  const dictionary = new Uint8Array(256).map((_, i) => i);
  for (const lie of [0, 5, 1e9, -1]) {
    for (const name of ["lz4", "zstd"]) {
      const codec = nodeCodecs().create(name, arena, { dictionary: liar(dictionary, lie, false) });
      codec.close?.();
    }
  }
  const samples = Array.from({ length: 50 }, (_, i) =>
    Buffer.from(`{"name":"user${i}","age":${i}}`),
  );
  const expected = trainDictionary(samples, 64);
  const lying = samples.map((sample) => liar(sample, 1000, false));
  assert.deepEqual(trainDictionary(lying, 64), expected);
  const final = finalizeZstdDictionary(expected, samples);
  assert.deepEqual(finalizeZstdDictionary(liar(expected, 3, true), lying), final);
  assert.throws(() => trainDictionary(["text"] as never, 64), code("ERR_OPTION"));
  assert.throws(() => trainDictionary("text" as never, 64), code("ERR_OPTION"));
  const chunks = new ZcacheChunkStore(5000, { storeOptions: { memoryMax: "4MiB" } });
  const chunk = new Uint8Array(5000).map((_, i) => i >> 2);
  chunks.put(0, liar(chunk, 5000, false), (failed) => {
    assert.equal(failed, null);
    chunks.get(0, null, (error, got) => {
      assert.equal(error, null);
      assert.deepEqual(Uint8Array.from(got!), chunk);
      chunks.close(() => done());
    });
  });
});
