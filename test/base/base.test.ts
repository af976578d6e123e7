// Units, histogram, seeded random, errors.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { platformClock } from "../../src/base/clock.ts";
import { EAGAIN, EBUSY, EINVAL, ENOMEM, ENOSPC, errnoName } from "../../src/base/errno.ts";
import { AssertionError, assert as check, ZcacheError } from "../../src/base/errors.ts";
import { Histogram } from "../../src/base/histogram.ts";
import { Xorshift32 } from "../../src/base/random.ts";
import { formatBytes, GIB, KIB, MIB, parseSize } from "../../src/base/units.ts";

test("parseSize reads what people write", () => {
  const cases: [string | number, number][] = [
    [4096, 4096],
    ["4096", 4096],
    [" 64K ", 64 * KIB],
    ["64 kib", 64 * KIB],
    ["512MiB", 512 * MIB],
    ["1.5GB", 1_500_000_000],
    ["1.5g", 1.5 * GIB],
    ["2.3mb", 2_300_000],
    ["0.1GB", 100_000_000],
    ["3kB", 3000],
    ["10b", 10],
    ["0", 0],
    ["1.9", 1],
    ["0.0001k", 0],
  ];
  for (const [text, bytes] of cases) assert.equal(parseSize(text, "size"), bytes, `${text}`);
});

test("parseSize refuses the rest, naming the option and the text", () => {
  const bad = [
    "",
    "K",
    "-1",
    "1e3",
    "1.2.3",
    "64T",
    "64 K B",
    "0x10",
    "1,5G",
    "constructor",
    "1_0",
  ];
  const numbers = [Number.NaN, -5, Number.POSITIVE_INFINITY, 1e21, 2 ** 53];
  for (const text of [...bad, ...numbers, "9007199254740992", undefined as unknown as string]) {
    assert.throws(() => parseSize(text, "--limit"), {
      name: "ZcacheError",
      code: "ERR_OPTION",
      message:
        /^--limit: ("[^"]*"|[^"]+) is not a size; write bytes or a number with K, M or G, such/,
    });
  }
});

test("formatBytes: three significant digits, never an exponent", () => {
  const cases: [number, string][] = [
    [0, "0 B"],
    [1023, "1023 B"],
    [1024, "1.00 KiB"],
    [1500, "1.46 KiB"],
    [999.4 * KIB, "999 KiB"],
    [999.7 * KIB, "1000 KiB"],
    [1010 * KIB, "1010 KiB"],
    [1023 * KIB, "1023 KiB"],
    [MIB, "1.00 MiB"],
    [1.43 * GIB, "1.43 GiB"],
    [2000 * GIB, "2000 GiB"],
    [-1536, "-1.50 KiB"],
  ];
  for (const [bytes, text] of cases) assert.equal(formatBytes(bytes), text);
});

test("formatBytes and parseSize agree to three digits, for any size", () => {
  fc.assert(
    fc.property(
      fc.maxSafeNat().map((bytes) => Math.floor(bytes / 8)),
      (bytes) => {
        const again = parseSize(formatBytes(bytes), "size");
        assert.ok(Math.abs(again - bytes) <= Math.max(1, bytes * 0.005), `${bytes}: ${again}`);
      },
    ),
  );
});

test("a histogram's percentiles are within 1/32 of the exact ones", () => {
  const sample = fc.oneof(
    fc.nat(100),
    fc.nat(100_000),
    fc.integer({ min: 0, max: 2 ** 40 - 1 }),
    fc.double({ min: 0, max: 1000, noNaN: true }),
  );
  const shares = [0, 0.01, 0.5, 0.9, 0.99, 0.999, 1];
  fc.assert(
    fc.property(fc.array(sample, { minLength: 1, maxLength: 300 }), (values) => {
      const histogram = new Histogram();
      for (const value of values) histogram.record(value);
      const sorted = values.toSorted((a, b) => a - b);
      assert.equal(histogram.count, values.length);
      assert.equal(histogram.max, sorted.at(-1));
      const sum = values.reduce((total, value) => total + value, 0);
      assert.ok(Math.abs(histogram.mean - sum / values.length) <= 1e-6 * (1 + sum));
      for (const share of shares) {
        const exact = sorted[Math.max(1, Math.ceil(share * values.length)) - 1]!;
        const found = histogram.percentile(share);
        assert.ok(
          Math.abs(found - exact) <= Math.max(1, exact / 32),
          `${share}: ${found}, ${exact}`,
        );
      }
    }),
  );
});

test("a histogram at its edges: nothing, one value, values beyond all buckets", () => {
  const histogram = new Histogram();
  assert.deepEqual([histogram.mean, histogram.max, histogram.percentile(0.5)], [0, 0, 0]);
  for (const value of [2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 39]) {
    const one = new Histogram();
    one.record(value);
    assert.equal(one.percentile(0.5), Math.min(value, one.percentile(1)));
    assert.ok(Math.abs(one.percentile(0.5) - value) <= value / 32);
  }
  for (const value of [2 ** 40, 2 ** 53, 2 ** 64, 1e300]) histogram.record(value);
  assert.equal(histogram.max, 1e300);
  assert.ok(histogram.percentile(0.5) >= 2 ** 39);
});

test("xorshift32 gives the sequence of the trace files", () => {
  const random = new Xorshift32(12_345);
  assert.deepEqual(
    Array.from({ length: 4 }, () => random.next()),
    [3_336_926_330, 1_697_253_807, 2_816_511_904, 1_955_480_042],
  );
  const [left, right] = [new Xorshift32(7), new Xorshift32(7)];
  for (let i = 0; i < 100; i++) assert.equal(left.next(), right.next());
  const zero = new Xorshift32(0);
  assert.notEqual(zero.next(), 0);
  for (let i = 0; i < 1000; i++) {
    const number = zero.below(10);
    assert.ok(Number.isInteger(number) && number >= 0 && number < 10);
  }
});

test("errors: a code, the numbers involved, the cause; assertions state the fact", () => {
  const cause = new Error("below");
  const error = new ZcacheError("ERR_IO", "no", { context: { fd: 3 }, cause });
  assert.deepEqual([error.name, error.code, error.message], ["ZcacheError", "ERR_IO", "no"]);
  assert.deepEqual(error.context, { fd: 3 });
  assert.equal(error.cause, cause);
  assert.ok(!("cause" in new ZcacheError("ERR_IO", "no")));
  check(true, "one is one");
  assert.throws(() => check(false, "one is two"), {
    name: "AssertionError",
    message: "assertion failed: one is two",
  });
  assert.ok(new AssertionError("x") instanceof Error);
});

test("error numbers are negative and have the kernel's names", () => {
  const numbers = [EINVAL, ENOSPC, ENOMEM, EBUSY, EAGAIN] as const;
  assert.deepEqual(
    numbers.map((errno) => errnoName(errno)),
    ["EINVAL", "ENOSPC", "ENOMEM", "EBUSY", "EAGAIN"],
  );
  assert.deepEqual(numbers, [-22, -28, -12, -16, -11]);
});

test("the platform's clock does not go backwards", () => {
  let before = platformClock.nowNs();
  for (let i = 0; i < 1000; i++) {
    const now = platformClock.nowNs();
    assert.ok(now >= before);
    before = now;
  }
});
