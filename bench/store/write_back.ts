// The throughput of the write-back file, writing and reading, beside `dd` with as many bytes.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MIB } from "../../src/base/units.ts";
import { nodePlatform } from "../../src/node/platform.ts";
import { Store } from "../../src/store/store.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { readFilePages } from "./data.ts";

export interface WriteBackBenchOptions {
  readonly tiny?: boolean;
  readonly print?: (line: string) => void;
}

/** MiB of compressed bytes per second, and dd's with as many bytes; NaN without dd. */
export interface WriteBackRow {
  readonly bytes: number;
  readonly outPerSecond: number;
  readonly ddOutPerSecond: number;
  readonly backPerSecond: number;
  readonly ddBackPerSecond: number;
  /** Pages per second, read one by one in random order and decompressed. */
  readonly pagesBackPerSecond: number;
}

const PAGE_SIZE = 4096;

export function benchWriteBack(options: WriteBackBenchOptions = {}): WriteBackRow {
  const { tiny = false, print = console.log } = options;
  const pages = readFilePages(tiny ? 1000 : 200_000, PAGE_SIZE, 0, 1);
  const folder = mkdtempSync(join(tmpdir(), "zcache-bench-"));
  try {
    const row = run(pages, folder);
    const mib = (value: number) => `${value.toFixed(0)} MiB/s`;
    print(`${(row.bytes / MIB).toFixed(0)} MiB of compressed pages, in segments of 64 KiB`);
    print(`out ${mib(row.outPerSecond)}, dd ${mib(row.ddOutPerSecond)}`);
    print(`back ${mib(row.backPerSecond)}, dd ${mib(row.ddBackPerSecond)}; `);
    print(`${row.pagesBackPerSecond.toFixed(0)} pages back per second, at random`);
    return row;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function run(pages: readonly Uint8Array[], folder: string): WriteBackRow {
  const memoryMax = 4 * MIB + pages.length * PAGE_SIZE;
  const writeBack = { path: join(folder, "pages"), max: memoryMax };
  const store = Store.create({ memoryMax, writeBack }, nodePlatform());
  const pool = store.createPool({ persistent: true });
  const key = new TmemKey();
  const at = (nth: number) => key.setObject(nth >>> 10).setIndex(nth & 1023);
  for (const [nth, page] of pages.entries()) store.put(pool, at(nth), page);
  const start = performance.now();
  while (store.shrink(1024) === 1024);
  while (store.maintain());
  const outMs = performance.now() - start;
  const { counters } = store.stats();
  const bytes = counters.written_back_bytes;
  const target = new Uint8Array(PAGE_SIZE);
  // No promotion: every page comes from the file.
  store.limit(store.stats().mem_used_total);
  const middle = performance.now();
  let found = 0;
  for (let n = 0; n < pages.length; n++) {
    // A step that is coprime to the count visits every page once.
    if (store.get(pool, at((n * 7919) % pages.length), target)) found++;
  }
  const backMs = performance.now() - middle;
  if (found !== pages.length) throw new Error(`${pages.length - found} pages did not come back`);
  store.close();
  const file = join(folder, "dd");
  const blocks = Math.ceil(bytes / 65_536);
  const out = dd(["if=/dev/zero", `of=${file}`, "bs=64k", `count=${blocks}`]);
  const back = dd([`if=${file}`, "of=/dev/null", "bs=4k"]);
  return {
    bytes,
    outPerSecond: bytes / MIB / (outMs / 1000),
    ddOutPerSecond: bytes / MIB / out,
    backPerSecond: bytes / MIB / (backMs / 1000),
    ddBackPerSecond: bytes / MIB / back,
    pagesBackPerSecond: pages.length / (backMs / 1000),
  };
}

/** @returns seconds, NaN if there is no dd */
function dd(args: readonly string[]): number {
  const start = performance.now();
  const { status } = spawnSync("dd", args, { stdio: "ignore" });
  return status === 0 ? (performance.now() - start) / 1000 : Number.NaN;
}
