// The charts of an analysis, as configurations for Chart.js: plain data without functions, which a
// page can embed as JSON.
import type { Report } from "../analysis.ts";
import { SIZE_BINS } from "../tally.ts";

export interface ChartSpec {
  readonly id: string;
  readonly title: string;
  /** A description of the chart for screen readers. */
  readonly label: string;
  /** A line under the title. */
  readonly caption: string;
  readonly heightPx: number;
  readonly config: Readonly<Record<string, unknown>>;
}

/**
 * Colours that most people with a colour deficiency can distinguish, on light and dark backgrounds.
 */
export const CODEC_COLOURS = ["#4269d0", "#e08a00", "#3ca951", "#c0507f", "#9c6ade", "#00a3b4"];
/** Point shapes of Chart.js, and characters that look like them. */
export const POOL_SHAPES = [
  ["circle", "●"],
  ["rect", "■"],
  ["triangle", "▲"],
  ["rectRot", "◆"],
  ["cross", "✚"],
  ["crossRot", "✖"],
  ["star", "✳"],
  ["line", "―"],
] as const;

export function colourOf(index: number): string {
  return CODEC_COLOURS[index % CODEC_COLOURS.length]!;
}

export function shapeOf(index: number): (typeof POOL_SHAPES)[number] {
  return POOL_SHAPES[index % POOL_SHAPES.length]!;
}

function axis(title: string, more: Record<string, unknown> = {}): Record<string, unknown> {
  return { title: { display: true, text: title }, beginAtZero: true, ...more };
}

const COMMON = { animation: false, maintainAspectRatio: false, responsive: true } as const;
const NO_LEGEND = { legend: { display: false } } as const;

/** Share of pages by compressed size, a stepped line for each codec. */
function sizesChart({ codecs, page_size, pages, same_filled_pages }: Report): ChartSpec {
  const seen = Math.max(1, pages - same_filled_pages);
  const binBytes = page_size / SIZE_BINS;
  return {
    id: "sizes",
    title: "Compressed sizes",
    label: "Share of pages by compressed size, for each codec",
    caption:
      "Share of the pages that are not same-filled; the last step is the incompressible ones.",
    heightPx: 320,
    config: {
      type: "line",
      data: {
        labels: Array.from({ length: SIZE_BINS + 1 }, (_, bin) => bin * binBytes),
        datasets: codecs.flatMap(({ codec, size_histogram, incompressible_share }, index) => {
          // A codec that compresses nothing, such as `none`, would flatten all others.
          if (incompressible_share === 1) return [];
          return {
            label: codec,
            data: size_histogram.map((number) => (number / seen) * 100),
            borderColor: colourOf(index),
            backgroundColor: `${colourOf(index)}33`,
            borderWidth: 2,
            fill: true,
            pointRadius: 0,
            stepped: "middle",
          };
        }),
      },
      options: {
        ...COMMON,
        interaction: { mode: "index", intersect: false },
        plugins: NO_LEGEND,
        scales: {
          x: axis("compressed bytes", {
            ticks: { autoSkip: true, maxTicksLimit: 5, maxRotation: 0 },
          }),
          y: axis("% of pages"),
        },
      },
    },
  };
}

/** Effective ratio by pool, a bar for each codec. */
function densityChart({ codecs, results }: Report): ChartSpec {
  const pools = [...new Set(results.map(({ pool }) => pool))];
  return {
    id: "density",
    title: "Density by pool",
    label: "Effective ratio by pool, for each codec: original bytes divided by everything held",
    caption: "Original bytes ÷ everything held, metadata included.",
    heightPx: 90 + pools.length * (18 + codecs.length * 16),
    config: {
      type: "bar",
      data: {
        labels: pools,
        datasets: codecs.map(({ codec }, index) => ({
          label: codec,
          data: pools.map(
            (pool) =>
              results.find((one) => one.pool === pool && one.codec === codec)?.effective_ratio ?? 0,
          ),
          backgroundColor: colourOf(index),
        })),
      },
      options: {
        ...COMMON,
        indexAxis: "y",
        interaction: { mode: "index", axis: "y", intersect: false },
        plugins: NO_LEGEND,
        scales: { x: axis("effective ratio"), y: { grid: { display: false } } },
      },
    },
  };
}

/** Ratio against time; the codec sets the colour, the pool the shape. */
function speedChart({ codecs, results }: Report): ChartSpec {
  const pools = [...new Set(results.map(({ pool }) => pool))];
  return {
    id: "speed",
    title: "Ratio against time per page",
    label:
      "Effective ratio against the median time of one put and one get, for each codec and pool",
    caption: "Up is denser, left is faster. Colour: codec; shape: pool.",
    heightPx: 360,
    config: {
      type: "scatter",
      data: {
        datasets: results.map((one) => ({
          label: `${one.codec} in ${one.pool}`,
          data: [{ x: (one.put_ns.median + one.get_ns.median) / 1000, y: one.effective_ratio }],
          borderColor: colourOf(codecs.findIndex(({ codec }) => codec === one.codec)),
          backgroundColor: `${colourOf(codecs.findIndex(({ codec }) => codec === one.codec))}66`,
          borderWidth: 2,
          pointStyle: shapeOf(pools.indexOf(one.pool))[0],
          radius: 6,
          hoverRadius: 9,
        })),
      },
      options: {
        ...COMMON,
        interaction: { mode: "nearest", intersect: false },
        plugins: NO_LEGEND,
        // The axis does not begin at zero, where the pools of one codec would overlap.
        scales: {
          x: axis("µs per page, put + get, median"),
          y: axis("effective ratio", { beginAtZero: false, grace: "10%" }),
        },
      },
    },
  };
}

export function chartsOf(report: Report): ChartSpec[] {
  return [sizesChart(report), densityChart(report), speedChart(report)];
}
