// Any sequence of operations on the key space against a Map: after each step all reads agree and
// `verify()` holds; also with too little memory, and when the journal undoes an uncommitted step.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { NIL } from "../../src/base/brand.ts";
import { EBUSY, EINVAL } from "../../src/base/errno.ts";
import { journalCommit, journalRollBack } from "../../src/memory/journal.ts";
import { PERSISTENT, type TmemPool } from "../../src/tmem/pools.ts";
import { copyOf, Fixture, idText, makeArena, type ObjectId } from "./fixture.ts";

const RUNS = Number(process.env["ZCACHE_MODEL_RUNS"] ?? 60);

type Step =
  | { op: "insert"; pool: number; id: number; index: bigint }
  | { op: "insertRun"; pool: number; id: number; index: bigint; count: number; stride: number }
  | { op: "insertObjects"; pool: number; first: number; count: number; index: bigint }
  | { op: "remove"; pool: number; id: number; index: bigint }
  | { op: "removeSome"; nth: number; count: number }
  | { op: "removeObject"; pool: number; id: number; maxPages: number }
  | { op: "enumerate"; pool: number; id: number; from: bigint }
  | { op: "destroy"; pool: number; maxPages: number; steps: number }
  | { op: "finish"; pool: number };

/** Few ids, so that they meet; of 1 … 192 bits, and bytes that say the same in another way. */
const IDS: readonly ObjectId[] = [
  0,
  1,
  2 ** 31,
  2 ** 32,
  2 ** 53 - 1,
  2n ** 63n,
  2n ** 64n - 1n,
  2n ** 64n,
  2n ** 64n + 1n,
  2n ** 96n,
  2n ** 191n + 1n,
  2n ** 192n - 1n,
  Uint8Array.of(1),
  Uint8Array.of(1, 0),
  Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 128),
  Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 1),
  new Uint8Array(24).fill(255),
];
const POOLS = 3;

const pool = fc.nat(POOLS - 1);
const id = fc.nat(IDS.length - 1);
const index = fc.oneof(
  { weight: 3, arbitrary: fc.constant(0n) },
  { weight: 3, arbitrary: fc.bigInt(0n, 40n) },
  { weight: 2, arbitrary: fc.bigInt(0n, 2n ** 64n - 1n) },
  { weight: 2, arbitrary: fc.bigInt(0n, 2n ** 20n) },
  fc
    .tuple(fc.nat(63), fc.constantFrom(-1n, 0n, 1n, 15n, 16n))
    .map(([bit, add]) => (1n << BigInt(bit)) + add),
  fc.constantFrom(15n, 16n, 2n ** 32n, 2n ** 53n, 2n ** 64n - 1n, 2n ** 64n - 16n),
);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ op: fc.constant("insert" as const), pool, id, index }) },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant("insertRun" as const),
      pool,
      id,
      index,
      count: fc.integer({ min: 1, max: 80 }),
      stride: fc.constantFrom(1, 1, 7, 16, 1000, 70_000),
    }),
  },
  fc.record({
    op: fc.constant("insertObjects" as const),
    pool,
    first: fc.nat(200),
    count: fc.integer({ min: 1, max: 90 }),
    index: fc.constantFrom(0n, 0n, 3n),
  }),
  { weight: 2, arbitrary: fc.record({ op: fc.constant("remove" as const), pool, id, index }) },
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constant("removeSome" as const),
      nth: fc.nat(10_000),
      count: fc.integer({ min: 1, max: 60 }),
    }),
  },
  fc.record({
    op: fc.constant("removeObject" as const),
    pool,
    id,
    maxPages: fc.integer({ min: 1, max: 40 }),
  }),
  fc.record({ op: fc.constant("enumerate" as const), pool, id, from: index }),
  fc.record({
    op: fc.constant("destroy" as const),
    pool,
    maxPages: fc.integer({ min: 1, max: 30 }),
    steps: fc.nat(3),
  }),
  fc.record({ op: fc.constant("finish" as const), pool }),
);

/** Pools by their place in the steps; one that is dying is in `fixture.dying` too. */
type Pools = TmemPool[];

/** One operation of the index: what one transaction holds. */
type Unit = () => void;

