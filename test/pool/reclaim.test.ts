// Reclaim and compaction under a journal: a rollback by the callback undoes only its own changes,
// and a failed step is undone completely.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Address, Handle } from "../../src/base/brand.ts";
import { EBUSY } from "../../src/base/errno.ts";
import { MIB } from "../../src/base/units.ts";
import { JOURNAL_LIMIT } from "../../src/memory/arena.layout.ts";
import { Arena } from "../../src/memory/arena.ts";
import { add } from "../../src/memory/journal.ts";
import { createPool, poolTypes } from "../../src/pool/registry.ts";

/** A pool under the arena's lock, all of it committed: of many objects every third is left. */
function filled(type: string) {
  const arena = Arena.create({ sizeBytes: 4 * MIB });
  const pool = createPool(type, arena);
  const scratch = arena.reserve(arena.pageSize);
  arena.keepJournal();
  arena.lock.lock();
  const live = new Set<Handle>();
  for (let n = 0; n < 600; n++) {
    const handle = pool.malloc(200 + ((n * 97) % 1500)) as Handle;
    assert.ok(handle > 0);
    live.add(handle);
    arena.lock.commit();
  }
  for (const [n, handle] of [...live].entries()) {
    if (n % 3 === 0) continue;
    assert.equal(pool.free(handle), 0);
    live.delete(handle);
    arena.lock.commit();
  }
  const check = () => {
    pool.verify();
    assert.equal(pool.stats().objects, live.size);
    for (const handle of live) assert.equal(pool.read(handle, scratch as Address, 100), 0);
  };
  return { arena, pool, live, check };
}

for (const type of poolTypes()) {
  test(`${type}: an eviction that is undone leaves the unit as it was`, () => {
    const { arena, pool, check } = filled(type);
    const spare = arena.words.length - 1;
    for (let round = 0; round < 5; round++) {
      pool.shrink(3, () => {
        add(arena.words, spare, 1);
        arena.lock.rollBack();
        return EBUSY;
      });
      check();
    }
    assert.equal(arena.words[spare], 0, "what the callback had begun is undone");
    arena.lock.unlock();
  });

  test(`${type}: an eviction that throws leaves the unit as it was`, () => {
    const { arena, pool, check } = filled(type);
    const spare = arena.words.length - 1;
    for (let round = 0; round < 5; round++) {
      const evict = () => {
        add(arena.words, spare, 1);
        throw new Error("the callback has failed");
      };
      assert.throws(() => pool.shrink(3, evict), /the callback has failed/);
      arena.lock.rollBack();
      check();
      assert.equal(arena.words[spare], 0, "what the callback had begun is undone");
    }
    arena.lock.unlock();
  });
}

test("a compaction step that fails in the middle is undone, and the next one goes on", () => {
  const { arena, pool, check } = filled("zsmalloc");
  const room = arena.words[JOURNAL_LIMIT]!;
  for (let limit = 1; limit < 60; limit++) {
    // Where the journal has no room left, the step ends with an assertion, as one with a bug would.
    arena.words[JOURNAL_LIMIT] = limit;
    try {
      pool.compact(1);
    } catch {
      arena.words[JOURNAL_LIMIT] = room;
      arena.lock.rollBack();
      check();
    }
    arena.words[JOURNAL_LIMIT] = room;
  }
  const before = pool.stats().pages;
  const freed = pool.compact(1000);
  assert.equal(pool.stats().pages, before - freed);
  assert.ok(pool.stats().pagesCompacted > 0, "compaction was never left marked as under way");
  check();
  arena.lock.unlock();
});
