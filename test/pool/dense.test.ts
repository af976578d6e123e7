// The properties of the dense pool only: every class is full except for its last frame after any
// history, no operation moves more than one object, and classes follow the sizes that occur.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Handle, PageFrame } from "../../src/base/brand.ts";
import { AssertionError } from "../../src/base/errors.ts";
import { Xorshift32 } from "../../src/base/random.ts";
import { MIB } from "../../src/base/units.ts";
import { JOURNAL_NEXT } from "../../src/memory/arena.layout.ts";
import { Arena } from "../../src/memory/arena.ts";
import { MAP_RO } from "../../src/pool/contract.ts";
import { createPool } from "../../src/pool/registry.ts";
import { ModelPool } from "../doubles/model_pool.ts";
import { stopAfter } from "../doubles/stopped.ts";

const PAGE = 4096;

function open(type = "dense", sizeBytes = 16 * MIB) {
  const arena = Arena.create({ sizeBytes });
  const pool = createPool(type, arena);
  return { arena, pool, model: new ModelPool(arena, pool) };
}

test("a class of n objects holds as many frames as n slots need, and no more", () => {
  const { pool } = open("dense-d16");
  const handles: Handle[] = [];
  const slot = 1616;
  for (let n = 1; n <= 300; n++) {
    handles.push(pool.malloc(slot - 3) as Handle);
    assert.equal(pool.totalPages(), Math.ceil((n * slot) / PAGE), `${n} objects`);
  }
  // Freed in an order that is neither that of arrival nor its reverse.
  const random = new Xorshift32(7);
  while (handles.length > 0) {
    const pick = random.below(handles.length);
    assert.equal(pool.free(handles.splice(pick, 1)[0]!), 0);
    assert.equal(pool.totalPages(), Math.ceil((handles.length * slot) / PAGE));
  }
});

test("after any frees each class wastes less than a frame", () => {
  const { pool, model } = open();
  const random = new Xorshift32(3);
  for (let i = 0; i < 3000; i++) model.put(1 + random.below(PAGE));
  for (let i = 0; i < 2100; i++) model.remove(model.pick(random.below(1 << 20))!);
  for (const { name, sizeBytes, objects, pages } of pool.classStats()) {
    assert.equal(pages, Math.ceil((objects * sizeBytes) / PAGE), name);
  }
  model.checkAll();
});

test("an object of a whole page takes exactly one frame", () => {
  const { pool, model } = open();
  for (let i = 0; i < 50; i++) model.put(PAGE);
  assert.equal(pool.totalPages(), 50);
  model.checkAll();
});

test("a free moves at most one object: all others keep their place", () => {
  const { arena, pool, model } = open("dense-d64");
  const handles = Array.from({ length: 40 }, () => model.put(1000) as Handle);
  // Where an object is shows in the arena's bytes: look for its pattern.
  const places = () => {
    const found = new Map<Handle, number>();
    for (const handle of handles) {
      if (!model.objects.has(handle)) continue;
      const at = pool.map(handle, MAP_RO, 16);
      const pattern = Buffer.from(arena.bytes.subarray(at, at + 16));
      pool.unmap(handle);
      const haystack = Buffer.from(arena.memory.buffer);
      let place = haystack.indexOf(pattern);
      while (place >= at && place < at + PAGE) place = haystack.indexOf(pattern, at + PAGE);
      found.set(handle, place);
    }
    return found;
  };
  let before = places();
  for (const index of [0, 17, 38, 5]) {
    model.remove(handles[index]!);
    const after = places();
    const moved = [...after].filter(([handle, place]) => before.get(handle) !== place);
    assert.ok(moved.length <= 1, `${moved.length} objects moved`);
    before = after;
  }
});

test("classes are split where objects are many, and only there", () => {
  const { pool, model } = open();
  for (let i = 0; i < 1500; i++) model.put(700 + (i % 120));
  model.put(3000);
  const sizes = pool.classStats().map((one) => one.sizeBytes);
  const near = sizes.filter((size) => size >= 700 && size <= 900);
  assert.ok(near.length >= 8, `the busy range has ${near.length} classes`);
  assert.ok(sizes.filter((size) => size > 2500).length === 1);
  model.checkAll();
});

test("classes are merged where objects have become few, and drained", () => {
  const { pool, model } = open();
  const random = new Xorshift32(11);
  const classes = () => pool.classStats().length;
  for (let i = 0; i < 3000; i++) model.put(700 + (i % 240));
  const most = classes();
  for (let i = 0; i < 1500; i++) model.remove(model.pick(random.below(1 << 20))!);
  assert.ok(classes() >= most - 2, "a pool that loses half of its objects keeps its classes");
  for (let i = 0; i < 1350; i++) {
    model.remove(model.pick(random.below(1 << 20))!);
    if (i % 10 === 0) pool.verify();
  }
  assert.ok(classes() <= most / 2, `${most} classes became ${classes()}`);
  model.checkAll();
  // And split again.
  for (let i = 0; i < 3000; i++) model.put(700 + (i % 240));
  assert.ok(classes() >= most - 2, `${classes()} of ${most} classes came back`);
  model.checkAll();
});

test("a merged class is drained, in any order in which classes shrink", () => {
  for (let seed = 1; seed <= 8; seed++) {
    const { pool } = open();
    const random = new Xorshift32(seed);
    // The objects of 15 ranges of sizes; all but a few are freed, one range after the other.
    const ranges = Array.from({ length: 15 }, (): Handle[] => []);
    for (let i = 0; i < 3000; i++) {
      ranges[(i % 240) >>> 4]!.push(pool.malloc(700 + (i % 240)) as Handle);
    }
    while (ranges.length > 0) {
      const handles = ranges.splice(random.below(ranges.length), 1)[0]!;
      for (const handle of handles.slice(random.below(8))) assert.equal(pool.free(handle), 0);
      pool.verify();
    }
  }
});

