// The arena: refusals and their messages, thread numbers, scratch, and views of one memory.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { PageFrame } from "../../src/base/brand.ts";
import { describe } from "../../src/base/describe.ts";
import { ZcacheError } from "../../src/base/errors.ts";
import { GIB, KIB, MIB } from "../../src/base/units.ts";
import * as Super from "../../src/memory/arena.layout.ts";
import { ARENA_BYTES_MAX, Arena, type ArenaShare, PAGE_SIZES } from "../../src/memory/arena.ts";
import { Wasm } from "../../src/wasm/platform.ts";

const SIZE = 256 * KIB;

test("refuses impossible sizes, and names the possible ones", () => {
  const bad = [0, -1, 1, 65_535, 4 * GIB, 2 ** 40, 1e300, Number.NaN, Number.POSITIVE_INFINITY];
  for (const sizeBytes of [...bad, "64M", undefined, null] as number[]) {
    assert.throws(() => Arena.create({ sizeBytes }), {
      name: "ZcacheError",
      code: "ERR_OPTION",
      message:
        `arena of ${describe(sizeBytes)} bytes: at least 65536, ` +
        `so that there is room for one page frame, at most ${ARENA_BYTES_MAX} bytes`,
    });
  }
  assert.throws(
    () => Arena.create({ sizeBytes: 64 * KIB, pageSize: 64 * KIB }),
    /at least 131072,/,
  );
});

test("refuses impossible page sizes, and lists the possible ones", () => {
  for (const pageSize of [
    0,
    1,
    2048,
    4095,
    12_288,
    131_072,
    Number.NaN,
    null,
    "4096",
  ] as number[]) {
    assert.throws(() => Arena.create({ sizeBytes: MIB, pageSize }), {
      code: "ERR_OPTION",
      message: `page size ${describe(pageSize)}: must be one of 4096, 8192, 16384, 32768, 65536`,
    });
  }
});

for (const pageSize of PAGE_SIZES) {
  test(`the smallest arena of ${pageSize}-byte frames has a frame to give`, () => {
    using arena = Arena.create({ sizeBytes: Math.max(64 * KIB, 2 * pageSize), pageSize });
    assert.equal(arena.pageSize, pageSize);
    assert.ok(arena.frames.framesFree >= 1);
    const at = arena.reserve(1);
    assert.equal(at % pageSize, 0);
    arena.bytes.fill(0xff, at, at + pageSize);
    arena.frames.verify();
  });
}

test("the size is rounded down to 64 KiB", () => {
  using arena = Arena.create({ sizeBytes: 3 * 64 * KIB + 65_535.5 });
  assert.equal(arena.sizeBytes, 3 * 64 * KIB);
});

test("attach refuses everything but a share", () => {
  const shared = new Wasm.Memory({ initial: 1, maximum: 1, shared: true });
  const empty = new Wasm.Memory({ initial: 0, maximum: 1, shared: true });
  const plain = new Wasm.Memory({ initial: 1, maximum: 1 } as never);
  const emptyPlain = new Wasm.Memory({ initial: 0, maximum: 1 } as never);
  const memories = [shared, empty, plain, emptyPlain].map((memory) => ({ zcacheArena: memory }));
  const values = [undefined, null, 0, 42, "arena", {}, [], new SharedArrayBuffer(65_536), shared];
  const wrapped = [null, {}, 1, new SharedArrayBuffer(65_536), { buffer: shared.buffer }];
  const garbage = [...values, ...wrapped.map((value) => ({ zcacheArena: value })), ...memories];
  for (const share of garbage) {
    assert.throws(() => Arena.attach(share as unknown as ArenaShare), { code: "ERR_ARENA_SHARE" });
  }
});

test("attach refuses an arena of another version, naming both", () => {
  using arena = Arena.create({ sizeBytes: SIZE });
  arena.words[Super.VERSION] = 999;
  assert.throws(
    () => Arena.attach(arena.share()),
    (error: ZcacheError) => {
      assert.equal(error.code, "ERR_ARENA_SHARE");
      const { found, wanted } = error.context;
      assert.deepEqual([found, wanted], [999, Super.ARENA_VERSION]);
      return true;
    },
  );
});

