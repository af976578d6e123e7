// `fetch`: one loader runs for a key at a time; a loaded value never replaces a newer one, and
// always reaches the callers that waited for it.
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { type TestContext, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { KeyvZcache } from "../../src/adapters/keyv.ts";
import { Cache, type CacheOptions, type Serializer, ZcacheError } from "../../src/index.ts";
import { createCache, evictOne, scanAll, shardOf } from "../doubles/test_caches.ts";

function open<V = string>(
  options: CacheOptions & { serializer?: Serializer } = {},
): Cache<string, V> {
  return createCache<string, V>({ memoryMax: "4MiB", backgroundMs: 0, ...options });
}

function code(name: string) {
  return (error: unknown) => error instanceof ZcacheError && error.code === name;
}

/** A loader that returns its value when `end` is called. */
function controlled<V>() {
  let end: (value: V | Promise<V>) => void = () => undefined;
  const value = new Promise<V>((resolve) => {
    end = resolve;
  });
  let begun = () => {};
  const begin = new Promise<void>((resolve) => {
    begun = resolve;
  });
  const loader = () => {
    begun();
    return value;
  };
  return { loader, end, begin };
}

/** Replaces the clock by one that only `tick` moves. */
function stopClock(t: TestContext): { tick(ms: number): void } {
  t.mock.timers.enable({ apis: ["Date"], now: 1e12 });
  return t.mock.timers;
}

type Change = readonly [
  name: string,
  change: (cache: Cache<string, string>) => void,
  left?: string,
];

/** Changes to a key while it is loaded, and the value that is stored afterwards. */
const CHANGES: readonly Change[] = [
  ["set", (cache) => cache.set("k", "newer"), "newer"],
  ["set of a long value", (cache) => cache.set("k", "n".repeat(50_000)), "n".repeat(50_000)],
  ["delete", (cache) => cache.delete("k")],
  ["set, then delete", (cache) => cache.set("k", "newer") && cache.delete("k")],
  ["set of undefined", (cache) => cache.set("k", undefined as never)],
  ["setMany", (cache) => cache.setMany([["k", "newer"]]), "newer"],
  ["clear", (cache) => cache.clear()],
  ["clear of a prefix", (cache) => cache.clear("k")],
  ["an adapter's delete", (cache) => new KeyvZcache({ cache: cache as never }).deleteMany(["k"])],
  ["an adapter's clear", (cache) => new KeyvZcache({ cache: cache as never, prefix: "k" }).clear()],
  ["a set that is evicted", (cache) => cache.set("k", "newer") && evictOne(cache)],
  ["a set that is refused", (cache) => cache.set("k", "x".repeat(20 << 20))],
];

for (const [name, change, left] of CHANGES) {
  for (const where of ["this thread", "another"]) {
    test(`a value loaded meanwhile does not replace: ${name} in ${where}`, async () => {
      for (const near of [false, true]) {
        for (const before of [undefined, "older"]) {
          using cache = open({ near, codec: "none" });
          const other = Cache.attach<string, string>(cache.share());
          if (before !== undefined) cache.set("k", before);
          cache.get("k");
          const { loader, end, begin } = controlled<string>();
          const waiting = cache.fetch("k", loader, { forceRefresh: true });
          await begin;
          change(where === "another" ? other : cache);
          end("loaded");
          assert.equal(await waiting, "loaded");
          for (const one of [cache, other]) assert.equal(one.get("k"), left);
          cache.group.verify();
          assert.equal(await cache.fetch("k", () => "anew"), left ?? "anew");
          other.detach();
        }
      }
    });
  }
}

test("a loaded value is not stored after a set that has expired or a delete", async (t) => {
  const clock = stopClock(t);
  using cache = open({ staleWhileRevalidate: "1h", ttl: 100 });
  cache.set("k", "older");
  clock.tick(200);
  const { loader, end } = controlled<string>();
  assert.equal(await cache.fetch("k", loader), "older");
  cache.set("k", "newer", { ttl: 5, staleWhileRevalidate: 0 });
  clock.tick(10);
  assert.equal(cache.get("k"), undefined);
  end("loaded");
  await turn();
  assert.equal(cache.get("k", { allowStale: true }), undefined);
});

test("a loaded value is stored if the stale value has expired meanwhile", async (t) => {
  const clock = stopClock(t);
  using cache = open({ staleWhileRevalidate: 50, ttl: 100 });
  for (const look of [
    () => cache.get("k"),
    () => scanAll(cache, { entries: 1000, nowMs: Date.now() }),
    () => evictOne(cache),
  ]) {
    cache.set("k", "older");
    clock.tick(120);
    const { loader, end } = controlled<string>();
    assert.equal(await cache.fetch("k", loader), "older");
    clock.tick(100);
    look();
    end("loaded");
    await turn();
    assert.equal(cache.get("k"), "loaded");
    clock.tick(1000);
  }
});

test("a fetch after a set or a delete does not join an older load", async () => {
  using cache = open();
  const other = Cache.attach<string, string>(cache.share());
  for (const [one, two] of [
    [cache, cache],
    [cache, other],
  ] as const) {
    const { loader, end, begin } = controlled<string>();
    const first = one.fetch("k", loader);
    await begin;
    two.delete("k");
    assert.equal(await two.fetch("k", () => "second"), "second");
    end("first");
    assert.equal(await first, "first");
    assert.equal(one.get("k"), "second");
    cache.clear();
  }
  other.detach();
});

test("a set of another key does not prevent a loaded value from being stored", async () => {
  using cache = open();
  for (let nth = 0; nth < 20; nth++) {
    const { loader, end, begin } = controlled<string>();
    const waiting = cache.fetch(`key ${nth}`, loader);
    await begin;
    for (let n = 0; n < 500; n++) cache.set(`other ${n}`, "x");
    end("loaded");
    await waiting;
    assert.equal(cache.get(`key ${nth}`), "loaded");
  }
  assert.equal(cache.counts.unstored, 0);
});

test("more concurrent loads than slots: all values are right, and most are stored", async () => {
  using cache = open();
  const loads = Array.from({ length: 2000 }, () => controlled<string>());
  const all = loads.map(({ loader }, n) => cache.fetch(`key ${n}`, loader));
  for (let n = 0; n < 2000; n += 10) cache.set(`key ${n}`, "newer");
  for (const [n, { end }] of loads.entries()) end(`loaded ${n}`);
  await Promise.all(all);
  let stored = 0;
  for (let n = 0; n < 2000; n++) {
    const value = cache.get(`key ${n}`);
    if (n % 10 === 0) assert.equal(value, "newer");
    else if (value !== undefined) assert.equal(value, `loaded ${n}`);
    if (value !== undefined) stored++;
  }
  assert.equal(cache.counts.unstored, 2000 - stored + 200);
  assert.ok(stored > 1200, `${stored} of 2000`);
});

test("a loader that fetches its own key, by any way, is rejected", async () => {
  using cache = open();
  const other = Cache.attach<string, string>(cache.share());
  const ways: ((again: () => Promise<string>) => Promise<string>)[] = [
    (again) => again(),
    async (again) => {
      await turn();
      return again();
    },
    (again) => new Promise((resolve, reject) => setTimeout(() => again().then(resolve, reject), 1)),
    (again) => cache.fetch("b", () => again()),
    (again) => cache.fetch("b", async () => cache.fetch("c", again)),
    async (again) => (await Promise.all([cache.fetch("d", () => "d"), again()]))[1],
    (again) => cache.fetch("b", again, { forceRefresh: true }),
    (again) => {
      cache.delete("a");
      return again();
    },
    () => other.fetch("a", () => "elsewhere"),
    (again) => other.fetch("b", again),
  ];
  for (const [nth, way] of ways.entries()) {
    const load = (): Promise<string> => cache.fetch("a", () => way(load));
    await assert.rejects(load(), code("ERR_LOAD_CYCLE"), `way ${nth}`);
    cache.clear();
    assert.equal(await cache.fetch("a", () => "well again"), "well again");
    cache.clear();
  }
  await assert.rejects(
    cache.fetch("a", () => cache.fetch("a", () => "")),
    (error: ZcacheError) => /the loader of "a"/.test(error.message) && error.context["key"] === "a",
  );
  // A loader may catch the error and load in another way.
  const caught = () => cache.fetch("a", () => "").catch(() => "by another way");
  assert.equal(await cache.fetch("a", caught), "by another way");
  other.detach();
});

test("loads that were begun separately and wait for each other are rejected", async () => {
  using cache = open();
  const ready = controlled<void>();
  const crossed = (from: string, to: string) =>
    cache.fetch(from, async () => {
      await ready.loader();
      return cache.fetch(to, () => "never");
    });
  const keys = ["a", "b", "c"];
  const all = keys.map((key, n) => crossed(key, keys[(n + 1) % keys.length]!));
  ready.end();
  for (const result of await Promise.allSettled(all)) {
    assert.ok(result.status === "rejected" && code("ERR_LOAD_CYCLE")(result.reason));
  }
});

test("loaders that fetch other keys without a cycle", async (t) => {
  const clock = stopClock(t);
  using cache = open({ ttl: 100, staleWhileRevalidate: "1h" });
  const d = async () => {
    await turn();
    return "d";
  };
  const by = (name: string) => async () => `${name}(${await cache.fetch("d", d)})`;
  const a = async () =>
    (await Promise.all([cache.fetch("b", by("b")), cache.fetch("c", by("c"))])).join();
  assert.equal(await cache.fetch("a", a), "b(d),c(d)");
  // A stale value is returned without waiting for its load, whose loader fetches the key.
  clock.tick(200);
  const background = controlled<string>();
  const loaded = cache.fetch(
    "e",
    async () => {
      const stale = await cache.fetch("b", () => {
        const e = cache.fetch("e", () => "never");
        e.then(background.end);
        return e;
      });
      return `e of ${stale}`;
    },
    {},
  );
  assert.equal(await loaded, "e of b(d)");
  assert.equal(await background.loader(), "e of b(d)");
  // A call that comes from a loader after its end belongs to no load.
  const later = controlled<string>();
  await cache.fetch("f", () => {
    setTimeout(() => later.end(cache.fetch("f", () => "again", { forceRefresh: true })), 1);
    return "first";
  });
  assert.equal(await later.loader(), "again");
});

test("an undetected cycle ends: after a long wait a fetch loads by itself", async (t) => {
  using cache = open();
  const other = Cache.attach<string, string>(cache.share());
  // Waiting loads check every 50 ms: here the timers fire at once.
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const ticking = setInterval(() => t.mock.timers.tick(50), 0);
  t.after(() => clearInterval(ticking));
  const ends = [controlled<string>(), controlled<string>()];
  const begun = controlled<void>();
  const asked = controlled<void>();
  const second = other.fetch("d", async () => {
    begun.end();
    await asked.loader();
    return `d with ${await other.fetch("a", () => "never")}`;
  });
  await begun.loader();
  // A flight records two loads that its loader waits for; the third wait is not known.
  const first = cache.fetch("a", async () => {
    const [b, c] = ends.map(({ loader }, n) => cache.fetch(`bc${n}`, loader));
    const d = cache.fetch("d", () => "d loaded here");
    // The wait for "d" is one interval longer than the wait for "a", and so ends first.
    await new Promise((resolve) => setTimeout(resolve, 50));
    asked.end();
    await turn();
    for (const { end } of ends) end("loaded");
    return `${await b} ${await c} ${await d}`;
  });
  assert.equal(await first, "loaded loaded d loaded here");
  assert.equal(await second, "d with loaded loaded d loaded here");
  other.detach();
});

test("touch does not replace a value that is set meanwhile by an older one", (t) => {
  const clock = stopClock(t);
  using cache = open({ staleWhileRevalidate: 1000 });
  const other = Cache.attach<string, string>(cache.share());
  for (const older of ["older", "o".repeat(50_000)]) {
    for (const change of [() => other.set("k", "newer", 50), () => other.delete("k")]) {
      cache.set("k", older);
      const values = shardOf(cache, "k");
      const { read } = values;
      let changed = false;
      values.read = (...args) => {
        const value = read.apply(values, args);
        if (!changed) change();
        changed = true;
        return value;
      };
      const left = cache.touch("k", 100) ? "newer" : undefined;
      values.read = read;
      assert.ok(changed);
      assert.equal(cache.get("k"), left);
      assert.equal(other.has("k"), left !== undefined);
      assert.equal(cache.remainingTtl("k"), left === undefined ? 0 : 100);
      cache.delete("k");
    }
  }
  cache.set("stale", "v", 10);
  clock.tick(20);
  assert.equal(cache.touch("stale", 1000), false);
  assert.equal(cache.has("stale"), false);
  other.detach();
});

test("a loaded value that can't be stored is returned, and removes the older one", async () => {
  const refusing: Serializer = {
    encode: () => {
      throw new RangeError("no");
    },
    decode: () => undefined,
  };
  const unstorable = [() => 1, { method: () => 1 }, Symbol("s"), "x".repeat(20 << 20)];
  for (const value of unstorable) {
    using cache = open<unknown>({ codec: "none" });
    assert.equal(await cache.fetch("k", () => value), value);
    cache.set("k", "older");
    assert.equal(await cache.fetch("k", () => value, { forceRefresh: true }), value);
    assert.equal(cache.get("k"), undefined);
    assert.equal(cache.counts.unstored, 2);
    cache.group.verify();
  }
  using cache = open<unknown>({ serializer: refusing });
  const object = {};
  assert.equal(await cache.fetch("k", () => object), object);
});

test("a cache is closed during a load: the callers get the value", async () => {
  for (const end of ["close", "detach"] as const) {
    const cache = open();
    const other = Cache.attach<string, string>(cache.share());
    const load = controlled<string>();
    const first = other.fetch("k", load.loader);
    await load.begin;
    const joined = cache.fetch("k", () => "by who waited");
    if (end === "close") cache.close();
    else other.detach();
    load.end("loaded");
    assert.equal(await first, "loaded");
    // A thread that detaches does not end its flights: waiting threads notice, and load.
    assert.equal(await joined, "by who waited");
    await assert.rejects(
      (end === "close" ? cache : other).fetch("k", () => "v"),
      code("ERR_STORE_CLOSED"),
    );
    cache.close();
  }
});

test("options are checked before the loader is called", async () => {
  using cache = open();
  let calls = 0;
  const loader = () => `${++calls}`;
  const wrong = [
    { ttl: 0 },
    { ttl: "soon" },
    { staleWhileRevalidate: -1 },
    { forceRefresh: 1 },
    { tll: 5 },
    { signal: "stop" },
    null,
    5,
  ];
  for (const options of wrong) {
    await assert.rejects(cache.fetch("k", loader, options as never), code("ERR_OPTION"));
  }
  for (const one of [undefined, null, "loader", {}]) {
    await assert.rejects(cache.fetch("k", one as never), code("ERR_OPTION"));
  }
  await assert.rejects(cache.fetch("", loader), code("ERR_KEY"));
  assert.equal(calls, 0);
});

test("a key of bytes may be changed by the caller during the load", async () => {
  using cache = createCache<Uint8Array, string>({ memoryMax: "4MiB", backgroundMs: 0 });
  const key = new Uint8Array([1]);
  const { loader, end, begin } = controlled<string>();
  const waiting = cache.fetch(key, loader);
  await begin;
  key[0] = 2;
  end("one");
  await waiting;
  assert.equal(cache.get(new Uint8Array([1])), "one");
  assert.equal(cache.get(new Uint8Array([2])), undefined);
});

test("a signal ends the wait of one caller, and the load goes on for the others", async () => {
  using cache = open();
  const load = controlled<string>();
  let seen: AbortSignal | undefined;
  const stop = new AbortController();
  const reason = new Error("enough");
  const loader = (_: string, { signal }: { signal: AbortSignal }) => {
    seen = signal;
    return load.loader();
  };
  const given = cache.fetch("k", loader, { signal: stop.signal });
  const kept = cache.fetch("k", loader);
  await load.begin;
  stop.abort(reason);
  await assert.rejects(given, reason);
  assert.equal(seen?.aborted, false);
  load.end("loaded");
  assert.equal(await kept, "loaded");
  assert.equal(cache.get("k"), "loaded");
  assert.equal(getEventListeners(stop.signal, "abort").length, 0);
  // A signal that is aborted already rejects the call, even if there is a value.
  await assert.rejects(cache.fetch("k", loader, { signal: stop.signal }), reason);
  const quiet = new AbortController();
  for (let n = 0; n < 20; n++) await cache.fetch(`k${n}`, () => "v", { signal: quiet.signal });
  await cache.fetch("fails", () => Promise.reject(reason), quiet).catch(() => undefined);
  assert.equal(getEventListeners(quiet.signal, "abort").length, 0);
});

test("a load is aborted when all callers have given up, and the next fetch loads", async () => {
  using cache = open();
  const reason = new Error("enough");
  const load = controlled<string>();
  let seen: AbortSignal | undefined;
  const stops = [new AbortController(), new AbortController()];
  const waits = stops.map(({ signal }) =>
    cache.fetch(
      "k",
      (_key, context) => {
        seen = context.signal;
        return load.loader();
      },
      { signal },
    ),
  );
  await load.begin;
  stops[0]!.abort(new Error("first"));
  assert.equal(seen!.aborted, false);
  stops[1]!.abort(reason);
  const results = await Promise.allSettled(waits);
  assert.deepEqual(
    results.map((result) => result.status),
    ["rejected", "rejected"],
  );
  assert.equal(seen!.reason, reason);
  assert.equal(await cache.fetch("k", () => "second"), "second");
  load.end("late");
  await turn();
  assert.equal(cache.get("k"), "second");
  // A loader that has not read its signal goes on, and its value is stored.
  const other = controlled<string>();
  const stop = new AbortController();
  const wait = cache.fetch("other", other.loader, stop);
  await other.begin;
  stop.abort(reason);
  await assert.rejects(wait, reason);
  other.end("loaded");
  await turn();
  assert.equal(cache.get("other"), "loaded");
  cache.group.verify();
});

test("each fetch counts as one hit or one miss, and each load as one miss", async (t) => {
  const clock = stopClock(t);
  using cache = open({ ttl: 100, staleWhileRevalidate: 100 });
  let [hits, misses] = [0, 0];
  const check = (what: string, more: readonly [hits: number, misses: number]) => {
    hits += more[0];
    misses += more[1];
    const stats = cache.stats();
    assert.deepEqual([stats.hits, stats.misses], [hits, misses], what);
    assert.equal(stats.hitRate, hits / (hits + misses));
    assert.equal(stats.store.counters.gets, hits + misses);
  };
  await cache.fetch("k", () => "v");
  check("a fetch that loads", [0, 1]);
  await cache.fetch("k", () => "v");
  check("a fetch that finds", [1, 0]);
  await cache.fetch("k", () => "v", { forceRefresh: true });
  check("a fetch that does not look", [0, 1]);
  await Promise.all([1, 2, 3].map(() => cache.fetch("joined", async () => "v")));
  check("three that wait for one load", [0, 3]);
  await cache.fetch("none", () => undefined);
  await cache.fetch("fails", () => Promise.reject(new Error("no"))).catch(() => undefined);
  check("loads that give nothing", [0, 2]);
  cache.get("k");
  cache.has("k");
  cache.remainingTtl("k");
  cache.delete("none");
  check("a get; what looks only is no request", [1, 0]);
  clock.tick(150);
  cache.get("k");
  cache.get("k", { allowStale: true });
  check("stale values", [0, 2]);
  await cache.fetch("k", () => "v");
  await turn();
  check("a stale value that is loaded anew", [0, 1]);
  cache.get("k");
  check("and found", [1, 0]);
  clock.tick(500);
  cache.get("k");
  cache.get("k");
  check("expired values", [0, 2]);
  assert.equal(cache.stats().thread.loads, 6);
});

test("has() is true for each key of keys()", (t) => {
  const clock = stopClock(t);
  using cache = open({ staleWhileRevalidate: 1000 });
  cache.set("fresh", "v", 10_000);
  cache.set("stale", "v", 10);
  cache.set("expired", "v", { ttl: 10, staleWhileRevalidate: 0 });
  clock.tick(20);
  for (const key of ["fresh", "stale", "expired"]) {
    assert.equal([...cache.keys()].includes(key), cache.has(key), key);
  }
  assert.deepEqual([...cache], [["fresh", "v"]]);
  assert.equal(cache.delete("stale"), false);
  assert.equal(cache.get("stale", { allowStale: true }), undefined);
  assert.equal(cache.delete("fresh"), true);
});

test("clear of a prefix removes fresh and stale values of its keys only", (t) => {
  const clock = stopClock(t);
  using cache = createCache<string | Uint8Array, string>({ staleWhileRevalidate: 1000 });
  for (const key of ["a:1", "a:2", "a", "b:a:1", "ä:", "A:1"]) cache.set(key, "v", 10);
  cache.set(new TextEncoder().encode("a:1"), "bytes", 10);
  clock.tick(20);
  cache.clear("a:");
  const left = ["a:1", "a:2", "a", "b:a:1", "ä:", "A:1"].filter(
    (key) => cache.get(key, { allowStale: true }) !== undefined,
  );
  assert.deepEqual(left, ["a", "b:a:1", "ä:", "A:1"]);
  assert.throws(() => cache.clear(5 as never), code("ERR_OPTION"));
  cache.clear();
  assert.equal(cache.size, 0);
});

/** Checks the declared type of a value, exactly. */
function expectType<Wanted>() {
  return <Given>(_: Given & ([Given, Wanted] extends [Wanted, Given] ? unknown : never)) => {};
}

test("the type of a fetch is the type of its loader", async () => {
  interface User {
    readonly name: string;
    readonly age?: number;
  }
  using users = open<User>();
  const ada = { name: "Ada" };
  expectType<User>()(await users.fetch("a", () => ada));
  expectType<User>()(await users.fetch("a", async (key) => ({ name: key, age: 5 })));
  expectType<User>()(await users.getOrSet("a", (key, { signal }) => ({ name: key, signal })));
  expectType<User>()(await users.fetch("a", () => new Promise((resolve) => resolve(ada))));
  const maybe = (key: string): User | undefined => (key === "a" ? ada : undefined);
  expectType<User | undefined>()(await users.fetch("b", maybe));
  expectType<User | undefined>()(await users.fetch("b", async (key) => maybe(key)));
  expectType<User | undefined>()(await users.fetch("b", () => undefined));
  expectType<User | undefined>()(await users.getOrSet("b", () => undefined, { ttl: 5 }));
  const query: PromiseLike<User> = Promise.resolve(ada);
  expectType<User>()(await users.fetch("d", () => query));
  // @ts-expect-error: a value of another type
  await users.fetch("c", () => ({ title: "Dr" }));
  // @ts-expect-error: a key of another type
  await users.fetch(new Uint8Array([1]), () => ada);
  using any = createCache({ memoryMax: "4MiB", backgroundMs: 0 });
  expectType<unknown>()(await any.fetch("a", () => "text"));
  using literal = open<"on" | "off">();
  expectType<"on" | "off">()(await literal.fetch("a", () => "on"));
  expectType<"on" | "off">()(await literal.fetch("a", async () => "off" as const));
  // @ts-expect-error: not one of the values
  await literal.fetch("b", () => "of");
});