test("the records of owners hold as many frames as they fill", () => {
  const { pool } = open("dense-d64", 64 * MIB);
  const random = new Xorshift32(5);
  const handles = Array.from({ length: 30_000 }, () => pool.malloc(1000) as Handle);
  while (handles.length > 1500) {
    const pick = random.below(handles.length);
    assert.equal(pool.free(handles[pick]!), 0);
    handles[pick] = handles.at(-1)!;
    handles.pop();
  }
  pool.verify();
  const { pages, metadataBytes } = pool.stats();
  const frames = (metadataBytes - pages * 16) / (PAGE + 16);
  // Descriptor 4, handle table as sparse as it may be 30, reserve 8, and 375 records of 4 words.
  assert.ok(frames <= 4 + 30 + 8 + 2, `${frames} frames of metadata`);
});

test("an operation that is stopped at any write leaves the pool as it was", () => {
  const { arena, pool, model } = open();
  arena.keepJournal();
  const random = new Xorshift32(21);
  let stops = 0;
  for (let step = 0; step < 1600; step++) {
    // It grows, then shrinks: classes are split, all at once and one by one, and merged.
    const victim = model.pick(random.below(1 << 20));
    const grows = victim === undefined || random.below(10) < (step < 700 ? 8 : 1);
    const sizeBytes = random.below(4) === 0 ? 1 + random.below(PAGE) : 600 + random.below(60);
    let result = 0;
    const work = () => {
      result = grows ? pool.malloc(sizeBytes) : pool.free(victim);
    };
    for (let writes = random.below(3); !stopAfter(arena, writes, work); writes += 3) {
      if (stops++ % 8 === 0) pool.verify();
    }
    pool.verify();
    if (grows) {
      model.objects.set(result as Handle, { sizeBytes, seed: step });
      model.rewrite(result as Handle);
    } else {
      assert.equal(result, 0);
      model.forget(victim);
    }
  }
  model.checkAll();
  assert.ok(stops > 5000, `${stops} stops`);
});

test("the longest operation fits into the journal: a malloc that splits all classes", () => {
  // An arena in which the classes of a pool that grows are split down to one granule.
  const { arena, pool } = open("dense", 640 * MIB);
  arena.keepJournal();
  let longest = 0;
  for (let i = 0; i < 1500; i++) {
    arena.lock.lock();
    try {
      pool.malloc(1 + (i % 8));
      pool.malloc(PAGE);
      longest = Math.max(longest, arena.words[JOURNAL_NEXT]!);
      arena.lock.commit();
    } finally {
      arena.lock.unlock();
    }
  }
  assert.ok(longest > 1000 && longest < 3500, `${longest} words were logged at once`);
});

test("objects move under a mapping without the mapper noticing", () => {
  const { pool, model } = open();
  const handles = Array.from({ length: 20 }, () => model.put(1500) as Handle);
  const last = handles.at(-1)!;
  const at = pool.map(last, MAP_RO, 1500);
  assert.ok(at > 0);
  model.remove(handles[0]!); // the last one fills this hole
  model.checkAt(last, at as never);
  model.check(last);
  assert.equal(pool.unmap(last), 0);
  model.checkAll();
});

test("frames in reserve are few, counted, and given back", () => {
  const { arena, pool } = open();
  const used = arena.frames.framesUsed;
  const handles = Array.from({ length: 500 }, () => pool.malloc(2000) as Handle);
  for (const handle of handles) pool.free(handle);
  assert.equal(pool.totalPages(), 0);
  assert.ok(arena.frames.framesUsed - used <= 16, "at most 16 stay");
  const metadata = pool.stats().metadataBytes;
  assert.ok(metadata >= (arena.frames.framesUsed - used) * PAGE, "they are counted");
  pool.verify();
  pool.destroy();
  arena.frames.verify();
});

test("verify finds a wrong owner, a hole, and a surplus frame", () => {
  for (const damage of ["owner", "count", "end", "record", "class"] as const) {
    const { arena, pool } = open("dense-d64");
    const handle = pool.malloc(1000) as Handle;
    for (let i = 0; i < 10; i++) pool.malloc(1000);
    pool.verify();
    const { words } = arena;
    const frame = pool.share().zcachePool;
    if (damage === "record" || damage === "class") {
      // The first frame's words in the frame table: link, link, record.
      let first = 0 as PageFrame;
      while (!arena.frames.isHeadOf(first, frame) || words[arena.frames.privateOf(first)] === 0) {
        first = (first + 1) as PageFrame;
      }
      words[arena.frames.privateOf(first) - (damage === "record" ? 0 : 1)]! += 1 << 20;
    } else if (damage === "owner") {
      // The owner words are the only ones that hold the handle.
      for (let at = 0; at < words.length; at++) if (words[at] === handle) words[at] = handle ^ 1;
    } else {
      // The class's words: count of objects, then bytes of its last frame.
      const start = frame * (PAGE / 4);
      const value = damage === "count" ? 11 : (11 * 1024) % PAGE;
      for (let at = start; at < start + PAGE; at++) if (words[at] === value) words[at]!--;
    }
    assert.throws(() => pool.verify(), AssertionError, damage);
  }
});
