// The public API of the cache: what each method promises, in one thread and in several.
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { inspect } from "node:util";
import { Worker } from "node:worker_threads";
import fc from "fast-check";
import { documentAt } from "../../bench/documents.ts";
import { Xorshift32 } from "../../src/base/random.ts";
import { Cache, type CacheOptions, ZcacheError } from "../../src/index.ts";
import { createCache, scanAll } from "../doubles/test_caches.ts";

const WORKER = new URL("./cache_worker.js", import.meta.url);

function open<V = unknown>(options: CacheOptions = {}): Cache<string, V> {
  return createCache<string, V>({ memoryMax: "8MiB", backgroundMs: 0, ...options });
}

function code(name: string) {
  return (error: unknown) => error instanceof ZcacheError && error.code === name;
}

test("values of every kind are returned equal, and never shared with the caller", () => {
  using cache = open();
  const values: unknown[] = [
    "",
    "plain",
    "ümläut 漢字 🎉",
    "\ud800 alone",
    "x".repeat(100_000),
    "ü".repeat(50_000),
    new Uint8Array(0),
    new Uint8Array([1, 2, 3]),
    Buffer.from("buffer"),
    new Uint8Array(300_000).map((_, i) => i * 7),
    0,
    -1.5,
    true,
    null,
    10n ** 15n,
    new Date(1e12),
    new Map([["a", { b: [1] }]]),
    new Set([1, "2"]),
    { deep: { er: [1, null, undefined, "x"] } },
    [],
  ];
  for (const [nth, value] of values.entries()) assert.ok(cache.set(`k${nth}`, value));
  for (const [nth, value] of values.entries()) {
    const got = cache.get(`k${nth}`);
    // UTF-8 can't encode an unpaired surrogate.
    const expected = value === "\ud800 alone" ? "\ufffd alone" : value;
    assert.deepEqual(got, expected);
    if (typeof value === "object" && value !== null) assert.notEqual(got, value);
    assert.equal(Object.getPrototypeOf(got ?? 0), Object.getPrototypeOf(expected ?? 0));
  }
  const list = [1];
  cache.set("list", list);
  list.push(2);
  (cache.get("list") as number[]).push(3);
  assert.deepEqual(cache.get("list"), [1]);
  assert.equal(cache.size, values.length + 1);
});

test("strings and bytes are different keys, and keys() returns both", () => {
  using cache = createCache<string | Uint8Array, string>({ backgroundMs: 0 });
  cache.set("a", "text");
  cache.set(new Uint8Array([0x61]), "bytes");
  cache.set("ä".repeat(300), "long");
  assert.equal(cache.get("a"), "text");
  assert.equal(cache.get(new Uint8Array([0x61])), "bytes");
  const keys = [...cache.keys()].map((key) => (typeof key === "string" ? key : [...key]));
  assert.deepEqual(keys.map(String).sort(), ["97", "a", "ä".repeat(300)]);
});

test("errors name invalid keys, values and options", () => {
  using cache = open<unknown>();
  assert.throws(() => cache.set("", 1), code("ERR_KEY"));
  assert.throws(() => cache.set("k".repeat(1025), 1), code("ERR_KEY"));
  assert.throws(() => cache.get("ü".repeat(600)), code("ERR_KEY"));
  assert.throws(() => cache.get(7 as unknown as string), code("ERR_KEY"));
  assert.throws(() => cache.set("f", () => 1), code("ERR_VALUE"));
  assert.throws(() => cache.set("k", 1, { ttl: "soon" }), code("ERR_OPTION"));
  assert.throws(() => cache.set("k", 1, -5), code("ERR_OPTION"));
  assert.throws(() => cache.set("k", 1, null as never), code("ERR_OPTION"));
  assert.throws(() => cache.set("\ud800 alone", 1), code("ERR_KEY"));
  assert.throws(() => cache.on("evicted" as never, () => undefined), code("ERR_OPTION"));
  assert.throws(() => cache.resize(100), /must be 0, or from \d+ to \d+/);
  assert.throws(() => Cache.attach(cache.share(), { serializer: {} as never }), code("ERR_OPTION"));
  const wrong: CacheOptions[] = [
    { memoryMax: "lots" },
    { memoryMax: "900GiB" },
    { ttl: 0 },
    { codec: "gzip" },
    { dictionary: "1MiB" },
    { policy: "random" },
    { pageSize: 5000 },
    { backgroundMs: -1 },
    { tiers: "yes" as unknown as boolean },
    { memorymax: 5 } as CacheOptions,
    { near: "8MiB" as never },
    { near: { size: 5 } as never },
    { serializer: {} } as CacheOptions,
    null as never,
    5 as never,
  ];
  for (const options of wrong) {
    assert.throws(
      () => Cache.create(options),
      (error) => error instanceof ZcacheError && error.message.length > 20,
    );
  }
  assert.throws(() => Cache.attach({} as never), code("ERR_STORE_SHARE"));
  const closed = open();
  const share = closed.share();
  closed.close();
  assert.throws(() => closed.get("a"), code("ERR_STORE_CLOSED"));
  assert.throws(() => closed.set("a", 1), code("ERR_STORE_CLOSED"));
  assert.throws(() => closed.size, code("ERR_STORE_CLOSED"));
  assert.throws(() => [...closed.keys()], code("ERR_STORE_CLOSED"));
  assert.throws(
    () => Cache.attach(share),
    (error) => error instanceof ZcacheError,
  );
});

