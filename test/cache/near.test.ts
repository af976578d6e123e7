// What a thread keeps near is what was set last, whatever other threads do, and wherever they are
// terminated while they do it.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Cache, type CacheShare } from "../../src/index.ts";
import { stopAfterCommit } from "../doubles/stopped.ts";

type Strings = Cache<string, string>;

/** The same cache in another thread, or as if it were one, that keeps nothing near. */
function attachFar(share: CacheShare): Strings {
  return Cache.attach({ ...share, options: { ...share.options, nearBytes: 0 } });
}

const KEYS = ["a", "b", "c"];

const operation = fc.record({
  what: fc.constantFrom("set", "set", "set", "delete", "clear", "evict"),
  by: fc.nat(1),
  key: fc.constantFrom(...KEYS),
  /** Values of a page, and of several. */
  length: fc.constantFrom(10, 3000, 20_000),
  /** After how many changes that it commits the thread is terminated, if it makes so many. */
  stopAfter: fc.constantFrom(1, 1, 2, 3, 1000),
});

test("near copies of threads that are terminated after any commit, against what is stored", () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 30 }), (operations) => {
      using cache: Strings = Cache.create({ memoryMax: "4MiB", backgroundMs: 0, near: true });
      const far = attachFar(cache.share());
      const threads = [cache, Cache.attach<string, string>(cache.share())];
      let seed = 0;
      for (const { what, by, key, length, stopAfter } of operations) {
        // Both have a copy of whatever there is.
        for (const thread of threads) for (const one of KEYS) thread.get(one);
        const thread = threads[by]!;
        const value = `${++seed} `.padEnd(length, "x");
        stopAfterCommit(thread.store.arena, stopAfter, () => {
          if (what === "set") thread.set(key, value);
          else if (what === "delete") thread.delete(key);
          else if (what === "clear") thread.clear();
        });
        // What is evicted stays near, until it is set or deleted.
        if (what === "evict") cache.store.shrink(1);
        else {
          for (const one of threads) for (const name of KEYS) checkNear(one, far, name);
        }
        cache.store.verify();
      }
      for (const thread of threads) thread.clear();
      for (const thread of threads)
        for (const key of KEYS) assert.equal(thread.get(key), undefined);
    }),
    { numRuns: 60 },
  );
});

/** A near copy may be of a value that was evicted: it is compared with what is stored. */
function checkNear(thread: Strings, far: Strings, key: string): void {
  const stored = far.get(key);
  if (stored !== undefined) assert.equal(thread.get(key), stored);
}

test("a value that was evicted, and then deleted by another thread, is near no more", () => {
  using cache: Strings = Cache.create({ memoryMax: "4MiB", backgroundMs: 0, near: true });
  const other = Cache.attach<string, string>(cache.share());
  for (const remove of [() => other.delete("k"), () => other.clear()]) {
    cache.set("k", "old");
    assert.equal(cache.get("k"), "old");
    assert.equal(cache.store.shrink(1), 1);
    assert.equal(cache.get("k"), "old");
    remove();
    assert.equal(cache.get("k"), undefined);
  }
  other.detach();
});
