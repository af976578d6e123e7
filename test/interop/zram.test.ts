// The kernel's zram beside zcache on the same pages: both count the same same-filled and huge
// pages, and their pools take the same number of pages. Needs root and a kernel with zram and lz4;
// the device is created for the test and removed after it.
import assert from "node:assert/strict";
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  readSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { test } from "node:test";
import type { MmStat } from "../../src/zram/stat.ts";
import { Zram } from "../../src/zram/zram.ts";
import { fillPage, openStore } from "../doubles/store_fixture.ts";

const CONTROL = "/sys/class/zram-control";
const PAGE = 4096;
const REAL_PAGES = 6000;
const DISK_BYTES = 64 << 20;

/** Why there is no zram to compare with; false if there is. */
function obstacle(): string | false {
  if (process.getuid?.() !== 0) return "needs root, for /sys/class/zram-control";
  if (!existsSync(`${CONTROL}/hot_add`)) return "the kernel has no zram (modprobe zram)";
  return false;
}

/** Pages of this process's own program and of its text, and some that stand for rare kinds. */
function somePages(): Uint8Array[] {
  const pages: Uint8Array[] = [];
  const file = openSync(process.execPath, "r");
  for (let nth = 0; nth < REAL_PAGES; nth++) {
    const page = new Uint8Array(PAGE);
    // Every third page of the program: code, tables, and snapshots.
    if (readSync(file, page, 0, PAGE, nth * 3 * PAGE) === 0) break;
    pages.push(page);
  }
  closeSync(file);
  for (let nth = 0; nth < 200; nth++) {
    const same = new Uint8Array(PAGE);
    const words = new Uint32Array(same.buffer);
    for (let at = 0; at < words.length; at += 2) {
      words[at] = nth * 0x0101_0101;
      // Halves that differ, that are equal, and one of which is zero.
      words[at + 1] = nth % 3 === 0 ? ~nth : nth % 3 === 1 ? nth * 0x0101_0101 : 0;
    }
    pages.push(same);
    // A page that differs from such a one in its last word only, and one in the middle.
    const other = same.slice();
    other[nth % 2 === 0 ? PAGE - 1 : PAGE / 2 + nth]! ^= 1;
    pages.push(other);
    // Incompressible to any part: around the size from which on a page is stored as it is.
    const page = fillPage(new Uint8Array(PAGE), "noise", nth);
    page.fill(0, 3500 + nth);
    pages.push(page);
  }
  return pages;
}

function kernelStat(id: string): MmStat {
  const [orig, compr, used, limit, max, same, compacted, huge, hugeSince] = readFileSync(
    `/sys/block/zram${id}/mm_stat`,
    "utf8",
  )
    .trim()
    .split(/\s+/)
    .map(Number);
  return {
    orig_data_size: orig!,
    compr_data_size: compr!,
    mem_used_total: used!,
    mem_limit: limit!,
    mem_used_max: max!,
    same_pages: same!,
    pages_compacted: compacted!,
    huge_pages: huge!,
    huge_pages_since: hugeSince!,
  };
}

/** What the kernel's zram says of these pages. */
function kernelOf(pages: readonly Uint8Array[]): MmStat {
  const id = readFileSync(`${CONTROL}/hot_add`, "utf8").trim();
  try {
    writeFileSync(`/sys/block/zram${id}/comp_algorithm`, "lz4");
    writeFileSync(`/sys/block/zram${id}/disksize`, String(DISK_BYTES));
    const device = openSync(`/dev/zram${id}`, "r+");
    try {
      for (const [nth, page] of pages.entries()) writeSync(device, page, 0, PAGE, nth * PAGE);
      fsyncSync(device);
      return kernelStat(id);
    } finally {
      closeSync(device);
      writeFileSync(`/sys/block/zram${id}/reset`, "1");
    }
  } finally {
    writeFileSync(`${CONTROL}/hot_remove`, id);
  }
}

test("the kernel's zram and this one agree on the same pages", { skip: obstacle() }, (t) => {
  const pages = somePages();
  const kernel = kernelOf(pages);
  const store = openStore({ memoryMax: "64MiB", pool: "zsmalloc" });
  const device = Zram.create(store, DISK_BYTES);
  for (const [nth, page] of pages.entries()) assert.equal(device.write(nth * PAGE, page), 0);
  const ours = device.mmStat();
  t.diagnostic(`kernel ${JSON.stringify(kernel)}`);
  t.diagnostic(`ours ${JSON.stringify(ours)}`);
  for (const name of ["orig_data_size", "same_pages"] as const) {
    assert.equal(ours[name], kernel[name], name);
  }
  // Both compress with lz4, but not by the same search: sizes differ by some bytes.
  const near = (one: number, other: number, share: number, what: string) =>
    assert.ok(Math.abs(one - other) <= Math.ceil(other * share), `${what}: ${one} and ${other}`);
  near(ours.huge_pages, kernel.huge_pages, 0.01, "huge_pages");
  near(ours.huge_pages_since, kernel.huge_pages_since, 0.01, "huge_pages_since");
  near(ours.compr_data_size, kernel.compr_data_size, 0.01, "compr_data_size");
  const { pool } = store.stats().persistent;
  near(pool.pages * PAGE, kernel.mem_used_total, 0.01, "mem_used_total, of the pool alone");
  store.verify();
  store.close();
});
