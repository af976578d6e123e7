// Pools, large tables, memory per page, and the faults that `verify` finds.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { WordIndex } from "../../src/base/brand.ts";
import { NIL } from "../../src/base/brand.ts";
import { EBUSY, EINVAL, ENOSPC } from "../../src/base/errno.ts";
import { AssertionError } from "../../src/base/errors.ts";
import { JOURNAL_NEXT } from "../../src/memory/arena.layout.ts";
import { PAGE_SIZES } from "../../src/memory/arena.ts";
import { journalCommit, put } from "../../src/memory/journal.ts";
import * as Entry from "../../src/tmem/entry.layout.ts";
import { hashName } from "../../src/tmem/hash.ts";
import * as Obj from "../../src/tmem/object.layout.ts";
import { PERSISTENT, SHARED, type TmemPool } from "../../src/tmem/pools.ts";
import * as Tree from "../../src/tmem/tree.layout.ts";
import { Fixture, makeArena } from "./fixture.ts";

const MIB = 2 ** 20;

function privatePool(fixture: Fixture): TmemPool {
  return fixture.index.createPool(1, 0, null) as TmemPool;
}

/** Inserts without the Map and the list, for many. */
function fill(fixture: Fixture, pool: TmemPool, id: number, from: number, count: number): void {
  const { words } = fixture.arena;
  for (let index = from; index < from + count; index++) {
    const entry = fixture.index.insert(pool, fixture.setKey(id, index));
    assert.ok(entry > 0, `insert gave ${entry}`);
    put(words, entry + Entry.META, 1);
    put(words, entry + Entry.LINKS, 0);
  }
}

function indexBytes(fixture: Fixture): number {
  return fixture.index.memoryFrames * fixture.arena.pageSize;
}

test("all clients that name a UUID share one pool, until the last has left", () => {
  using arena = makeArena(MIB);
  const { index, ...fixture } = new Fixture(arena);
  const uuid = Uint8Array.from({ length: 16 }, (_, i) => i * 17);
  const other = Uint8Array.from(uuid, (byte, i) => (i === 15 ? byte ^ 128 : byte));
  assert.equal(index.findPool(uuid), NIL);
  const pool = index.createPool(1, SHARED | PERSISTENT, uuid) as TmemPool;
  assert.equal(index.createPool(2, SHARED | PERSISTENT, uuid), pool);
  assert.equal(index.createPool(2, SHARED, uuid), EINVAL, "of another kind");
  assert.notEqual(index.createPool(2, SHARED, other), pool);
  assert.equal(index.findPool(uuid), pool);
  const info = { id: pool, client: 1, persistent: true, shared: true, dying: false };
  assert.deepEqual(index.poolInfo(pool), {
    ...info,
    users: 2,
    pages: 0,
    objects: 0,
    firstPages: 0,
  });
  assert.equal(index.destroyPool(pool), 1);
  const entry = index.insert(pool, fixture.key.setObject(1)) as WordIndex;
  arena.words[entry + Entry.META] = 1;
  assert.equal(index.destroyPool(pool), 0);
  assert.equal(index.destroyPool(pool), EBUSY);
  assert.equal(index.findPool(uuid), NIL);
  assert.equal(index.kindOf(pool), NIL);
  assert.equal(index.createPool(1, SHARED | PERSISTENT, uuid), EBUSY, "the old one is not gone");
  assert.deepEqual(index.poolInfo(pool), {
    ...info,
    dying: true,
    users: 0,
    pages: 1,
    objects: 1,
    firstPages: 1,
  });
  assert.equal(
    index.destroyStep(pool, 1, () => {}),
    0,
  );
  assert.equal(index.poolInfo(pool), null);
  assert.equal(index.destroyPool(pool), EINVAL);
  assert.notEqual(index.createPool(1, SHARED | PERSISTENT, uuid), pool);
});

test("invalid flags and UUIDs are refused, and so are invented ids", () => {
  using arena = makeArena(MIB);
  const { index, key } = new Fixture(arena);
  assert.equal(index.createPool(1, 8, null), EINVAL);
  assert.equal(index.createPool(1, SHARED, null), EINVAL);
  assert.equal(index.createPool(1, 0, new Uint8Array(16)), EINVAL);
  assert.equal(index.createPool(1, SHARED, new Uint8Array(15)), EINVAL);
  const pool = index.createPool(1, 0, null) as TmemPool;
  for (const wrong of [0, 1, -1, -2, pool - 256, pool + 256, pool + 1, pool + 0.5, Number.NaN]) {
    assert.equal(index.find(wrong, key), EINVAL, `pool ${wrong}`);
    assert.equal(index.insert(wrong, key), EINVAL);
    assert.equal(index.destroyPool(wrong), EINVAL);
    assert.equal(
      index.destroyStep(wrong, 1, () => {}),
      EINVAL,
    );
    assert.equal(index.poolInfo(wrong), null);
    assert.equal(index.kindOf(wrong), NIL);
  }
  index.verify();
});

