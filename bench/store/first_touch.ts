// How long a put holds the lock while a store is filled, and while the same pages are overwritten;
// with memory that is touched ahead of use, and with memory that is touched under the lock. Both
// are measured in turns, because the first use of a machine's memory may cost more than later ones.
import { MIB } from "../../src/base/units.ts";
import { ArenaLock } from "../../src/memory/arena_lock.ts";
import { FrameAllocator } from "../../src/memory/frames.ts";
import { createStore } from "../../src/node/stores.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { readFilePages } from "./data.ts";

export interface FirstTouchBenchOptions {
  readonly tiny?: boolean;
  readonly print?: (line: string) => void;
}

export interface FirstTouchRow {
  readonly ahead: boolean;
  /** µs for which a put holds the lock, medians over the turns. */
  readonly fillUs: number;
  readonly overwriteUs: number;
  /** MiB that are resident beyond the memory in use, at the end. */
  readonly spareMiB: number;
}

const PAGE_SIZE = 4096;
const TURNS = 5;
/** Puts after which other tasks run, as in a service. */
const PUTS_PER_TURN = 256;

type Claim = FrameAllocator["claimUnpopulated"];
type Take = ArenaLock["lock"];

export async function benchFirstTouch(
  options: FirstTouchBenchOptions = {},
): Promise<FirstTouchRow[]> {
  const { tiny = false, print = console.log } = options;
  const pages = readFilePages(tiny ? 500 : 50_000, PAGE_SIZE, 0, 1);
  const puts = tiny ? 2000 : 100_000;
  const memoryMax = (tiny ? 16 : 400) * MIB;
  const turns = tiny ? 1 : TURNS;
  const rows: FirstTouchRow[] = [];
  for (let turn = 0; turn < turns; turn++) {
    for (const ahead of [true, false]) rows.push(await run(ahead, pages, puts, memoryMax));
  }
  print(`${puts} pages are put, and put again; µs for which a put holds the lock`);
  return [true, false].map((ahead) => {
    const own = rows.filter((row) => row.ahead === ahead);
    const row = {
      ahead,
      fillUs: median(own.map(({ fillUs }) => fillUs)),
      overwriteUs: median(own.map(({ overwriteUs }) => overwriteUs)),
      spareMiB: median(own.map(({ spareMiB }) => spareMiB)),
    };
    print(
      `${ahead ? "touched ahead" : "not ahead    "}: filling ${row.fillUs.toFixed(2)}, ` +
        `overwriting ${row.overwriteUs.toFixed(2)}, ratio ` +
        `${(row.fillUs / row.overwriteUs).toFixed(2)}; ${row.spareMiB.toFixed(1)} MiB spare`,
    );
    return row;
  });
}

async function run(
  ahead: boolean,
  pages: readonly Uint8Array[],
  puts: number,
  memoryMax: number,
): Promise<FirstTouchRow> {
  const claim: Claim = FrameAllocator.prototype.claimUnpopulated;
  if (!ahead) FrameAllocator.prototype.claimUnpopulated = () => undefined;
  try {
    using store = createStore({ memoryMax });
    const pool = store.createPool({ persistent: true });
    const key = new TmemKey();
    const pass = async () => {
      const held = timeLocks();
      for (let nth = 0; nth < puts; nth++) {
        store.put(pool, key.setObject(nth >>> 10).setIndex(nth & 1023), pages[nth % pages.length]!);
        if (nth % PUTS_PER_TURN === 0) await new Promise(setImmediate);
      }
      return (held() * 1000) / puts;
    };
    const fillUs = await pass();
    const overwriteUs = await pass();
    const { mem_resident, mem_used_total } = store.stats();
    return { ahead, fillUs, overwriteUs, spareMiB: (mem_resident - mem_used_total) / MIB };
  } finally {
    FrameAllocator.prototype.claimUnpopulated = claim;
  }
}

/** Measures how long the locks of arenas are held. @returns ends that, and returns the ms */
function timeLocks(): () => number {
  const lock: Take = ArenaLock.prototype.lock;
  const unlock: Take = ArenaLock.prototype.unlock;
  let begin = 0;
  let sum = 0;
  ArenaLock.prototype.lock = function (this: ArenaLock) {
    lock.call(this);
    begin = performance.now();
  };
  ArenaLock.prototype.unlock = function (this: ArenaLock) {
    const since = begin;
    begin = 0;
    unlock.call(this);
    if (since !== 0) sum += performance.now() - since;
  };
  return () => {
    ArenaLock.prototype.lock = lock;
    ArenaLock.prototype.unlock = unlock;
    return sum;
  };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >>> 1]!;
}
