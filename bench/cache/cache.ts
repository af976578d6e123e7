// Compares caches: memory, hit rate within a limit, speed with one and two threads, and work of the
// garbage collector. Each contender runs in a process of its own for each measurement, so that its
// memory is its own; the cost of the loops without a cache is measured too, and subtracted. Rounds
// of all contenders are interleaved, so that a slower machine affects all; medians are reported.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { MIB } from "../../src/base/units.ts";
import { median } from "../codec/timing.ts";
import { DOCUMENT_COUNT } from "../documents.ts";
import { BASELINE, contenderNames, findContender } from "./contenders.ts";
import { writePages } from "./data.ts";
import type { Answer, Job, Task } from "./job.ts";
import type { Speed } from "./lane.ts";
import { cacheReport } from "./report.ts";
import type { CacheRow, HitsResult, MemoryResult } from "./result.ts";

export interface CacheBenchOptions {
  /** Few values and one round: only checks that the benchmark works. */
  readonly tiny?: boolean;
  readonly print?: (line: string) => void;
  /** Names of contenders (default: all). */
  readonly only?: readonly string[];
  /** File for the result as JSON (default: none). */
  readonly json?: string;
}

interface Scale {
  readonly documents: number;
  readonly pages: number;
  readonly hitsMemory: number;
  readonly hitsRequests: number;
  readonly collected: number;
  readonly ms: number;
  readonly rounds: number;
  /** Maximum number of runs in the search for the limit that gives the wanted peak. */
  readonly tries: number;
}

const FULL: Scale = {
  documents: DOCUMENT_COUNT,
  pages: 100_000,
  hitsMemory: 64 * MIB,
  hitsRequests: 2_000_000,
  // 440,000 documents of 2.4 KiB: 1 GiB.
  collected: 440_000,
  ms: 3000,
  rounds: 3,
  tries: 5,
};
const TINY: Scale = {
  documents: 300,
  pages: 100,
  hitsMemory: 2 * MIB,
  hitsRequests: 1000,
  collected: 300,
  ms: 20,
  rounds: 1,
  tries: 1,
};
/** A peak may exceed the wanted memory by this factor. */
const OVER = 1.05;
/** The search ends when the peak is above this share of the wanted memory. */
const NEAR = 0.95;

const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
const CHILD = fileURLToPath(new URL(`./child.${EXTENSION}`, import.meta.url));
/** Caches on the heap of 1 GiB and more need a larger heap than Node's default. */
const NODE_FLAGS = ["--expose-gc", "--max-old-space-size=8192", "--no-warnings"];

class Bench {
  readonly #scale: Scale;
  readonly #folder: string;
  readonly #pageFile: string;
  readonly #pages: number;
  readonly #baselines = new Map<string, Answer>();

  constructor(scale: Scale, folder: string) {
    this.#scale = scale;
    this.#folder = folder;
    this.#pageFile = join(folder, "pages");
    this.#pages = writePages(this.#pageFile, scale.pages);
  }

