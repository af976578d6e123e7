// The memory map of a store compared with its statistics, for every pool, as a whole and in parts.
import assert from "node:assert/strict";
import { test } from "node:test";
import { FRAME_USES, type FrameMap } from "../../src/dashboard/api.ts";
import { type Cell, cellAt, describeCell, summarise } from "../../src/dashboard/map_cells.ts";
import { FrameMapBuilder } from "../../src/lab/frame_map.ts";
import { monitorStore } from "../../src/monitor/monitor.ts";
import { poolTypes } from "../../src/pool/registry.ts";
import * as Use from "../../src/store/frame_map.ts";
import type { Store } from "../../src/store/store.ts";
import { fillDevice, setDocuments, startMemcached, startNbd } from "./fixture.ts";

function monitorOf(store: Store) {
  const connections = { now: 0, accepted: 0, refused: 0 };
  const figures = () => ({ operations: {}, connections });
  return monitorStore({ name: "it", kind: "test", store, figures });
}

function cellsOf(map: FrameMap): Cell[] {
  const bytes = Uint8Array.from(Buffer.from(map.cells, "base64"));
  return Array.from({ length: bytes.length / map.cellBytes }, (_, nth) =>
    cellAt(bytes, map.cellBytes, nth),
  );
}

test("the uses of frames have the numbers that the page expects", () => {
  const uses = [
    Use.FREE,
    Use.HEADER,
    Use.EPHEMERAL_OBJECTS,
    Use.PERSISTENT_OBJECTS,
    Use.POOL_METADATA,
    Use.INDEX,
    Use.WRITE_BACK,
    Use.OTHER,
  ];
  assert.deepEqual(uses, [...FRAME_USES.keys()]);
});

for (const pool of poolTypes()) {
  test(`${pool}: the frame map agrees with the statistics`, async () => {
    const nbd = await startNbd({ pool });
    fillDevice(nbd, 1200);
    for (let page = 0; page < 1200; page += 3) nbd.device.discard(page * 4096, 4096);
    const stats = nbd.store.stats();
    const map = await monitorOf(nbd.store).frames(0, 2 ** 20, 16_384);
    const { frames } = nbd.store.arena;
    assert.equal(map.perCell, 1);
    assert.equal(map.to, frames.headerFrames + frames.framesUsable);
    assert.equal(map.uses[Use.FREE], frames.framesFree);
    assert.equal(map.uses[Use.HEADER], frames.headerFrames);
    assert.equal(map.uses[Use.EPHEMERAL_OBJECTS], stats.ephemeral.pool.pages);
    assert.equal(map.uses[Use.PERSISTENT_OBJECTS], stats.persistent.pool.pages);
    assert.equal(map.uses[Use.INDEX]! * 4096, stats.memory.index);
    const metadata = map.uses[Use.POOL_METADATA]! * 4096;
    // The pools' descriptors are taken before the pools are: they count as others here.
    assert.ok(metadata <= stats.memory.poolMetadata);
    assert.equal(
      map.uses.reduce((sum, n) => sum + n, 0),
      map.to,
    );
    const cells = cellsOf(map);
    assert.equal(cells.filter((cell) => cell.use === Use.FREE).length, frames.framesFree);
    assert.ok(cells.every((cell) => !cell.isMixed));
    await nbd.close();
  });
}

test("an aggregated map has the same totals", async () => {
  const nbd = await startNbd({ pool: "zsmalloc" });
  fillDevice(nbd, 1500);
  const monitor = monitorOf(nbd.store);
  const fine = await monitor.frames(0, 2 ** 20, 16_384);
  const coarse = await monitor.frames(0, 2 ** 20, 100);
  assert.ok(coarse.perCell > 16);
  assert.equal(coarse.perCell, 2 ** Math.log2(coarse.perCell));
  assert.deepEqual(coarse.uses, fine.uses);
  assert.deepEqual(coarse.byClass, fine.byClass);
  const cells = cellsOf(coarse);
  assert.ok(cells.length <= 100);
  const total = nbd.store.inspection.framesTotal;
  const framesIn = (nth: number) =>
    Math.min(total, (nth + 1) * coarse.perCell) - nth * coarse.perCell;
  const free = cells.reduce((sum, { freeShare }, nth) => sum + freeShare * framesIn(nth), 0);
  // Shares are in units of 1/255.
  assert.ok(Math.abs(free - fine.uses[Use.FREE]!) < total / 255);
  // A part of it, cell by cell, is the same as there.
  const part = await monitor.frames(512, 640, 16_384);
  assert.deepEqual(cellsOf(part), cellsOf(fine).slice(512, 640));
  await nbd.close();
});