test("there are 256 pools, and a number is reused under another id", () => {
  using arena = makeArena(MIB);
  const { index } = new Fixture(arena);
  const pools = Array.from({ length: 256 }, (_, n) => index.createPool(n, n & 1, null) as TmemPool);
  assert.equal(index.createPool(0, 0, null), ENOSPC);
  assert.deepEqual(
    pools.map((pool) => index.kindOf(pool)),
    pools.map((_, n) => n & 1),
  );
  const seen: TmemPool[] = [];
  index.forEachPool((pool) => seen.push(pool));
  assert.deepEqual(seen, pools);
  for (let round = 0; round < 3; round++) {
    const pool = pools[77]!;
    assert.equal(index.destroyPool(pool), 0);
    assert.equal(
      index.destroyStep(pool, 1, () => {}),
      0,
    );
    pools[77] = index.createPool(0, 0, null) as TmemPool;
    assert.equal(pools[77]! & 255, 77);
    assert.equal(new Set(pools).size, 256);
    assert.equal(index.destroyPool(pool), EINVAL);
  }
  index.verify();
});

test("a pool is destroyed in steps while the table grows and shrinks around it", () => {
  using arena = makeArena(4 * MIB);
  const fixture = new Fixture(arena);
  const dying = privatePool(fixture);
  const other = privatePool(fixture);
  for (let id = 0; id < 3000; id++) fill(fixture, dying, id, 0, 1 + (id % 3));
  assert.equal(fixture.index.destroyPool(dying), 0);
  let next = 0;
  let oldest = 0;
  let steps = 0;
  for (let left = 6000, waves = 0; left > 0; steps++) {
    // Waves of insertions and removals, each of which doubles or halves the table.
    if (steps % 2000 < 1000) fill(fixture, other, next++ * 7, 0, 1);
    else waves++;
    while (waves > 0 && oldest < next) {
      fixture.index.remove(fixture.index.find(other, fixture.setKey(oldest++ * 7, 0)) as WordIndex);
      waves--;
    }
    const now = fixture.index.destroyStep(dying, 2, () => {});
    assert.ok(now <= left && now >= left - 2);
    left = now;
    if (steps % 500 === 0) fixture.index.verify();
    assert.ok(steps < 20_000, "it comes to an end");
  }
  fixture.index.verify();
  assert.equal(fixture.index.poolInfo(dying), null);
  assert.equal(fixture.index.poolInfo(other)!.pages, next - oldest);
});

test("a step over many objects of other pools ends before it has visited all", () => {
  using arena = makeArena(4 * MIB);
  const fixture = new Fixture(arena);
  const other = privatePool(fixture);
  const dying = privatePool(fixture);
  for (let id = 0; id < 20_000; id++) fill(fixture, other, id, 0, 1);
  fill(fixture, dying, 1, 0, 1);
  fixture.index.destroyPool(dying);
  let steps = 0;
  while (fixture.index.destroyStep(dying, 1000, () => {}) > 0) steps++;
  assert.ok(steps > 1 && steps <= 20_000 / 512 + 2, `${steps} steps`);
});

test("a step ends before its transaction becomes too long", () => {
  using arena = makeArena(32 * MIB);
  arena.keepJournal();
  const fixture = new Fixture(arena);
  const pool = privatePool(fixture);
  journalCommit(arena.words);
  let longest = 0;
  const logged = () => {
    longest = Math.max(longest, arena.words[JOURNAL_NEXT]! - 1);
    journalCommit(arena.words);
  };
  // Pages that have a leaf each, below 1,000 nodes and 1,000 objects.
  for (let id = 0; id < 1000; id++) {
    for (let nth = 0; nth < 3; nth++) {
      fill(fixture, pool, id, nth * 2 ** 40, 1);
      logged();
    }
  }
  assert.ok(longest < 300, `${longest} words for an insertion`);
  longest = 0;
  fixture.index.removeObject(pool, fixture.setKey(5, 0), 1000, () => {});
  logged();
  fixture.index.destroyPool(pool);
  while (fixture.index.destroyStep(pool, 1e9, () => {}) > 0) logged();
  logged();
  assert.ok(longest > 500 && longest < 1000, `${longest} words for a step`);
  assert.equal(fixture.index.memoryFrames, 0);
});

