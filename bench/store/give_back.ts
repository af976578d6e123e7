// What a store gives back: fills a dense pool with real pages, frees 70 % of them at random, and
// looks at the resident memory of the arena, as the system counts it, during a second of background
// work; with the calls of the system and without. In the end all other pages are read and compared.
import { setTimeout } from "node:timers/promises";
import { Xorshift32 } from "../../src/base/random.ts";
import { MIB } from "../../src/base/units.ts";
import { createStore } from "../../src/node/stores.ts";
import type { Store } from "../../src/store/store.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { readFilePages } from "./data.ts";
import { residentBytesOf } from "./resident.ts";

export interface GiveBackBenchOptions {
  readonly tiny?: boolean;
  readonly print?: (line: string) => void;
}

export interface GiveBackRow {
  readonly giveBack: "auto" | "off";
  /** What called the system, and why nothing did. */
  readonly by: string;
  /** MiB of the objects that are left, and of the memory that the store has in use. */
  readonly liveMiB: number;
  readonly usedMiB: number;
  /** Resident memory of the arena in MiB: filled, after the frees, and after background work. */
  readonly filledMiB: number;
  readonly freedMiB: number;
  readonly afterMiB: number;
  readonly calls: number;
  readonly ms: number;
}

const PAGE_SIZE = 4096;
const FREED_PERCENT = 70;
const WORK_MS = 1000;
/** Different pages, stored again and again under other keys. */
const PAGES_READ = 50_000;

export async function benchGiveBack(options: GiveBackBenchOptions = {}): Promise<GiveBackRow[]> {
  const { tiny = false, print = console.log } = options;
  const pages = readFilePages(tiny ? 500 : PAGES_READ, PAGE_SIZE, 0, 1);
  const bytes = (tiny ? 16 : 1024) * MIB;
  print(`${bytes / MIB} MiB of compressed pages, ${FREED_PERCENT} % of them freed at random; MiB`);
  const rows: GiveBackRow[] = [];
  const stores: Store[] = [];
  for (const giveBack of ["auto", "off"] as const) {
    const row = await run(giveBack, pages, bytes, stores);
    rows.push(row);
    const { filledMiB, freedMiB, afterMiB, liveMiB, usedMiB } = row;
    const ratio = (afterMiB / liveMiB).toFixed(3);
    print(
      `giveBack ${giveBack.padEnd(4)} (${row.by}): filled ${filledMiB.toFixed(0)}, ` +
        `freed ${freedMiB.toFixed(0)}, a second later ${afterMiB.toFixed(0)}; ` +
        `objects ${liveMiB.toFixed(0)}, in use ${usedMiB.toFixed(0)}; ` +
        `resident ÷ objects ${ratio}; ${row.calls} calls, ${row.ms.toFixed(0)} ms`,
    );
  }
  return rows;
}

async function run(
  giveBack: "auto" | "off",
  pages: readonly Uint8Array[],
  bytes: number,
  stores: Store[],
): Promise<GiveBackRow> {
  const memoryMax = Math.floor(bytes * 1.25);
  // Closed stores of the same size keep their memory until they are collected.
  const before = residentBytesOf("self", memoryMax);
  const resident = () => residentBytesOf("self", memoryMax) - before;
  using store = createStore({ memoryMax, giveBack });
  stores.push(store);
  const pool = store.createPool({ persistent: true });
  const count = fill(store, pool, pages, bytes);
  const filled = resident();
  const random = new Xorshift32(1);
  const key = new TmemKey();
  const isFreed = new Uint8Array(count);
  for (let nth = 0; nth < count; nth++) {
    if (random.next() % 100 >= FREED_PERCENT) continue;
    isFreed[nth] = 1;
    store.flush(pool, keyOf(key, nth));
  }
  const freed = resident();
  await setTimeout(WORK_MS);
  const after = resident();
  const page = new Uint8Array(PAGE_SIZE);
  for (let nth = 0; nth < count; nth++) {
    if (isFreed[nth] === 1) continue;
    const isThere = store.get(pool, keyOf(key, nth), page);
    if (!isThere || Buffer.compare(page, pages[nth % pages.length]!) !== 0) {
      throw new Error(`page ${nth} has changed`);
    }
  }
  store.verify();
  const stats = store.stats();
  const { by, reason, calls, ms } = stats.giveBack;
  return {
    giveBack,
    by: reason === undefined ? by : `${by}: ${reason}`,
    liveMiB: stats.compr_data_size / MIB,
    usedMiB: stats.mem_used_total / MIB,
    filledMiB: filled / MIB,
    freedMiB: freed / MIB,
    afterMiB: after / MIB,
    ...{ calls, ms },
  };
}

/** @returns how many pages were stored */
function fill(store: Store, pool: number, pages: readonly Uint8Array[], bytes: number): number {
  const key = new TmemKey();
  for (let nth = 0; ; nth++) {
    if (nth % 1024 === 0 && store.stats().compr_data_size >= bytes) return nth;
    const result = store.put(pool, keyOf(key, nth), pages[nth % pages.length]!);
    if (result !== 0) throw new Error(`page ${nth} was refused: ${result}`);
  }
}

function keyOf(key: TmemKey, nth: number): TmemKey {
  return key.setObject(nth >>> 10).setIndex(nth & 1023);
}
