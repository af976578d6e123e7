// The known defects of zbud (zcache, 2012: B…) and z3fold (first posting, 2016: F…), one test each
// that would catch it. Where the forms that mirror the originals keep a behaviour for the sake of
// equal page counts, the test says so.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Address, Handle } from "../../src/base/brand.ts";
import { EAGAIN, EBUSY, EINVAL, ENOSPC } from "../../src/base/errno.ts";
import { Arena } from "../../src/memory/arena.ts";
import { MAP_RO, type Zpool } from "../../src/pool/contract.ts";
import { createPool } from "../../src/pool/registry.ts";
import { ModelPool } from "../doubles/model_pool.ts";

const CHUNK = 64;

function open(type: string): { arena: Arena; pool: Zpool; model: ModelPool } {
  const arena = Arena.create({ sizeBytes: 4 * 1024 * 1024 });
  const pool = createPool(type, arena);
  return { arena, pool, model: new ModelPool(arena, pool) };
}

/** Puts objects of so many chunks each. */
function putChunks(model: ModelPool, ...chunks: number[]): Handle[] {
  return chunks.map((count) => {
    const handle = model.put(count * CHUNK);
    assert.ok(handle > 0);
    return handle as Handle;
  });
}

function evictInto(evicted: Handle[], model: ModelPool) {
  return (handle: Handle) => {
    evicted.push(handle);
    model.forget(handle);
    return 0;
  };
}

for (const type of ["zbud", "zbud-6.12", "zbud-2012(zcache)"]) {
  test(`B1 ${type}: a request for no pages evicts nothing`, () => {
    const { pool, model } = open(type);
    putChunks(model, 20, 20, 20, 20, 20);
    for (const pages of [0, -1]) {
      assert.equal(
        pool.shrink(pages, () => assert.fail("nobody may be asked")),
        EAGAIN,
      );
    }
    model.checkAll();
  });

  test(`B2 ${type}: objects of the largest size are evicted like others`, () => {
    const { pool, model } = open(type);
    for (let i = 0; i < 10; i++) model.put(pool.maxSizeBytes);
    const evicted: Handle[] = [];
    assert.equal(pool.shrink(100, evictInto(evicted, model)), 10);
    assert.equal(evicted.length, 10);
  });

  test(`B3 ${type}: a page that was emptied goes back to the arena`, () => {
    const { arena, pool, model } = open(type);
    for (let i = 0; i < 50; i++) model.put(pool.maxSizeBytes);
    const used = arena.frames.framesUsed;
    assert.equal(pool.shrink(20, evictInto([], model)), 20);
    assert.equal(arena.frames.framesUsed, used - 20);
  });

  test(`B6 ${type}: eviction goes by age, not by fullness`, () => {
    const { pool, model } = open(type);
    // The oldest page is full, the second half empty, the third full.
    const [a, b, c, d, e] = putChunks(model, 40, 20, 50, 40, 20) as [
      Handle,
      Handle,
      Handle,
      Handle,
      Handle,
    ];
    const evicted: Handle[] = [];
    for (let page = 0; page < 3; page++) {
      assert.equal(pool.shrink(1, evictInto(evicted, model)), 1);
    }
    assert.deepEqual(new Set(evicted.slice(0, 2)), new Set([a, b]));
    assert.equal(evicted[2], c);
    assert.deepEqual(new Set(evicted.slice(3)), new Set([d, e]));
  });
}

for (const type of ["zbud", "zbud-6.12", "zbud-2012(zcache)"]) {
  test(`B6 ${type}: a page whose eviction was refused stays the oldest`, () => {
    const { pool, model } = open(type);
    const handles = putChunks(model, 61, 61, 61);
    let refused = 0;
    pool.shrink(1, (handle) => {
      if (refused++ === 0) return -1;
      model.forget(handle);
      return 0;
    });
    const evicted: Handle[] = [];
    assert.equal(pool.shrink(1, evictInto(evicted, model)), 1);
    assert.deepEqual(evicted, [handles[0]]);
  });
}

