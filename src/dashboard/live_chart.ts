// Line charts over the last minute, and bar charts, drawn by Chart.js. A script of its own loads
// Chart.js, which defines the global `Chart`.
import { styleColour } from "./colours.ts";
import { el } from "./dom.ts";

/** The part of Chart.js that is used here. */
interface ChartHandle {
  readonly data: { labels?: unknown[]; datasets: Record<string, unknown>[] };
  update(mode: "none"): void;
  destroy(): void;
}
declare const Chart: {
  new (canvas: HTMLCanvasElement, config: unknown): ChartHandle;
  readonly defaults: { color: string; borderColor: string; font: { family: string } };
};

export interface Line {
  readonly label: string;
  readonly colour: string;
  /** Seconds before now (negative) and values. */
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

const COMMON = { animation: false, maintainAspectRatio: false, responsive: true } as const;
/** The time that a chart shows. */
const SPAN_MIN_S = 60;

/** A section with a title and a chart. */
export class LiveChart {
  readonly element: HTMLElement;
  readonly #canvas: HTMLCanvasElement;
  readonly #config: () => unknown;
  #chart: ChartHandle | undefined;

  /** @param config called again when the colour scheme changes, because Chart.js copies colours */
  constructor(title: string, caption: string, config: () => unknown) {
    this.#canvas = el("canvas", { role: "img", "aria-label": `${title}. ${caption}` });
    this.#config = config;
    this.element = el(
      "section",
      {},
      el("h2", {}, title),
      el("p", { class: "key" }, caption),
      el("div", { class: "canvas" }, this.#canvas),
    );
  }

  /** Draws new data, if the chart is on the page. */
  draw(datasets: Record<string, unknown>[], labels?: unknown[]): void {
    if (!this.#canvas.isConnected) return;
    this.#chart ??= new Chart(this.#canvas, this.#config());
    const { data } = this.#chart;
    if (labels !== undefined) data.labels = labels;
    for (const [nth, dataset] of datasets.entries()) {
      const old = data.datasets[nth];
      if (old === undefined) data.datasets.push(dataset);
      else Object.assign(old, dataset);
    }
    data.datasets.length = datasets.length;
    this.#chart.update("none");
  }

  /** Discards the chart, because its colours have changed or it is no longer shown. */
  clear(): void {
    this.#chart?.destroy();
    this.#chart = undefined;
  }
}

/** Makes new charts use the colours of the style sheet. */
export function useStyleColours(): void {
  Chart.defaults.color = styleColour("--ink");
  Chart.defaults.borderColor = styleColour("--line");
  Chart.defaults.font.family = "system-ui, sans-serif";
}

/** The configuration of lines over time. */
export function timeConfig(unit: string, options: { max?: number; isLog?: boolean } = {}): unknown {
  return {
    type: "line",
    data: { datasets: [] },
    options: {
      ...COMMON,
      interaction: { mode: "index", axis: "x", intersect: false },
      plugins: { legend: { position: "bottom", labels: { boxWidth: 12, boxHeight: 12 } } },
      scales: {
        x: {
          type: "linear",
          min: -SPAN_MIN_S,
          max: 0,
          ticks: {
            maxRotation: 0,
            callback: (value: number) => (value === 0 ? "now" : `${Math.round(value)} s`),
          },
        },
        y: {
          ...(options.isLog === true
            ? { type: "logarithmic" }
            : { beginAtZero: true, suggestedMax: options.max ?? 1 }),
          ...(options.max === undefined ? {} : { max: options.max }),
          title: { display: true, text: unit },
        },
      },
    },
  };
}

/** Draws one line for each series. */
export function drawLines(chart: LiveChart, lines: readonly Line[]): void {
  chart.draw(
    lines.map(({ label, colour, points }) => ({
      label,
      data: points,
      borderColor: colour,
      backgroundColor: colour,
      borderWidth: 2,
      pointRadius: points.length < 2 ? 2 : 0,
      // Latency is sampled, so some seconds have no value.
      spanGaps: true,
    })),
  );
}

/** Labels every sixteenth bar, because labels for all do not fit. */
function everySixteenth(this: { getLabelForValue(bar: number): string }, bar: number) {
  return bar % 16 === 0 ? this.getLabelForValue(bar) : null;
}

/** The configuration of 64 bars, one for each label. */
export function barConfig(x: string, y: string): unknown {
  return {
    type: "bar",
    data: { labels: [], datasets: [] },
    options: {
      ...COMMON,
      interaction: { mode: "index", intersect: false },
      plugins: { legend: { display: false } },
      scales: {
        x: {
          title: { display: true, text: x },
          grid: { display: false },
          ticks: { autoSkip: false, maxRotation: 0, callback: everySixteenth },
        },
        y: { title: { display: true, text: y }, beginAtZero: true, suggestedMax: 1 },
      },
    },
  };
}
