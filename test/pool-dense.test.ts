// What only the dense pool promises: every class is full but for its last frame after any history,
// no operation moves more than one object, and classes follow the sizes that occur.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Handle } from "../src/base/brand.ts";
import { AssertionError } from "../src/base/errors.ts";
import { Xorshift32 } from "../src/base/random.ts";
import { MIB } from "../src/base/units.ts";
import { Arena } from "../src/memory/arena.ts";
import { MAP_RO } from "../src/pool/contract.ts";
import { createPool } from "../src/pool/registry.ts";
import { ModelPool } from "./doubles/model_pool.ts";

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

test("whatever was freed, each class wastes less than a frame", () => {
  const { pool, model } = open();
  const random = new Xorshift32(3);
  for (let i = 0; i < 3000; i++) model.put(1 + random.below(PAGE));
  for (let i = 0; i < 2100; i++) model.remove(model.pick(random.below(1 << 20))!);
  for (const { name, sizeBytes, objects, pages } of pool.classStats()) {
    assert.equal(pages, Math.ceil((objects * sizeBytes) / PAGE), name);
  }
  model.checkAll();
});

test("an object of a whole page takes a frame and nothing of another", () => {
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

test("verify sees an owner that is wrong, a hole, and a frame too many", () => {
  for (const damage of ["owner", "count", "end"] as const) {
    const { arena, pool } = open("dense-d64");
    const handle = pool.malloc(1000) as Handle;
    for (let i = 0; i < 10; i++) pool.malloc(1000);
    pool.verify();
    const { words } = arena;
    const frame = pool.share().zcachePool;
    if (damage === "owner") {
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