test("the next page is found from any index, across any gap", () => {
  const spread = fc.constantFrom(6, 20, 34, 64);
  const indexes = spread.chain((bits) => fc.bigInt(0n, (1n << BigInt(bits)) - 1n));
  const several = fc.array(indexes, { minLength: 1, maxLength: 40 });
  fc.assert(
    fc.property(several, fc.array(indexes, { maxLength: 20 }), (several, others) => {
      using arena = makeArena(MIB);
      const fixture = new Fixture(arena);
      const pool = privatePool(fixture);
      for (const index of several) fixture.insert(pool, 1, index);
      fixture.index.verify();
      const sorted = [...new Set(several)].sort((a, b) => (a < b ? -1 : 1));
      assert.deepEqual(fixture.indexesOf(pool, 1), sorted);
      for (const from of [...others, ...several.map((index) => index ^ (1n << 63n))]) {
        const expected = sorted.find((index) => index >= from);
        const entry = fixture.index.nextPage(pool, fixture.setKey(1, from));
        assert.equal(entry > 0 ? fixture.key.index : undefined, expected, `from ${from}`);
        if (entry < 0) assert.equal(fixture.key.index, from, "the key stays as it was");
      }
    }),
    { numRuns: 200 },
  );
});

test("ids that differ in a single word are distinguished", () => {
  using arena = makeArena(4 * MIB);
  const fixture = new Fixture(arena);
  const pool = privatePool(fixture);
  for (let word = 0n; word < 6n; word++) {
    for (let id = 1n; id <= 200n; id++) fixture.insert(pool, id << (32n * word), 0n);
  }
  fixture.check();
  assert.equal(fixture.index.objects, 1200);
});

test("distant indexes cost a leaf and at most one node each", () => {
  using arena = makeArena(MIB);
  const fixture = new Fixture(arena);
  const pool = privatePool(fixture);
  const frames = () => fixture.index.memoryFrames;
  fixture.insert(pool, 1, 2n ** 64n - 1n);
  assert.equal(frames(), 4, "an object, a leaf, the buckets and their directory");
  for (let bit = 4n; bit < 64n; bit++) fixture.insert(pool, 1, 1n << bit);
  fixture.check();
  assert.ok(frames() <= 3 + Math.ceil((61 + 60) / 15), `${frames()} frames`);
});

test("an object of one page at index 0 needs no leaf", () => {
  using arena = makeArena(MIB);
  const fixture = new Fixture(arena);
  const pool = privatePool(fixture);
  fixture.insert(pool, 1, 0n);
  assert.equal(fixture.index.memoryFrames, 3, "an object, the buckets and their directory");
  fixture.insert(pool, 1, 1n);
  fixture.check();
  assert.equal(fixture.index.memoryFrames, 4);
});

test("bytes per page of dense objects, including 8 for the policy's links", () => {
  using arena = makeArena(40 * MIB);
  const fixture = new Fixture(arena);
  const pool = privatePool(fixture);
  fill(fixture, pool, 1, 0, 2 ** 20);
  const one = indexBytes(fixture) / 2 ** 20;
  assert.ok(one < 17.4, `${one} bytes per page of one object`);
  fixture.index.destroyPool(pool);
  while (fixture.index.destroyStep(pool, 1e9, () => {}) > 0);
  assert.equal(fixture.index.memoryFrames, 0);
  const many = privatePool(fixture);
  for (let id = 0; id < 1000; id++) fill(fixture, many, id, 0, 1000);
  const each = indexBytes(fixture) / 1e6;
  assert.ok(each < 17.6, `${each} bytes per page of 1,000 objects`);
});

test("bytes per object of one page, over more buckets than one directory names", () => {
  using arena = makeArena(64 * MIB);
  const fixture = new Fixture(arena);
  const pool = privatePool(fixture);
  const count = 2 ** 20 + 3000;
  for (let id = 0; id < count; id++) fill(fixture, pool, id * 977, 0, 1);
  const each = indexBytes(fixture) / count;
  assert.ok(each < 36.2, `${each} bytes per object`);
  fixture.index.verify();
  for (let id = 0; id < count; id++) {
    const entry = fixture.index.find(pool, fixture.setKey(id * 977, 0));
    assert.ok(entry > 0);
    fixture.index.remove(entry as WordIndex);
  }
  fixture.index.verify();
  assert.equal(fixture.index.memoryFrames, 0);
});

for (const pageSize of PAGE_SIZES) {
  test(`with frames of ${pageSize} bytes`, () => {
    using arena = makeArena(8 * MIB, pageSize);
    const fixture = new Fixture(arena);
    const pool = privatePool(fixture);
    for (let id = 0; id < 2 * pageSize; id++) fill(fixture, pool, id, 0, 1);
    fixture.index.verify();
    for (let index = 0n; index < 300n; index++) fixture.insert(pool, 2n ** 190n, index * 7n);
    assert.equal(fixture.indexesOf(pool, 2n ** 190n).length, 300);
    for (let id = 0; id < 2 * pageSize; id++) {
      fixture.index.remove(fixture.index.find(pool, fixture.setKey(id, 0)) as WordIndex);
    }
    fixture.check();
    fixture.index.removeObject(pool, fixture.setKey(2n ** 190n, 0), 300, fixture.removeEntry);
    assert.equal(fixture.index.memoryFrames, 0);
  });
}

