// How a cache scales with threads: two threads ÷ one, and sixteen threads on the processors that
// there are ÷ two, on one cache, for gets with 5 % and with 50 % sets, of documents and of pages.
//
// All threads are warmed up before anything is measured. Windows with few and with many threads
// take turns, so that a slower machine affects both; medians are reported. Two threads with a cache
// each show what the machine itself allows. A queueing model, fitted to the times for which one
// thread holds the locks, is compared with what was measured (model.ts).
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { MIB } from "../../src/base/units.ts";
import { Cache } from "../../src/index.ts";
import { openValues, writePages } from "../cache/data.ts";
import { median } from "../codec/timing.ts";
import * as Control from "./control.ts";
import { report } from "./report.ts";
import type { Reports, ThreadsRow } from "./result.ts";

export interface ThreadsBenchOptions {
  /** Few values and short windows: only checks that the benchmark works. */
  readonly tiny?: boolean;
  readonly print?: (line: string) => void;
}

interface Scale {
  readonly documents: number;
  readonly pages: number;
  readonly memory: number;
  readonly many: number;
  readonly warmUpMs: number;
  readonly windowMs: number;
  readonly rounds: number;
}

const FULL: Scale = {
  documents: 40_000,
  pages: 25_000,
  memory: 192 * MIB,
  many: 16,
  warmUpMs: 10_000,
  windowMs: 400,
  rounds: 15,
};
const TINY: Scale = {
  documents: 200,
  pages: 100,
  memory: 4 * MIB,
  many: 4,
  warmUpMs: 20,
  windowMs: 20,
  rounds: 3,
};
/** Sets in a thousand operations. */
const MIXES = [50, 500] as const;
const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
const LANE = new URL(`./lane.${EXTENSION}`, import.meta.url);

/** What a window is like. */
interface Setting {
  readonly kind: Control.Kind;
  readonly sets: number;
  readonly threads: number;
  readonly isOwn?: boolean;
  readonly isTimed?: boolean;
}

class Crew {
  readonly #control = new Int32Array(new SharedArrayBuffer(Control.CONTROL_WORDS * 4));
  readonly #reports: SharedArrayBuffer;
  readonly #workers: readonly Worker[];
  #ended = 0;

