// The kernel's interfaces over the store: pages that are put, loaded and invalidated through
// cleancache, frontswap and zswap.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Cleancache } from "../../src/frontends/cleancache.ts";
import { Frontswap } from "../../src/frontends/frontswap.ts";
import { Zswap } from "../../src/frontends/zswap.ts";
import { nodePlatform } from "../../src/node/platform.ts";
import { Store } from "../../src/store/store.ts";
import { Zram } from "../../src/zram/zram.ts";
import { fillPage, openStore } from "../doubles/store_fixture.ts";

const UUID = new Uint8Array(16).fill(1);
const page = (seed: number) => fillPage(new Uint8Array(4096), "text", seed);
const got = new Uint8Array(4096);

test("cleancache: a private file system's get takes the page out, a shared one's does not", () => {
  const store = openStore();
  const cache = new Cleancache(store);
  const ext4 = cache.initFs(4096);
  const ocfs = cache.initSharedFs(UUID, 4096);
  const inode = new Uint8Array(24).map((_, i) => i * 11);
  for (const fs of [ext4, ocfs]) {
    cache.putPage(fs, inode, 2n ** 40n, page(1));
    assert.ok(cache.getPage(fs, inode, 2n ** 40n, got));
    assert.deepEqual(got, page(1));
  }
  assert.equal(cache.getPage(ext4, inode, 2n ** 40n, got), false);
  assert.ok(cache.getPage(ocfs, inode, 2n ** 40n, got));
  assert.throws(() => cache.initFs(8192), { code: "ERR_OPTION" });
  assert.throws(() => cache.putPage(ext4, 1, 2 ** 60, page(1)), { code: "ERR_KEY" });
  assert.deepEqual(cache.stats(), { succ_gets: 3, failed_gets: 1, puts: 3, invalidates: 0 });
  store.close();
});

test("cleancache: pages, inodes and file systems are forgotten", () => {
  const store = openStore();
  const cache = new Cleancache(store);
  const fs = cache.initFs(4096);
  for (let inode = 0; inode < 4; inode++) {
    for (let index = 0; index < 10; index++) cache.putPage(fs, inode, index, page(index));
  }
  cache.invalidatePage(fs, 0, 3);
  cache.invalidateInode(fs, 1);
  assert.equal(cache.getPage(fs, 0, 3, got), false);
  for (let index = 0; index < 10; index++) assert.equal(cache.getPage(fs, 1, index, got), false);
  assert.ok(cache.getPage(fs, 2, 3, got));
  assert.equal(store.stats().ephemeral.pagesInMemory, 28);
  cache.invalidateFs(fs);
  assert.equal(store.stats().ephemeral.pagesInMemory, 0);
  store.verify();
  store.close();
});

test("frontswap: stored pages are loaded until they are invalidated", () => {
  const store = openStore();
  const swap = new Frontswap(store, UUID);
  const same = new Frontswap(store, UUID);
  for (let slot = 0; slot < 50; slot++) assert.ok(swap.store(0, slot, page(slot)));
  assert.ok(same.load(0, 7, got) && same.load(0, 7, got));
  assert.deepEqual(got, page(7));
  swap.invalidatePage(0, 7);
  assert.equal(swap.load(0, 7, got), false);
  assert.equal(swap.load(1, 8, got), false);
  assert.equal(swap.invalidateArea(0), 49);
  assert.deepEqual(swap.stats(), { loads: 0, succ_stores: 50, failed_stores: 0, invalidates: 2 });
  store.close();
});

test("zswap: exclusive loads, a limit, and cold pages in the swap file", () => {
  const folder = mkdtempSync(join(tmpdir(), "zcache-zswap-"));
  const store = openStore({
    memoryMax: "2MiB",
    writeBack: { path: join(folder, "swap"), max: "8MiB" },
  });
  const zswap = new Zswap(store, { uuid: UUID, maxPoolPercent: 60 });
  const slots = 1200;
  for (let slot = 0; slot < slots; slot++) assert.ok(zswap.store(0, slot, page(slot)));
  while (store.maintain());
  const { pool_total_size, written_back_pages, stored_pages } = zswap.stats();
  assert.ok(pool_total_size <= (2 << 20) * 0.6 && written_back_pages > 0);
  // As in the kernel, a page that was written back does not count for the pool.
  assert.equal(stored_pages + store.stats().persistent.pagesInFile, slots);
  assert.equal(zswap.shrink(10), 10);
  for (let slot = 0; slot < slots; slot++) {
    assert.ok(zswap.load(0, slot, got));
    assert.deepEqual(got, page(slot));
    assert.equal(zswap.load(0, slot, got), false);
  }
  assert.equal(zswap.stats().stored_pages, 0);
  assert.throws(() => new Zswap(store, { uuid: UUID, maxPoolPercent: 0 }), { code: "ERR_OPTION" });
  store.verify();
  store.close();
  rmSync(folder, { recursive: true });
});

