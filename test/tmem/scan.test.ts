// A walk through an index that grows and shrinks meanwhile: what stays is met once, whatever comes
// and goes.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { journalCommit } from "../../src/memory/journal.ts";
import type { TmemPool } from "../../src/tmem/pools.ts";
import { POSITIONS, reverseBits, ScanCursor } from "../../src/tmem/scan_cursor.ts";
import { makeArena, Rig } from "./fixture.ts";

function openRig(): { rig: Rig; pool: TmemPool } {
  const rig = new Rig(makeArena(4 * 2 ** 20));
  return { rig, pool: rig.index.createPool(1, 0, null) as TmemPool };
}

/** Scans a round in steps; between two of them `meanwhile` is called. @returns what was met */
function walk(rig: Rig, stepEntries: number, meanwhile: () => void): Map<string, number> {
  const cursor = new ScanCursor();
  const met = new Map<string, number>();
  for (let steps = 0, ended = false; !ended; steps++) {
    assert.ok(steps < 100_000, "a walk ends");
    ended = rig.index.scan(cursor, stepEntries, (entry) => {
      const pool = rig.index.keyOf(entry, rig.key);
      const text = rig.text(pool as TmemPool, rig.key.object as bigint, rig.key.index);
      met.set(text, (met.get(text) ?? 0) + 1);
    });
    meanwhile();
    journalCommit(rig.arena.words);
  }
  return met;
}

function insert(rig: Rig, pool: TmemPool, id: number, pages: number): void {
  for (let index = 0; index < pages; index++) rig.insert(pool, id, BigInt(index));
  journalCommit(rig.arena.words);
}

function remove(rig: Rig, pool: TmemPool, id: number, pages: number): void {
  for (let index = 0; index < pages; index++) rig.remove(pool, id, BigInt(index));
  journalCommit(rig.arena.words);
}

test("what is removed behind a walk, as it goes, hides nothing from it", () => {
  const { rig, pool } = openRig();
  for (let id = 0; id < 3000; id++) insert(rig, pool, id, 1);
  const cursor = new ScanCursor();
  for (let ended = false; !ended; ) {
    const found: number[] = [];
    ended = rig.index.scan(cursor, 64, (entry) => {
      rig.index.keyOf(entry, rig.key);
      found.push(Number(rig.key.object as bigint));
    });
    for (const id of found) remove(rig, pool, id, 1);
  }
  assert.equal(rig.pages.size, 0);
  rig.check();
});

test("what stays is met once, while objects of one page and of many come and go", () => {
  // Of every seven objects one has many pages.
  const pagesOf = (id: number) => (id % 7 === 0 ? 9 : 1);
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 600 }),
      fc.integer({ min: 1, max: 40 }),
      fc.array(fc.record({ from: fc.nat(700), count: fc.nat(300), adds: fc.boolean() }), {
        maxLength: 12,
      }),
      (objects, stepEntries, changes) => {
        const { rig, pool } = openRig();
        for (let id = 0; id < objects; id++) insert(rig, pool, id, pagesOf(id));
        const touched = new Set<number>();
        const left = [...changes];
        const met = walk(rig, stepEntries, () => {
          const change = left.shift();
          if (change === undefined) return;
          for (let id = change.from; id < change.from + change.count; id++) {
            touched.add(id);
            if (change.adds) insert(rig, pool, id, pagesOf(id));
            else remove(rig, pool, id, pagesOf(id));
          }
        });
        for (let id = 0; id < objects; id++) {
          if (touched.has(id)) continue;
          for (let index = 0; index < pagesOf(id); index++) {
            assert.equal(met.get(rig.text(pool, id, BigInt(index))), 1, `object ${id}, ${index}`);
          }
        }
        rig.check();
      },
    ),
    { numRuns: 60 },
  );
});

test("bits in the opposite order", () => {
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
