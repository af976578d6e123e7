// The kernel's doors over the store: what is put, got, and forgotten through them.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Cleancache } from "../../src/front/cleancache.ts";
import { Frontswap } from "../../src/front/frontswap.ts";
import { Zswap } from "../../src/front/zswap.ts";
import { fillPage, openStore } from "../doubles/store_rig.ts";

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

test("frontswap: what was taken is given back until it is invalidated", () => {
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
  assert.equal(stored_pages, slots);
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

test("zswap: without a swap file, what does not fit is refused and what was there is gone", () => {
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