test("a map of values, and a map of an empty store", async () => {
  const memcached = await startMemcached();
  const empty = await memcached.monitor.frames(0, 2 ** 20, 16_384);
  assert.match(summarise(empty), /^No frame holds objects yet/);
  await setDocuments(memcached, 0, 2000);
  const stats = memcached.store.stats();
  const map = await memcached.monitor.frames(0, 2 ** 20, 16_384);
  assert.equal(map.uses[Use.EPHEMERAL_OBJECTS], stats.ephemeral.pool.pages);
  assert.match(summarise(map), /frames hold objects and are 9\d\.\d % full/);
  await memcached.close();
});

test("cells are described in words", () => {
  const map = { from: 0, to: 64, perCell: 1, pageSizeBytes: 4096, classes: "slot" } as FrameMap;
  const cell = { use: 2, freeShare: 0, objectShare: 1, fullness: 0.5, class: 448, isMixed: false };
  assert.equal(
    describeCell(cell, map, 5),
    "Frame 5, at 20.0 KiB: pool, ephemeral, slots of 448 bytes, 50.0 % full.",
  );
  const mixed = { ...cell, freeShare: 0.25, objectShare: 0.75, isMixed: true };
  assert.equal(
    describeCell(mixed, { ...map, perCell: 16 }, 1),
    "Frames 16 to 31, at 64.0 KiB: mostly pool, ephemeral; 25.0 % free; 75.0 % hold objects, " +
      "mostly slots of 448 bytes; these are 50.0 % full.",
  );
  assert.equal(describeCell({ ...cell, use: 0, objectShare: 0 }, map, 0), "Frame 0, at 0 B: free.");
});

test("a map of a million frames is made in bounded steps", () => {
  const framesTotal = 2 ** 20;
  let calls = 0;
  const store = {
    inspection: {
      framesTotal,
      describeFrames: (first: number, target: Int32Array) => {
        calls++;
        assert.ok(target.length <= Use.FRAMES_PER_HOLD);
        target.fill(first < framesTotal / 2 ? 2 * 2 ** 26 + 448 * 256 + 255 : 0);
        return target.length;
      },
    },
  } as unknown as Store;
  const builder = new FrameMapBuilder(store.inspection, 0, framesTotal, 4096);
  while (!builder.step());
  assert.equal(calls, framesTotal / Use.FRAMES_PER_HOLD);
  assert.equal(builder.perCell, 256);
  assert.deepEqual(builder.uses.slice(0, 3), [framesTotal / 2, 0, framesTotal / 2]);
  assert.deepEqual([...builder.byClass], [[448, { frames: framesTotal / 2, fullness: 2 ** 19 }]]);
  assert.equal(cellAt(builder.cells, 8, 0).class, 448);
});

test("the size histogram of a large store grows with each request", async () => {
  const memcached = await startMemcached({ memoryMax: 64 * 2 ** 20 });
  const entries = 120_000;
  for (let nth = 0; nth < entries; nth++) memcached.client.send(`ms k${nth} 3 q\r\nabc\r\n`);
  await memcached.client.ask("mn\r\n", "MN\r\n");
  const first = await memcached.monitor.sizes();
  assert.equal(first.of, entries);
  assert.ok(first.looked > 50_000 && first.looked < entries, `${first.looked} at first`);
  const second = await memcached.monitor.sizes();
  assert.equal(second.looked, entries);
  const third = await memcached.monitor.sizes();
  assert.deepEqual([third.looked, third.bins], [entries, second.bins], "the last whole round");
  await memcached.close();
});