test("values expire after their time to live", (t) => {
  t.mock.timers.enable({ apis: ["Date"], now: 1e12 });
  using cache = open<string>({ ttl: "40ms" });
  cache.set("default", "a");
  cache.set("long", "b", "10m");
  cache.set("ever", "c", { ttl: Number.POSITIVE_INFINITY });
  assert.equal(cache.remainingTtl("default"), 40);
  assert.equal(cache.remainingTtl("ever"), Number.POSITIVE_INFINITY);
  assert.equal(cache.remainingTtl("none"), 0);
  cache.set("touched", "d");
  assert.ok(cache.touch("touched", "10m"));
  assert.equal(cache.touch("none"), false);
  t.mock.timers.tick(39);
  assert.equal(cache.get("default"), "a");
  t.mock.timers.tick(1);
  assert.equal(cache.get("default"), undefined);
  assert.equal(cache.has("default"), false);
  assert.equal(cache.delete("default"), false);
  assert.deepEqual(cache.getMany(["long", "ever", "touched"]), ["b", "c", "d"]);
});

test("delete, clear, set of undefined, setMany and getMany, entries", () => {
  using cache = open<number | undefined>();
  assert.equal(
    cache.setMany([
      ["a", 1],
      ["b", 2],
      ["c", 3],
    ]),
    3,
  );
  assert.deepEqual([...cache].sort(), [
    ["a", 1],
    ["b", 2],
    ["c", 3],
  ]);
  assert.equal(cache.delete("a"), true);
  assert.equal(cache.delete("a"), false);
  cache.set("b", undefined);
  assert.equal(cache.has("b"), false);
  cache.clear();
  assert.equal(cache.size, 0);
  assert.deepEqual([...cache.keys()], []);
});

test("clear removes all values, and deletions during an iteration hide no key", () => {
  using cache = open<string>({ memoryMax: "16MiB" });
  const fill = () => {
    for (let n = 0; n < 5000; n++) cache.set(`key ${n}`, `value ${n}`);
    cache.set("long", "x".repeat(100_000));
  };
  fill();
  cache.clear();
  assert.equal(cache.size, 0);
  fill();
  let met = 0;
  for (const key of cache.keys()) {
    met++;
    assert.ok(cache.delete(key));
  }
  assert.equal(met, 5001);
  assert.equal(cache.size, 0);
});

test("times beyond the range of the format mean for ever", () => {
  using cache = open<string>({ ttl: Number.POSITIVE_INFINITY });
  for (const ttl of [Number.MAX_SAFE_INTEGER, 2 ** 48, "4000000d", Number.POSITIVE_INFINITY]) {
    cache.set("k", "v", { ttl, staleWhileRevalidate: 1000 });
    assert.equal(cache.remainingTtl("k"), Number.POSITIVE_INFINITY);
    assert.equal(cache.get("k"), "v");
  }
  cache.set("k", "v", { ttl: 60_000, staleWhileRevalidate: Number.MAX_SAFE_INTEGER });
  assert.ok(cache.remainingTtl("k") <= 60_000);
});