test("zswap: without a swap file, a page without room is refused, and its old copy removed", () => {
  const store = openStore({ memoryMax: "1MiB" });
  const zswap = new Zswap(store, { uuid: UUID });
  let slot = 0;
  while (zswap.store(0, slot, page(slot))) slot++;
  assert.equal(zswap.shrink(5), 0);
  assert.ok(zswap.stats().reject_reclaim_fail > 0);
  assert.equal(zswap.load(0, slot, got), false);
  assert.ok(zswap.load(0, 0, got));
  store.close();
});

test("maxPoolPercent is of memoryMax, however often and in how many threads it is set", () => {
  const store = openStore({ memoryMax: "4MiB" });
  const limit = () => store.stats().mem_limit / (1 << 20);
  const attached = Store.attach(store.share(), nodePlatform());
  for (const each of [store, attached, store, attached]) {
    new Zswap(each, { uuid: UUID, maxPoolPercent: 50 });
    assert.equal(limit(), 2);
  }
  new Zswap(attached, { uuid: UUID });
  assert.equal(limit(), 2, "left out, it leaves the limit");
  store.limit(3 << 20);
  new Zswap(attached, { uuid: UUID, maxPoolPercent: 25 });
  assert.equal(limit(), 1);
  new Zswap(store, { uuid: UUID, maxPoolPercent: 100 });
  assert.equal(limit(), 4);
  for (const uuid of [undefined, new Uint8Array(15), "0123456789abcdef"]) {
    assert.throws(() => new Zswap(store, { uuid: uuid as never }), { code: "ERR_OPTION" });
    assert.throws(() => new Frontswap(store, uuid as never), { code: "ERR_OPTION" });
  }
  attached.detach();
  store.close();
});

test("cleancache: the store says which file systems are shared, in every thread", () => {
  const store = openStore();
  const attached = Store.attach(store.share(), nodePlatform());
  const [here, there] = [new Cleancache(store), new Cleancache(attached)];
  const fs = here.initSharedFs(UUID, 4096);
  assert.equal(here.initSharedFs(UUID, 4096), fs);
  assert.equal(there.initSharedFs(UUID, 4096), fs);
  here.putPage(fs, 1, 1, page(1));
  for (const door of [here, there]) {
    // One of three clients has unmounted it, then two: it stays shared.
    here.invalidateFs(fs);
    for (const _ of [1, 2]) assert.ok(door.getPage(fs, 1, 1, got));
  }
  there.invalidateFs(fs);
  assert.equal(there.getPage(fs, 1, 1, got), false, "the last one has unmounted it");
  const own = here.initFs(4096);
  there.putPage(own, 1, 1, page(2));
  assert.ok(there.getPage(own, 1, 1, got));
  assert.equal(here.getPage(own, 1, 1, got), false, "a private one's page is taken out");
  attached.detach();
  store.close();
});

test("zram: devices of a store share no data; a destroyed device refuses in every thread", () => {
  const store = openStore();
  const attached = Store.attach(store.share(), nodePlatform());
  const first = Zram.create(store, 64 * 4096);
  for (const number of [0, -1, 0.5, 2 ** 31, Number.NaN]) {
    assert.throws(() => Zram.create(attached, 4096, number), { code: "ERR_OPTION" });
  }
  const second = Zram.create(attached, 64 * 4096, 1);
  assert.equal(first.write(0, page(1)), 0);
  assert.equal(second.write(0, page(2)), 0);
  first.read(0, got);
  assert.deepEqual(got, page(1));
  const share = first.share();
  const other = Zram.attach(attached, share);
  first.destroy();
  const placed = Zram.create(store, 64 * 4096);
  assert.equal(placed.write(0, page(3)), 0);
  const address = attached.reserve(4096);
  for (const device of [first, other]) {
    const uses: (() => unknown)[] = [
      () => device.sizeBytes,
      () => device.share(),
      () => device.holds(0, 1),
      () => device.read(0, got),
      () => device.write(0, got),
      () => device.readTo(0, 4096, address),
      () => device.writeFrom(0, 4096, address),
      () => device.zeroSome(0, 4096, false, 1),
      () => device.discard(0, 4096),
      () => device.prefetch(0, 4096),
      () => device.blockStatus(0, 4096, [], 1),
      () => device.nextStored(0),
      () => device.resize(4096),
      () => device.reset(),
      () => device.mmStat(),
      () => device.ioStat(),
      () => device.bdStat(),
      () => device.requests(),
      () => device.destroy(),
    ];
    for (const use of uses) assert.throws(use, { code: "ERR_DEVICE_CLOSED" });
  }
  assert.throws(() => Zram.attach(attached, share), { code: "ERR_STORE_SHARE" });
  placed.read(0, got);
  assert.deepEqual(got, page(3));
  second.read(0, got);
  assert.deepEqual(got, page(2));
  store.verify();
  attached.detach();
  store.close();
});
