// Values of any length under keys of bytes, against a Map: a value is returned whole or not at all,
// and overwritten values leave nothing behind.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Xorshift32 } from "../../src/base/random.ts";
import type { CodecDriver } from "../../src/codec/registry.ts";
import { nodeCodecs } from "../../src/node/codecs.ts";
import { nodePlatform } from "../../src/node/platform.ts";
import type { StoreOptions } from "../../src/store/options.ts";
import { Store, stateOf } from "../../src/store/store.ts";
import { formatValues } from "../../src/values/format.ts";
import { KeyHash } from "../../src/values/key_hash.ts";
import { SetRequest } from "../../src/values/request.ts";
import { Values } from "../../src/values/values.ts";

function open(options: StoreOptions = {}) {
  const store = Store.create(
    { memoryMax: "8MiB", content: "values", recompress: { codec: "zstd" }, ...options },
    nodePlatform(),
  );
  let seed = 1;
  const random = () => (seed = Math.imul(seed, 0x85eb_ca6b) ^ 0x1234_5677);
  formatValues(store, random);
  const clock = { ms: 1_000_000_000_000 };
  return { store, clock, values: new Values(store, () => clock.ms, random) };
}

const bytesOf = (text: string) => new TextEncoder().encode(text);

function set(values: Values, key: string, value: Uint8Array, expiresMs = Infinity): number {
  const name = bytesOf(key);
  const meta = bytesOf(`meta of ${key.slice(0, 40)}`);
  const sizes = { keyBytes: name.length, metaBytes: meta.length, valueBytes: value.length };
  return values.set(Object.assign(new SetRequest(), sizes, { key: name, meta, value, expiresMs }));
}

function get(values: Values, key: string): Uint8Array | undefined {
  const name = bytesOf(key);
  if (!values.find(name, name.length)) return undefined;
  const { valueBytes } = values;
  const long = values.read(name, name.length);
  const meta = values.bytes.slice(values.metaAt, values.metaAt + values.metaBytes);
  assert.equal(new TextDecoder().decode(meta), `meta of ${key.slice(0, 40)}`);
  if (long === null) return undefined;
  const value = long ?? values.bytes.slice(values.bufferAt, values.bufferAt + valueBytes);
  assert.equal(value.length, valueBytes);
  return value;
}

/** Bytes that compress, and say whose they are. */
function makeValue(seed: number, sizeBytes: number): Uint8Array {
  const value = new Uint8Array(sizeBytes);
  for (let i = 0; i < sizeBytes; i++) value[i] = (i % 17) * seed + (i >>> 6) * 7;
  return value;
}

const KEYS = ["a", "user:42", "k".repeat(255), "long".repeat(200), "ü"];

for (const pageSize of [4096, 16384]) {
  test(`any sequence of sets, finds and deletes, in pages of ${pageSize} bytes`, () => {
    const operation = fc.record({
      what: fc.constantFrom("set", "set", "get", "delete", "scan", "wait", "clear"),
      key: fc.constantFrom(...KEYS),
      size: fc.oneof(fc.nat(300), fc.nat(5000), fc.constantFrom(0, 1, 4090, 4096, 20_000, 70_000)),
      ttl: fc.constantFrom(Infinity, Infinity, 50, 200),
    });
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
        const { store, values, clock } = open({ pageSize });
        const model = new Map<string, { value: Uint8Array; until: number }>();
        let seed = 0;
        for (const { what, key, size, ttl } of operations) {
          if (what === "set") {
            const value = makeValue(++seed, size);
            const until = clock.ms + ttl;
            assert.equal(set(values, key, value, until), 0);
            model.set(key, { value, until });
          } else if (what === "delete") {
            const name = bytesOf(key);
            const had = model.get(key);
            const isThere = had !== undefined && had.until > clock.ms;
            assert.equal(values.delete(name, name.length), isThere);
            if (isThere) model.delete(key);
          } else if (what === "scan") {
            store.scanIdle({
              entries: 1000,
              recompress: { idleTicks: 0 },
              nowMs: clock.ms,
            });
          } else if (what === "wait") clock.ms += 60;
          else if (what === "clear") {
            if (size > 4000) {
              values.clear();
              model.clear();
            }
          }
          for (const [name, { value, until }] of model) {
            const got = get(values, name);
            if (until <= clock.ms) assert.equal(got, undefined);
            else assert.deepEqual(got, value);
          }
          store.verify();
        }
        const live = [...model].filter(([, { until }]) => until > clock.ms).map(([name]) => name);
        const keys: string[] = [];
        const scan = values.beginScan();
        const note = (at: number, count: number) => {
          keys.push(new TextDecoder().decode(values.bytes.slice(at, at + count)));
        };
        while (!values.scan(scan, note));
        assert.deepEqual(keys.sort(), live.sort());
        values.clear();
        store.verify();
        assert.equal(values.count, 0);
        assert.equal(store.stats().ephemeral.pagesInMemory, 0);
        store.close();
      }),
      { numRuns: 60 },
    );
  });
}