test("B4: empty pages go back at once; the form of 2012 keeps them until it compacts", () => {
  for (const type of ["zbud", "zbud-6.12"]) {
    const { pool, model } = open(type);
    for (const handle of putChunks(model, ...new Array(100).fill(30))) model.remove(handle);
    assert.equal(pool.totalPages(), 0, type);
  }
  const { pool, model } = open("zbud-2012(zcache)");
  for (const handle of putChunks(model, ...new Array(100).fill(30))) model.remove(handle);
  assert.equal(pool.totalPages(), 50);
  pool.verify();
  assert.equal(pool.compact(20), 20);
  assert.equal(pool.compact(1000), 30);
  assert.equal(pool.totalPages(), 0);
  pool.verify();
});

test("B3 B4: the form of 2012 gives up its empty pages before it evicts anything", () => {
  const { arena, pool, model } = open("zbud-2012(zcache)");
  const handles = putChunks(model, ...new Array(40).fill(61));
  for (const handle of handles.splice(0, 30)) model.remove(handle);
  assert.equal(pool.totalPages(), 40);
  const used = arena.frames.framesUsed;
  const freed = pool.shrink(30, () => assert.fail("no object has to go"));
  assert.equal(freed, 30);
  assert.equal(arena.frames.framesUsed, used - 30);
  assert.equal(pool.stats().pagesReclaimed, 30);
  model.checkAll();
  assert.equal(pool.shrink(1, evictInto([], model)), 1);
  model.checkAll();
});

test("B5: an object that fits into an empty page is accepted; 2012 refuses the last chunk", () => {
  for (const type of ["zbud", "zbud-6.12"]) {
    const { pool, model } = open(type);
    assert.equal(pool.maxSizeBytes, 62 * CHUNK, type);
    model.put(62 * CHUNK);
    model.checkAll();
  }
  const { pool } = open("zbud-2012(zcache)");
  assert.ok(pool.malloc(61 * CHUNK) > 0);
  assert.equal(pool.malloc(61 * CHUNK + 1), ENOSPC);
});

test("F1: the chunk behind the middle object is used; the seed's form wastes it", () => {
  // First and middle take 1 + 20 + 20 chunks of 64, so 23 are free behind them.
  const pages = (type: string) => {
    const { pool, model } = open(type);
    const [first, last] = putChunks(model, 20, 20) as [Handle, Handle];
    putChunks(model, 20); // the middle
    model.remove(last);
    assert.ok(first > 0);
    putChunks(model, 23);
    model.checkAll();
    return pool.totalPages();
  };
  assert.equal(pages("z3fold"), 1);
  assert.equal(pages("z3fold-v4-2016"), 2);
});