test("the levels of the tree cover 64 bits without gaps", () => {
  for (let bit = 4; bit < 64; bit++) {
    const low = bit < 32 ? 1 << bit : 0;
    const high = bit < 32 ? 0 : 1 << (bit - 32);
    const level = Tree.levelJoining(low, high);
    assert.equal(level, Math.floor((bit - 4) / 6) + 1);
    assert.equal(Tree.slotOf(level, low, high), 1 << ((bit - 4) % 6));
    assert.equal(Tree.baseLow(level, low) | Tree.baseHigh(level, high), 0);
    if (level > 1)
      assert.notEqual(Tree.baseLow(level - 1, low) | Tree.baseHigh(level - 1, high), 0);
    assert.equal(Tree.slotOf(level, -1, -1), 63);
  }
  assert.equal(Tree.levelJoining(-1, -1), Tree.LEVEL_MAX);
  for (const [at, level] of [
    [4, 0],
    [2 ** 30 - 4, 10],
  ] as const) {
    const ref = Tree.refOf(at, level);
    assert.deepEqual([Tree.recordOf(ref), Tree.levelOf(ref)], [at, level]);
  }
});

test("the hash spreads numbers that differ in few bits, differently for each seed", () => {
  const buckets = 1024;
  for (const stride of [1, 4096, 2 ** 20]) {
    for (const half of [0, 1]) {
      const counts = new Int32Array(buckets);
      for (let i = 0; i < 16 * buckets; i++) {
        const word = i * stride;
        const hash = half === 0 ? hashName(3, 9, word | 0, 0) : hashName(3, 9, 0, word | 0);
        counts[hash & (buckets - 1)]!++;
      }
      // Numbers that are equal modulo 2³² are equal here too.
      const distinct = Math.min(16 * buckets, 2 ** 32 / stride);
      const expected = (16 * buckets) / buckets;
      if (distinct < 16 * buckets) continue;
      const chi = counts.reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0);
      // Mean 1,023, standard deviation 45.
      assert.ok(chi > 1023 - 6 * 45 && chi < 1023 + 6 * 45, `chi² ${chi} at stride ${stride}`);
    }
  }
  assert.notEqual(hashName(1, 9, 5, 5) & 255, hashName(2, 9, 5, 5) & 255);
});

test("verify finds broken structures", () => {
  using arena = makeArena(MIB);
  const fixture = new Fixture(arena);
  const { words } = arena;
  const pool = privatePool(fixture);
  const inline = fixture.insert(pool, 1, 0n);
  for (let id = 2; id < 30; id++) fixture.insert(pool, id, 0n);
  for (let index = 0n; index < 200n; index++) fixture.insert(pool, 40, index * 3n);
  const inTree = fixture.index.find(pool, fixture.setKey(40, 300)) as number;
  const leafKey = fixture.key;
  fixture.index.keyOf(inTree as WordIndex, leafKey);
  const leaf = inTree - Tree.ENTRIES - (300 % 16) * Entry.ENTRY_WORDS;
  const object = words[leaf + Tree.OBJECT]!;
  const node = Tree.recordOf(words[object + Obj.ROOT]!);
  fixture.check();
  const broken: readonly [at: number, xor: number][] = [
    [leaf + Tree.OBJECT, 8],
    [leaf + Tree.BASE, 16],
    [leaf + Tree.BASE, 1],
    [leaf + Tree.BASE + 1, 1],
    [leaf + Tree.USED, 1 << (300 % 16)],
    [inTree + Entry.META, words[inTree + Entry.META]!],
    [node + Tree.OBJECT, 8],
    [node + Tree.USED, 1],
    [node + Tree.BASE + 1, 1],
    [node + Tree.SLOTS, 1],
    [object + Obj.COUNT, 1],
    [object + Obj.ID, 1],
    [object + Obj.SHAPE, 1],
    [inline - Obj.ENTRY + Obj.SHAPE, Obj.INLINE],
    [inline - Obj.ENTRY + Obj.ID + 1, 1],
    [inline + Entry.META, words[inline + Entry.META]!],
  ];
  for (const [at, xor] of broken) {
    words[at]! ^= xor;
    assert.throws(() => fixture.index.verify(), AssertionError, `word ${at} ^ ${xor}`);
    words[at]! ^= xor;
    fixture.index.verify();
  }
});
