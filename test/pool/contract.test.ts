// The Zpool contract, over every allocator in the registry.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Address, Handle, PageFrame } from "../../src/base/brand.ts";
import { EAGAIN, EBUSY, EINVAL, ENOMEM, ENOSPC } from "../../src/base/errno.ts";
import { MIB } from "../../src/base/units.ts";
import { Arena, PAGE_SIZES } from "../../src/memory/arena.ts";
import { MAP_RO, MAP_RW, MAP_WO, type Zpool } from "../../src/pool/contract.ts";
import { attachPool, createPool, poolTypes } from "../../src/pool/registry.ts";
import { ModelPool } from "../doubles/model_pool.ts";

interface Fixture {
  readonly arena: Arena;
  readonly pool: Zpool;
  readonly model: ModelPool;
}

/** A pool of this type in an arena of its own; afterwards nothing may be left in the arena. */
function withPool(
  type: string,
  body: (fixture: Fixture) => void,
  options: { pageSize?: number } = {},
) {
  const { pageSize = 4096 } = options;
  using arena = Arena.create({ sizeBytes: 1024 * pageSize, pageSize });
  const pool = createPool(type, arena);
  const model = new ModelPool(arena, pool);
  const before = arena.frames.framesUsed;
  body({ arena, pool, model });
  pool.verify();
  pool.destroy();
  arena.frames.verify();
  // The two buffers of the model stay, and at most two bounce buffers of this thread.
  assert.ok(arena.frames.framesUsed <= before + 4, "destroy gives back every page frame");
}

/** Sizes that matter: the smallest, the largest, around powers of two and chunk borders. */
function sizesOf(pool: Zpool, pageSize: number): number[] {
  const sizes = [1, 2, 7, 8, 31, 32, 33, 63, 64, 65, 100, 127, 128, 255, 256, 1000];
  for (const part of [1 / 4, 1 / 3, 1 / 2, 3 / 4, 7 / 8, 1]) {
    for (const off of [-1, 0, 1]) sizes.push(Math.floor(pageSize * part) + off);
  }
  sizes.push(pool.maxSizeBytes - 1, pool.maxSizeBytes);
  return sizes.filter((size) => size >= 1 && size <= pool.maxSizeBytes);
}

/** Fills the pool with objects of mixed sizes. */
function fillMixed({ model, pool, arena }: Fixture, count: number): Handle[] {
  const sizes = sizesOf(pool, arena.pageSize);
  const handles: Handle[] = [];
  for (let i = 0; i < count; i++) {
    const handle = model.put(sizes[(i * 7) % sizes.length]!);
    assert.ok(handle > 0, `object ${i} finds room`);
    handles.push(handle as Handle);
  }
  return handles;
}

