// A report as one self-contained page: style, data and the chart library are inside, and its
// content security policy forbids any request. Chart.js draws in the browser, so that charts fit
// the width of a phone or a screen with text of the same size. The tables have the same content as
// text.
import { printableJson, printableLines } from "../../base/printable.ts";
import type { ChartSpec } from "./charts.ts";
import type { Table } from "./tables.ts";

const STYLE = `
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --line: #d8dee4; --ground: #fff;
  --card: #f6f8fa; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9aa5b1; --line: #30363d; --ground: #0d1117; --card: #161b22; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1rem;
  color: var(--ink); background: var(--ground);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; margin: 0 0 .5rem; }
h2 { font-size: 1.1rem; margin: 0 0 .5rem; }
p { margin: 0 0 .5rem; }
.advice { background: var(--card); border-left: 4px solid #4269d0; padding: .75rem 1rem;
  margin: 1rem 0; }
section { border: 1px solid var(--line); border-radius: 8px; padding: 1rem; margin: 1rem 0;
  min-width: 0; }
.charts { display: grid; grid-template-columns: minmax(0, 1fr); gap: 0 1rem; }
@media (min-width: 56rem) {
  .charts { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .charts section:first-child { grid-column: 1 / -1; }
}
.canvas { position: relative; width: 100%; }
.key { color: var(--soft); font-size: .9rem; display: flex; flex-wrap: wrap; gap: .1rem .9rem; }
.swatch { display: inline-block; width: .8em; height: .8em; border-radius: 2px;
  margin-right: .35em; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
th { color: var(--soft); font-weight: 600; }
.name { text-align: left; }
td.name { font-weight: 600; }
details { margin: 1rem 0; }
footer { color: var(--soft); font-size: .85rem; }
`;

/**
 * Runs in the browser. Reads the colours from the style, and again whenever the colour scheme
 * changes.
 */
const SCRIPT = `
const specs = JSON.parse(document.getElementById("charts").textContent);
let drawn = [];
function draw() {
  const style = getComputedStyle(document.documentElement);
  Chart.defaults.color = style.getPropertyValue("--ink");
  Chart.defaults.borderColor = style.getPropertyValue("--line");
  Chart.defaults.font.family = "system-ui, sans-serif";
  for (const chart of drawn) chart.destroy();
  drawn = specs.map(({ id, config }) =>
    new Chart(document.getElementById(id), structuredClone(config)));
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
draw();
`;

/** Escapes text for HTML, between tags or in a quoted attribute. */
export function escapeHtml(text: string): string {
  // Replaces control characters too: a page may be printed in a terminal, and anybody may have
  // written its text.
  return printableLines(text)
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}

/** A value as JSON for a script element, which no `<` in it can end. */
function scriptJson(value: unknown): string {
  return printableJson(value).replaceAll("<", "\\u003c");
}

function tableHtml({ title, names, head, rows }: Table): string {
  const cells = (row: readonly string[], tag: "th" | "td") =>
    row
      .map((cell, column) => {
        const kind = column < names ? ' class="name"' : "";
        const scope = tag === "th" ? ' scope="col"' : "";
        return `<${tag}${kind}${scope}>${escapeHtml(cell)}</${tag}>`;
      })
      .join("");
  return `<section><h2>${escapeHtml(title)}</h2>
<div class="scroll" tabindex="0" role="group" aria-label="${escapeHtml(title)}, table"><table>
<thead><tr>${cells(head, "th")}</tr></thead>
<tbody>
${rows.map((row) => `<tr>${cells(row, "td")}</tr>`).join("\n")}
</tbody></table></div></section>`;
}

/** A chart with its legend. */
export interface KeyedChart {
  readonly spec: ChartSpec;
  /** HTML, each part a line. */
  readonly keys: readonly string[];
}

function chartHtml({ spec, keys }: KeyedChart): string {
  const { id, title, label, caption, heightPx } = spec;
  return `<section><h2>${escapeHtml(title)}</h2>
<p class="key">${escapeHtml(caption)}</p>
${keys.map((key) => `<div class="key">${key}</div>`).join("")}
<div class="canvas" style="height:${heightPx}px"><canvas id="${id}" role="img"
 aria-label="${escapeHtml(label)}. The same numbers stand in the tables below."></canvas></div>
</section>`;
}

/** An entry of a legend: a colour and what it means. */
export function swatch(colour: string, name: string): string {
  const sign = `<span class="swatch" style="background:${colour}"></span>`;
  return `<span>${sign}${escapeHtml(name)}</span>`;
}

export interface Page {
  readonly title: string;
  readonly summary: readonly string[];
  readonly advice: string;
  readonly charts: readonly KeyedChart[];
  readonly tables: readonly Table[];
  /** HTML after the tables. */
  readonly more: string;
  readonly footer: string;
}

/**
 * @param chartLibrary source text of Chart.js, as a script that defines the global `Chart`
 * @returns the whole page
 */
export function htmlPage(page: Page, chartLibrary: string): string {
  const policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
  const specs = page.charts.map(({ spec }) => spec);
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<link rel="icon" href="data:,">
<title>${escapeHtml(page.title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>${escapeHtml(page.title)}</h1>
${page.summary.map((line) => `<p>${escapeHtml(line)}</p>`).join("\n")}
<p class="advice">${escapeHtml(page.advice)}</p>
<div class="charts">
${page.charts.map(chartHtml).join("\n")}
</div>
${page.tables.map(tableHtml).join("\n")}
${page.more}
</main>
<footer>${escapeHtml(page.footer)} ·
charts by Chart.js</footer>
<script type="application/json" id="charts">${scriptJson(specs)}</script>
<script>${chartLibrary.replaceAll("</script", "<\\/script")}</script>
<script>${SCRIPT}</script>
</body>
</html>
`;
}
