// A full cache takes values of any size, whatever its policy is and what it holds: the chunks of a
// value stay while it is being stored, and are evicted with it.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Xorshift32 } from "../../src/base/random.ts";
import type { Cache } from "../../src/index.ts";
import { policyNames } from "../../src/policy/registry.ts";
import { createCache } from "../doubles/test_caches.ts";

const MEMORY = 4 << 20;
const NOISE = new Uint8Array(MEMORY);
const random = new Xorshift32(3);
for (let at = 0; at < MEMORY; at++) NOISE[at] = random.next();

/** Bytes that no codec makes smaller, and others for each `nth`. */
function noise(size: number, nth: number): Uint8Array {
  const value = NOISE.slice(0, size);
  value[0] = nth;
  value[size - 1] = nth;
  return value;
}

/** A cache that holds values of 2,000 bytes, each of which was requested so many times. */
function fullCache(policy: string | undefined, requests: number): Cache<string, Uint8Array> {
  const cache = createCache<string, Uint8Array>({
    ...{ memoryMax: MEMORY, backgroundMs: 0, dictionary: false, shards: 1 },
    ...(policy === undefined ? {} : { policy }),
  });
  for (let nth = 0; nth < MEMORY / 1300; nth++) {
    cache.set(`small ${nth}`, noise(2000, nth));
    for (let again = 0; again < requests; again++) cache.get(`small ${nth >>> 1}`);
  }
  return cache;
}

for (const [policy, part] of [
  [undefined, 4],
  ["adaptive", 4],
  // Its window has no room for the largest ones.
  ["tinylfu", 16],
] as const) {
  test(`a full cache takes values of any size: policy ${policy ?? "default"}`, () => {
    const size = fc.oneof(
      fc.integer({ min: 1, max: 8000 }),
      fc.integer({ min: 8000, max: 100_000 }),
      fc.integer({ min: MEMORY / 32, max: MEMORY / part }),
    );
    const set = fc.record({ key: fc.integer({ min: 0, max: 5 }), size, gets: fc.nat({ max: 4 }) });
    const sets = fc.array(set, { minLength: 5, maxLength: 25 });
    const property = fc.property(fc.nat({ max: 4 }), sets, (requests, all) => {
      using cache = fullCache(policy, requests);
      for (const [nth, { key, size, gets }] of all.entries()) {
        const value = noise(size, nth);
        assert.ok(cache.set(`value ${key}`, value), `set ${nth} of ${size} bytes`);
        for (let again = 0; again <= gets; again++) {
          assert.deepEqual(cache.get(`value ${key}`), value, `set ${nth} is read back`);
        }
      }
      cache.store.verify();
    });
    fc.assert(property, { numRuns: 5 });
  });
}

for (const policy of policyNames()) {
  test(`no page is left of a value that was evicted: ${policy}`, () => {
    using cache = createCache<string, Uint8Array>({
      ...{ memoryMax: MEMORY, backgroundMs: 0, dictionary: false, shards: 1, policy },
    });
    const size = 30_000;
    for (let nth = 0; nth < 400; nth++) {
      assert.ok(cache.set(`key ${nth}`, noise(size, nth)));
      cache.get(`key ${nth % 7}`);
    }
    const { counters, ephemeral } = cache.store.stats();
    assert.ok(counters.evicted_ephemeral_pages > 400);
    const perValue = Math.ceil(size / cache.store.pageSize);
    assert.equal(ephemeral.pagesInMemory, cache.size * perValue);
    for (const key of [...cache.keys()]) assert.equal(cache.get(key)?.length, size, key);
  });
}
