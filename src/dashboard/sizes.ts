// The histogram of stored sizes: how well pages or values compress, and how many do not at all.
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
    "Entries in the pool by their stored size; the last bar counts those stored as whole pages.",
    () => barConfig("stored bytes", "% of entries"),
  );
  readonly #text = el("p", { class: "key" });
  readonly #path: string;
  #last: Sizes | undefined;

  /** @param path the path of the service below /api */
  constructor(path: string) {
    this.#path = path;
    this.element = this.#chart.element;
    this.element.append(this.#text);
  }

  /** Requests the sizes and draws them. @throws as `ask` */
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
    const dataset = { label: "% of entries", data: shares, backgroundColor: colour };
    this.#chart.draw([{ ...dataset, barPercentage: 1, categoryPercentage: 0.95 }], labels);
    const kinds = [
      ["compressed", fast],
      ["recompressed by the denser codec", dense],
      ["stored uncompressed", raw],
    ] as const;
    const shown = kinds.filter(([, number]) => number > 0);
    const text = shown.map(([name, number]) => `${percent(number / all)} ${name}`);
    const same =
      sameFilled > 0 ? [`plus ${count(sameFilled)} same-filled pages, which take no space`] : [];
    const what =
      looked === 0
        ? ["The pool is empty"]
        : [`${count(looked)} of ${count(Math.max(of, looked))} entries examined`];
    setText(this.#text, `${[...what, ...text, ...same].join("; ")}.`);
  }

  clear(): void {
    this.#chart.clear();
  }
}