  constructor(scale: Scale, caches: Readonly<Record<Control.Kind, Cache>>, pageFile: string) {
    const { documents, pages, many } = scale;
    this.#reports = new SharedArrayBuffer(many * Control.REPORT_FLOATS * 8);
    this.#workers = Array.from({ length: many }, (_, nth) => {
      const input: Control.LaneInput = {
        nth,
        control: this.#control.buffer as SharedArrayBuffer,
        reports: this.#reports,
        counts: { documents, pages },
        pageFile,
        shares: { documents: caches.documents.share(), pages: caches.pages.share() },
        hasOwn: nth < 2,
      };
      return new Worker(LANE, { workerData: input });
    });
  }

  async ready(): Promise<void> {
    await Promise.all(
      this.#workers.map(
        (worker) =>
          new Promise((resolve, reject) => {
            worker.once("message", resolve);
            worker.once("error", reject);
          }),
      ),
    );
  }

  /** Runs a window. */
  async window(setting: Setting, ms: number): Promise<Reports> {
    const { kind, sets, threads, isOwn = false, isTimed = false } = setting;
    const control = this.#control;
    control[Control.ACTIVE] = threads;
    control[Control.SETS] = sets;
    control[Control.VALUES] = Control.KINDS.indexOf(kind);
    control[Control.OWN] = isOwn ? 1 : 0;
    control[Control.IS_TIMED] = isTimed ? 1 : 0;
    Atomics.store(control, Control.IS_OVER, 0);
    Atomics.store(control, Control.DONE, 0);
    Atomics.add(control, Control.WINDOW, 1);
    Atomics.notify(control, Control.WINDOW);
    await new Promise((resolve) => setTimeout(resolve, ms));
    Atomics.store(control, Control.IS_OVER, 1);
    while (Atomics.load(control, Control.DONE) < threads) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    const floats = new Float64Array(this.#reports);
    return Array.from({ length: threads }, (_, nth) =>
      floats.slice(nth * Control.REPORT_FLOATS, (nth + 1) * Control.REPORT_FLOATS),
    );
  }

  async end(): Promise<void> {
    if (this.#ended++ > 0) return;
    const ends = this.#workers.map(
      (worker) => new Promise((resolve) => worker.once("exit", resolve)),
    );
    this.#control[Control.ACTIVE] = 0;
    Atomics.add(this.#control, Control.WINDOW, 1);
    Atomics.notify(this.#control, Control.WINDOW);
    await Promise.all(ends);
  }
}

/** Operations per second of all threads of a window. */
function rateOf(reports: Reports): number {
  return reports.reduce(
    (sum, one) => sum + (1000 * one[Control.OPERATIONS]!) / one[Control.MS]!,
    0,
  );
}

type Medians = Omit<ThreadsRow, "kind" | "sets" | "timed" | "slowestByFastest">;

async function measure(
  crew: Crew,
  { windowMs, rounds, many }: Scale,
  setting: Omit<Setting, "threads">,
): Promise<ThreadsRow> {
  const run = (threads: number, more: Partial<Setting> = {}) =>
    crew.window({ ...setting, threads, ...more }, windowMs);
  const found = {
    ...{ one: [], twoByOne: [], ownByOne: [], manyByTwo: [], stolen: [] },
    ...{ oneCpuUs: [], twoByOneCpu: [], ownByOneCpu: [], manyByTwoCpu: [] },
  } as Record<keyof Medians, number[]>;
  const operations = new Float64Array(many);
  for (let round = 0; round < rounds; round++) {
    const single = await run(1);
    const one = rateOf(single);
    const pair = await run(2);
    const two = rateOf(pair);
    const all = await run(many);
    const ownPair = await run(2, { isOwn: true });
    const own = rateOf(ownPair);
    const oneCpuUs = cpuUsOf(single);
    found.oneCpuUs.push(oneCpuUs);
    found.twoByOneCpu.push((2 * oneCpuUs) / cpuUsOf(pair));
    found.ownByOneCpu.push((2 * oneCpuUs) / cpuUsOf(ownPair));
    found.one.push(one);
    found.twoByOne.push(two / one);
    found.ownByOne.push(own / one);
    found.manyByTwo.push(rateOf(all) / two);
    found.manyByTwoCpu.push(cpuUsOf(pair) / cpuUsOf(all));
    const [queued, on] = [Control.QUEUED_MS, Control.CPU_MS].map((at) => sumOf(pair, at));
    found.stolen.push(queued! / (queued! + on!));
    for (const [nth, one] of all.entries()) operations[nth]! += one[Control.OPERATIONS]!;
  }
  const timed = [await run(1, { isTimed: true }), await run(2, { isTimed: true })] as const;
  return {
    ...{ kind: setting.kind, sets: setting.sets, timed },
    ...(Object.fromEntries(
      Object.entries(found).map(([name, all]) => [name, median(all)]),
    ) as unknown as Medians),
    slowestByFastest: Math.min(...operations) / Math.max(...operations),
  };
}

/** Processor time of an operation. */
function cpuUsOf(reports: Reports): number {
  return (1000 * sumOf(reports, Control.CPU_MS)) / sumOf(reports, Control.OPERATIONS);
}

function sumOf(reports: Reports, at: number): number {
  return reports.reduce((sum, one) => sum + one[at]!, 0);
}

/** Runs all windows, prints a table. @returns a row for each mix of each kind of values */
export async function benchThreads(options: ThreadsBenchOptions = {}): Promise<ThreadsRow[]> {
  const { tiny = false, print = console.log } = options;
  const folder = mkdtempSync(join(tmpdir(), "zcache-threads-"));
  const pageFile = join(folder, "pages");
  const wanted = tiny ? TINY : FULL;
  const scale = { ...wanted, pages: writePages(pageFile, wanted.pages) };
  // Nothing works in the background, so that the threads meet only each other.
  const open = () =>
    Cache.create<string, string>({ memoryMax: scale.memory, tiers: false, dictionary: false });
  const caches = { documents: open() as Cache, pages: open() as Cache };
  const load = loadavg()[0]!;
  try {
    for (const kind of Control.KINDS) {
      const values = openValues(kind === "pages" ? "bytes" : "text", scale[kind], pageFile);
      for (let nth = 0; nth < scale[kind]; nth++)
        caches[kind].set(values.keys[nth]!, values.at(nth));
    }
    const crew = new Crew(scale, caches, pageFile);
    await crew.ready();
    const settings = MIXES.flatMap((sets) => Control.KINDS.map((kind) => ({ kind, sets })));
    for (const setting of settings) {
      await crew.window({ ...setting, threads: scale.many }, scale.warmUpMs);
      await crew.window({ ...setting, threads: 2, isOwn: true }, scale.warmUpMs);
    }
    const rows: ThreadsRow[] = [];
    for (const setting of settings) rows.push(await measure(crew, scale, setting));
    await crew.end();
    const keys = { documents: scale.documents, pages: scale.pages };
    const { many } = scale;
    report({ rows, many, processors: availableParallelism(), load, keys }, print);
    return rows;
  } finally {
    for (const cache of Object.values(caches)) cache.close();
    rmSync(folder, { recursive: true, force: true });
  }
}
