// Each known defect of the zblock postings, and what would show it here: one test per defect, run
// on the repaired pools. The concurrent ones run this same file as a worker.
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { isMainThread, Worker, workerData } from "node:worker_threads";
import type { Address, Handle, PageFrame } from "../../src/base/brand.ts";
import { EAGAIN, EBUSY, EINVAL, ENOMEM, ENOSPC } from "../../src/base/errno.ts";
import { Xorshift32 } from "../../src/base/random.ts";
import { MIB } from "../../src/base/units.ts";
import { Arena, type ArenaShare } from "../../src/memory/arena.ts";
import { listAdd, listDel, listPrev } from "../../src/memory/list.ts";
import { MAP_RO, type PoolShare, type Zpool } from "../../src/pool/contract.ts";
import { frameOf, handleBits } from "../../src/pool/handle_bits.ts";
import { attachPool, createPool } from "../../src/pool/registry.ts";
import * as Block from "../../src/pool/zblock_block.layout.ts";
import { CACHE_WORDS, cacheInsert } from "../../src/pool/zblock_cache.ts";
import {
  REPAIRED_2022,
  REPAIRED_2025,
  type ZblockSetting,
  ZblockTypes,
} from "../../src/pool/zblock_tables.ts";

const REPAIRED: readonly [type: string, setting: ZblockSetting][] = [
  ["zblock", REPAIRED_2022],
  ["zblock-2025", REPAIRED_2025],
];
const PAGE = 4096;
/** 9 slots in 8 pages, in both tables. */
const SIZE_9_IN_8 = 3600;
/** 8 slots in one page, in both tables. */
const SIZE_8_IN_1 = 512;

interface Fixture {
  readonly arena: Arena;
  readonly pool: Zpool;
  readonly types: ZblockTypes;
  put(sizeBytes: number): Handle;
  putMany(sizeBytes: number, count: number): Handle[];
}

function withPool(type: string, setting: ZblockSetting, body: (fixture: Fixture) => void): void {
  using arena = Arena.create({ sizeBytes: 8 * MIB });
  const before = arena.frames.framesUsed;
  const pool = createPool(type, arena);
  const put = (sizeBytes: number): Handle => {
    const handle = pool.malloc(sizeBytes);
    assert.ok(handle > 0, `${sizeBytes} bytes find room: ${handle}`);
    return handle as Handle;
  };
  const putMany = (sizeBytes: number, count: number) =>
    Array.from({ length: count }, () => put(sizeBytes));
  body({ arena, pool, types: new ZblockTypes(setting, PAGE), put, putMany });
  pool.verify();
  pool.destroy();
  arena.frames.verify();
  assert.equal(arena.frames.framesUsed, before, "destroy gives back every frame");
}

/** One test per repaired pool. */
function testEach(name: string, body: (fixture: Fixture) => void): void {
  for (const [type, setting] of REPAIRED) {
    test(`${name} (${type})`, () => withPool(type, setting, body));
  }
}

/** Takes every free frame singly, then gives back every second one: no two stand together. */
function fragment(arena: Arena): PageFrame[] {
  const all: PageFrame[] = [];
  for (let frame = arena.frames.alloc(0, 0); frame > 0; frame = arena.frames.alloc(0, 0)) {
    all.push(frame as PageFrame);
  }
  for (const frame of all) if (frame % 2 === 1) arena.frames.free(frame);
  assert.equal(arena.frames.freeBlocks(1), 0);
  return all.filter((frame) => frame % 2 === 0);
}

