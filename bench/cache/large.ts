// A cache as large as the machine's memory allows, beside one of 256 MiB in the same process: the
// processor time of an operation, the longest operation beside the longest gap of a thread that
// does nothing, and the time of a warm restart.
//
// Both caches are filled to their limits with pages and documents in turn. Windows on the small
// and on the large one take turns.
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { formatBytes, GIB, MIB, parseSize } from "../../src/base/units.ts";
import { Cache } from "../../src/index.ts";
import { median } from "../codec/timing.ts";
import { documentAt } from "../documents.ts";
import { readFilePages } from "../store/data.ts";
import { drawOrder } from "./data.ts";

export interface LargeBenchOptions {
  readonly tiny?: boolean;
  /** Limit of the large cache: bytes or text (default "16GiB"). */
  readonly memoryMax?: number | string;
  /** Whether both caches ask for huge pages (default false). */
  readonly hugePages?: boolean;
  /** A folder for the files of the restart (default: the system's one for temporary files). */
  readonly folder?: string;
  readonly print?: (line: string) => void;
}

/** What the large cache and the small one need for an operation. */
export interface LargeRow {
  readonly operation: "get" | "set";
  /** How keys are chosen among all that are stored. */
  readonly keys: "uniform" | "zipf";
  /** Medians of processor time, in µs. */
  readonly smallUs: number;
  readonly largeUs: number;
  /** Median of the ratios of neighbouring windows. */
  readonly largeBySmall: number;
  /** Gets of the large cache that found their value, of all. */
  readonly hitShare: number;
  /** Longest operation of a window less the probe's longest gap in that window, at most; ms. */
  readonly stallMs: number;
}

/** What `large_child.ts` prints, as JSON. */
export interface LargeRestart {
  readonly ms: number;
  readonly entries: number;
  readonly memoryUsed: number;
  readonly fileBytes: number;
}

interface Scale {
  readonly small: number;
  readonly values: number;
  readonly operations: number;
  readonly rounds: number;
}

const FULL: Scale = { small: 256 * MIB, values: 20_000, operations: 50_000, rounds: 15 };
const TINY: Scale = { small: 2 * MIB, values: 500, operations: 500, rounds: 3 };
const LARGE = 16 * GIB;
const LARGE_TINY = 4 * MIB;
/** Sets between two looks at whether the cache is full. */
const PORTION = 10_000;
/** The cache is full when this part of what was set last has evicted something. */
const FULL_SHARE = 0.5;
const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
const PROBE = new URL(`./probe.${EXTENSION}`, import.meta.url);
const CHILD = fileURLToPath(new URL(`./large_child.${EXTENSION}`, import.meta.url));

/** Pages and documents in turn. */
export class MixedValues {
  readonly #pages: readonly Uint8Array[];
  readonly #documents: readonly string[];

  constructor(count: number) {
    this.#pages = readFilePages(count, 4096, 0, 1);
    this.#documents = Array.from({ length: count }, (_, nth) => documentAt(nth));
  }

  at(nth: number): Uint8Array | string {
    const of = (nth & 1) === 0 ? this.#pages : this.#documents;
    return of[(nth >>> 1) % of.length]!;
  }
}

/** A cache, and how many values were set: their numbers are 0 … sets − 1. */
export interface Filled {
  readonly cache: Cache<string, Uint8Array | string>;
  readonly sets: number;
}

/** Sets values until every other set evicts one. */
export function fill(cache: Filled["cache"], values: MixedValues): Filled {
  let sets = 0;
  for (let evictions = 0; ; ) {
    for (let nth = 0; nth < PORTION; nth++, sets++) cache.set(`item:${sets}`, values.at(sets));
    const now = cache.stats().evictions;
    if (now - evictions > FULL_SHARE * PORTION) return { cache, sets };
    evictions = now;
  }
}

/** The numbers of the values that were not evicted. */
function storedIn({ cache, sets }: Filled): Uint32Array {
  const stored = new Uint32Array(sets);
  let count = 0;
  for (let nth = 0; nth < sets; nth++) if (cache.has(`item:${nth}`)) stored[count++] = nth;
  return stored.subarray(0, count);
}

/** The longest gap of a thread that does nothing but look at the clock, since the last call; ms. */
class Probe {
  readonly #worker = new Worker(PROBE);

