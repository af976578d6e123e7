// The results of a simulation, as tables of text and as a page with charts.
import { formatBytes } from "../../base/units.ts";
import { DEFAULT_POLICY, DEFAULT_VALUE_POLICY } from "../../policy/registry.ts";
import { type ChartSpec, colourOf } from "../report/charts.ts";
import { count, plural } from "../report/format.ts";
import { htmlPage, swatch } from "../report/page.ts";
import type { Table } from "../report/tables.ts";
import { alignTable, bar } from "../report/text.ts";
import type { SimulationRow } from "./simulation.ts";

/** The JSON of `zcache simulate`; docs/cli.md explains each field. */
export interface SimulationReport {
  readonly zcache: string;
  readonly schema: 1;
  readonly traces: readonly string[];
  readonly requests: number;
  readonly warmup: number;
  readonly overhead_bytes: number;
  readonly ratio: number;
  readonly elapsed_seconds: number;
  readonly results: readonly SimulationResult[];
}

export interface SimulationResult {
  readonly policy: string;
  /** Whether it is the default policy of stores of pages or of values. */
  readonly default: boolean;
  readonly memory_bytes: number;
  readonly requests: number;
  readonly hits: number;
  readonly hit_rate: number;
  readonly byte_hit_rate: number;
  readonly evictions: number;
  readonly refused: number;
  readonly too_large: number;
  readonly values_max: number;
  readonly used_bytes_max: number;
}

const BAR_WIDTH = 24;

export function resultOf(row: SimulationRow): SimulationResult {
  return {
    policy: row.policy,
    default: row.policy === DEFAULT_POLICY || row.policy === DEFAULT_VALUE_POLICY,
    memory_bytes: row.budgetBytes,
    requests: row.requests,
    hits: row.hits,
    hit_rate: row.hits / Math.max(1, row.requests),
    byte_hit_rate: row.hitBytes / Math.max(1, row.bytes),
    evictions: row.evictions,
    refused: row.refused,
    too_large: row.tooLarge,
    values_max: row.valuesMax,
    used_bytes_max: row.usedBytesMax,
  };
}

function budgetsOf({ results }: SimulationReport): number[] {
  return [...new Set(results.map((one) => one.memory_bytes))];
}

function tableOf(report: SimulationReport, memoryBytes: number): Table {
  const rows = report.results.filter((one) => one.memory_bytes === memoryBytes);
  return {
    title: `Memory ${formatBytes(memoryBytes)}`,
    names: 1,
    head: ["policy", "hit rate", "byte hit rate", "evictions", "refused", "values", "used"],
    rows: rows.map((one) => [
      one.policy,
      rate(one.hit_rate),
      rate(one.byte_hit_rate),
      count(one.evictions),
      count(one.refused),
      count(one.values_max),
      formatBytes(one.used_bytes_max),
    ]),
  };
}

/** A share in percent, with two decimals, because policies differ by tenths of a percent. */
function rate(share: number): string {
  return `${(share * 100).toFixed(2)} %`;
}

function summaryOf(report: SimulationReport): string[] {
  const { traces, requests, warmup, ratio, overhead_bytes } = report;
  const cold = warmup === 0 ? "" : `, the first ${count(warmup)} not counted`;
  const held = ratio === 1 ? "as they are" : `${ratio} times smaller`;
  return [
    `${traces.join(", ")}: ${plural(requests, "request")}${cold}.`,
    `Values are held ${held}, and each costs ${overhead_bytes} bytes more.`,
  ];
}

function adviceOf(report: SimulationReport): string {
  return budgetsOf(report)
    .map((memory) => {
      const rows = report.results.filter((one) => one.memory_bytes === memory);
      const best = rows
        .filter(({ policy }) => policy !== "belady")
        .reduce((a, b) => (b.hit_rate > a.hit_rate ? b : a), rows[0]!);
      return `Most hits in ${formatBytes(memory)}: ${best.policy}, ${rate(best.hit_rate)}.`;
    })
    .join(" ");
}

/** The report for a terminal. */
export function simulationText(report: SimulationReport): string {
  const parts = [summaryOf(report)];
  for (const memory of budgetsOf(report)) {
    const table = tableOf(report, memory);
    const rows = report.results.filter((one) => one.memory_bytes === memory);
    const most = Math.max(...rows.map((one) => one.hit_rate));
    const withBars = {
      ...table,
      head: [...table.head, ""],
      rows: table.rows.map((row, nth) => [...row, bar(rows[nth]!.hit_rate, most, BAR_WIDTH)]),
    };
    parts.push([table.title, ...alignTable(withBars)]);
  }
  parts.push([adviceOf(report)]);
  return `${parts.map((lines) => lines.join("\n")).join("\n\n")}\n`;
}

/** Hit rate against memory, a line for each policy; with one budget, a bar for each. */
function chartOf(report: SimulationReport, id: string, title: string, bytes: boolean): ChartSpec {
  const budgets = budgetsOf(report);
  const policies = policiesOf(report);
  const shareOf = (one: SimulationResult) => 100 * (bytes ? one.byte_hit_rate : one.hit_rate);
  const isLine = budgets.length > 1;
  return {
    id,
    title,
    label: `${title} by policy and memory`,
    caption: bytes ? "Bytes found ÷ bytes asked for." : "Requests that found their value.",
    heightPx: 340,
    config: {
      type: isLine ? "line" : "bar",
      data: {
        labels: isLine ? budgets.map(formatBytes) : policies,
        datasets: isLine
          ? policies.map((policy, nth) => ({
              label: policy,
              data: report.results.filter((one) => one.policy === policy).map(shareOf),
              borderColor: colourOf(nth),
              backgroundColor: colourOf(nth),
            }))
          : [
              {
                label: title,
                data: report.results.map(shareOf),
                backgroundColor: policies.map((_, nth) => colourOf(nth)),
              },
            ],
      },
      options: {
        animation: false,
        maintainAspectRatio: false,
        responsive: true,
        interaction: { mode: "index", intersect: false },
        plugins: { legend: { display: false } },
        scales: { y: { title: { display: true, text: "%" }, grace: "5%" } },
      },
    },
  };
}

function policiesOf({ results }: SimulationReport): string[] {
  return [...new Set(results.map(({ policy }) => policy))];
}

/** @param chartLibrary source text of Chart.js */
export function simulationPage(report: SimulationReport, chartLibrary: string): string {
  const keys = [
    policiesOf(report)
      .map((policy, nth) => swatch(colourOf(nth), policy))
      .join(""),
  ];
  return htmlPage(
    {
      title: `zcache simulate: ${report.traces.join(", ")}`,
      summary: summaryOf(report),
      advice: adviceOf(report),
      charts: [
        { spec: chartOf(report, "hits", "Hit rate", false), keys },
        { spec: chartOf(report, "bytes", "Byte hit rate", true), keys },
      ],
      tables: budgetsOf(report).map((memory) => tableOf(report, memory)),
      more: "",
      footer: `zcache ${report.zcache}`,
    },
    chartLibrary,
  );
}