/** The single operations of a step, each made when the one before it is done. */
function* unitsOf(fixture: Fixture, pools: Pools, step: Step): Generator<Unit> {
  switch (step.op) {
    case "insert":
      yield () => insert(fixture, pools[step.pool]!, IDS[step.id]!, step.index);
      return;
    case "insertRun":
      for (let i = 0; i < step.count; i++) {
        const index = step.index + BigInt(i * step.stride);
        if (index >= 2n ** 64n) return;
        yield () => insert(fixture, pools[step.pool]!, IDS[step.id]!, index);
      }
      return;
    case "insertObjects":
      for (let i = 0; i < step.count; i++) {
        yield () => insert(fixture, pools[step.pool]!, 1000 + step.first + i, step.index);
      }
      return;
    case "remove":
      yield () => remove(fixture, pools[step.pool]!, IDS[step.id]!, step.index);
      return;
    case "removeSome":
      for (let i = 0; i < step.count && fixture.pages.size > 0; i++) {
        const pages = [...fixture.pages.values()];
        const { pool, id, index } = pages[(step.nth + i * 7) % pages.length]!;
        yield () => remove(fixture, pool, id, index);
      }
      return;
    case "removeObject":
      yield () => removeObject(fixture, pools[step.pool]!, IDS[step.id]!, step.maxPages);
      return;
    case "enumerate":
      enumerate(fixture, pools[step.pool]!, IDS[step.id]!, step.from);
      return;
    case "destroy":
      yield () => destroy(fixture, pools[step.pool]!);
      for (let i = 0; i < step.steps; i++)
        yield () => destroyStep(fixture, pools, step, step.maxPages);
      return;
    case "finish":
      while (fixture.dying.has(pools[step.pool]!))
        yield () => destroyStep(fixture, pools, step, 100);
  }
}

function insert(fixture: Fixture, pool: TmemPool, id: ObjectId, index: bigint): void {
  if (!isRefused(fixture, pool, id, index)) fixture.insert(pool, id, index);
}

function remove(fixture: Fixture, pool: TmemPool, id: ObjectId, index: bigint): void {
  if (isRefused(fixture, pool, id, index)) return;
  const there = fixture.pages.has(fixture.text(pool, id, index));
  assert.equal(fixture.remove(pool, id, index), there);
}

/** A dying pool refuses everything. */
function isRefused(fixture: Fixture, pool: TmemPool, id: ObjectId, index: bigint): boolean {
  if (!fixture.dying.has(pool)) return false;
  fixture.setKey(id, index);
  for (const answer of [
    fixture.index.find(pool, fixture.key),
    fixture.index.insert(pool, fixture.key),
    fixture.index.nextPage(pool, fixture.key),
    fixture.index.removeObject(pool, fixture.key, 1, fixture.removeEntry),
    fixture.index.destroyPool(pool),
  ]) {
    assert.equal(answer, EBUSY);
  }
  return true;
}

function pagesOf(fixture: Fixture, pool: TmemPool, id: ObjectId): bigint[] {
  return [...fixture.pages.values()]
    .filter((page) => page.pool === pool && idText(page.id) === idText(id))
    .map((page) => page.index)
    .sort((a, b) => (a < b ? -1 : 1));
}

function removeObject(fixture: Fixture, pool: TmemPool, id: ObjectId, maxPages: number): void {
  if (fixture.dying.has(pool)) return;
  const before = pagesOf(fixture, pool, id);
  assert.equal(fixture.index.objectPages(pool, fixture.setKey(id, 0)), before.length);
  const left = fixture.index.removeObject(
    pool,
    fixture.setKey(id, 0),
    maxPages,
    fixture.removeEntry,
  );
  const after = pagesOf(fixture, pool, id);
  assert.equal(left, after.length);
  assert.ok(before.length === 0 || after.length < before.length, "a step removes something");
  assert.ok(before.length - after.length <= maxPages);
  assert.deepEqual(after, before.slice(before.length - after.length), "lowest index first");
}

function enumerate(fixture: Fixture, pool: TmemPool, id: ObjectId, from: bigint): void {
  if (fixture.dying.has(pool)) return;
  const indexes = pagesOf(fixture, pool, id);
  assert.deepEqual(fixture.indexesOf(pool, id), indexes);
  const entry = fixture.index.nextPage(pool, fixture.setKey(id, from));
  const expected = indexes.find((index) => index >= from);
  if (expected === undefined) assert.equal(entry, NIL);
  else assert.equal(fixture.key.index, expected);
}

function destroy(fixture: Fixture, pool: TmemPool): void {
  if (fixture.dying.has(pool)) return;
  assert.equal(
    fixture.index.destroyStep(pool, 1, fixture.removeEntry),
    EINVAL,
    "not while it is used",
  );
  assert.equal(fixture.index.destroyPool(pool), 0);
  fixture.dying.add(pool);
}

