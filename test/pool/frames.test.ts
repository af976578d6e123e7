// Descriptions of single page frames against the counters of each pool: after any churn, as many
// frames hold objects as the pool has pages, those of a class as many as the class's, and as full
// as its objects make them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Handle, NIL, type PageFrame } from "../../src/base/brand.ts";
import { Xorshift32 } from "../../src/base/random.ts";
import { MIB } from "../../src/base/units.ts";
import { Arena } from "../../src/memory/arena.ts";
import { ownerOf } from "../../src/memory/frame.layout.ts";
import { FRAME_FULL, type Zpool } from "../../src/pool/contract.ts";
import { createPool, poolTypes } from "../../src/pool/registry.ts";

interface Seen {
  frames: number;
  /** Sum of fullness, 0 … 1 each. */
  filled: number;
}

/** All frames of a pool that hold objects, by class; and how many do not. */
function look(arena: Arena, pool: Zpool) {
  const id = pool.share().zcachePool;
  const classes = new Map<number, Seen>();
  let metadata = 0;
  for (let frame = arena.frames.firstFrame; frame < arena.frames.framesTotal; frame++) {
    const state = arena.frames.state(frame);
    if (state === 0 || ownerOf(state) !== id) continue;
    const described = pool.describeFrame(frame as PageFrame);
    if (described === NIL) {
      metadata++;
      continue;
    }
    const objectClass = Math.floor(described / (FRAME_FULL + 1));
    const seen = classes.get(objectClass) ?? { frames: 0, filled: 0 };
    seen.frames++;
    seen.filled += (described % (FRAME_FULL + 1)) / FRAME_FULL;
    classes.set(objectClass, seen);
  }
  return { classes, metadata };
}

function churn(pool: Zpool, rounds: number, seed: number): Handle[] {
  const random = new Xorshift32(seed);
  const live: Handle[] = [];
  for (let round = 0; round < rounds; round++) {
    if (live.length > 0 && random.below(100) < 40) {
      const nth = random.below(live.length);
      assert.equal(pool.free(live[nth]!), 0);
      live[nth] = live.at(-1)!;
      live.pop();
      continue;
    }
    // Small ones, large ones, and a page in one piece.
    const sizes = [1 + random.below(600), 1 + random.below(4000), pool.maxSizeBytes];
    const handle = pool.malloc(Math.min(pool.maxSizeBytes, sizes[random.below(16) % 3]!));
    if (handle > 0) live.push(handle as Handle);
  }
  return live;
}

for (const type of poolTypes(true)) {
  test(`${type}: the frames agree with the counts`, () => {
    const arena = Arena.create({ sizeBytes: 8 * MIB, pageSize: 4096 });
    const pool = createPool(type, arena);
    assert.deepEqual(look(arena, pool).classes, new Map(), "an empty pool");
    const live = churn(pool, 3000, 7);
    for (let nth = 0; nth < live.length; nth += 2) pool.free(live[nth]!);
    const { classes } = look(arena, pool);
    const frames = [...classes.values()].reduce((sum, one) => sum + one.frames, 0);
    assert.equal(frames, pool.totalPages());
    const stats = pool.classStats();
    if (pool.frameClasses === "buddies") {
      const objects = [...classes].reduce((sum, [n, { frames: f }]) => sum + n * f, 0);
      assert.equal(objects, pool.stats().objects, "a page's class is how many objects it holds");
    } else {
      assert.deepEqual(
        [...classes.values()].map((one) => one.frames).sort((a, b) => a - b),
        stats.map((one) => one.pages).sort((a, b) => a - b),
        "pages by class",
      );
      checkFullness(pool, classes);
    }
    pool.destroy();
    arena.close();
  });
}

/** How full the frames are, against the objects; by the size of slots, whose classes are one. */
function checkFullness(pool: Zpool, classes: ReadonlyMap<number, Seen>): void {
  const sorted = [...classes].sort(([a], [b]) => a - b);
  const stats = pool.classStats().sort((a, b) => a.sizeBytes - b.sizeBytes);
  for (const [nth, { objects, capacity, pages, name }] of stats.entries()) {
    const [, seen] = sorted[nth]!;
    // Half a slot of each end, because a capacity is whole slots, and rounding to 255ths.
    const slack = pages / 255 + pages / Math.max(1, capacity);
    const expected = (objects / Math.max(1, capacity)) * pages;
    assert.ok(Math.abs(seen.filled - expected) <= slack, `${name}: ${seen.filled} ≈ ${expected}`);
  }
}
