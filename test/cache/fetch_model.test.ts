// Random sequences of fetches, sets, deletes, clears and passing time, over two attachments of one
// cache and with loaders that the test ends, against a model: the value set or loaded last is
// stored. A load begins when its loader is called, and is stored only if its key was not changed
// since.
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep, setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { Cache } from "../../src/index.ts";
import { NOT_WATCHED, WATCHES } from "../../src/store/versions.ts";
import { createCache } from "../doubles/test_caches.ts";

const TTL_MS = 100;
const STALE_MS = 60;
const KEYS = ["a", "b", "c"];
/** Loads without a value that a fetch may wait for before it calls its own loader. */
const JOINS_MAX = 3;
/** A fetch for which no loader runs must end within so many turns of the event loop. */
const TURNS_MAX = 5000;
/** From this turn on each turn takes some ms: waiting fetches check every 50 ms. */
const TURNS_QUICK = 100;

interface Stored {
  readonly value: string;
  readonly freshMs: number;
}

/** A load whose loader has been called and has not ended. */
interface Pending {
  readonly key: string;
  /** How often its key had been changed when it began. */
  readonly changes: number;
  readonly end: (how: "value" | "none" | "failure" | "unstorable") => void;
}

class Failure extends Error {}

class Run {
  readonly caches: readonly Cache<string, unknown>[];
  readonly stored = new Map<string, Stored>();
  readonly changes = new Map(KEYS.map((key) => [key, 0]));
  /** Loads of a key that have ended. */
  readonly ended = new Map(KEYS.map((key) => [key, 0]));
  readonly pending: Pending[] = [];
  /** Whatever a key has ever been: a request is answered with one of these. */
  readonly values = new Map<string, Set<unknown>>(KEYS.map((key) => [key, new Set()]));
  open = 0;
  readonly errors: unknown[] = [];
  #serial = 0;

  constructor(near: boolean) {
    const options = { memoryMax: "4MiB", backgroundMs: 0, near, ttl: TTL_MS } as const;
    const cache = createCache({ ...options, staleWhileRevalidate: STALE_MS });
    this.caches = [cache, Cache.attach(cache.share())];
  }

  fetch(by: number, key: string, forceRefresh: boolean): void {
    const before = this.pending.length;
    const current = this.#current(key);
    const begin = this.ended.get(key)!;
    const stored = this.stored.get(key);
    const loader = () => {
      // A second load of a key may begin only if the key was changed since the first.
      const isImpatient = this.ended.get(key)! - begin >= JOINS_MAX;
      assert.ok(isImpatient || this.#current(key) === undefined, `two loads of ${key}`);
      return this.#load(key);
    };
    this.open++;
    const result = this.caches[by]!.fetch(key, loader, { forceRefresh });
    const isFresh = stored !== undefined && stored.freshMs > Date.now();
    const loads = this.pending.length - before;
    assert.equal(loads, (isFresh && !forceRefresh) || current !== undefined ? 0 : 1);
    result
      .then(
        (value) => assert.ok(value === undefined || this.values.get(key)!.has(value)),
        (error) => assert.ok(error instanceof Failure || error.message.startsWith("failure")),
      )
      .finally(() => this.open--)
      .catch((error) => this.errors.push(error));
  }

  set(by: number, key: string): void {
    const value = `set ${++this.#serial}`;
    this.caches[by]!.set(key, value);
    this.#store(key, value);
  }

  delete(by: number, key: string): void {
    this.caches[by]!.delete(key);
    this.#remove(key);
  }

  clear(by: number): void {
    this.caches[by]!.clear();
    for (const key of KEYS) this.#remove(key);
  }

  /** What is evicted is not there, and nothing has happened to its key. */
  evict(): void {
    this.caches[0]!.store.shrink(1);
    for (const key of KEYS) {
      if (this.caches[0]!.get(key, { allowStale: true }) === undefined) this.stored.delete(key);
    }
  }

  check(): void {
    if (this.errors.length > 0) throw this.errors[0];
    const now = Date.now();
    for (const key of KEYS) {
      const stored = this.stored.get(key);
      const fresh = stored !== undefined && stored.freshMs > now ? stored.value : undefined;
      const kept =
        stored !== undefined && stored.freshMs + STALE_MS > now ? stored.value : undefined;
      for (const cache of this.caches) {
        assert.equal(cache.get(key), fresh, key);
        assert.equal(cache.get(key, { allowStale: true }), kept, key);
      }
    }
  }

  /** Ends what is open, whatever comes of it. */
  async finish(): Promise<void> {
    for (let turns = 0; this.open > 0 || this.pending.length > 0; turns++) {
      assert.ok(turns < TURNS_MAX, `${this.open} requests are open, and no load`);
      if (this.pending.length > 0) turns = 0;
      this.pending[0]?.end("value");
      await (turns < TURNS_QUICK ? turn() : sleep(10));
      this.check();
    }
    const { shards, group } = this.caches[0]!;
    for (const { words, versions } of shards) {
      for (let nth = 0; nth < WATCHES; nth++) {
        assert.equal(words[versions.watchAt(nth, 0)], NOT_WATCHED);
      }
    }
    group.verify();
    for (const cache of this.caches) cache.close();
  }

  /** The load of a key that nothing has happened to since it began. */
  #current(key: string): Pending | undefined {
    return this.pending.find((load) => load.key === key && load.changes === this.changes.get(key));
  }

