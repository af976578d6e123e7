// Same-filled pages repeat a 64-bit word, as in the kernel; and pages that hardly shrink are stored
// raw from the pool's huge class on.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { policyNames } from "../../src/policy/registry.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { Extent, Zram } from "../../src/zram/zram.ts";
import { fillPage, openStore } from "../doubles/store_fixture.ts";

const PAGE = 4096;

function pageOf(low: number, high: number): Uint8Array {
  const words = new Int32Array(PAGE / 4);
  for (let at = 0; at < words.length; at += 2) {
    words[at] = low;
    words[at + 1] = high;
  }
  return new Uint8Array(words.buffer);
}

/** The kernel's rule, by 64-bit words. */
function isSameFilled(page: Uint8Array): boolean {
  const words = new BigUint64Array(page.buffer, page.byteOffset, PAGE / 8);
  return words.every((word) => word === words[0]);
}

const word = fc.oneof(fc.constantFrom(0, -1, 1, 0x7fff_ffff), fc.integer());
/** A page that is same-filled, or but for one byte. */
const page = fc.record({ low: word, high: word, flip: fc.option(fc.nat(PAGE - 1)) });
const step = fc.record({
  slot: fc.nat(40),
  what: fc.constantFrom("same", "same", "same", "text", "flush"),
  page,
});

for (const persistent of [true, false]) {
  for (const policy of policyNames()) {
    const kind = persistent ? "persistent" : "ephemeral";
    test(`any 64-bit pattern is returned, ${kind}, ${policy}`, () => {
      const property = fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const store = openStore({ policy });
        const pool = store.createPool({ persistent });
        const key = new TmemKey();
        const model = new Map<number, Uint8Array>();
        const got = new Uint8Array(PAGE);
        for (const { slot, what, page } of steps) {
          // One object with many pages, and objects of one page, so that entries move between both.
          key.setObject(slot < 20 ? 1 : slot).setIndex(slot < 20 ? slot : slot % 2);
          if (what === "flush") {
            assert.equal(store.flush(pool, key), model.delete(slot));
            continue;
          }
          const made =
            what === "text"
              ? fillPage(new Uint8Array(PAGE), "text", slot)
              : pageOf(page.low, page.high);
          if (what === "same" && page.flip !== null) made[page.flip]! ^= 1;
          assert.equal(store.put(pool, key, made), 0);
          model.set(slot, made);
          const found = store.explain(pool, key);
          const expected = isSameFilled(made) && (persistent || page.low === page.high);
          assert.equal(found.stored && found.where === "same-filled", expected);
        }
        for (const [slot, made] of model) {
          key.setObject(slot < 20 ? 1 : slot).setIndex(slot < 20 ? slot : slot % 2);
          assert.ok(store.get(pool, key, got));
          assert.equal(Buffer.compare(got, made), 0, `slot ${slot}`);
        }
        if (persistent) {
          const same = [...model.values()].filter(isSameFilled).length;
          assert.equal(store.stats().same_pages, same);
        }
        store.verify();
        store.close();
      });
      fc.assert(property, { numRuns: 12, seed: 3 });
    });
  }
}

test("only a page whose whole pattern is zero is reported as zeros", () => {
  const store = openStore();
  const device = Zram.create(store, 4 * PAGE);
  const patterns = [
    [0, 0],
    [0, 1],
    [1, 0],
    [-1, -1],
  ] as const;
  for (const [nth, [low, high]] of patterns.entries()) {
    assert.equal(device.write(nth * PAGE, pageOf(low, high)), 0);
  }
  const extents: number[] = [];
  const count = device.blockStatus(0, 4 * PAGE, extents, 100);
  const told = extents.slice(0, count * 2);
  assert.deepEqual(told, [PAGE, Extent.ZERO, 3 * PAGE, Extent.DATA]);
  assert.equal(device.mmStat().same_pages, 4);
  assert.equal(store.stats().persistent.pool.pages, 0, "none of them takes memory");
  store.close();
});

test("with zsmalloc, a page is stored raw from the huge class on: 3625 bytes", () => {
  const store = openStore({ memoryMax: "8MiB", pool: "zsmalloc" });
  const pool = store.createPool({ persistent: true });
  const key = new TmemKey();
  let huge = 0;
  const sizes = new Set<number>();
  for (let nth = 0; nth < 600; nth++) {
    const page = fillPage(new Uint8Array(PAGE), "noise", nth);
    page.fill(0, 3500 + (nth % 300));
    assert.equal(store.put(pool, key.setObject(1).setIndex(nth), page), 0);
    const found = store.explain(pool, key);
    assert.ok(found.stored);
    if (found.codec === "none") huge++;
    else sizes.add(found.storedBytes);
  }
  assert.equal(Math.max(...sizes), 3624, "the largest that is stored compressed");
  assert.equal(store.stats().huge_pages, huge);
  assert.equal(store.stats().counters.huge_pages_since, huge);
  store.verify();
  store.close();
});
