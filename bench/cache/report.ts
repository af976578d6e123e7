// The comparison as tables in Markdown. Each figure of a peer is followed by the ratio of zcache's
// figure to it in the same run; a ratio above 1 is better for zcache.
import { formatBytes, MIB } from "../../src/base/units.ts";
import type { CacheRow } from "./result.ts";

/** The row of zcache: the first whose name begins with "zcache" and that has the figure. */
const OURS = "zcache";

interface Column {
  readonly head: string;
  readonly of: (row: CacheRow) => number | undefined;
  readonly text: (figure: number) => string;
  /** Whether a higher or a lower figure is better; undefined: neither. */
  readonly better?: "more" | "less";
}

const mebibytes = (bytes: number) => (bytes / MIB).toFixed(1);
const thousands = (figure: number) => `${(figure / 1000).toFixed(1)} k`;
const percent = (share: number) => `${(share * 100).toFixed(1)} %`;
const micros = (us: number) => us.toFixed(2);

function memoryColumns(field: "documents" | "pages"): Column[] {
  return [
    {
      head: "resident MiB",
      of: (row) => row[field]?.residentBytes,
      text: mebibytes,
      better: "less",
    },
    { head: "peak MiB", of: (row) => row[field]?.peakBytes, text: mebibytes },
    { head: "files MiB", of: (row) => row[field]?.fileBytes, text: mebibytes },
    {
      head: "of raw",
      of: (row) => {
        const memory = row[field];
        return memory && Math.max(memory.residentBytes, memory.fileBytes) / memory.rawBytes;
      },
      text: percent,
    },
  ];
}

const HITS: readonly Column[] = [
  { head: "hit rate", of: (row) => row.hits?.rate, text: percent },
  { head: "peak MiB", of: (row) => row.hits?.peakBytes, text: mebibytes },
  { head: "limit MiB", of: (row) => row.hits?.limitBytes, text: mebibytes },
];

const SPEED: readonly Column[] = [
  { head: "get/s", of: (row) => row.speed?.getsPerSecond, text: thousands, better: "more" },
  { head: "set/s", of: (row) => row.speed?.setsPerSecond, text: thousands, better: "more" },
  { head: "mixed/s", of: (row) => row.speed?.mixedPerSecond, text: thousands, better: "more" },
  { head: "get p50 µs", of: (row) => row.speed?.getP50Us, text: micros },
  { head: "p99", of: (row) => row.speed?.getP99Us, text: micros },
  { head: "set p50 µs", of: (row) => row.speed?.setP50Us, text: micros },
  { head: "p99", of: (row) => row.speed?.setP99Us, text: micros },
];

const THREADS: readonly Column[] = [
  {
    head: "mixed/s, two",
    of: (row) => row.twoThreads?.mixedPerSecond,
    text: thousands,
    better: "more",
  },
  {
    head: "of one",
    of: ({ twoThreads, speed }) =>
      twoThreads && speed && twoThreads.mixedPerSecond / speed.mixedPerSecond,
    text: (ratio) => `${ratio.toFixed(2)} ×`,
  },
  {
    head: "resident MiB",
    of: (row) => row.twoThreads?.residentBytes,
    text: mebibytes,
    better: "less",
  },
];

const COLLECTOR: readonly Column[] = [
  { head: "share of time", of: (row) => row.collector?.share, text: percent },
  { head: "longest pause ms", of: (row) => row.collector?.pauseMsMax, text: (ms) => ms.toFixed(1) },
];

function table(
  title: string,
  field: string,
  rows: readonly CacheRow[],
  columns: readonly Column[],
) {
  const heads = columns.flatMap(({ head, better }) => (better ? [head, "ours"] : [head]));
  const lines = [`\n### ${title}\n`, `| cache | ${heads.join(" | ")} |`];
  lines.push(`|---|${heads.map(() => "---:|").join("")}`);
  const skipped: string[] = [];
  for (const row of rows) {
    const reason = row.skipped[field];
    if (reason !== undefined) {
      skipped.push(`${row.name}: ${reason}`);
      continue;
    }
    const cells = columns.flatMap((column) => cellsOf(column, row, rows));
    lines.push(`| ${row.name} | ${cells.join(" | ")} |`);
  }
  if (skipped.length > 0) lines.push(`\nLeft out: ${skipped.join("; ")}.`);
  return lines;
}

function cellsOf(column: Column, row: CacheRow, rows: readonly CacheRow[]): string[] {
  const figure = column.of(row);
  const cell = figure === undefined ? "–" : column.text(figure);
  if (column.better === undefined) return [cell];
  const own = rows.find(({ name }) => name.startsWith(OURS) && hasFigure(column, rows, name));
  const ours = own && column.of(own);
  if (ours === undefined || figure === undefined || figure <= 0 || ours <= 0) return [cell, "–"];
  const ratio = column.better === "more" ? ours / figure : figure / ours;
  return [cell, `${ratio.toFixed(2)} ×`];
}

function hasFigure(column: Column, rows: readonly CacheRow[], name: string): boolean {
  const row = rows.find((one) => one.name === name);
  return row !== undefined && column.of(row) !== undefined;
}

export interface ReportScale {
  readonly documents: number;
  readonly pages: number;
  readonly hitsMemory: number;
  readonly hitsRequests: number;
  readonly collected: number;
  readonly rounds: number;
}

/** @returns lines of Markdown */
export function cacheReport(rows: readonly CacheRow[], scale: ReportScale): string[] {
  const { documents, pages, hitsMemory, hitsRequests, collected, rounds } = scale;
  const memory = formatBytes(hitsMemory);
  const hits = `Hits within ${memory}, ${hitsRequests} requests, the second half counted`;
  const speed = `One thread, Zipf 0.99, medians of ${rounds}`;
  const threads = `Two worker threads, 95 % gets, medians of ${rounds}`;
  return [
    ...table(`Memory of ${documents} documents`, "documents", rows, memoryColumns("documents")),
    ...table(`Memory of ${pages} pages of 4 KiB`, "pages", rows, memoryColumns("pages")),
    ...table(hits, "hits", rows, HITS),
    ...table(speed, "speed", rows, SPEED),
    ...table(threads, "twoThreads", rows, THREADS),
    ...table(`The collector, ${collected} documents held`, "collector", rows, COLLECTOR),
  ];
}