test("set returns false for a value that would evict its own pages", () => {
  using cache = open<Uint8Array>({ codec: "none", tiers: false });
  cache.set("small", new Uint8Array(10));
  const large = new Uint8Array(20 << 20).fill(5);
  for (let at = 0; at < large.length; at += 3) large[at] = at;
  assert.equal(cache.set("large", large), false);
  assert.equal(cache.has("large"), false);
  assert.ok(cache.set("fits", large.subarray(0, 2 << 20)));
  assert.deepEqual(cache.get("fits"), large.slice(0, 2 << 20));
  cache.group.verify();
});

test("console.log shows a summary; fetch rejects invalid calls", async () => {
  const cache = open<string>();
  cache.set("k", "v");
  assert.match(inspect(cache), /^Cache \{ entries: 1, memoryUsed: \d+, memoryMax: 8388608 \}$/);
  await assert.rejects(
    cache.fetch(5 as never, () => "v"),
    code("ERR_KEY"),
  );
  await assert.rejects(cache.fetch("k", 5 as never), code("ERR_OPTION"));
  await assert.rejects(
    cache.fetch("k", () => "v", { signal: {} as AbortSignal }),
    code("ERR_OPTION"),
  );
  cache.close();
  cache.close();
  assert.equal(inspect(cache), "Cache { closed }");
  await assert.rejects(
    cache.fetch("k", () => "v"),
    code("ERR_STORE_CLOSED"),
  );
});

test("types infer from Cache<K, V>", async () => {
  interface User {
    readonly name: string;
  }
  using cache = createCache<string, User>({ memoryMax: "8MiB", backgroundMs: 0 });
  cache.set("a", { name: "Ada" });
  const one: User | undefined = cache.get("a");
  const all: (User | undefined)[] = cache.getMany(["a"]);
  const loaded: User | undefined = await cache.fetch("b", async (key) => ({ name: key }));
  for (const [key, { name }] of cache) assert.ok(key.length + name.length > 0);
  // @ts-expect-error: a value of another type
  cache.set("c", { title: "Dr" });
  // @ts-expect-error: a key of another type
  cache.set(new Uint8Array(1), { name: "Ada" });
  // @ts-expect-error: the value may be undefined
  const certain: User = cache.get("a");
  const attached = Cache.attach<string, User>(cache.share());
  assert.deepEqual(
    [one, loaded, attached.get("a"), all[0]?.name, certain],
    [{ name: "Ada" }, { name: "b" }, { name: "Ada" }, "Ada", { name: "Ada" }],
  );
});

test("one loader runs for concurrent fetches, and all of them get its error", async () => {
  using cache = open<string>();
  let loads = 0;
  const loader = async (key: string) => {
    loads++;
    await sleep(10);
    return `made for ${key}`;
  };
  const all = await Promise.all(Array.from({ length: 5 }, () => cache.fetch("k", loader)));
  assert.deepEqual(new Set(all), new Set(["made for k"]));
  assert.equal(await cache.fetch("k", loader), "made for k");
  assert.equal(loads, 1);
  const failing = () => Promise.reject(new TypeError("no"));
  const failures = await Promise.allSettled([1, 2].map(() => cache.fetch("f", failing)));
  for (const failure of failures) {
    assert.ok(failure.status === "rejected" && failure.reason instanceof TypeError);
  }
  assert.equal(await cache.fetch("f", () => "well again"), "well again");
  assert.equal(await cache.fetch("none", () => undefined), undefined);
  assert.equal(cache.has("none"), false);
  assert.equal(await cache.fetch("k", () => "new", { forceRefresh: true }), "new");
  assert.equal(cache.get("k"), "new");
});

test("a stale value is returned while a new one is loaded", async () => {
  using cache = open<string>({ ttl: 20, staleWhileRevalidate: "10m" });
  await cache.fetch("k", () => "old");
  await sleep(30);
  assert.equal(cache.get("k"), undefined);
  assert.equal(cache.has("k"), false);
  assert.equal(cache.get("k", { allowStale: true }), "old");
  assert.equal(await cache.fetch("k", () => Promise.reject(new Error("down"))), "old");
  await sleep(1);
  assert.equal(await cache.fetch("k", () => "new"), "old");
  await sleep(1);
  assert.equal(cache.get("k", { allowStale: true }), "new");
});