/** All keys in one place. */
class OneHash extends KeyHash {
  override set(): void {
    this.low = 1;
    this.high = 2;
  }
}

test("two keys with the same hash are never confused: the later one stays", () => {
  const { store, clock } = open();
  const hash = new OneHash(0, 0);
  const values = new Values(
    store,
    () => clock.ms,
    () => 1,
    hash,
  );
  const [a, b] = [bytesOf("a"), bytesOf("b")] as const;
  set(values, "a", makeValue(1, 100));
  assert.equal(get(values, "b"), undefined);
  assert.equal(values.has(b, 1), false);
  assert.equal(values.delete(b, 1), false);
  assert.deepEqual(get(values, "a"), makeValue(1, 100));
  set(values, "b", makeValue(2, 70_000));
  assert.equal(values.has(a, 1), false);
  assert.deepEqual(get(values, "b"), makeValue(2, 70_000));
  store.close();
});

test("an overwritten value leaves no chunks behind", () => {
  const { store, values } = open();
  const pages = () => store.stats().ephemeral.pagesInMemory;
  set(values, "k", makeValue(1, 70_000));
  const chunks = pages();
  assert.ok(chunks > 10);
  set(values, "k", makeValue(2, 70_000));
  assert.equal(pages(), chunks);
  set(values, "k", makeValue(3, 10));
  assert.equal(pages(), 1);
  assert.deepEqual(get(values, "k"), makeValue(3, 10));
  store.close();
});

test("meta bytes that change while the value is recompressed keep the change", () => {
  // Another thread changes it in the middle: the codec lets it.
  let meanwhile = () => {};
  const driver: CodecDriver = {
    name: "meddling",
    implementation: "of this test",
    dictionaries: false,
    open(memory) {
      const inner = nodeCodecs().create("zstd", memory);
      return {
        name: "meddling",
        implementation: "of this test",
        compress(source, sourceBytes, target, limitBytes) {
          meanwhile();
          return inner.compress(source, sourceBytes, target, limitBytes);
        },
        decompress: (...args) => inner.decompress(...args),
      };
    },
  };
  const platform = { ...nodePlatform(), codecs: () => nodeCodecs().register(driver) };
  const options = { memoryMax: "8MiB", content: "values", recompress: { codec: "meddling" } };
  const store = Store.create(options as StoreOptions, platform);
  formatValues(store, () => 5);
  const now = () => 1e12;
  const values = new Values(store, now, () => 7);
  const other = new Values(Store.attach(store.share(), platform), now, () => 9);
  const name = bytesOf("k");
  const value = makeValue(3, 3000);
  const sizes = { keyBytes: 1, metaBytes: 6, valueBytes: value.length };
  const request = { key: name, meta: bytesOf("before"), value, ...sizes };
  values.set(Object.assign(new SetRequest(), request));
  meanwhile = () => {
    other.lock(name, 1);
    assert.ok(other.find(name, 1) && other.rewriteMeta(bytesOf("later!")));
    other.unlock();
  };
  assert.equal(store.scanIdle({ entries: 100, recompress: { idleTicks: 0 } }).recompressed, 1);
  assert.ok(values.find(name, 1));
  const { metaAt, metaBytes, valueBytes } = values;
  assert.equal(new TextDecoder().decode(values.bytes.slice(metaAt, metaAt + metaBytes)), "later!");
  values.read(name, 1);
  assert.deepEqual(values.bytes.slice(values.bufferAt, values.bufferAt + valueBytes), value);
  store.verify();
  other.store.detach();
  store.close();
});

for (const policy of ["adaptive", "tinylfu"]) {
  test(`a value is stored while other threads store many others: ${policy}`, () => {
    const { store, values } = open({ policy, memoryMax: "4MiB" });
    const other = new Values(
      Store.attach(store.share(), nodePlatform()),
      () => 1e12,
      () => 9,
    );
    const random = new Xorshift32(5);
    const noise = (sizeBytes: number) => new Uint8Array(sizeBytes).map(() => random.next());
    let count = 0;
    const storeOthers = (most: number) => {
      for (const end = count + most; count < end; count++) {
        set(other, `small ${count}`, noise(1000));
        for (let gets = 0; gets < 3; gets++) get(other, `small ${count >>> 1}`);
      }
    };
    storeOthers(6000);
    const { evicted_ephemeral_pages: evicted } = store.stats().counters;
    assert.ok(evicted > 0, "the store is full");
    const value = noise(100_000);
    // Before each page of the value.
    stateOf(store).room = { beforePut: () => storeOthers(20), raise: () => false };
    assert.equal(set(values, "large", value), 0);
    stateOf(store).room = undefined;
    assert.deepEqual(get(values, "large"), value);
    assert.ok(store.stats().counters.evicted_ephemeral_pages > evicted + 400);
    store.verify();
    other.store.detach();
    store.close();
  });
}