for (const type of ["z3fold", "z3fold-v4-2016"]) {
  test(`F2 F3 ${type}: a headless page whose eviction is refused keeps its data`, () => {
    const { pool, model } = open(type);
    const zeros = pool.malloc(4096) as Handle; // data of zeros looked like an empty header
    const handle = model.put(4090) as Handle;
    // One chunk less than a page: as if a header stood there, it would be listed by its room.
    const shorter = model.put(63 * CHUNK) as Handle;
    assert.equal(
      pool.shrink(3, () => -1),
      EAGAIN,
    );
    pool.verify();
    model.check(handle);
    model.check(shorter);
    assert.equal(pool.free(zeros), 0, "it is still there");
    const evicted: Handle[] = [];
    assert.equal(pool.shrink(1, evictInto(evicted, model)), 1);
    assert.deepEqual(evicted, [handle]);
  });

  test(`F4 ${type}: a headless page freed while its eviction is refused is released`, () => {
    const { pool, model } = open(type);
    const handle = model.put(4096) as Handle;
    pool.shrink(1, () => {
      assert.equal(pool.free(handle), 0);
      model.forget(handle);
      return -1;
    });
    assert.equal(pool.totalPages(), 0);
    assert.equal(
      pool.shrink(1, () => assert.fail("a dead handle is not evicted")),
      EAGAIN,
    );
    assert.equal(pool.free(handle), EINVAL);
    pool.verify();
  });

  test(`F5 ${type}: two mappings pin an object until both have ended`, () => {
    const { pool, model } = open(type);
    const [first, last, middle] = putChunks(model, 10, 10, 10) as [Handle, Handle, Handle];
    const at = pool.map(middle, MAP_RO, 640) as Address;
    assert.equal(pool.map(middle, MAP_RO, 640), at);
    assert.equal(pool.unmap(middle), 0);
    model.remove(first);
    model.remove(last);
    model.checkAt(middle, at);
    assert.equal(pool.free(middle), EBUSY);
    assert.equal(pool.unmap(middle), 0);
    model.checkAll();
  });

  test(`F8 ${type}: handles stay right while the middle becomes the first, again and again`, () => {
    const { pool, model } = open(type);
    for (let round = 0; round < 300; round++) {
      const [first, last, middle] = putChunks(model, 15, 15, 15) as [Handle, Handle, Handle];
      model.remove(first);
      model.remove(last);
      model.checkAll();
      const others = putChunks(model, 14, 14);
      model.checkAll();
      for (const handle of [middle, ...others]) model.remove(handle);
      assert.equal(pool.totalPages(), 0);
    }
  });

  test(`F9 ${type}: a page whose eviction was refused stays the coldest`, () => {
    const { pool, model } = open(type);
    const handles = putChunks(model, 61, 61, 61);
    const asked: Handle[] = [];
    const freed = pool.shrink(1, (handle) => {
      asked.push(handle);
      if (asked.length === 1) return -1;
      model.forget(handle);
      return 0;
    });
    assert.equal(freed, 1);
    assert.deepEqual(asked, handles.slice(0, 2));
    const evicted: Handle[] = [];
    assert.equal(pool.shrink(1, evictInto(evicted, model)), 1);
    assert.deepEqual(evicted, [handles[0]]);
  });
}

test("F6: a middle object that was mapped joins its hole when the mapping ends", () => {
  const { pool, model } = open("z3fold");
  const [first, last, middle] = putChunks(model, 16, 16, 10) as [Handle, Handle, Handle];
  assert.ok(pool.map(middle, MAP_RO, 1) > 0);
  model.remove(first);
  model.remove(last);
  assert.equal(pool.unmap(middle), 0);
  // 53 chunks in one piece: without the move there would be 16 before and 37 behind.
  putChunks(model, 53);
  assert.equal(pool.totalPages(), 1);
  model.checkAll();
});

test("F7: a middle object slides to its neighbour; the seed's only moves when alone", () => {
  const pages = (type: string, gone: "first" | "last") => {
    const { pool, model } = open(type);
    // 16 + 16 + 16: 15 chunks are free between middle and last.
    const [first, last] = putChunks(model, 16, 16, 16) as [Handle, Handle, Handle];
    model.remove(gone === "first" ? first : last);
    model.checkAll();
    putChunks(model, 31);
    model.checkAll();
    return pool.totalPages();
  };
  assert.equal(pages("z3fold", "first"), 1, "16 chunks before and 15 behind come together");
  assert.equal(pages("z3fold", "last"), 1);
  assert.equal(pages("z3fold-v4-2016", "first"), 2);
});

test("F7: a middle object that has moved to the last slides back to the first", () => {
  const { pool, model } = open("z3fold");
  const [first, last] = putChunks(model, 16, 16, 16) as [Handle, Handle, Handle];
  model.remove(first); // the middle joins the last, chunks 1 … 31 are free
  putChunks(model, 5); // the new first: 26 chunks between it and the middle
  model.remove(last); // and 16 behind, unless the middle goes to the first
  model.checkAll();
  putChunks(model, 42);
  assert.equal(pool.totalPages(), 1);
  model.checkAll();
});