  async take(): Promise<number> {
    this.#worker.postMessage(undefined);
    const [gapMs] = (await once(this.#worker, "message")) as [number];
    return gapMs;
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }
}

interface Window {
  readonly cpuUs: number;
  readonly hitShare: number;
  readonly stallMs: number;
}

class Lane {
  readonly #filled: Filled;
  readonly #values: MixedValues;
  readonly #order: Readonly<Record<LargeRow["keys"], Uint32Array>>;
  readonly #probe: Probe;
  #at = 0;

  constructor(filled: Filled, values: MixedValues, probe: Probe, requests: number) {
    this.#filled = filled;
    this.#values = values;
    this.#probe = probe;
    const stored = storedIn(filled);
    const step = Math.floor(stored.length * 0.382) | 1;
    const uniform = Uint32Array.from({ length: requests }, (_, n) => (n * step) % stored.length);
    const all = { uniform, zipf: drawOrder(stored.length, requests, 1) };
    for (const order of Object.values(all)) {
      for (const [nth, at] of order.entries()) order[nth] = stored[at]!;
    }
    this.#order = all;
  }

  async window({ operation, keys }: Pick<LargeRow, "operation" | "keys">, count: number) {
    const order = this.#order[keys];
    const { cache } = this.#filled;
    await this.#probe.take();
    const begin = process.cpuUsage();
    let hits = 0;
    let [worstMs, lastMs] = [0, performance.now()];
    for (let nth = 0; nth < count; nth++) {
      const key = order[this.#at++ % order.length]!;
      if (operation === "get") hits += cache.get(`item:${key}`) === undefined ? 0 : 1;
      else cache.set(`item:${key}`, this.#values.at(key));
      const nowMs = performance.now();
      if (nowMs - lastMs > worstMs) worstMs = nowMs - lastMs;
      lastMs = nowMs;
    }
    const { user, system } = process.cpuUsage(begin);
    const gapMs = await this.#probe.take();
    const window: Window = {
      ...{ cpuUs: (user + system) / count, hitShare: hits / count },
      stallMs: worstMs - gapMs,
    };
    return window;
  }
}

async function measure(small: Lane, large: Lane, scale: Scale): Promise<LargeRow[]> {
  const rows: LargeRow[] = [];
  for (const operation of ["get", "set"] as const) {
    for (const keys of ["uniform", "zipf"] as const) {
      const pairs: (readonly [Window, Window])[] = [];
      for (const lane of [small, large]) await lane.window({ operation, keys }, scale.operations);
      for (let round = 0; round < scale.rounds; round++) {
        const first = await small.window({ operation, keys }, scale.operations);
        pairs.push([first, await large.window({ operation, keys }, scale.operations)]);
      }
      rows.push({
        ...{ operation, keys },
        smallUs: median(pairs.map(([one]) => one.cpuUs)),
        largeUs: median(pairs.map(([, two]) => two.cpuUs)),
        largeBySmall: median(pairs.map(([one, two]) => two.cpuUs / one.cpuUs)),
        hitShare: median(pairs.map(([, two]) => two.hitShare)),
        stallMs: Math.max(...pairs.map(([, two]) => two.stallMs)),
      });
    }
  }
  return rows;
}

/** Fills a cache with `persist` in one process, and opens it in another. */
function restart(memoryMax: number, folder: string, tiny: boolean): readonly LargeRestart[] {
  const files = mkdtempSync(join(folder, "zcache-large-"));
  try {
    return ["fill", "open"].map((step) => {
      const args = [CHILD, step, String(memoryMax), join(files, "cache"), String(tiny)];
      const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: "utf8" });
      if (status !== 0) throw new Error(`${step}: ${stderr}`);
      return JSON.parse(stdout) as LargeRestart;
    });
  } finally {
    rmSync(files, { recursive: true, force: true });
  }
}

export async function benchLarge(
  options: LargeBenchOptions = {},
): Promise<{ readonly rows: readonly LargeRow[]; readonly restarts: readonly LargeRestart[] }> {
  const { tiny = false, hugePages = false, folder = tmpdir(), print = console.log } = options;
  const scale = tiny ? TINY : FULL;
  const memoryMax = parseSize(options.memoryMax ?? (tiny ? LARGE_TINY : LARGE), "memoryMax");
  print(`large: ${formatBytes(memoryMax)}, load ${loadavg()[0]!.toFixed(1)} at the start`);
  // First, because this process keeps the memory of a closed cache until it is collected.
  const restarts = restart(memoryMax, folder, tiny);
  for (const [nth, { ms, entries, memoryUsed, fileBytes }] of restarts.entries()) {
    print(
      `${nth === 0 ? "filled and closed" : "restarted"}: ${ms.toFixed(0)} ms, ` +
        `${entries} entries, ${formatBytes(memoryUsed)}, files ${formatBytes(fileBytes)}`,
    );
  }
  const values = new MixedValues(scale.values);
  const probe = new Probe();
  const open = (memoryMax: number) => {
    const beginMs = performance.now();
    const cache = Cache.create<string, Uint8Array | string>({
      ...{ memoryMax, tiers: false, dictionary: false, hugePages: hugePages ? "auto" : "off" },
    });
    const filled = fill(cache, values);
    const { entries, memoryUsed, store } = cache.stats();
    print(
      `${formatBytes(memoryMax)}: ${entries} entries, ${formatBytes(memoryUsed)} ` +
        `in ${store.shards} shards, ` +
        `${(performance.now() - beginMs).toFixed(0)} ms for ${filled.sets} sets`,
    );
    return filled;
  };
  const filled = [open(scale.small), open(memoryMax)] as const;
  const requests = (2 + scale.rounds) * scale.operations;
  const [small, large] = filled.map((one) => new Lane(one, values, probe, requests));
  const rows = await measure(small!, large!, scale);
  print(`resident: ${formatBytes(process.memoryUsage.rss())}`);
  print("| operation | keys | small µs | large µs | large ÷ small | hits | stall, ms |");
  print("|---|---|---|---|---|---|---|");
  for (const { operation, keys, smallUs, largeUs, largeBySmall, hitShare, stallMs } of rows) {
    const [one, two] = [smallUs.toFixed(2), largeUs.toFixed(2)];
    print(
      `| ${operation} | ${keys} | ${one} | ${two} | ${largeBySmall.toFixed(2)} ` +
        `| ${operation === "get" ? hitShare.toFixed(3) : "–"} | ${stallMs.toFixed(1)} |`,
    );
  }
  await probe.end();
  for (const { cache } of filled) {
    cache.group.verify();
    cache.close();
  }
  print("verify: holds");
  return { rows, restarts };
}
