// The store beside the codec alone: the cost of index, pool, policy and locks in time and memory,
// with one thread and with two threads on one store.
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { nodePlatform } from "../../src/node/platform.ts";
import { Store } from "../../src/store/store.ts";
import { median } from "../codec/timing.ts";
import type { LaneInput, Order, Report } from "./lane.ts";

export interface StoreBenchOptions {
  /** A few pages in one round: only checks that the benchmark works. */
  readonly tiny?: boolean;
  readonly print?: (line: string) => void;
  /** Pages in all (default 1,000,000, or as many as the files of this machine have). */
  readonly pages?: number;
  readonly codec?: string;
  readonly pool?: string;
}

export interface StoreRow {
  readonly threads: number;
  readonly pages: number;
  /** ns per page and thread: the codec alone, then the store; medians of the rounds. */
  readonly encodeNs: number;
  readonly putNs: number;
  /** Overwrites: by the same page, and by another page. */
  readonly againNs: number;
  readonly otherNs: number;
  readonly decodeNs: number;
  readonly getNs: number;
  /** Pages per second of all threads together. */
  readonly putsPerSecond: number;
  readonly getsPerSecond: number;
  readonly compressedBytes: number;
  readonly residentBytes: number;
}

const PAGE_SIZE = 4096;
const ROUNDS = 3;
const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
const LANE = new URL(`./lane.${EXTENSION}`, import.meta.url);

/** Runs all rounds. @returns a row for one thread and a row for two */
export async function benchStore(options: StoreBenchOptions = {}): Promise<StoreRow[]> {
  const { tiny = false, print = console.log } = options;
  const { pages = tiny ? 2000 : 1_000_000, codec = "lz4", pool = "dense" } = options;
  const rows: StoreRow[] = [];
  for (const threads of [1, 2]) {
    rows.push(await runThreads({ threads, pages, codec, pool, rounds: tiny ? 1 : ROUNDS }));
  }
  report(rows, codec, pool, print);
  return rows;
}

interface Run {
  readonly threads: number;
  readonly pages: number;
  readonly codec: string;
  readonly pool: string;
  readonly rounds: number;
}

async function runThreads({ threads, pages, codec, pool, rounds }: Run): Promise<StoreRow> {
  const lanes = Array.from({ length: threads }, (_, lane) => {
    const input: LaneInput = { pages, pageSize: PAGE_SIZE, lane, lanes: threads, codec };
    return new Worker(LANE, { workerData: input });
  });
  const all = (order: Order) => Promise.all(lanes.map((lane) => run(lane, order)));
  await all({ phase: "load" });
  const codecRounds: Report[][] = [await all({ phase: "codec" })];
  const compressed = sumOf(codecRounds[0]!, (report) => report.compressedBytes!);
  const memoryMax = Math.min(2 ** 32 - 65_536, Math.ceil(compressed * 1.1) + 2 ** 23);
  const watermarks = { lowWatermark: 0.01, highWatermark: 0.02 };
  const store = Store.create({ memoryMax, codec, pool, ...watermarks }, nodePlatform());
  const id = store.createPool({ persistent: true });
  await all({ phase: "attach", share: store.share(), pool: id });
  // Warm-up, as for the codec.
  await all({ phase: "put" });
  const stats = store.stats();
  const puts: Report[][] = [];
  const gets: Report[][] = [];
  const agains: Report[][] = [];
  const others: Report[][] = [];
  for (let round = 0; round < rounds; round++) {
    await all({ phase: "flush" });
    puts.push(await all({ phase: "put" }));
    gets.push(await all({ phase: "get" }));
    codecRounds.push(await all({ phase: "codec" }));
    agains.push(await all({ phase: "again" }));
    others.push(await all({ phase: "other" }));
  }
  await all({ phase: "detach" });
  for (const lane of lanes) await lane.terminate();
  store.verify();
  store.close();
  for (const { wrong } of [...puts, ...gets, ...agains, ...others].flat()) {
    if (wrong !== 0) throw new Error(`${wrong} pages were refused, missed or wrong`);
  }
  const done = sumOf(puts[0]!, (report) => report.pages);
  const perPage = (reports: Report[][], of: (report: Report) => number) =>
    median(reports.map((round) => (sumOf(round, of) * 1e6) / done));
  const perSecond = (reports: Report[][]) =>
    median(reports.map((round) => done / (Math.max(...round.map(({ ms }) => ms)) / 1000)));
  return {
    threads,
    pages: done,
    encodeNs: perPage(codecRounds.slice(1), (report) => report.encodeMs!),
    putNs: perPage(puts, (report) => report.ms),
    againNs: perPage(agains, (report) => report.ms),
    otherNs: perPage(others, (report) => report.ms),
    decodeNs: perPage(codecRounds.slice(1), (report) => report.decodeMs!),
    getNs: perPage(gets, (report) => report.ms),
    putsPerSecond: perSecond(puts),
    getsPerSecond: perSecond(gets),
    compressedBytes: stats.compr_data_size,
    residentBytes: stats.mem_used_total,
  };
}

async function run(lane: Worker, order: Order): Promise<Report> {
  const answer = once(lane, "message");
  lane.postMessage(order);
  return (await answer)[0] as Report;
}

function sumOf(reports: readonly Report[], of: (report: Report) => number): number {
  return reports.reduce((sum, report) => sum + of(report), 0);
}

function report(
  rows: readonly StoreRow[],
  codec: string,
  pool: string,
  print: (line: string) => void,
): void {
  print(`store: ${codec}, ${pool}, ns per page and thread; the codec alone on the same pages`);
  for (const row of rows) {
    const put = (row.putNs / row.encodeNs).toFixed(2);
    const get = (row.getNs / row.decodeNs).toFixed(2);
    const again = (row.againNs / row.encodeNs).toFixed(2);
    const other = (row.otherNs / row.encodeNs).toFixed(2);
    print(
      `${row.threads} thread(s), ${row.pages} pages: ` +
        `put ${row.putNs.toFixed(0)} / ${row.encodeNs.toFixed(0)} = ${put}, ` +
        `overwritten by the same page ${row.againNs.toFixed(0)} = ${again}, ` +
        `by another ${row.otherNs.toFixed(0)} = ${other}, ` +
        `get ${row.getNs.toFixed(0)} / ${row.decodeNs.toFixed(0)} = ${get}, ` +
        `resident ÷ compressed ${(row.residentBytes / row.compressedBytes).toFixed(4)}`,
    );
  }
  const [one, two] = rows as [StoreRow, StoreRow];
  const puts = (two.putsPerSecond / one.putsPerSecond).toFixed(2);
  const gets = (two.getsPerSecond / one.getsPerSecond).toFixed(2);
  const encode = ((2 * one.encodeNs) / two.encodeNs).toFixed(2);
  const decode = ((2 * one.decodeNs) / two.decodeNs).toFixed(2);
  print(`two threads ÷ one: put ${puts}, get ${gets}; the codec alone ${encode}, ${decode}`);
}
