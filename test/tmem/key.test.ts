// The key buffer: ids and indexes are returned as they were set, and invalid ones are refused.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ZcacheError } from "../../src/base/errors.ts";
import { ID_BYTES_MAX, TmemKey } from "../../src/tmem/key.ts";

const number = fc.oneof(
  fc.nat(100),
  fc.constantFrom(0, -0, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1),
  fc.maxSafeNat(),
);
const bytes = fc.uint8Array({ minLength: 1, maxLength: ID_BYTES_MAX });

test("every id and index is returned as it was set, whatever the key held before", () => {
  const key = new TmemKey();
  const object = fc.oneof(number, fc.bigInt(0n, 2n ** 192n - 1n), fc.bigInt(0n, 2n ** 65n), bytes);
  const index = fc.oneof(number, fc.bigInt(0n, 2n ** 64n - 1n));
  fc.assert(
    fc.property(object, index, (object, index) => {
      assert.equal(key.setObject(object), key);
      assert.equal(key.setIndex(index), key);
      if (object instanceof Uint8Array) assert.deepEqual(key.object, Uint8Array.from(object));
      else assert.equal(key.object, BigInt(object));
      assert.equal(key.index, BigInt(index));
      const fresh = new TmemKey().setObject(object).setIndex(index);
      assert.deepEqual(fresh, key, "nothing is left of what the key said before");
      assert.deepEqual(new TmemKey().copy(key), key);
    }),
    { numRuns: 500 },
  );
});

test("different ids are different keys", () => {
  const ids = [1, [1], [1, 0], [0, 1], 256, [255], 255n, 2n ** 64n, [0, 0, 0, 0, 0, 0, 0, 0, 1]];
  const seen = new Set<string>();
  for (const id of ids) {
    const key = new TmemKey().setObject(Array.isArray(id) ? Uint8Array.from(id) : id);
    seen.add(`${key.idShape} ${key.id}`);
  }
  assert.equal(seen.size, ids.length);
  assert.deepEqual(new TmemKey().setObject(7), new TmemKey().setObject(7n), "7 and 7n are one");
});

const WRONG: readonly unknown[] = [
  -1,
  0.5,
  1e-9,
  2 ** 53,
  2 ** 64,
  1e300,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  -1n,
  "1",
  undefined,
  null,
  true,
  {},
  [1],
];

test("an invalid id or index is refused with ERR_KEY, and the key does not change", () => {
  const key = new TmemKey().setObject(5).setIndex(6);
  const refuses = (set: () => unknown, says: RegExp) =>
    assert.throws(set, (error) => {
      assert.ok(error instanceof ZcacheError && error.code === "ERR_KEY", String(error));
      assert.match(error.message, says);
      return true;
    });
  for (const wrong of WRONG) {
    refuses(() => key.setObject(wrong as never), /object id/);
    refuses(() => key.setIndex(wrong as never), /index/);
  }
  refuses(() => key.setObject(2n ** 192n), /2\^192/);
  refuses(() => key.setIndex(2n ** 64n), /2\^64/);
  refuses(() => key.setIndex(2 ** 53), /bigint/);
  refuses(() => key.setObject(new Uint8Array(0)), /1 to 24/);
  refuses(() => key.setObject(new Uint8Array(25)), /1 to 24/);
  assert.deepEqual(key, new TmemKey().setObject(5).setIndex(6));
});

test("nextIndex carries into the upper half and stops at the last index", () => {
  const key = new TmemKey();
  for (const index of [0n, 2n ** 31n - 1n, 2n ** 32n - 1n, 2n ** 63n - 1n, 2n ** 64n - 2n]) {
    assert.equal(key.setIndex(index).nextIndex(), true);
    assert.equal(key.index, index + 1n);
  }
  assert.equal(key.nextIndex(), false);
  assert.equal(key.index, 2n ** 64n - 1n);
});
