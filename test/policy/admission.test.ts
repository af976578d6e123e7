// Admission: the kernel's three rules, at their limits and over arbitrary numbers.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ZcacheError } from "../../src/base/errors.ts";
import {
  ADMITTED,
  type AdmissionLimits,
  admitCount,
  admitSize,
  checkAdmissionLimits,
  MEAN_COMPRESS_POOR,
  NO_LIMITS,
  REFUSALS,
  REJECT_COMPRESS_POOR,
  REJECT_PAGE_COUNT,
  ZCACHE_LIMITS,
} from "../../src/policy/admission.ts";

const PAGE = 4096;

test("pages at, above and below the kernel's limits", () => {
  assert.equal(admitSize(ZCACHE_LIMITS, 3584, PAGE, 0, 0), ADMITTED);
  assert.equal(admitSize(ZCACHE_LIMITS, 3585, PAGE, 0, 0), REJECT_COMPRESS_POOR);
  // A mean of 2560 is allowed, and so is any page below it.
  assert.equal(admitSize(ZCACHE_LIMITS, 3000, PAGE, 10, 25_600), ADMITTED);
  assert.equal(admitSize(ZCACHE_LIMITS, 3000, PAGE, 10, 25_601), MEAN_COMPRESS_POOR);
  assert.equal(admitSize(ZCACHE_LIMITS, 2561, PAGE, 10, 25_601), MEAN_COMPRESS_POOR);
  assert.equal(admitSize(ZCACHE_LIMITS, 2560, PAGE, 10, 25_601), ADMITTED);
  assert.equal(admitCount(ZCACHE_LIMITS, 750, 1000), ADMITTED);
  assert.equal(admitCount(ZCACHE_LIMITS, 751, 1000), REJECT_PAGE_COUNT);
});

const sizes = fc.array(fc.integer({ min: 1, max: PAGE }), { minLength: 1, maxLength: 300 });

test("admitted pages keep size and, except for the last page, mean within limits", () => {
  fc.assert(
    fc.property(sizes, (sizes) => {
      let pages = 0;
      let bytes = 0;
      for (const size of sizes) {
        const answer = admitSize(ZCACHE_LIMITS, size, PAGE, pages, bytes);
        assert.equal(answer === REJECT_COMPRESS_POOR, size > 3584);
        if (size <= 2560) assert.equal(answer, ADMITTED, "a good page always comes in");
        if (answer !== ADMITTED) continue;
        pages++;
        bytes += size;
        // One page may raise the mean above the limit; the next poor one is refused.
        assert.ok(size <= 2560 || bytes - size <= 2560 * (pages - 1));
      }
    }),
  );
});

test("without limits every page is admitted", () => {
  fc.assert(
    fc.property(fc.nat(PAGE), fc.nat(), fc.nat(), fc.nat(), (size, pages, bytes, frames) => {
      assert.equal(
        admitSize(NO_LIMITS, size, PAGE, pages, Math.min(bytes, pages * PAGE)),
        ADMITTED,
      );
      assert.equal(admitCount(NO_LIMITS, pages, frames), ADMITTED);
    }),
  );
});

test("a refusal has a name of its own", () => {
  assert.equal(new Set<string>([...REFUSALS, ADMITTED]).size, 4);
});

test("invalid limits are refused by name", () => {
  checkAdmissionLimits(ZCACHE_LIMITS);
  checkAdmissionLimits(NO_LIMITS);
  checkAdmissionLimits({ ...ZCACHE_LIMITS, pageCountPercent: 300 });
  const wrong: Partial<AdmissionLimits>[] = [
    { maxZsizePercent: 101 },
    { maxZsizePercent: -1 },
    { maxMeanZsizePercent: Number.NaN },
    { pageCountPercent: -0.1 },
  ];
  for (const one of wrong) {
    assert.throws(
      () => checkAdmissionLimits({ ...ZCACHE_LIMITS, ...one }),
      (error) =>
        error instanceof ZcacheError &&
        error.code === "ERR_OPTION" &&
        error.message.startsWith(Object.keys(one)[0]!),
    );
  }
});
