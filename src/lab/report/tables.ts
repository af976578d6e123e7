// The tables of an analysis, as cells of text; text.ts draws them as plain text, html.ts as HTML.
import { formatBytes, KIB } from "../../base/units.ts";
import type { Report } from "../analysis.ts";
import { count, micros, percent, plural, times } from "./format.ts";

export interface Table {
  readonly title: string;
  /** Columns before this one have names, aligned left; the others have numbers, aligned right. */
  readonly names: number;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

export function codecTable({ codecs }: Report): Table {
  return {
    title: "Codecs",
    names: 1,
    head: [
      "codec",
      "mean size",
      "p50",
      "p90",
      "incompressible",
      "compress",
      "p99",
      "decompress",
      "p99",
    ],
    rows: codecs.map((one) => [
      one.codec,
      `${Math.round(one.mean_bytes)} B`,
      `${one.p50_bytes} B`,
      `${one.p90_bytes} B`,
      percent(one.incompressible_share),
      micros(one.compress_ns.median),
      micros(one.compress_ns.p99),
      micros(one.decompress_ns.median),
      micros(one.decompress_ns.p99),
    ]),
  };
}

export function poolTable({ results }: Report): Table {
  return {
    title: "Pools",
    names: 2,
    head: ["codec", "pool", "ratio", "held", "pool", "utilised", "put", "p99", "get", "p99"],
    rows: results.map((one) => [
      one.codec,
      one.pool,
      times(one.effective_ratio),
      formatBytes(one.held_bytes),
      formatBytes(one.pool_bytes),
      percent(one.utilisation),
      micros(one.put_ns.median),
      micros(one.put_ns.p99),
      micros(one.get_ns.median),
      micros(one.get_ns.p99),
    ]),
  };
}

/**
 * With fewer pages, the partly filled units at the ends of a pool's classes weigh as much as its
 * content.
 */
const PAGES_FEW = 2048;

/** Sentences on the input, and on the part of it that needs no codec. */
export function summary(report: Report): string[] {
  const { input, pages, page_size, same_filled_pages, zero_pages } = report;
  const what = `${formatBytes(report.original_bytes)} in ${plural(pages, "page")}`;
  const from = input.pieces === 1 ? "1 file or region" : `${count(input.pieces)} files or regions`;
  const lines = [`${what} of ${page_size / KIB} KiB, from ${from}.`];
  if (input.sample !== null) {
    const { pages: taken, of_pages, seed } = input.sample;
    const drawn = `${count(taken)} of ${plural(of_pages, "page")}, drawn at random (seed ${seed})`;
    lines.push(`A fair sample: ${drawn}.`);
  }
  if (input.limited) lines.push(`Stopped at the limit of ${formatBytes(input.limit_bytes!)}.`);
  const same = percent(pages === 0 ? 0 : same_filled_pages / pages);
  const filled = `${plural(same_filled_pages, "page")} (${same})`;
  lines.push(`Same-filled: ${filled}, ${count(zero_pages)} of them zero.`);
  const elapsed = `${report.elapsed_seconds.toFixed(1)} s`;
  const inCodecs = `${report.codec_seconds.toFixed(1)} s`;
  const memory = formatBytes(report.memory.peak_bytes);
  lines.push(`Took ${elapsed}, codecs ${inCodecs}; at most ${memory} of memory for pages.`);
  lines.push(...input.notes.map((note) => `Note: ${note}.`));
  if (pages < PAGES_FEW) {
    lines.push(
      "Note: few pages leave much of every pool half full; with more, the ratios are higher.",
    );
  }
  return lines;
}
