// Nanoseconds per malloc, free and read of every allocator on the traces of the vectors, beside
// those of the originals in C. Times differ between machines, so compare within one run; the
// reference for `read` is a copy of the same bytes in the same thread.
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { parseTraceLine } from "../../src/lab/trace.ts";
import { poolTypes } from "../../src/pool/registry.ts";
import type { BenchInput, PackedTrace, PoolTimes, Times } from "./pool_worker.ts";
import { histA, runWorkload } from "./workload.ts";

export type { PoolTimes } from "./pool_worker.ts";

export interface PoolBenchOptions {
  /** Some thousand operations in one run: only checks that the benchmark works. */
  readonly tiny?: boolean;
  /** Prints a line (default: standard output). */
  readonly print?: (line: string) => void;
}

const VECTORS = fileURLToPath(new URL("../../../test/vectors/", import.meta.url));
const TRACES = ["histA", "hist_mixlz4", "uniform"];
const RUNS = 7;
const TINY_OPS = 4096;
const LARGE_OBJECTS = 50_000;

/**
 * The original C code on the reference machine (AMD EPYC guest, gcc 12 -O2, 50,000 objects, histA):
 * ns of malloc and free, mean / 99.9th percentile, and mean of map + read + unmap.
 */
const IN_C: Readonly<Record<string, readonly [malloc: string, free: string, read: string]>> = {
  "zbud-6.12": ["15 / 150", "75 / 190", "71"],
  z3fold: ["24 / 180", "108 / 300", "137"],
  zblock: ["26 / 80", "31 / 110", "31"],
  "zsmalloc-2012": ["35 / 531", "45 / 180", "145"],
  zsmalloc: ["58 / 741", "70 / 220", "198"],
  dense: ["33 / 280", "274 / 871", "304"],
};

/** Times every allocator. @returns one row for each allocator and trace */
export async function benchPools(options: PoolBenchOptions = {}): Promise<PoolTimes[]> {
  const { tiny = false, print = console.log } = options;
  const names = tiny ? TRACES.slice(0, 1) : TRACES;
  const traces = names.map((name) => loadTrace(name, tiny ? TINY_OPS : Number.POSITIVE_INFINITY));
  if (!tiny) traces.push(makeTrace(LARGE_OBJECTS));
  const runs = tiny ? 1 : RUNS;
  const rows: PoolTimes[] = [];
  for (const type of poolTypes()) rows.push(...(await timePool({ type, traces, runs })));
  for (const { name } of traces) {
    report(
      rows.filter((row) => row.trace === name),
      print,
    );
  }
  return rows;
}

function loadTrace(name: string, opsMax: number): PackedTrace {
  const slots: number[] = [];
  const sizes: number[] = [];
  let phases = 0;
  let fillOps = 0;
  const lines = readFileSync(`${VECTORS}trace_${name}.csv`, "utf8").split("\n");
  for (const [index, line] of lines.entries()) {
    const step = parseTraceLine(line, index + 1);
    if (step === undefined || slots.length >= opsMax) continue;
    if (step.op === "phase") {
      if (++phases === 2) fillOps = slots.length;
      if (step.name !== "compact") continue;
    }
    slots.push(step.op === "phase" ? 0 : step.slot);
    sizes.push(step.op === "phase" ? -1 : step.op === "a" ? step.sizeBytes : 0);
  }
  return { name, slots: Int32Array.from(slots), sizes: Int32Array.from(sizes), fillOps };
}

/** The same kind of trace with `objects` objects, too many for the processor's caches. */
function makeTrace(objects: number): PackedTrace {
  const slots: number[] = [];
  const sizes: number[] = [];
  const step = (slot: number, size: number) => {
    slots.push(slot);
    sizes.push(size);
  };
  runWorkload(histA(), objects, { alloc: step, free: (slot) => step(slot, 0), phase: () => {} });
  const name = `histA with ${objects} objects`;
  return { name, slots: Int32Array.from(slots), sizes: Int32Array.from(sizes), fillOps: objects };
}

async function timePool(input: BenchInput): Promise<PoolTimes[]> {
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  const worker = new Worker(new URL(`./pool_worker.${extension}`, import.meta.url), {
    workerData: input,
  });
  const [rows] = (await once(worker, "message")) as [PoolTimes[]];
  await worker.terminate();
  return rows;
}

const COLUMNS = ["mean", "p50", "p99", "p99.9", "max"];
const NAME_WIDTH = 22;

function report(rows: readonly PoolTimes[], print: (line: string) => void): void {
  if (rows.length === 0) return;
  const timer = median(rows.map((row) => row.timerNs));
  const page = Math.min(...rows.map((row) => row.copyPageNsMean));
  print("");
  print(
    `trace ${rows[0]!.trace}: ns per call, the best of the runs; timer of ${ns(timer)} subtracted`,
  );
  print(`copy of 4096 bytes (kernels.copy): ${ns(page)}`);
  print(`${"".padEnd(NAME_WIDTH)}${COLUMNS.map((column) => column.padStart(8)).join("")}`);
  for (const row of rows) {
    print(row.type);
    const [malloc, free, read] = IN_C[row.type] ?? [];
    print(`${"  malloc".padEnd(NAME_WIDTH)}${timesText(row.malloc)}${inC(malloc)}`);
    print(`${"  free".padEnd(NAME_WIDTH)}${timesText(row.free)}${inC(free)}`);
    print(`${"  read".padEnd(NAME_WIDTH)}${timesText(row.read)}${inC(read)}`);
    const readRatio = (row.read.mean / row.copyNsMean).toFixed(2);
    const writeRatio = (row.writeNsMean / row.copyBackNsMean).toFixed(2);
    const note = `read ÷ copy of the same = ${readRatio}, write ÷ copy = ${writeRatio}`;
    print(`${"  write".padEnd(NAME_WIDTH)}${row.writeNsMean.toFixed(0).padStart(8)}   ${note}`);
  }
}

function timesText({ mean, p50, p99, p999, max }: Times): string {
  return [mean, p50, p99, p999, max].map((value) => value.toFixed(0).padStart(8)).join("");
}

function inC(times: string | undefined): string {
  return times === undefined ? "" : `   C on the reference machine: ${times}`;
}

function ns(value: number): string {
  return `${value.toFixed(0)} ns`;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}
