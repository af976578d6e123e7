// A worker that uses all shared structures until it stops at a chosen point.
import { workerData } from "node:worker_threads";
import { Xorshift32 } from "../../src/base/random.ts";
import { attachStore, Cache, TmemKey } from "../../src/index.ts";
import { ItemAccess } from "../../src/memcached/items/access.ts";
import { attachItems } from "../../src/memcached/items/open.ts";
import { ItemEvictions } from "../../src/memcached/items/shards.ts";
import { BLOCK_FRAMES } from "../../src/memory/free_blocks.ts";
import {
  populateAhead,
  type ReleaseMemory,
  returnBlocks,
  returnFramesIn,
} from "../../src/memory/residency.ts";
import type { Store } from "../../src/store/store.ts";
import { Zram } from "../../src/zram/zram.ts";
import { type Acks, makeValue, openAcks, type StopInput, writePage } from "./stop_model.ts";
import { ENDED, endThread, stopAtPoint } from "./stop_points.ts";

const input = workerData as StopInput;
const { fixture, kind, slot } = input;
const control = new Int32Array(input.control);
const random = new Xorshift32(input.seed);
const rnd = (below: number) => random.next() % below;
stopAtPoint(control, input.stopAt);

/** Populates and returns memory of free frames, as the background work does. */
function useMemory({ arena }: Store): void {
  const release: ReleaseMemory = (at, sizeBytes) => {
    arena.bytes.fill(0, at, at + sizeBytes);
    return true;
  };
  populateAhead(arena, rnd(64) + 1);
  returnBlocks(arena, rnd(64), release);
  const blocks = Math.ceil(arena.frames.framesTotal / BLOCK_FRAMES);
  for (let nth = 0; nth < 8; nth++) returnFramesIn(arena, rnd(blocks), release);
}

function usePages(acks: Acks): () => void {
  const store = attachStore(fixture.store);
  const page = new Uint8Array(store.pageSize);
  const key = new TmemKey();
  const { persistent, ephemeral } = fixture.pools;
  return () => {
    const n = rnd(acks.count);
    key.setObject(slot).setIndex(n);
    const what = rnd(12);
    if (what < 5) {
      const version = acks.begin(n);
      writePage(page, slot * 1000 + n, version);
      acks.end(n, store.put(persistent, key, page) === 0 ? version : 0);
    } else if (what === 5) {
      acks.begin(n);
      store.flush(persistent, key);
      acks.end(n, 0);
    } else if (what === 6) store.get(persistent, key, page);
    else if (what === 7) {
      key.setObject(100 + rnd(20)).setIndex(rnd(8));
      writePage(page, 7, rnd(1000));
      store.put(ephemeral, key, page);
    } else if (what === 8) store.flushObject(ephemeral, key.setObject(100 + rnd(20)));
    else if (what === 9) {
      store.tick();
      store.scanIdle({ entries: 64, recompress: { idleTicks: 1 }, writeBack: { idleTicks: 2 } });
    } else if (what === 10) {
      store.compact(2);
      useMemory(store);
    } else {
      const pool = store.createPool();
      if (pool > 0) {
        store.put(pool, key, page);
        store.destroyPool(pool);
      }
      store.maintain();
    }
  };
}

function useCache(acks: Acks): () => void {
  const cache = Cache.attach<string, { n: number; version: number; text: string }>(fixture.cache);
  if (rnd(2) === 0) cache.on("evict", () => {});
  return () => {
    const n = rnd(acks.count);
    const key = `${slot}/${n}`;
    const what = rnd(10);
    if (what < 6) {
      const version = acks.begin(n);
      const ttl = what === 0 ? { ttl: 60_000 } : {};
      cache.set(key, makeValue(slot, n, version, what === 1), ttl);
      acks.end(n, version);
    } else if (what === 6) {
      acks.begin(n);
      cache.delete(key);
      acks.end(n, 0);
    } else if (what === 7) cache.flush();
    else cache.get(key);
  };
}

function useItems(acks: Acks): () => void {
  const items = new ItemAccess(attachItems(fixture.items));
  const turns = fixture.turns.map((words) => new Int32Array(words));
  const evictions = new ItemEvictions(items.shards, turns);
  if (rnd(2) === 0) evictions.begin();
  return () => {
    const n = rnd(acks.count);
    const key = Buffer.from(`${slot}/${n}`);
    const what = rnd(8);
    const version = what < 4 ? acks.begin(n) : 0;
    const value = Buffer.from(JSON.stringify(makeValue(slot, n, version, what === 0)));
    items.lock(key, 0, key.length);
    try {
      const isThere = items.find();
      if (what < 4) {
        items.meta.fill(version);
        acks.end(n, items.put(value, 0, value.length) ? version : 0);
      } else if (what === 4) {
        acks.begin(n);
        items.remove();
        acks.end(n, 0);
      } else if (what === 5 && isThere) items.writeMeta();
      else if (what === 6 && isThere) items.writeUse();
    } finally {
      items.unlock();
    }
    if (what !== 7) return;
    if (rnd(2) === 0) evictions.begin();
    else evictions.end();
  };
}

function useDevice(acks: Acks): () => void {
  const store = attachStore(fixture.disk);
  const device = Zram.attach(store, fixture.device);
  const page = new Uint8Array(store.pageSize);
  return () => {
    const n = rnd(acks.count);
    const at = (slot * acks.count + n) * page.length;
    const what = rnd(8);
    if (what < 2) {
      acks.begin(n);
      device.discard(at, page.length);
      acks.end(n, 0);
    } else if (what < 4) device.read(at, page);
    else {
      const version = acks.begin(n);
      writePage(page, slot * 1000 + n, version);
      acks.end(n, device.write(at, page) === 0 ? version : 0);
    }
  };
}

const USES = { pages: usePages, cache: useCache, items: useItems, device: useDevice };
const step = USES[kind](openAcks(input.acks, slot, kind));
for (let nth = 0; nth < input.steps; nth++) step();
endThread(control, ENDED);
