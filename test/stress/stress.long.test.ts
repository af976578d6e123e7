// Several threads at once on one arena: locks, page frames, and every pool in the registry. The
// work is bounded by count, not by time; `ZCACHE_STRESS_ROUNDS` multiplies the rounds.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { MIB } from "../../src/base/units.ts";
import { Arena } from "../../src/memory/arena.ts";
import { createPool, poolTypes } from "../../src/pool/registry.ts";
import { COUNTER, LOCK, type Report, runCrew, SHARED_WORDS, STEPS } from "./crew.ts";

/**
 * One more than many machines have processors: then a thread loses its turn inside a section too.
 */
const WORKERS = 3;
const TIMES = Number(process.env["ZCACHE_STRESS_ROUNDS"] ?? 1);

function sumOf(reports: readonly Report[], key: string): number {
  return reports.reduce((sum, report) => sum + report[key]!, 0);
}

function sharedWords(arena: Arena): number {
  return arena.reserve(SHARED_WORDS * 4) / 4;
}

test("a counter that only the lock guards loses nothing", async () => {
  using arena = Arena.create({ sizeBytes: MIB });
  const at = sharedWords(arena);
  const job = { kind: "counter", rounds: 100_000 * TIMES } as const;
  const reports = await runCrew(arena, at, WORKERS, job);
  assert.equal(arena.words[at + COUNTER], sumOf(reports, "counted"));
  assert.equal(arena.words[at + LOCK], 0, "the lock is free");
  assert.equal(arena.frames.framesUsed, 1, "only the words that the workers share are left");
});

test("page frames: no block is handed out twice, none is lost", async () => {
  // 4 × 60 blocks of 6 frames on average are more than there is: full arenas happen too.
  using arena = Arena.create({ sizeBytes: 3 * MIB });
  await runCrew(arena, sharedWords(arena), WORKERS, { kind: "frames", rounds: 60_000 * TIMES });
  arena.frames.verify();
  assert.equal(arena.frames.framesUsed, 1, "only the words that the workers share are left");
  arena.detach();
  using fresh = Arena.create({ sizeBytes: 3 * MIB });
  for (let order = 0; order <= 4; order++) {
    assert.equal(arena.frames.freeBlocks(order), fresh.frames.freeBlocks(order), `order ${order}`);
  }
});

for (const type of poolTypes()) {
  test(`${type}: every object keeps its bytes while others store, evict and compact`, async () => {
    const arena = Arena.create({ sizeBytes: 2 * MIB });
    const pool = createPool(type, arena);
    const reports = await runCrew(arena, sharedWords(arena), WORKERS, {
      kind: "pool",
      rounds: 15_000 * TIMES,
      pool: pool.share(),
    });
    pool.verify();
    const stats = pool.stats();
    assert.equal(stats.objects, 0);
    const [stored, freed, lost] = ["stored", "freed", "lost"].map((key) => sumOf(reports, key));
    assert.equal(stored, freed! + lost!, "what was stored was freed by its owner or evicted");
    assert.ok(lost! <= sumOf(reports, "evictions"), "nothing is lost that was not evicted");
    assert.ok(freed! > stored! / 4, `${freed} of ${stored} objects lived until they were freed`);
    pool.compact(Number.MAX_SAFE_INTEGER);
    pool.verify();
    assert.equal(pool.totalPages(), 0, "empty means zero");
    pool.destroy();
    arena.close();
    arena.frames.verify();
    assert.equal(arena.frames.framesUsed, 0, "all page frames are given back");
  });
}

for (const type of poolTypes()) {
  test(`${type}: a pool destroyed while in use refuses all its users`, async () => {
    const arena = Arena.create({ sizeBytes: 16 * MIB });
    const pool = createPool(type, arena);
    const at = sharedWords(arena);
    const job = { kind: "destroyed", rounds: 100_000_000, pool: pool.share() } as const;
    const crew = runCrew(arena, at, 2, job);
    while (Atomics.load(arena.words, at + STEPS) < 2000) await setImmediate();
    pool.destroy();
    const next = createPool(type, arena);
    const reports = await crew;
    assert.equal(sumOf(reports, "refused"), 2);
    next.verify();
    assert.equal(next.stats().objects, 0);
    arena.close();
  });
}
