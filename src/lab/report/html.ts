// The report of an analysis as a page: charts with their legends, tables, and the list of skipped
// input.
import type { Report } from "../analysis.ts";
import { chartsOf, colourOf, shapeOf } from "./charts.ts";
import { escapeHtml, htmlPage, swatch } from "./page.ts";
import { codecTable, poolTable, summary } from "./tables.ts";

function codecKey({ codecs }: Report): string {
  return codecs.map(({ codec }, index) => swatch(colourOf(index), codec)).join("");
}

function poolKey({ results }: Report): string {
  return [...new Set(results.map(({ pool }) => pool))]
    .map((pool, index) => `<span>${shapeOf(index)[1]} ${escapeHtml(pool)}</span>`)
    .join("");
}

function skippedHtml({ input }: Report): string {
  if (input.skipped_count === 0) return "";
  const items = input.skipped.map(
    ({ name, reason }) => `<li>${escapeHtml(name)}: ${escapeHtml(reason)}</li>`,
  );
  const more = input.skipped_count - input.skipped.length;
  if (more > 0) items.push(`<li>and ${more} more</li>`);
  return `<details><summary>Not read: ${input.skipped_count}</summary>
<ul>${items.join("\n")}</ul></details>`;
}

/**
 * @param chartLibrary source text of Chart.js, as a script that defines the global `Chart`
 * @returns the whole page
 */
export function htmlReport(report: Report, chartLibrary: string): string {
  const codecs = codecKey(report);
  const implementations = report.codecs.map(
    ({ codec, implementation }) => `${codec}: ${implementation}`,
  );
  return htmlPage(
    {
      title: `zcache analyze: ${report.input.sources.join(", ")}`,
      summary: summary(report),
      advice: report.recommendation,
      charts: chartsOf(report).map((spec) => ({
        spec,
        keys: spec.id === "speed" ? [codecs, poolKey(report)] : [codecs],
      })),
      tables: [poolTable(report), codecTable(report)],
      more: skippedHtml(report),
      footer: `zcache ${report.zcache} · ${implementations.join(" · ")}`,
    },
    chartLibrary,
  );
}