function reclaimReturnsTests(): void {
  testEach("Z1: empty types do not stand in the way of reclaim", ({ pool, put }) => {
    put(100);
    assert.equal(
      pool.shrink(1, () => 0),
      1,
    );
    assert.equal(pool.stats().objects, 0);
  });

  testEach("Z2: a pool with a block of every type is reclaimed to the last", (fixture) => {
    for (const sizeBytes of fixture.types.slotBytes) fixture.put(sizeBytes);
    const pages = fixture.pool.totalPages();
    assert.equal(fixture.pool.classStats().length, fixture.types.count);
    assert.equal(
      fixture.pool.shrink(Number.MAX_SAFE_INTEGER, () => 0),
      pages,
    );
    assert.equal(
      fixture.pool.shrink(1, () => 0),
      EAGAIN,
    );
  });

  testEach("Z3: shrink returns pages, and only those really freed", ({ pool, putMany }) => {
    putMany(SIZE_9_IN_8, 9);
    assert.equal(pool.totalPages(), 8);
    let asked = 0;
    assert.equal(
      pool.shrink(1, () => (++asked === 3 ? -1 : 0)),
      EAGAIN,
    );
    assert.equal(pool.totalPages(), 8);
    assert.equal(pool.stats().objectsEvicted, 2);
    assert.equal(
      pool.shrink(1, () => 0),
      8,
    );
    assert.equal(pool.stats().pagesReclaimed, 8);
  });

  testEach("Z4: malloc may grow the pool inside of a reclaim", ({ pool, putMany, put }) => {
    putMany(SIZE_9_IN_8, 3);
    const inner: Handle[] = [];
    const freed = pool.shrink(1, () => {
      inner.push(put(SIZE_9_IN_8), put(40));
      return 0;
    });
    assert.equal(freed, 8);
    for (const handle of inner) assert.equal(pool.free(handle), 0);
    assert.equal(pool.totalPages(), 0);
  });
}

function reclaimSparesTests(): void {
  testEach(
    "Z8: an object freed during reclaim is not asked for, nor leaked",
    ({ pool, putMany }) => {
      const handles = putMany(SIZE_9_IN_8, 9);
      const asked: Handle[] = [];
      const result = pool.shrink(1, (handle) => {
        asked.push(handle);
        if (asked.length === 1) assert.equal(pool.free(handles[1]!), 0);
        return asked.length === 3 ? -1 : 0;
      });
      assert.equal(result, EAGAIN);
      assert.deepEqual(asked, [handles[0], handles[2], handles[3]]);
      pool.verify();
      for (const handle of handles.slice(3)) assert.equal(pool.free(handle), 0);
      assert.equal(pool.totalPages(), 0);
    },
  );

  testEach("Z10: a block with a mapped object loses none", ({ pool, putMany }) => {
    const handles = putMany(SIZE_9_IN_8, 9);
    assert.ok(pool.map(handles[4]!, MAP_RO, 1) > 0);
    assert.equal(
      pool.shrink(1, () => assert.fail("nothing is asked for")),
      EAGAIN,
    );
    assert.equal(pool.stats().objects, 9);
    assert.equal(pool.unmap(handles[4]!), 0);
    assert.equal(
      pool.shrink(1, () => 0),
      8,
    );
  });

  testEach("Z11: blocks with room can be reclaimed", ({ pool, putMany }) => {
    putMany(SIZE_8_IN_1, 10);
    putMany(SIZE_9_IN_8, 10);
    assert.equal(
      pool.shrink(Number.MAX_SAFE_INTEGER, () => 0),
      18,
    );
  });

  testEach("Z13: an object mapped meanwhile stays under its user", ({ arena, pool, putMany }) => {
    const handles = putMany(SIZE_9_IN_8, 2);
    let at = 0;
    const result = pool.shrink(1, (handle) => {
      if (handle !== handles[0]) return 0;
      at = pool.map(handles[1]!, MAP_RO, 8);
      arena.bytes[at] = 77;
      return 0;
    });
    assert.equal(result, EAGAIN);
    assert.equal(pool.free(handles[1]!), EBUSY);
    const others = putMany(SIZE_9_IN_8, 8);
    for (const handle of others) assert.notEqual(pool.map(handle, MAP_RO, 8), at);
    assert.equal(arena.bytes[at], 77);
    for (const handle of [handles[1]!, ...others]) assert.equal(pool.unmap(handle), 0);
  });
}