test("a closed arena can't be shared or attached; attached threads go on", () => {
  const arena = Arena.create({ sizeBytes: SIZE });
  const share = arena.share();
  const second = Arena.attach(share);
  arena.close();
  assert.throws(() => arena.share(), { code: "ERR_ARENA_CLOSED" });
  assert.throws(() => arena.reserve(1), { code: "ERR_ARENA_CLOSED" });
  assert.throws(() => Arena.attach(share), { code: "ERR_ARENA_CLOSED" });
  const frame = second.frames.alloc(0, 1) as PageFrame;
  second.frames.free(frame);
  second.frames.verify();
  arena.close();
  second.detach();
});

test("all attached threads see the same bytes, frames and counts", () => {
  using arena = Arena.create({ sizeBytes: SIZE, pageSize: 8 * KIB });
  const second = Arena.attach(structuredClone(arena.share()));
  assert.notEqual(second.thread, arena.thread);
  assert.equal(second.pageSize, 8 * KIB);
  const at = arena.reserve(100);
  arena.bytes[at] = 17;
  assert.equal(second.bytes[at], 17);
  second.kernels.copy(at + 100, at, 1);
  assert.equal(arena.bytes[at + 100], 17);
  assert.equal(second.frames.framesUsed, 1);
  const taken = second.frames.alloc(0, 1) as PageFrame;
  arena.frames.free(taken);
  assert.equal(second.frames.framesUsed, 1);
  second.detach();
});

test("thread numbers are reused, and end at MAX_THREADS", () => {
  using arena = Arena.create({ sizeBytes: SIZE });
  const share = arena.share();
  const threads = [arena];
  while (threads.length < Super.MAX_THREADS) threads.push(Arena.attach(share));
  assert.deepEqual(
    threads.map((one) => one.thread),
    Array.from({ length: Super.MAX_THREADS }, (_, index) => index + 1),
  );
  assert.throws(() => Arena.attach(share), { code: "ERR_ARENA_THREADS" });
  threads[100]!.detach();
  threads[50]!.detach();
  threads[50]!.detach();
  assert.equal(Arena.attach(share).thread, 51);
  assert.equal(Arena.attach(share).thread, 101);
  assert.throws(() => Arena.attach(share), { code: "ERR_ARENA_THREADS" });
});

test("scratch: whole blocks, no overlap, at most 16 frames, freed with its thread", () => {
  using arena = Arena.create({ sizeBytes: MIB });
  const second = Arena.attach(arena.share());
  const frames = (): number => arena.frames.framesUsed;
  const sizes = [0, 1, 4096, 4097, 8192, 8193, 16 * 4096];
  const wanted = [1, 1, 1, 2, 2, 4, 16];
  const regions: number[] = [];
  for (const [index, size] of sizes.entries()) {
    const before = frames();
    const at = second.reserve(size);
    assert.equal(frames() - before, wanted[index], `${size} bytes`);
    for (let page = 0; page < wanted[index]!; page++) regions.push(at + page * 4096);
  }
  assert.equal(new Set(regions).size, regions.length);
  for (const size of [16 * 4096 + 1, MIB, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
    assert.throws(() => second.reserve(size), {
      code: "ERR_OPTION",
      message: /at most 65536 bytes/,
    });
  }
  const own = arena.reserve(1);
  arena.bytes[own] = 3;
  second.detach();
  assert.equal(frames(), 1, "only the other thread's scratch is left");
  assert.equal(arena.bytes[own], 3);
  arena.frames.verify();
});

test("the error of scratch without room has the numbers", () => {
  using arena = Arena.create({ sizeBytes: SIZE });
  for (let i = 0; i < 2; i++) arena.reserve(16 * 4096);
  assert.throws(
    () => {
      for (;;) arena.reserve(16 * 4096);
    },
    (error: ZcacheError) => {
      assert.ok(error instanceof ZcacheError);
      assert.equal(error.code, "ERR_ARENA_FULL");
      assert.deepEqual(error.context, {
        sizeBytes: 16 * 4096,
        framesFree: arena.frames.framesFree,
      });
      return true;
    },
  );
  arena.frames.verify();
});

test("`using` closes the arena", () => {
  let share: ArenaShare;
  {
    using arena = Arena.create({ sizeBytes: SIZE });
    share = arena.share();
  }
  assert.throws(() => Arena.attach(share), { code: "ERR_ARENA_CLOSED" });
});
