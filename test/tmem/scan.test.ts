// A scan over an index that grows and shrinks meanwhile: every entry that stays is visited once.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { journalCommit } from "../../src/memory/journal.ts";
import type { TmemPool } from "../../src/tmem/pools.ts";
import { POSITIONS, reverseBits, ScanCursor } from "../../src/tmem/scan_cursor.ts";
import { Fixture, makeArena } from "./fixture.ts";

function openFixture(): { fixture: Fixture; pool: TmemPool } {
  const fixture = new Fixture(makeArena(4 * 2 ** 20));
  return { fixture, pool: fixture.index.createPool(1, 0, null) as TmemPool };
}

/** Scans a round in steps; between two of them `meanwhile` is called. @returns what was met */
function walk(fixture: Fixture, stepEntries: number, meanwhile: () => void): Map<string, number> {
  const cursor = new ScanCursor();
  const met = new Map<string, number>();
  for (let steps = 0, ended = false; !ended; steps++) {
    assert.ok(steps < 100_000, "a walk ends");
    ended = fixture.index.scan(cursor, stepEntries, (entry) => {
      const pool = fixture.index.keyOf(entry, fixture.key);
      const text = fixture.text(pool as TmemPool, fixture.key.object as bigint, fixture.key.index);
      met.set(text, (met.get(text) ?? 0) + 1);
    });
    meanwhile();
    journalCommit(fixture.arena.words);
  }
  return met;
}

function insert(fixture: Fixture, pool: TmemPool, id: number, pages: number): void {
  for (let index = 0; index < pages; index++) fixture.insert(pool, id, BigInt(index));
  journalCommit(fixture.arena.words);
}

function remove(fixture: Fixture, pool: TmemPool, id: number, pages: number): void {
  for (let index = 0; index < pages; index++) fixture.remove(pool, id, BigInt(index));
  journalCommit(fixture.arena.words);
}

test("removals of visited entries hide nothing from a scan", () => {
  const { fixture, pool } = openFixture();
  for (let id = 0; id < 3000; id++) insert(fixture, pool, id, 1);
  const cursor = new ScanCursor();
  for (let ended = false; !ended; ) {
    const found: number[] = [];
    ended = fixture.index.scan(cursor, 64, (entry) => {
      fixture.index.keyOf(entry, fixture.key);
      found.push(Number(fixture.key.object as bigint));
    });
    for (const id of found) remove(fixture, pool, id, 1);
  }
  assert.equal(fixture.pages.size, 0);
  fixture.check();
});

test("entries that stay are visited once, while small and large objects change", () => {
  // One object in seven has many pages.
  const pagesOf = (id: number) => (id % 7 === 0 ? 9 : 1);
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 600 }),
      fc.integer({ min: 1, max: 40 }),
      fc.array(fc.record({ from: fc.nat(700), count: fc.nat(300), adds: fc.boolean() }), {
        maxLength: 12,
      }),
      (objects, stepEntries, changes) => {
        const { fixture, pool } = openFixture();
        for (let id = 0; id < objects; id++) insert(fixture, pool, id, pagesOf(id));
        const touched = new Set<number>();
        const left = [...changes];
        const met = walk(fixture, stepEntries, () => {
          const change = left.shift();
          if (change === undefined) return;
          for (let id = change.from; id < change.from + change.count; id++) {
            touched.add(id);
            if (change.adds) insert(fixture, pool, id, pagesOf(id));
            else remove(fixture, pool, id, pagesOf(id));
          }
        });
        for (let id = 0; id < objects; id++) {
          if (touched.has(id)) continue;
          for (let index = 0; index < pagesOf(id); index++) {
            assert.equal(
              met.get(fixture.text(pool, id, BigInt(index))),
              1,
              `object ${id}, ${index}`,
            );
          }
        }
        fixture.check();
      },
    ),
    { numRuns: 60 },
  );
});

test("reverseBits reverses the order of bits", () => {
  for (const [word, reversed] of [
    [0, 0],
    [1, 2 ** 31],
    [-1, POSITIONS - 1],
    [0x12345678, 0x1e6a2c48],
  ] as const) {
    assert.equal(reverseBits(word), reversed);
    assert.equal(reverseBits(reversed) | 0, word);
  }
});