function destroyStep(
  fixture: Fixture,
  pools: Pools,
  step: { pool: number },
  maxPages: number,
): void {
  const pool = pools[step.pool]!;
  if (!fixture.dying.has(pool)) return;
  const left = fixture.index.destroyStep(pool, maxPages, fixture.removeEntry);
  const expected = [...fixture.pages.values()].filter((page) => page.pool === pool).length;
  assert.equal(left, expected);
  if (left > 0) return;
  fixture.dying.delete(pool);
  assert.equal(
    fixture.index.find(pool, fixture.setKey(0, 0)),
    EINVAL,
    "a pool that is gone is unknown",
  );
  pools[step.pool] = fixture.index.createPool(step.pool, PERSISTENT, null) as TmemPool;
  assert.notEqual(pools[step.pool], pool, "an id is not used again");
}

function makePools(fixture: Fixture): Pools {
  return Array.from({ length: POOLS }, (_, n) => fixture.index.createPool(n, 0, null) as TmemPool);
}

function emptyAll(fixture: Fixture, pools: Pools): void {
  const finish = pools.map((_, pool): Step[] => [
    { op: "destroy", pool, maxPages: 1000, steps: 0 },
    { op: "finish", pool },
  ]);
  for (const step of finish.flat()) for (const unit of unitsOf(fixture, pools, step)) unit();
  fixture.check();
  assert.equal(fixture.index.memoryFrames, 0, "empty means zero");
  assert.equal(fixture.index.objects, 0);
}

const seed = fc.integer();

test("any sequence: all pages are found and no others, and empty means no frames", () => {
  fc.assert(
    fc.property(seed, fc.array(step, { maxLength: 40 }), (seed, steps) => {
      using arena = makeArena(2 ** 21);
      const fixture = new Fixture(arena, seed);
      const pools = makePools(fixture);
      for (const one of steps) {
        for (const unit of unitsOf(fixture, pools, one)) unit();
        fixture.check();
      }
      emptyAll(fixture, pools);
    }),
    { numRuns: RUNS },
  );
});

test("an insertion that fails for lack of memory changes nothing", () => {
  let failures = 0;
  const framesLeft = fc.integer({ min: 0, max: 12 });
  fc.assert(
    fc.property(framesLeft, fc.array(step, { maxLength: 40 }), (framesLeft, steps) => {
      using arena = makeArena(2 ** 17);
      const fixture = new Fixture(arena, 7, framesLeft);
      const pools = makePools(fixture);
      for (const one of steps) {
        for (const unit of unitsOf(fixture, pools, one)) {
          const { pages } = fixture.index;
          const { framesUsed } = arena.frames;
          const before = fixture.pages.size;
          unit();
          if (!one.op.startsWith("insert") || fixture.pages.size > before) continue;
          // The page was stored already, or no frame was left.
          assert.equal(fixture.index.pages, pages);
          assert.equal(arena.frames.framesUsed, framesUsed);
          if (arena.frames.framesFree === 0) failures++;
        }
        fixture.check();
      }
      emptyAll(fixture, pools);
    }),
    { numRuns: RUNS },
  );
  assert.ok(failures > 0, "some insertion found no frame");
});

test("an uncommitted step is undone completely", () => {
  const plan = fc.array(fc.tuple(step, fc.integer()), { maxLength: 40 });
  fc.assert(
    fc.property(plan, fc.boolean(), (plan, scarce) => {
      using arena = makeArena(2 ** 18);
      arena.keepJournal();
      const fixture = new Fixture(arena, 7, scarce ? 8 : 48);
      const pools = makePools(fixture);
      journalCommit(arena.words);
      for (const [one, chance] of plan) {
        let nth = 0;
        for (const unit of unitsOf(fixture, pools, one)) {
          const before = copyOf(fixture);
          const poolsBefore = [...pools];
          unit();
          if (((chance >>> (nth++ & 31)) & 1) === 0) {
            journalCommit(arena.words);
            continue;
          }
          journalRollBack(arena.words, arena.kernels);
          fixture.goBackTo(before);
          pools.splice(0, POOLS, ...poolsBefore);
          fixture.check();
          if (nth > 200) break;
        }
        fixture.check();
      }
      emptyAllCommitting(fixture, pools);
    }),
    { numRuns: RUNS },
  );
});

function emptyAllCommitting(fixture: Fixture, pools: Pools): void {
  for (let pool = 0; pool < POOLS; pool++) {
    destroy(fixture, pools[pool]!);
    while (fixture.dying.has(pools[pool]!)) {
      destroyStep(fixture, pools, { pool }, 1000);
      journalCommit(fixture.arena.words);
    }
  }
  fixture.check();
  assert.equal(fixture.index.memoryFrames, 0);
}