  #load(key: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const changes = this.changes.get(key)!;
      const load: Pending = {
        key,
        changes,
        end: (how) => {
          this.pending.splice(this.pending.indexOf(load), 1);
          this.ended.set(key, this.ended.get(key)! + 1);
          const isCurrent = this.changes.get(key) === changes;
          const value = how === "unstorable" ? () => 1 : `loaded ${++this.#serial}`;
          if (how === "none") resolve(undefined);
          else if (how === "failure") reject(new Failure(`failure ${key}`));
          else resolve(value);
          this.values.get(key)!.add(value);
          if (isCurrent && how === "unstorable") this.#remove(key);
          if (isCurrent && how === "value") this.#store(key, value as string);
        },
      };
      this.pending.push(load);
    });
  }

  #store(key: string, value: string): void {
    this.stored.set(key, { value, freshMs: Date.now() + TTL_MS });
    this.values.get(key)!.add(value);
    this.#change(key);
  }

  #remove(key: string): void {
    this.stored.delete(key);
    this.#change(key);
  }

  #change(key: string): void {
    this.changes.set(key, this.changes.get(key)! + 1);
  }
}

const step = fc.record({
  what: fc.constantFrom(
    ...(["fetch", "fetch", "fetch", "refresh", "end", "end", "end"] as const),
    ...(["set", "delete", "clear", "wait", "evict"] as const),
  ),
  by: fc.nat(1),
  key: fc.constantFrom(...KEYS),
  how: fc.constantFrom("value", "value", "none", "failure", "unstorable"),
  nth: fc.nat(5),
  ms: fc.constantFrom(10, 70, 130, 300),
});

function stopClock(t: TestContext): { tick(ms: number): void } {
  t.mock.timers.enable({ apis: ["Date"], now: 1e12 });
  return t.mock.timers;
}

for (const near of [false, true]) {
  test(`fetches, sets, deletes and time, ${near ? "with" : "without"} near copies`, async (t) => {
    const clock = stopClock(t);
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const run = new Run(near);
        for (const { what, by, key, how, nth, ms } of steps) {
          if (what === "fetch" || what === "refresh") run.fetch(by, key, what === "refresh");
          else if (what === "set") run.set(by, key);
          else if (what === "delete") run.delete(by, key);
          else if (what === "clear") run.clear(by);
          else if (what === "wait") clock.tick(ms);
          else if (what === "end") {
            run.pending[nth % Math.max(1, run.pending.length)]?.end(how);
            // The callers go on, those of the other attachment some turns later.
            for (let turns = 0; turns < 5; turns++) await turn();
          } else if (!near) run.evict();
          run.check();
        }
        await run.finish();
      }),
      { numRuns: 150 },
    );
  });
}