function placementTests(): void {
  testEach("Z6: a slot is claimed with its block", ({ arena, pool }) => {
    const other = attachPool(arena, pool.share());
    const handles = new Set<number>();
    for (let i = 0; i < 9; i++) handles.add((i % 2 === 0 ? pool : other).malloc(SIZE_9_IN_8));
    assert.equal(pool.totalPages(), 8);
    handles.add(other.malloc(SIZE_9_IN_8));
    assert.equal(pool.totalPages(), 16);
    assert.equal(handles.size, 10);
  });

  testEach("Z7: every block with room is found again", ({ pool, putMany }) => {
    const handles = putMany(SIZE_8_IN_1, 800);
    assert.equal(pool.totalPages(), 100);
    for (let i = 0; i < 800; i += 8) assert.equal(pool.free(handles[i]!), 0);
    putMany(SIZE_8_IN_1, 100);
    assert.equal(pool.totalPages(), 100);
  });

  testEach("Z12: blocks go in the order of the last object added", ({ pool, put, putMany }) => {
    const blocks = [0, 1, 2].map(() => putMany(SIZE_8_IN_1, 8));
    assert.equal(pool.free(blocks[0]![0]!), 0);
    blocks[0]![0] = put(SIZE_8_IN_1);
    const order: number[] = [];
    assert.equal(
      pool.shrink(3, (handle) => {
        order.push(blocks.findIndex((block) => block.includes(handle)));
        return 0;
      }),
      3,
    );
    assert.deepEqual([...new Set(order)], [1, 2, 0]);
  });

  test("Z15: the cache of 2022 chooses a place without regard to free slots", () => {
    const cacheAt = 64;
    const words = new Int32Array(64 + CACHE_WORDS + 64);
    // Of a record the cache reads only how many slots are free: here word 10 + n says n.
    for (let free = 0; free <= 32; free++) words[10 + free] = free;
    const withFree = (free: number) => 10 + free - Block.FREE_COUNT;
    for (let i = 0; i < CACHE_WORDS; i++) words[cacheAt + i] = withFree(32);
    const rest = words.slice(cacheAt + CACHE_WORDS);
    cacheInsert(words, cacheAt, withFree(5));
    const held = Array.from(words.subarray(cacheAt, cacheAt + CACHE_WORDS));
    assert.equal(held.filter((block) => block === withFree(5)).length, 1);
    assert.deepEqual(words.slice(cacheAt + CACHE_WORDS), rest, "nothing beside it is written");
    words[cacheAt + 9] = withFree(0);
    cacheInsert(words, cacheAt, withFree(7));
    assert.equal(words[cacheAt + 9], withFree(7), "a full block gives way first");
  });
}

function sizesTests(): void {
  testEach("Z14: what does not compress costs a page, not more", ({ pool, putMany }) => {
    putMany(PAGE, 50);
    assert.equal(pool.totalPages(), 50);
    putMany(3700, 50);
    assert.equal(pool.totalPages(), 100);
  });

  testEach("M2: an object that fits exactly goes into its own type", ({ pool, types, put }) => {
    for (let type = 0; type < types.count; type++) {
      const handle = put(types.slotBytes[type]!);
      assert.equal(pool.classStats()[0]!.sizeBytes, types.slotBytes[type]);
      assert.equal(pool.classStats()[0]!.capacity, types.slots[type]);
      assert.equal(pool.free(handle), 0);
    }
  });

  testEach("M3: every size up to a whole page is taken", ({ arena, pool }) => {
    assert.equal(pool.maxSizeBytes, PAGE);
    for (let sizeBytes = 4070; sizeBytes <= PAGE; sizeBytes++) {
      assert.ok(pool.malloc(sizeBytes) > 0, `${sizeBytes} bytes`);
    }
    assert.equal(pool.totalPages(), 27);
    assert.equal(pool.malloc(PAGE + 1), ENOSPC);
    const final = createPool("zblock-2025-final", arena);
    assert.equal(final.maxSizeBytes, 4079, "where the original refuses");
    final.destroy();
  });
}

