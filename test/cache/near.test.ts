// Near copies of a thread are never older than the stored value, whatever other threads do and
// wherever they are terminated.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Cache, type CacheShare } from "../../src/index.ts";
import { stopAfterCommit } from "../doubles/stopped.ts";
import { createCache, evictOne } from "../doubles/test_caches.ts";

type Strings = Cache<string, string>;

/** An attachment of the same cache without near copies. */
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

test("near copies agree with the store after a thread is terminated at any commit", () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 30 }), (operations) => {
      using cache: Strings = createCache({ memoryMax: "4MiB", backgroundMs: 0, near: true });
      const far = attachFar(cache.share());
      const threads = [cache, Cache.attach<string, string>(cache.share())];
      let seed = 0;
      for (const { what, by, key, length, stopAfter } of operations) {
        // Both get a copy of each value.
        for (const thread of threads) for (const one of KEYS) thread.get(one);
        const thread = threads[by]!;
        const value = `${++seed} `.padEnd(length, "x");
        const arenas = thread.group.stores.map(({ arena }) => arena);
        stopAfterCommit(arenas, stopAfter, () => {
          if (what === "set") thread.set(key, value);
          else if (what === "delete") thread.delete(key);
          else if (what === "clear") thread.clear();
        });
        // The copy of an evicted value stays until the key is set or deleted.
        if (what === "evict") evictOne(cache);
        else {
          for (const one of threads) for (const name of KEYS) checkNear(one, far, name);
        }
        cache.group.verify();
      }
      for (const thread of threads) thread.clear();
      for (const thread of threads)
        for (const key of KEYS) assert.equal(thread.get(key), undefined);
    }),
    { numRuns: 60 },
  );
});

/** A near copy may outlive an eviction: it is compared with a stored value only. */
function checkNear(thread: Strings, far: Strings, key: string): void {
  const stored = far.get(key);
  if (stored !== undefined) assert.equal(thread.get(key), stored);
}

test("the near copy of an evicted value is dropped when another thread deletes the key", () => {
  using cache: Strings = createCache({ memoryMax: "4MiB", backgroundMs: 0, near: true });
  const other = Cache.attach<string, string>(cache.share());
  for (const remove of [() => other.delete("k"), () => other.clear()]) {
    cache.set("k", "old");
    assert.equal(cache.get("k"), "old");
    assert.equal(evictOne(cache), 1);
    assert.equal(cache.get("k"), "old");
    remove();
    assert.equal(cache.get("k"), undefined);
  }
  other.detach();
});
