// The histogram of stored sizes: how well what is held compresses, and what does not at all.
import type { Sizes } from "./api.ts";
import { colourOf } from "./colours.ts";
import { el, setText } from "./dom.ts";
import { ask } from "./fetch.ts";
import { count, percent } from "./format.ts";
import { barConfig, LiveChart } from "./live_chart.ts";

export class SizeHistogram {
  readonly element: HTMLElement;
  readonly #chart = new LiveChart(
    "Stored sizes",
    "Share of what is in the pool, by its size as it is stored; the last bar is whole pages.",
    () => barConfig("stored bytes", "% of what is in the pool"),
  );
  readonly #text = el("p", { class: "key" });
  readonly #path: string;
  #last: Sizes | undefined;

  /** @param path of the service, below /api */
  constructor(path: string) {
    this.#path = path;
    this.element = this.#chart.element;
    this.element.append(this.#text);
  }

  /** Asks anew and draws. @throws as `ask` */
  async refresh(): Promise<void> {
    this.#last = await ask<Sizes>(`${this.#path}/sizes`);
    this.draw();
  }

  draw(): void {
    if (this.#last === undefined) return;
    const { bins, looked, of, pageSizeBytes, sameFilled, raw, fast, dense } = this.#last;
    const all = Math.max(1, looked);
    const labels = bins.map((_, bin) => (bin * pageSizeBytes) / bins.length);
    const shares = bins.map((number) => (number / all) * 100);
    const colour = colourOf(0);
    const dataset = { label: "% in the pool", data: shares, backgroundColor: colour };
    this.#chart.draw([{ ...dataset, barPercentage: 1, categoryPercentage: 0.95 }], labels);
    const kinds = [
      ["by the codec", fast],
      ["by the denser codec", dense],
      ["stored as they came", raw],
    ] as const;
    const shown = kinds.filter(([, number]) => number > 0);
    const text = shown.map(([name, number]) => `${percent(number / all)} ${name}`);
    const same =
      sameFilled > 0 ? [`besides, ${count(sameFilled)} same-filled, which take none`] : [];
    const what =
      looked === 0
        ? ["Nothing is in the pool yet"]
        : [`${count(looked)} of ${count(Math.max(of, looked))} looked at`];
    setText(this.#text, `${[...what, ...text, ...same].join("; ")}.`);
  }

  clear(): void {
    this.#chart.clear();
  }
}