for (const type of poolTypes(true)) {
  describe(type, () => {
    for (const pageSize of PAGE_SIZES) {
      test(`stores and returns objects of every size, ${pageSize}-byte pages`, () => {
        withPool(
          type,
          (fixture) => {
            const handles: Handle[] = [];
            for (const size of sizesOf(fixture.pool, pageSize)) {
              handles.push(fixture.model.put(size) as Handle);
              assert.ok(handles.at(-1)! > 0, `${size} bytes find room`);
            }
            fixture.model.checkAll();
            for (const handle of handles) fixture.model.remove(handle);
            fixture.model.checkAll();
          },
          { pageSize },
        );
      });
    }

    test("holds any object up to nearly a page, and refuses larger ones", () => {
      withPool(type, ({ pool, arena }) => {
        assert.ok(pool.maxSizeBytes >= (arena.pageSize * 15) / 16 - 64, "nearly a page fits");
        assert.ok(pool.maxSizeBytes <= arena.pageSize, "more than a page never does");
        for (const size of [0, -1, Number.NaN, 1.5, Number.NEGATIVE_INFINITY]) {
          assert.equal(pool.malloc(size), EINVAL, `${size} bytes`);
        }
        for (const size of [pool.maxSizeBytes + 1, arena.pageSize + 1, 1 << 30, 2 ** 40]) {
          assert.equal(pool.malloc(size), ENOSPC, `${size} bytes`);
        }
        assert.equal(pool.stats().objects, 0);
        assert.equal(pool.totalPages(), 0);
      });
    });

    test("answers EINVAL to foreign, stale, double-freed and made-up handles", () => {
      withPool(type, (fixture) => {
        const { pool, arena, model } = fixture;
        const other = createPool(type, arena);
        const foreign = other.malloc(500) as Handle;
        const handles = fillMixed(fixture, 60);
        const stale = handles.filter((_, index) => index % 3 === 0);
        for (const handle of stale) model.remove(handle);
        for (let i = 0; i < 20; i++) model.put(1 + i * 20);
        const madeUp = [0, 1, -1, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 1.5, Number.NaN].map(Number);
        const buffer = arena.reserve(arena.pageSize);
        for (const bad of [...stale, foreign, ...madeUp] as Handle[]) {
          assert.equal(pool.free(bad), EINVAL, `free ${bad}`);
          assert.equal(pool.read(bad, buffer, 1), EINVAL, `read ${bad}`);
          assert.equal(pool.write(bad, buffer, 1), EINVAL, `write ${bad}`);
          assert.equal(pool.map(bad, MAP_RO, 1), EINVAL, `map ${bad}`);
          assert.equal(pool.unmap(bad), EINVAL, `unmap ${bad}`);
        }
        model.checkAll();
        other.verify();
        assert.equal(other.stats().objects, 1);
        other.destroy();
      });
    });

    test("survives any 31-bit number as a handle", () => {
      withPool(type, (fixture) => {
        fillMixed(fixture, 40);
        let seed = 1;
        for (let i = 0; i < 20_000; i++) {
          seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
          const handle = (seed >>> 1) as Handle;
          if (!fixture.model.objects.has(handle)) assert.equal(fixture.pool.free(handle), EINVAL);
        }
        fixture.model.checkAll();
      });
    });

    test("does not read or write past the room of an object", () => {
      withPool(type, ({ pool, arena }) => {
        const buffer = arena.reserve(arena.pageSize * 2);
        const handle = pool.malloc(100) as Handle;
        for (const size of [arena.pageSize, arena.pageSize + 1, 2 ** 31, -1, Number.NaN]) {
          assert.equal(pool.read(handle, buffer, size), EINVAL, `read ${size}`);
          assert.equal(pool.write(handle, buffer, size), EINVAL, `write ${size}`);
          assert.equal(pool.map(handle, MAP_RW, size), EINVAL, `map ${size}`);
        }
        assert.equal(pool.free(handle), 0);
      });
    });

    test("maps objects in every mode, nested, and keeps them in place meanwhile", () => {
      withPool(type, (fixture) => {
        const { model, pool } = fixture;
        const handles = fillMixed(fixture, 80);
        for (const [index, handle] of handles.entries()) {
          const mode = ([MAP_RO, MAP_RW, MAP_WO] as const)[index % 3]!;
          const { sizeBytes } = model.objects.get(handle)!;
          const at = pool.map(handle, mode, sizeBytes) as Address;
          assert.ok(at > 0, `map ${handle}: ${at}`);
          if (mode !== MAP_WO) model.checkAt(handle, at);
          assert.equal(pool.free(handle), EBUSY, "a mapped object is not freed");
          pool.compact(1000);
          if (mode !== MAP_WO) model.checkAt(handle, at);
          if (mode !== MAP_RO) {
            model.renew(handle);
            model.fillAt(handle, at);
          }
          const again = pool.map(handle, MAP_RO, 0);
          assert.ok(again > 0 || again === EBUSY, "mappings nest, as far as there are buffers");
          if (again > 0) assert.equal(pool.unmap(handle), 0);
          assert.equal(pool.free(handle), EBUSY, "one mapping is left");
          assert.equal(pool.unmap(handle), 0);
          assert.equal(pool.unmap(handle), EINVAL, "a mapping ends once");
        }
        model.checkAll();
        for (const handle of handles) model.remove(handle);
      });
    });

    test("reports a full arena, and works when there is room again", () => {
      withPool(type, ({ pool, model, arena }) => {
        const handles: Handle[] = [];
        for (;;) {
          const handle = model.put(pool.maxSizeBytes);
          if (handle < 0) {
            assert.equal(handle, ENOMEM);
            break;
          }
          handles.push(handle as Handle);
        }
        assert.ok(handles.length > 400, `${handles.length} objects found room`);
        pool.verify();
        arena.frames.verify();
        for (const handle of handles.splice(0, 100)) model.remove(handle);
        for (let i = 0; i < 50; i++) assert.ok(model.put(pool.maxSizeBytes) > 0);
        model.checkAll();
      });
    });

    test("shrinks: evicts, frees whole pages, returns their number", () => {
      withPool(type, (fixture) => {
        const { pool, model } = fixture;
        assert.equal(
          pool.shrink(1, () => 0),
          EAGAIN,
          "an empty pool has nothing",
        );
        fillMixed(fixture, 200);
        const before = pool.totalPages();
        assert.equal(
          pool.shrink(0, () => assert.fail("0 pages ask for nothing")),
          EAGAIN,
        );
        const freed = pool.shrink(5, (handle) => {
          model.check(handle);
          model.forget(handle);
          return 0;
        });
        assert.ok(freed >= 5, `${freed} pages freed`);
        // zbud of 2012 keeps empty pages; what it calls freed must be gone even so.
        assert.equal(pool.totalPages(), before - freed);
        assert.equal(pool.stats().pagesReclaimed, freed);
        model.checkAll();
        pool.shrink(Number.MAX_SAFE_INTEGER, (handle) => {
          model.forget(handle);
          return 0;
        });
        model.checkAll();
        assert.equal(model.objects.size, 0, "everything can be evicted");
      });
    });

    test("shrinks with a callback that frees, refuses, maps, allocates and throws", () => {
      withPool(type, (fixture) => {
        const { pool, model } = fixture;
        fillMixed(fixture, 200);
        const untouched = model.objects.size;
        assert.equal(
          pool.shrink(3, () => -1),
          EAGAIN,
          "all refused",
        );
        assert.equal(model.objects.size, untouched);
        model.checkAll();
        let calls = 0;
        pool.shrink(20, (handle) => {
          calls++;
          if (calls % 5 === 4) return -1;
          const at = pool.map(handle, MAP_RO, model.objects.get(handle)!.sizeBytes);
          assert.ok(at > 0, "the callback may map the object");
          assert.equal(pool.unmap(handle), 0);
          if (calls % 2 === 0) assert.equal(pool.free(handle), 0, "the callback may free it");
          model.forget(handle);
          if (calls % 3 === 0) model.put(1 + (calls % 300));
          return 0;
        });
        model.checkAll();
        assert.throws(
          () =>
            pool.shrink(1, () => {
              throw new RangeError("from the callback");
            }),
          RangeError,
        );
        model.checkAll();
        const freed = pool.shrink(1, (handle) => {
          model.forget(handle);
          return 0;
        });
        assert.ok(freed >= 1, "a throwing callback leaves the page reclaimable");
      });
    });

    test("never evicts a mapped object", () => {
      withPool(type, (fixture) => {
        const { pool, model } = fixture;
        const handles = fillMixed(fixture, 60);
        const mapped = handles[30]!;
        assert.ok(pool.map(mapped, MAP_RO, 1) > 0);
        pool.shrink(Number.MAX_SAFE_INTEGER, (handle) => {
          assert.notEqual(handle, mapped);
          model.forget(handle);
          return 0;
        });
        assert.ok(model.objects.has(mapped));
        assert.equal(pool.unmap(mapped), 0);
        model.checkAll();
      });
    });

    test("attaches by its share, and both see the same", () => {
      withPool(type, (fixture) => {
        const handle = fixture.model.put(300) as Handle;
        const second = attachPool(fixture.arena, structuredClone(fixture.pool.share()));
        assert.equal(second.type, type);
        assert.equal(second.free(handle), 0);
        assert.equal(fixture.pool.free(handle), EINVAL);
        assert.throws(() => attachPool(fixture.arena, { ...fixture.pool.share(), zcachePool: 3 }), {
          code: "ERR_POOL_CLOSED",
        });
        assert.throws(() => attachPool(fixture.arena, {} as never), { code: "ERR_POOL_CLOSED" });
      });
    });

    test("refuses all use after destroy in every thread, also if its place is reused", () => {
      for (const next of poolTypes()) {
        using arena = Arena.create({ sizeBytes: 4 * MIB });
        const maker = createPool(type, arena);
        const share = maker.share();
        // As another thread has it: with mappings that it did not end.
        const other = attachPool(arena, share);
        const handle = maker.malloc(100) as Handle;
        const frame = Array.from({ length: arena.frames.framesTotal }, (_, n) => n as PageFrame);
        const owned = frame.find((one) => arena.frames.isHeadOf(one, share.zcachePool));
        for (const _ of [1, 2]) assert.ok(other.map(handle, MAP_RW, 100) > 0);
        maker.destroy();
        const placed = createPool(next, arena);
        const buffer = arena.reserve(4096);
        for (const pool of [maker, other]) {
          const uses: (() => unknown)[] = [
            () => pool.malloc(1),
            () => pool.free(handle),
            () => pool.read(handle, buffer, 1),
            () => pool.readShared(handle, buffer, 1),
            () => pool.write(handle, buffer, 1),
            () => pool.writeShared(handle, buffer, 1),
            () => pool.map(handle, MAP_RO, 1),
            () => pool.unmap(handle),
            () => pool.shrink(1, () => 0),
            () => pool.compact(1),
            () => pool.describeFrame(owned!),
            () => pool.totalPages(),
            () => pool.stats(),
            () => pool.classStats(),
            () => pool.verify(),
            () => pool.recover(),
            () => pool.share(),
            () => pool.destroy(),
          ];
          for (const use of uses) assert.throws(use, { code: "ERR_POOL_CLOSED" });
        }
        assert.throws(() => attachPool(arena, share), { code: "ERR_POOL_CLOSED" });
        placed.verify();
        assert.equal(placed.stats().objects, 0);
        const first = placed.malloc(100) as Handle;
        // The buffers of those mappings are free again.
        for (const _ of [1, 2]) assert.ok(placed.map(first, MAP_RW, 100) > 0);
        for (const _ of [1, 2]) assert.equal(placed.unmap(first), 0);
        assert.equal(placed.free(handle), EINVAL, "a handle of the old pool");
        placed.verify();
        placed.destroy();
      }
    });

    test("accounts for its classes, pages and metadata", () => {
      withPool(type, (fixture) => {
        const { pool, model, arena } = fixture;
        fillMixed(fixture, 300);
        const classes = pool.classStats();
        const sum = (key: "objects" | "pages") => classes.reduce((n, one) => n + one[key], 0);
        assert.equal(sum("objects"), model.objects.size);
        assert.equal(sum("pages"), pool.totalPages());
        for (const one of classes) assert.ok(one.objects <= one.capacity, one.name);
        const stats = pool.stats();
        // All the pool took from the arena is either page or metadata (16 bytes each in the table).
        const frames = arena.frames.framesUsed - 2;
        const table = frames * 16;
        const rest = stats.metadataBytes - table + stats.pages * arena.pageSize;
        assert.ok(Math.abs(rest - frames * arena.pageSize) <= 3 * arena.pageSize, `${rest}`);
      });
    });
  });
}