function memoryTests(): void {
  testEach("Z16: destroy gives back every block", ({ arena, pool, types, put }) => {
    const outside = arena.frames.framesUsed;
    const second = createPool(pool.type, arena);
    for (const sizeBytes of types.slotBytes) {
      assert.ok(second.malloc(sizeBytes) > 0);
      put(sizeBytes);
    }
    const withBoth = arena.frames.framesUsed;
    second.destroy();
    const own = pool.totalPages();
    assert.ok(withBoth - arena.frames.framesUsed > own, "blocks, records and descriptor");
    assert.ok(arena.frames.framesUsed - outside >= own, "and none of another pool");
  });

  testEach("Z16: a fragmented arena still takes objects of every size", (fixture) => {
    const { arena, pool, types } = fixture;
    const taken = fragment(arena);
    for (const sizeBytes of types.slotBytes) assert.ok(pool.malloc(sizeBytes) > 0, `${sizeBytes}`);
    pool.verify();
    let last = 0;
    while (last >= 0) last = pool.malloc(SIZE_9_IN_8);
    assert.equal(last, ENOMEM);
    assert.ok(arena.frames.framesFree <= 1, "down to the last frame, or one for a record");
    pool.verify();
    for (const frame of taken) arena.frames.free(frame);
  });
}

function checksTests(): void {
  testEach("verify sees each word of a block that is wrong", ({ arena, pool, types, putMany }) => {
    const handles = putMany(SIZE_9_IN_8, 10);
    assert.equal(pool.free(handles[3]!), 0);
    const bits = handleBits(arena.frames.framesTotal, types.slotsMax);
    const { words, frames } = arena;
    const privateAt = frames.privateOf(frameOf(bits, handles[0]!) as PageFrame);
    const block = ~words[privateAt]!;
    const wrong: [name: string, at: number, value: number][] = [
      ["link", block + Block.LINK, block + Block.LINK],
      ["LRU", block + Block.LRU, block + Block.LRU],
      ["frame", block + Block.FRAME, words[block + Block.FRAME]! + 1],
      ["type", block + Block.TYPE, 0],
      ["free count", block + Block.FREE_COUNT, 2],
      ["full", block + Block.FREE_COUNT, 0],
      ["free slots", block + Block.FREE, 0],
      ["slots that are none", block + Block.FREE + 1, 1],
      ["maps", block + Block.MAPS, 1],
      ["a slot's maps", block + Block.SLOTS, 1 << Block.MAPS_SHIFT],
      ["under reclaim", block + Block.UNDER_RECLAIM, 1],
      ["private", privateAt, ~(block + 1)],
    ];
    for (const [name, at, value] of wrong) {
      const right = words[at]!;
      words[at] = value;
      assert.throws(() => pool.verify(), { name: "AssertionError" }, name);
      words[at] = right;
      pool.verify();
    }
    for (const [name, link] of [
      ["unlisted", Block.LINK],
      ["lost", Block.LRU],
    ] as const) {
      const head = listPrev(words, block + link);
      listDel(words, block + link);
      assert.throws(() => pool.verify(), { name: "AssertionError" }, name);
      listAdd(words, block + link, head);
    }
  });

  test("verify finds entries that do not belong in a cache of 2022", () => {
    using arena = Arena.create({ sizeBytes: 8 * MIB });
    const pool = createPool("zblock-v6-2022", arena);
    for (const sizeBytes of [40, 3000, 4096]) assert.ok(pool.malloc(sizeBytes) > 0);
    const { words, frames } = arena;
    const start = frames.frameToWord(pool.share().zcachePool as PageFrame);
    const end = start + frames.wordsPerPage;
    const isRecord = (word: number) =>
      word > 0 && words[frames.privateOf(blockFrame(word))] === ~word;
    const blockFrame = (word: number) => (words[word + Block.FRAME] ?? 0) as PageFrame;
    const cached: number[] = [];
    for (let at = start; at < end; at++) if (isRecord(words[at]!)) cached.push(at);
    assert.equal(cached.length, 3);
    const [first, second] = cached as [number, number];
    const wrong: [name: string, at: number, value: number][] = [
      ["of another type", first, words[second]!],
      ["twice", first + 1, words[first]!],
      ["no block", first + 1, 17],
    ];
    for (const [name, at, value] of wrong) {
      const right = words[at]!;
      words[at] = value;
      assert.throws(() => pool.verify(), { name: "AssertionError" }, name);
      words[at] = right;
      pool.verify();
    }
  });
}