  /** Runs one job in a process of its own. */
  run(contender: string, task: Task, more: Partial<Job> = {}): Answer {
    const folder = mkdtempSync(join(this.#folder, "run-"));
    const job: Job = {
      contender,
      task,
      values: "text",
      count: this.#scale.documents,
      pageFile: this.#pageFile,
      memoryBytes: undefined,
      amount: this.#scale.ms,
      threads: 1,
      folder,
      ...more,
    };
    try {
      const args = [...NODE_FLAGS, CHILD, JSON.stringify(job)];
      const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: "utf8" });
      const line = stdout.trim().split("\n").at(-1) ?? "";
      if (status === 0 && line !== "") return JSON.parse(line) as Answer;
      return { skipped: `failed (${status}): ${stderr.trim().split("\n").slice(-8).join(" | ")}` };
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  /** The memory of the same job without a cache. */
  #baseline(task: Task, more: Partial<Job>): Answer {
    const { memoryBytes: _, ...which } = more;
    const key = JSON.stringify([task, which]);
    const known = this.#baselines.get(key) ?? this.run(BASELINE, task, which);
    this.#baselines.set(key, known);
    return known;
  }

  memory(name: string, values: "text" | "bytes"): MemoryResult | string {
    const count = values === "text" ? this.#scale.documents : this.#pages;
    const more = { values, count } as const;
    const base = this.#baseline("memory", more);
    const answer = this.run(name, "memory", more);
    if (answer.skipped !== undefined) return answer.skipped;
    return {
      rawBytes: answer.rawBytes!,
      residentBytes: answer.nowBytes! - base.nowBytes!,
      peakBytes: answer.peakBytes! - base.peakBytes!,
      fileBytes: answer.fileBytes!,
    };
  }

  /** Hit rate at a peak of resident memory: adjusts the contender's limit until the peak fits. */
  hits(name: string): HitsResult | string {
    const { hitsMemory, hitsRequests, tries } = this.#scale;
    const more = { amount: hitsRequests };
    const base = this.#baseline("hits", more);
    let limitBytes = hitsMemory;
    let best: HitsResult | undefined;
    for (let nth = 0; nth < tries; nth++) {
      const answer = this.run(name, "hits", { ...more, memoryBytes: limitBytes });
      if (answer.skipped !== undefined) return answer.skipped;
      const peakBytes = Math.max(1, answer.peakBytes! - base.peakBytes!);
      const result = { rate: answer.hitRate!, peakBytes, limitBytes };
      const isBetter =
        best === undefined ||
        (peakBytes <= OVER * hitsMemory
          ? best.peakBytes > OVER * hitsMemory || result.rate > best.rate
          : peakBytes < best.peakBytes);
      if (isBetter) best = result;
      if (peakBytes <= OVER * hitsMemory && peakBytes >= NEAR * hitsMemory) break;
      limitBytes = Math.max(MIB, Math.floor((limitBytes * hitsMemory) / peakBytes));
    }
    return best!;
  }

  collector(name: string): NonNullable<CacheRow["collector"]> | string {
    const more = { count: this.#scale.collected, amount: 3 * this.#scale.ms };
    const answer = this.run(name, "collector", more);
    if (answer.skipped !== undefined) return answer.skipped;
    return { share: answer.collectorShare!, pauseMsMax: answer.pauseMsMax! };
  }

  twoThreads(name: string): NonNullable<CacheRow["twoThreads"]> | string {
    // The memory of the threads themselves does not belong to the cache.
    const base = this.#baseline("speed", { threads: 2 });
    const answer = this.run(name, "speed", { threads: 2 });
    if (answer.skipped !== undefined) return answer.skipped;
    const residentBytes = answer.nowBytes! - base.nowBytes!;
    return { mixedPerSecond: answer.mixedPerSecond!, residentBytes };
  }

  speed(name: string): Speed | string {
    const { skipped, speed } = this.run(name, "speed");
    return skipped ?? speed!;
  }
}

/** Collects the results of each round, field by field. */
class Rounds {
  readonly skipped: Record<string, string> = {};
  readonly #found = new Map<string, Readonly<Record<string, number>>[]>();

  add(field: string, result: object | string): void {
    if (typeof result === "string") this.skipped[field] = result;
    else this.#found.set(field, [...(this.#found.get(field) ?? []), { ...result }]);
  }

  /** The median of each figure. */
  row(name: string): CacheRow {
    const medians = [...this.#found].map(([field, all]) => {
      const figures = Object.keys(all[0]!).map((figure) => [
        figure,
        median(all.map((one) => one[figure]!)),
      ]);
      return [field, Object.fromEntries(figures)];
    });
    return { name, skipped: this.skipped, ...Object.fromEntries(medians) };
  }
}

/** Measures all contenders and prints tables. @returns a row for each contender */
export function benchCache(options: CacheBenchOptions = {}): CacheRow[] {
  const { tiny = false, print = console.log, only = contenderNames(), json } = options;
  for (const name of only) findContender(name);
  const scale = tiny ? TINY : FULL;
  const folder = mkdtempSync(join(tmpdir(), "zcache-bench-"));
  try {
    const bench = new Bench(scale, folder);
    const rounds = new Map(only.map((name) => [name, new Rounds()]));
    const each = (field: string, run: (name: string) => object | string) => {
      for (const [name, own] of rounds) {
        own.add(field, run(name));
        if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${field} ${name}`);
      }
    };
    each("documents", (name) => bench.memory(name, "text"));
    each("pages", (name) => bench.memory(name, "bytes"));
    each("hits", (name) => bench.hits(name));
    for (let round = 0; round < scale.rounds; round++) {
      each("speed", (name) => bench.speed(name));
      each("twoThreads", (name) => bench.twoThreads(name));
    }
    each("collector", (name) => bench.collector(name));
    if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
    const rows = [...rounds].map(([name, own]) => own.row(name));
    for (const line of cacheReport(rows, scale)) print(line);
    if (json !== undefined) writeFileSync(json, `${JSON.stringify({ scale, rows }, null, 2)}\n`);
    return rows;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
