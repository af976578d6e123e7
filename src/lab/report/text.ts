// The report for a terminal: plain aligned tables, bars for the histogram, the recommendation last.
import type { Report } from "../analysis.ts";
import { SIZE_BINS } from "../tally.ts";
import { percent } from "./format.ts";
import { codecTable, poolTable, summary, type Table } from "./tables.ts";

/** Rows of the histogram: 16 of four bins each, and one of incompressible pages. */
const ROWS = 16;
/** Columns for the bars of all codecs together, and for those of one. */
const BARS_WIDTH = 56;
const BAR_WIDTH_MAX = 20;
const EIGHTHS = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/** Draws a table in columns, each as wide as its widest cell. */
export function alignTable({ head, rows, names }: Omit<Table, "title">): string[] {
  const widths = head.map((cell, column) =>
    Math.max(cell.length, ...rows.map((row) => row[column]!.length)),
  );
  return [head, ...rows].map((row) =>
    row
      .map((cell, column) =>
        column < names ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!),
      )
      .join("  ")
      .trimEnd(),
  );
}

/** A bar of block characters. */
export function bar(share: number, shareMax: number, width: number): string {
  const eighths = shareMax === 0 ? 0 : Math.round((share / shareMax) * width * 8);
  const full = Math.floor(eighths / 8);
  return ("█".repeat(full) + EIGHTHS[eighths % 8]!).padEnd(width);
}

function histogram({ codecs, page_size, pages, same_filled_pages }: Report): string[] {
  const seen = pages - same_filled_pages;
  if (seen === 0) return [];
  const rows = codecs.map(({ size_histogram: bins }) => {
    const merged = Array.from({ length: ROWS }, (_, row) =>
      bins
        .slice((row * SIZE_BINS) / ROWS, ((row + 1) * SIZE_BINS) / ROWS)
        .reduce((a, b) => a + b, 0),
    );
    return [...merged, bins[SIZE_BINS]!].map((number) => number / seen);
  });
  const width = Math.min(BAR_WIDTH_MAX, Math.floor(BARS_WIDTH / codecs.length));
  const largest = Math.max(...rows.flat());
  const labels = Array.from({ length: ROWS }, (_, row) => {
    const from = (row * page_size) / ROWS;
    return `${from} – ${from + page_size / ROWS - 1}`;
  });
  const table = {
    names: 0,
    head: ["bytes", ...codecs.map(({ codec }) => codec.padEnd(width + 8))],
    rows: [...labels, "incompressible"].map((label, row) => [
      label,
      ...rows.map(
        (shares) => `${bar(shares[row]!, largest, width)} ${percent(shares[row]!).padStart(7)}`,
      ),
    ]),
  };
  return ["Compressed sizes, share of the pages that are not same-filled", ...alignTable(table)];
}

export function textReport(report: Report): string {
  const tables = [codecTable(report), poolTable(report)].map(alignTable);
  const parts = [summary(report), ...tables, histogram(report), [report.recommendation]];
  return `${parts
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join("\n"))
    .join("\n\n")}\n`;
}
