// The ghost queue: it remembers the pages evicted last, forgets earlier ones, and hardly ever
// mistakes others for them, at every size of its table.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ZcacheError } from "../../src/base/errors.ts";
import { KIB, MIB } from "../../src/base/units.ts";
import { Arena } from "../../src/memory/arena.ts";
import { GHOSTS_WORDS, Ghosts } from "../../src/policy/ghosts.ts";
import { hashOf } from "./fixture.ts";

const OWNER = 5;

function makeGhosts(arena: Arena, ghosts: number): Ghosts {
  const table = new Ghosts(arena, arena.reserve(GHOSTS_WORDS * 4) / 4, OWNER, ghosts);
  table.format();
  return table;
}

/** Tables of one block, of several, with ticks of several pages each, with blocks of two frames. */
const SIZES = [
  { ghosts: 1000, sizeBytes: MIB },
  { ghosts: 4096, sizeBytes: MIB },
  { ghosts: 50_000, sizeBytes: MIB },
  { ghosts: 1_100_000, sizeBytes: 12 * MIB },
];

for (const { ghosts, sizeBytes } of SIZES) {
  test(`${ghosts} ghosts: the last evicted pages are found once, earlier ones are not`, () => {
    using arena = Arena.create({ sizeBytes });
    // The old content of a frame must not appear as ghosts.
    for (let frame = arena.frames.framesFree; frame > 0; frame--) {
      const at = arena.frames.frameToWord(arena.frames.alloc(0, OWNER) as never);
      arena.words.fill(-1, at, at + arena.frames.wordsPerPage);
    }
    for (let frame = arena.frames.firstFrame; frame < arena.frames.framesTotal; frame++) {
      arena.frames.free(frame as never);
    }
    const table = makeGhosts(arena, ghosts);
    const length = Math.floor(ghosts / 2);
    const left = 3 * ghosts;
    for (let id = 0; id < left; id += 97) assert.equal(table.take(hashOf(id), length), false);
    for (let id = 0; id < left; id++) table.remember(hashOf(id));

    const stride = Math.ceil(length / 500);
    const share = (from: number, to: number): number => {
      let known = 0;
      let asked = 0;
      for (let id = from; id < to; id += stride, asked++) {
        if (table.take(hashOf(id), length)) known++;
      }
      return known / asked;
    };
    assert.equal(share(left, left + length), 0, "pages that never left");
    assert.equal(share(0, left - length - Math.ceil(ghosts / 1000)), 0, "pages that left earlier");
    const known = share(left - length, left);
    assert.ok(known > 0.9, `${known} of those that left last`);
    assert.equal(share(left - length, left), 0, "a page comes back once");

    assert.ok(table.framesHeld <= Math.ceil(ghosts / 1024) + 2, `${table.framesHeld} frames`);
    table.destroy();
    assert.equal(table.framesHeld, 0);
    arena.frames.verify();
  });
}

test("a page evicted twice is one ghost", () => {
  using arena = Arena.create({ sizeBytes: MIB });
  const table = makeGhosts(arena, 100);
  for (let times = 0; times < 3; times++) table.remember(hashOf(1));
  table.remember(hashOf(2));
  assert.equal(table.take(hashOf(1), 1), false, "it is not the last that left");
  assert.equal(table.take(hashOf(1), 2), true);
  assert.equal(table.take(hashOf(1), 9), false);
});

test("the clock wraps, and the last evicted pages are still found", () => {
  using arena = Arena.create({ sizeBytes: MIB });
  const at = arena.reserve(GHOSTS_WORDS * 4) / 4;
  const table = new Ghosts(arena, at, OWNER, 50_000);
  table.format();
  for (const clock of [2 ** 31 - 50, 2 ** 19 - 50, -50]) {
    // The clock is the second word.
    arena.words[at + 1] = clock;
    for (let id = 0; id < 100; id++) table.remember(hashOf(clock + id));
    for (let id = 0; id < 100; id++) {
      assert.equal(table.take(hashOf(clock + id), 1000), true, `${clock} + ${id}`);
    }
  }
});

test("without ghosts, nothing is found and no frame is allocated", () => {
  using arena = Arena.create({ sizeBytes: 256 * KIB });
  const table = makeGhosts(arena, 0);
  table.remember(1);
  assert.equal(table.take(1, 10), false);
  assert.equal(table.framesHeld, 0);
});

test("without room, format throws, and all frames are free again", () => {
  using arena = Arena.create({ sizeBytes: MIB });
  const at = arena.reserve(GHOSTS_WORDS * 4) / 4;
  const before = arena.frames.framesFree;
  for (const ghosts of [300_000, 16_000_000]) {
    assert.throws(
      () => new Ghosts(arena, at, OWNER, ghosts).format(),
      (error) => error instanceof ZcacheError && error.code === "ERR_ARENA_FULL",
    );
    assert.equal(arena.frames.framesFree, before);
  }
  assert.throws(
    () => new Ghosts(arena, at, OWNER, 16_777_217).format(),
    (error) => error instanceof ZcacheError && error.code === "ERR_OPTION",
  );
  arena.frames.verify();
});