test("evicted and expired entries are reported", async () => {
  using cache = open<Uint8Array>({ memoryMax: "2MiB", tiers: false, codec: "none" });
  const gone: [string, string][] = [];
  cache.on("evict", (key, reason) => gone.push([key, reason]));
  const value = new Uint8Array(8000);
  for (let n = 0; n < 1000; n++) cache.set(`key ${n}`, value.fill(n));
  cache.set("short", value, 5);
  await sleep(50);
  scanAll(cache, { entries: 100_000, nowMs: Date.now() });
  await sleep(60);
  assert.ok(gone.some(([key, reason]) => key === "short" && reason === "expired"));
  const evicted = gone.filter(([, reason]) => reason === "evicted").map(([key]) => key);
  assert.equal(evicted.length, cache.stats().evictions);
  assert.equal(new Set(evicted).size, evicted.length);
  const left = new Set(cache.keys());
  for (let n = 0; n < 1000; n++)
    assert.notEqual(left.has(`key ${n}`), evicted.includes(`key ${n}`));
});

test("resize evicts before it returns", () => {
  using cache = open<string>({ memoryMax: "16MiB", codec: "none", tiers: false });
  for (let n = 0; n < 1500; n++) cache.set(`key ${n}`, String(n).padEnd(8000, "x"));
  assert.ok(cache.stats().memoryUsed > 8 << 20);
  cache.resize("6MiB");
  assert.ok(cache.stats().memoryUsed <= 6 << 20, String(cache.stats().memoryUsed));
  assert.throws(() => cache.resize("5GiB"), code("ERR_OPTION"));
  cache.group.verify();
});

test("near copies are never older than a value that another thread has set", async () => {
  using cache = open<unknown>({ near: { frozen: true } });
  cache.set("k", "one");
  assert.equal(cache.get("k"), "one");
  assert.equal(cache.get("k"), "one");
  assert.equal(cache.counts.nearHits, 1);
  cache.set("k", "two");
  assert.equal(cache.get("k"), "two");
  cache.set("o", { a: [1] });
  const first = cache.get("o") as { a: number[] };
  assert.equal(cache.get("o"), first);
  assert.throws(() => first.a.push(2), TypeError);
  cache.delete("o");
  assert.equal(cache.get("o"), undefined);
  // Values that stay mutable when they are frozen are not kept.
  type Odd = { map: Map<number, number>; date: Date; bytes: Uint8Array };
  cache.set("odd", { map: new Map([[1, 1]]), date: new Date(5), bytes: new Uint8Array(1) });
  for (let times = 0; times < 2; times++) {
    const { map, date, bytes } = cache.get("odd") as unknown as Odd;
    assert.deepEqual([map, date, bytes], [new Map([[1, 1]]), new Date(5), new Uint8Array(1)]);
    map.clear();
    date.setTime(7);
    bytes.fill(9);
  }
  const setAt = Date.now();
  cache.set("t", "short", 10);
  const found = cache.get("t");
  assert.ok(found === "short" || Date.now() - setAt >= 10);
  await sleep(20);
  assert.equal(cache.get("t"), undefined);
  const worker = new Worker(WORKER, { workerData: { share: cache.share(), job: "overwrite" } });
  cache.get("k");
  await once(worker, "exit");
  assert.equal(cache.get("k"), "by another thread");
});

test("threads share values, loads and errors of loads", async () => {
  using cache = open<string>();
  cache.set("greeting", "hello");
  const data = { share: cache.share(), job: "fetch" };
  const workers = [1, 2, 3].map(() => new Worker(WORKER, { workerData: data }));
  const exits = workers.map((worker) => once(worker, "exit"));
  const replies: Record<string, unknown>[] = [];
  let asking = 0;
  for (const worker of workers) {
    worker.on("message", (message: unknown) => {
      if (message !== "asking") replies.push(message as Record<string, unknown>);
      else if (++asking % workers.length === 0) {
        for (const one of workers) one.postMessage("go");
      }
    });
  }
  await Promise.all(exits);
  assert.equal(replies.length, workers.length);
  assert.equal(
    replies.reduce((sum, reply) => sum + Number(reply["loads"]), 0),
    1,
  );
  for (const reply of replies) {
    assert.equal(reply["greeting"], "hello");
    assert.equal(reply["loaded"], "loaded once");
    assert.equal(reply["failure"], "RangeError: not today");
  }
  assert.equal(
    replies.reduce((sum, reply) => sum + Number(reply["failing"]), 0),
    1,
  );
  assert.equal(cache.get("loaded"), "loaded once");
  cache.group.verify();
});

