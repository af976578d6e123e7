// A thorough walk through an index: whatever stays is met, while others come and go, and the table
// grows and shrinks under it.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { WordIndex } from "../../src/base/brand.ts";
import * as Entry from "../../src/index/entry.layout.ts";
import type { TmemPool } from "../../src/index/pools.ts";
import { ScanCursor } from "../../src/index/scan_cursor.ts";
import { journalCommit, put } from "../../src/memory/journal.ts";
import { makeArena, Rig } from "./rig.ts";

function insert(rig: Rig, pool: TmemPool, id: number, index: number): void {
  const entry = rig.index.insert(pool, rig.setKey(id, index));
  assert.ok(entry > 0);
  put(rig.arena.words, entry + Entry.META, 1);
  put(rig.arena.words, entry + Entry.LINKS, 0);
  journalCommit(rig.arena.words);
}

function remove(rig: Rig, pool: TmemPool, id: number): void {
  while (rig.index.removeObject(pool, rig.setKey(id, 0), 50, () => {}) > 0) {
    journalCommit(rig.arena.words);
  }
  journalCommit(rig.arena.words);
}

/** Walks in steps, with something done between them. @returns what was met */
function walk(rig: Rig, isThorough: boolean, step: number, between: () => void): Set<string> {
  const cursor = new ScanCursor(isThorough);
  const met = new Set<string>();
  for (let steps = 0; ; steps++) {
    assert.ok(steps < 100_000, "the walk ends");
    const ended = rig.index.scan(cursor, step, (entry: WordIndex) => {
      rig.index.keyOf(entry, rig.key);
      met.add(`${rig.key.object} ${rig.key.index}`);
    });
    if (ended) return met;
    between();
  }
}

for (const [name, perStep, mayReturn] of [
  ["shrinks", 60, false],
  ["is churned", 20, true],
] as const) {
  test(`what stays is met while the table ${name}`, () => {
    for (let round = 0; round < 20; round++) {
      const rig = new Rig(makeArena(4 * 2 ** 20));
      const pool = rig.index.createPool(1, 0, null) as TmemPool;
      const objects = 3000;
      const stays = (id: number) => id % 7 === round % 7;
      for (let id = 0; id < objects; id++) {
        // Some have parts.
        for (let n = 0; n < (id % 100 === 0 ? 150 : 1); n++) insert(rig, pool, id, n);
      }
      let next = (round * 131) % objects;
      const between = () => {
        for (let i = 0; i < perStep; i++) {
          next = (next + 1) % objects;
          if (stays(next)) continue;
          const isThere = rig.index.find(pool, rig.setKey(next, 0)) >= 0;
          if (isThere) remove(rig, pool, next);
          else if (mayReturn) insert(rig, pool, next, 0);
        }
      };
      const met = walk(rig, true, 16 + round * 3, between);
      for (let id = 0; id < objects; id++) {
        if (!stays(id)) continue;
        const count = id % 100 === 0 ? 150 : 1;
        for (let n = 0; n < count; n++) assert.ok(met.has(`${id} ${n}`), `${id} ${n} is met`);
      }
    }
  });
}
