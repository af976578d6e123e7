// Parts of the protocols: 64-bit numbers, base64, tokens; and lifetimes and cas numbers of items.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { parseU64, U64, writeU32, writeU64 } from "../../src/base/u64.ts";
import { expiryOf, hasExpired, laterFlushes } from "../../src/memcached/items/lifetime.ts";
import { ItemsShared } from "../../src/memcached/items/shared.ts";
import { decodeBase64, encodeBase64 } from "../../src/memcached/protocol/base64.ts";
import { parseSigned, parseU32 } from "../../src/memcached/protocol/text.ts";
import { Tokens } from "../../src/memcached/protocol/tokens.ts";

const MAX = 2n ** 64n - 1n;
const u64 = fc.oneof(
  fc.bigInt({ min: 0n, max: MAX }),
  fc.constantFrom(0n, 1n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 53n, 2n ** 53n + 1n, MAX, 10n ** 18n),
  fc.nat({ max: 63 }).map((bits) => 2n ** BigInt(bits)),
);

function halves(value: bigint): [high: number, low: number] {
  return [Number(value >> 32n), Number(value & 0xffff_ffffn)];
}

function make(value: bigint): U64 {
  const number = new U64();
  number.set(...halves(value));
  return number;
}

function big(number: U64): bigint {
  return (BigInt(number.high) << 32n) | BigInt(number.low);
}

describe("64-bit numbers", () => {
  test("are written and read as by BigInt", () => {
    fc.assert(
      fc.property(u64, (value) => {
        const bytes = new Uint8Array(24);
        const end = writeU64(bytes, 2, ...halves(value));
        assert.equal(Buffer.from(bytes.subarray(2, end)).toString(), String(value));
        const read = new U64();
        assert.equal(parseU64(bytes, 2, end, read), true);
        assert.equal(big(read), value);
      }),
      { numRuns: 1000 },
    );
  });

  test("sums wrap, differences stay at 0", () => {
    fc.assert(
      fc.property(u64, u64, (a, b) => {
        const sum = make(a);
        sum.add(...halves(b));
        assert.equal(big(sum), (a + b) & MAX);
        const difference = make(a);
        difference.subtract(...halves(b));
        assert.equal(big(difference), a > b ? a - b : 0n);
        assert.equal(make(a).compare(...halves(b)), a < b ? -1 : a > b ? 1 : 0);
      }),
    );
  });

  test("text that is not a number below 2⁶⁴ is refused", () => {
    for (const text of ["", "-1", "+1", "1x", "18446744073709551616", "9".repeat(30), " 1"]) {
      assert.equal(parseU64(Buffer.from(text), 0, text.length, new U64()), false, text);
    }
    const leading = Buffer.from("0000000000000000000000000000007");
    const read = new U64();
    assert.equal(parseU64(leading, 0, leading.length, read), true);
    assert.equal(read.number, 7);
  });

  test("32-bit numbers", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), (value) => {
        const bytes = new Uint8Array(12);
        const end = writeU32(bytes, 0, value);
        assert.equal(Buffer.from(bytes.subarray(0, end)).toString(), String(value));
        assert.equal(parseU32(bytes, 0, end), value);
      }),
    );
    assert.ok(Number.isNaN(parseU32(Buffer.from("4294967296"), 0, 10)));
    assert.equal(parseSigned(Buffer.from("-12"), 0, 3), -12);
    assert.equal(parseSigned(Buffer.from("+12"), 0, 3), 12);
    for (const text of ["", "-", "1-", "0x1", "--1"]) {
      assert.ok(Number.isNaN(parseSigned(Buffer.from(text), 0, text.length)), text);
    }
  });
});

test("base64 is decoded as by Buffer; other letters are refused", () => {
  const target = new Uint8Array(400);
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 250 }), (bytes) => {
      const end = encodeBase64(bytes, 0, bytes.length, target, 0);
      const text = Buffer.from(target.subarray(0, end)).toString();
      assert.equal(text, Buffer.from(bytes).toString("base64"));
      const back = new Uint8Array(300);
      assert.equal(decodeBase64(Buffer.from(text), 0, text.length, back, 0), bytes.length);
      assert.deepEqual(back.subarray(0, bytes.length), bytes);
    }),
  );
  for (const text of ["", "a", "abc", "ab=c", "a===", "====", "ab c", "abc_"]) {
    assert.equal(decodeBase64(Buffer.from(text), 0, text.length, target, 0), 0, text);
  }
});

test("tokens are separated by spaces, as by split", () => {
  const tokens = new Tokens();
  const some = fc.array(fc.constantFrom(" ", "  ", "a", "bc", "\r", "\t", "\0", "x".repeat(99)), {
    maxLength: 40,
  });
  fc.assert(
    fc.property(some, fc.constantFrom("\n", "\r\n"), (parts, end) => {
      const line = parts.join("");
      const bytes = Buffer.from(`before${line}${end}after`, "latin1");
      assert.equal(tokens.read(bytes, 6, bytes.length), true);
      assert.equal(tokens.next, 6 + line.length + end.length);
      const text = `${line}${end}`.slice(0, -1);
      const kept = text.length > 1 && text.endsWith("\r") ? text.slice(0, -1) : text;
      const expected = kept.split(" ").filter((token) => token !== "");
      const found = Array.from({ length: tokens.count }, (_, i) =>
        bytes.toString("latin1", tokens.from[i]!, tokens.to[i]!),
      );
      assert.deepEqual(found, expected);
      assert.equal(tokens.read(bytes, 6, 6 + line.length), false);
    }),
  );
});

test("expiry: never, relative, a date, at once", () => {
  assert.equal(expiryOf(0, 1000), 0);
  assert.equal(expiryOf(10, 1000), 1010);
  assert.equal(expiryOf(2_592_000, 1000), 2_593_000);
  assert.equal(expiryOf(2_592_001, 1000), 2_592_001);
  assert.equal(hasExpired(expiryOf(-5, 1000), 1000), true);
  assert.equal(expiryOf(1e15, 1000), 0xffff_ffff);
  assert.equal(hasExpired(0, 2 ** 32 - 1), false);
});

test("cas numbers of two threads are never the same", () => {
  const one = ItemsShared.create();
  const two = ItemsShared.attach(one.share());
  const seen = new Set<string>();
  for (let i = 0; i < 5000; i++) {
    const shared = i % 3 === 0 ? one : two;
    shared.nextCas();
    seen.add(`${shared.casHigh}:${shared.casLow}`);
  }
  assert.equal(seen.size, 5000);
  one.flush(0, 100);
  assert.equal(two.flushes(), 1);
  two.flush(105, 100);
  assert.equal(one.isFlushDue(104), false);
  assert.equal(one.isFlushDue(105), true);
  assert.equal(one.flushesNext(), 2);
  one.flush(105, 105);
  assert.equal(two.flushes(), 2);
  assert.equal(two.isFlushDue(106), false);
});

test("of two flush numbers one is later, also after the numbers have wrapped", () => {
  assert.equal(laterFlushes(undefined, 5), 5);
  assert.equal(laterFlushes(5, 6), 6);
  assert.equal(laterFlushes(6, 5), 6);
  assert.equal(laterFlushes(2 ** 24 - 1, 0), 0);
  assert.equal(laterFlushes(0, 2 ** 24 - 1), 0);
});