test("another thread takes over the load of a thread that dies", async () => {
  using cache = open<string>();
  const worker = new Worker(WORKER, { workerData: { share: cache.share(), job: "hang" } });
  await once(worker, "message");
  const waiting = cache.fetch("hangs", () => "by who waited");
  await sleep(20);
  await worker.terminate();
  assert.equal(await waiting, "by who waited");
});

test("a full cache takes a value that needs a sixteenth of its memory", () => {
  const bytes = 4 << 20;
  using cache = open<Uint8Array>({ memoryMax: bytes, dictionary: false });
  const random = new Xorshift32(3);
  const noise = (size: number) => new Uint8Array(size).map(() => random.next());
  for (let nth = 0; nth < bytes / 1300; nth++) {
    cache.set(`small ${nth}`, noise(2000));
    cache.get(`small ${nth >>> 1}`);
  }
  for (let nth = 0; nth < 5; nth++) {
    const value = noise(bytes / 16);
    assert.ok(cache.set(`large ${nth}`, value), `value ${nth} is stored`);
    assert.deepEqual(cache.get(`large ${nth}`), value);
  }
  assert.ok(cache.store.stats().counters.evicted_ephemeral_pages > 0);
});

test("random sequences of calls agree with a Map", () => {
  const call = fc.record({
    what: fc.constantFrom("set", "set", "get", "delete", "scan"),
    key: fc.integer({ min: 0, max: 20 }),
    value: fc.oneof(fc.string(), fc.jsonValue(), fc.uint8Array({ maxLength: 3000 })),
  });
  fc.assert(
    fc.property(
      fc.array(call, { maxLength: 80 }),
      fc.constantFrom("lz4", "zstd"),
      (calls, codec) => {
        using cache = open<unknown>({ codec });
        const model = new Map<string, unknown>();
        for (const { what, key, value } of calls) {
          const name = `key ${key}`;
          if (what === "set") {
            assert.ok(cache.set(name, value));
            model.set(name, value);
          } else if (what === "delete") assert.equal(cache.delete(name), model.delete(name));
          else if (what === "scan") {
            scanAll(cache, {
              entries: 1000,
              recompress: { idleTicks: 0 },
              redictionary: true,
            });
          } else if (what === "get") assert.deepEqual(cache.get(name), model.get(name));
        }
        cache.group.verify();
        assert.deepEqual(new Map(cache), model);
      },
    ),
    { numRuns: 100 },
  );
});

for (const codec of ["lz4", "zstd"]) {
  test(`a dictionary is trained from the values, and all threads use it: ${codec}`, async () => {
    using cache = open<string>({ codec, memoryMax: "32MiB" });
    const size = 700;
    const before: string[] = Array.from({ length: size }, (_, n) => documentAt(n));
    for (const [n, text] of before.entries()) cache.set(`before ${n}`, text);
    const without = cache.stats().storedBytes;
    const report = await cache.train();
    assert.ok(report?.used === true, JSON.stringify(report));
    assert.ok(report.packedBytesWith < report.packedBytesBefore * 0.9);
    assert.equal(cache.stats().dictionary, 1);
    // The idle scan recompresses the values that are stored already.
    const done = scanAll(cache, { entries: 10_000, redictionary: true });
    assert.ok(done.ended && done.recompressed > size * 0.8, JSON.stringify(done));
    const withIt = cache.stats().storedBytes;
    assert.ok(withIt < without * 0.9, `${withIt} of ${without}`);
    for (let n = 0; n < 50; n++) cache.set(`after ${n}`, documentAt(10_000 + n));
    for (const [n, text] of before.entries()) assert.equal(cache.get(`before ${n}`), text);
    const worker = new Worker(WORKER, { workerData: { share: cache.share(), job: "read" } });
    const [read] = (await once(worker, "message")) as [string[]];
    assert.deepEqual(
      read,
      ["before 3", "after 7"].map((key) => cache.get(key)),
    );
    cache.group.verify();
  });
}
