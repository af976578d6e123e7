// Slabs against a Map of each record's content: no two records overlap, and no frame is kept
// without need.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { NIL, type WordIndex } from "../../src/base/brand.ts";
import { AssertionError } from "../../src/base/errors.ts";
import { KIB } from "../../src/base/units.ts";
import { Arena, PAGE_SIZES } from "../../src/memory/arena.ts";
import { SLAB_HEAD_WORDS } from "../../src/memory/slab.layout.ts";
import { Slab } from "../../src/memory/slab.ts";

const OWNER = 9;

interface Fixture {
  readonly arena: Arena;
  readonly slab: Slab;
  /** What every word of a record must hold. */
  readonly records: Map<WordIndex, number>;
  /** Frames in use before the slab took any. */
  readonly framesBefore: number;
}

function makeFixture(arena: Arena, recordWords: number): Fixture {
  const headAt = arena.reserve(SLAB_HEAD_WORDS * 4) / 4;
  const slab = new Slab(arena, headAt, recordWords, OWNER);
  slab.format();
  return { arena, slab, records: new Map(), framesBefore: arena.frames.framesUsed };
}

function allocRecord({ arena, slab, records }: Fixture, stamp: number): WordIndex | typeof NIL {
  const at = slab.alloc();
  if (at === NIL) return NIL;
  assert.ok(!records.has(at), "a record in use is handed out again");
  assert.ok(slab.contains(at));
  arena.words.fill(stamp, at, at + slab.recordWords);
  records.set(at, stamp);
  return at;
}

function freeRecord({ slab, records }: Fixture, index: number): void {
  const at = [...records.keys()][index % records.size]!;
  slab.free(at);
  records.delete(at);
}

function checkFixture({ arena, slab, records, framesBefore }: Fixture): void {
  slab.verify();
  for (const [at, stamp] of records) {
    for (let word = at; word < at + slab.recordWords; word++) {
      assert.equal(arena.words[word], stamp, "a record keeps its words");
    }
  }
  assert.equal(slab.recordsUsed, records.size);
  const pages = new Set(
    [...records.keys()].map((at) => Math.floor(at / arena.frames.wordsPerPage)),
  );
  assert.equal(slab.framesHeld, pages.size, "a frame without records is given back");
  assert.equal(arena.frames.framesUsed, framesBefore + slab.framesHeld);
}

const steps = fc.array(
  fc.oneof(
    fc.record({ op: fc.constant("alloc" as const), count: fc.integer({ min: 1, max: 9 }) }),
    fc.record({
      op: fc.constant("free" as const),
      count: fc.integer({ min: 1, max: 9 }),
      index: fc.nat(1000),
    }),
  ),
  { maxLength: 40 },
);
// Few records to a frame, so that frames fill and empty; up to one record per frame.
const recordWords = fc.constantFrom(1, 2, 3, 100, 255, 256, 333, 512, 513, 1023, 1024);

test("any sequence keeps every record, and empty frames are freed", () => {
  fc.assert(
    fc.property(recordWords, steps, (recordWords, steps) => {
      using arena = Arena.create({ sizeBytes: 128 * KIB });
      const fixture = makeFixture(arena, recordWords);
      let stamp = 0;
      for (const step of steps) {
        for (let i = 0; i < step.count; i++) {
          if (step.op === "alloc") allocRecord(fixture, ++stamp);
          else if (fixture.records.size > 0) freeRecord(fixture, step.index * (i + 1));
        }
        checkFixture(fixture);
      }
      while (fixture.records.size > 0) freeRecord(fixture, stamp++);
      checkFixture(fixture);
      arena.frames.verify();
    }),
    { numRuns: 150 },
  );
});

for (const pageSize of PAGE_SIZES) {
  test(`fills an arena of ${pageSize}-byte frames, says so, and recovers`, () => {
    using arena = Arena.create({ sizeBytes: 8 * 64 * KIB, pageSize });
    const fixture = makeFixture(arena, Math.floor(pageSize / 40));
    let count = 0;
    while (allocRecord(fixture, ++count) !== NIL);
    assert.equal(arena.frames.framesFree, 0);
    assert.equal(fixture.records.size, fixture.slab.framesHeld * fixture.slab.recordsPerFrame);
    checkFixture(fixture);
    freeRecord(fixture, 5);
    assert.notEqual(allocRecord(fixture, ++count), NIL, "the record that was freed");
    assert.equal(allocRecord(fixture, ++count), NIL);
    while (fixture.records.size > 0) freeRecord(fixture, 0);
    checkFixture(fixture);
    assert.equal(fixture.slab.framesHeld, 0);
  });
}

test("contains: the beginnings of records in its own frames, nothing else", () => {
  using arena = Arena.create({ sizeBytes: 256 * KIB });
  const { slab } = makeFixture(arena, 3);
  const at = slab.alloc() as number;
  assert.equal(slab.contains(at), true);
  assert.equal(slab.contains(at + 3), true, "a free record is one too");
  const start = at - (at % arena.frames.wordsPerPage);
  const behind = start + slab.recordsPerFrame * 3;
  const foreign = (arena.frames.alloc(0, OWNER + 1) as number) * arena.frames.wordsPerPage;
  const bad = [
    at + 1,
    at + 2,
    behind,
    foreign,
    0,
    -3,
    1.5,
    2 ** 31,
    Number.NaN,
    arena.words.length,
  ];
  for (const word of bad) assert.equal(slab.contains(word), false, `word ${word}`);
});

test("a record in no frame of the slab is not freed", () => {
  using arena = Arena.create({ sizeBytes: 256 * KIB });
  const { slab } = makeFixture(arena, 4);
  const at = slab.alloc() as WordIndex;
  slab.free(at);
  assert.throws(() => slab.free(at), AssertionError);
  const foreign = arena.frames.frameToWord(arena.frames.alloc(0, OWNER + 1) as never);
  assert.throws(() => slab.free(foreign), AssertionError);
  slab.verify();
  assert.equal(slab.recordsUsed, 0);
});

test("a record longer than a frame is refused", () => {
  using arena = Arena.create({ sizeBytes: 256 * KIB });
  assert.throws(() => new Slab(arena, 0, 1025, OWNER), AssertionError);
  assert.throws(() => new Slab(arena, 0, 0, OWNER), AssertionError);
});

test("verify finds a lost record, a loop and a broken list", () => {
  using arena = Arena.create({ sizeBytes: 256 * KIB });
  const { slab } = makeFixture(arena, 4);
  const records = [0, 1, 2, 3].map(() => slab.alloc() as WordIndex);
  slab.free(records[1]!);
  slab.free(records[2]!);
  const first = records[2]!;
  const right = arena.words[first]!;
  for (const wrong of [2, 4, 0xffff]) {
    arena.words[first] = wrong;
    assert.throws(() => slab.verify(), AssertionError, `next free record ${wrong}`);
  }
  arena.words[first] = right;
  slab.verify();
});
