// Charts over the last minutes, and bars. Chart.js is a script of its own, which defines `Chart`.
import { styleColour } from "./colours.ts";
import { el } from "./dom.ts";

/** What is used of Chart.js. */
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
/** A minute is shown at least. */
const SPAN_MIN_S = 60;

/** A section with a title and a chart. */
export class LiveChart {
  readonly element: HTMLElement;
  readonly #canvas: HTMLCanvasElement;
  readonly #config: () => unknown;
  #chart: ChartHandle | undefined;

  /** @param config called anew when light turns to dark: Chart.js keeps colours of its own */
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

  /** Draws other data, where the chart is on the page. */
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

  /** Begins anew: its colours have changed, or it leaves the page. */
  clear(): void {
    this.#chart?.destroy();
    this.#chart = undefined;
  }
}

/** Takes the style's colours for all charts to come. */
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

/** Draws lines; the time shown is as long as the longest. */
export function drawLines(chart: LiveChart, lines: readonly Line[]): void {
  chart.draw(
    lines.map(({ label, colour, points }) => ({
      label,
      data: points,
      borderColor: colour,
      backgroundColor: colour,
      borderWidth: 2,
      pointRadius: points.length < 2 ? 2 : 0,
      // What is sampled has seconds without a sample.
      spanGaps: true,
    })),
  );
}

/** The labels of so many bars would not fit: those of the quarters do. */
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