function threadsTests(): void {
  for (const [type] of [...REPAIRED, ["zblock-v6-2022"], ["zblock-2025-final"]] as const) {
    test(`Z5, Z6, Z9, Z13: threads share blocks (${type})`, () => shareAmongThreads(type));
  }
}

const STEPS = 12_000;
const HELD = 48;
const SHARED_SIZES = [30, SIZE_8_IN_1, 1300, SIZE_9_IN_8, 4079];

interface Task {
  readonly arena: ArenaShare;
  readonly pool: PoolShare;
  readonly seed: number;
}

async function shareAmongThreads(type: string): Promise<void> {
  using arena = Arena.create({ sizeBytes: 4 * MIB });
  const pool = createPool(type, arena);
  const file = fileURLToPath(import.meta.url);
  const workers = [1, 2].map((seed) => {
    const task: Task = { arena: arena.share(), pool: pool.share(), seed };
    return new Worker(file, { workerData: task });
  });
  const exits = await Promise.all(workers.map((worker) => once(worker, "exit")));
  assert.deepEqual(exits, [[0], [0]]);
  pool.verify();
  assert.equal(pool.stats().objects, 0);
  assert.equal(pool.totalPages(), 0, "no block is leaked");
  pool.destroy();
  arena.frames.verify();
}

/** Stores, maps, frees and evicts; every byte it finds must be its own, or the handle dead. */
function work({ arena: arenaShare, pool: poolShare, seed }: Task): void {
  const arena = Arena.attach(arenaShare);
  const pool = attachPool(arena, poolShare);
  const buffer = arena.reserve(PAGE);
  const random = new Xorshift32(seed);
  const held: { handle: Handle; mark: number }[] = [];
  for (let step = 0; step < STEPS; step++) {
    if (step % 64 === 63) pool.shrink(1, () => (step % 128 === 127 ? 0 : -1));
    const turn = random.below(HELD);
    const one = held[turn];
    if (one === undefined || held.length < HELD) {
      const handle = pool.malloc(SHARED_SIZES[random.below(SHARED_SIZES.length)]!) as Handle;
      assert.ok(handle > 0);
      const mark = seed * 100 + (step % 50);
      arena.bytes.fill(mark, buffer, buffer + 16);
      assert.ok([0, EINVAL].includes(pool.write(handle, buffer, 16)));
      held.push({ handle, mark });
      continue;
    }
    const at = pool.map(one.handle, MAP_RO, 16) as Address;
    if (at > 0) {
      for (let i = 0; i < 16; i++) assert.equal(arena.bytes[at + i], one.mark);
      assert.equal(pool.free(one.handle), EBUSY);
      assert.equal(pool.unmap(one.handle), 0);
    } else assert.equal(at, EINVAL);
    assert.ok([0, EINVAL].includes(pool.free(one.handle)));
    held[turn] = held.at(-1)!;
    held.pop();
  }
  for (const { handle } of held) pool.free(handle);
  arena.detach();
}

if (isMainThread) {
  reclaimReturnsTests();
  reclaimSparesTests();
  placementTests();
  sizesTests();
  memoryTests();
  checksTests();
  threadsTests();
} else {
  work(workerData as Task);
}
