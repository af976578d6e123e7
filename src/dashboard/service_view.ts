// One service on the page: figures, charts, memory, events, memory map and what-if figures.
import { MIB } from "../base/units.ts";
import { quantile, type ServicePicture } from "./api.ts";
import { colourOf } from "./colours.ts";
import { el } from "./dom.ts";
import { Events } from "./events.ts";
import { words } from "./format.ts";
import { History, type Moment } from "./history.ts";
import { HitRatesForm } from "./hit_rates.ts";
import { drawLines, type Line, LiveChart, timeConfig } from "./live_chart.ts";
import { MemoryBars } from "./memory.ts";
import { MemoryMap } from "./memory_map.ts";
import { SizeHistogram } from "./sizes.ts";
import { latencyNow, Tiles } from "./tiles.ts";
import { WhatIfForm } from "./what_if.ts";

const SHOWN_S = 60;
const US = 1000;

type Value = (moment: Moment) => number | undefined;

export class ServiceView {
  readonly element: HTMLElement;
  readonly name: string;
  readonly #history = new History();
  readonly #tiles = new Tiles();
  readonly #memory = new MemoryBars();
  readonly #events = new Events();
  readonly #map: MemoryMap;
  readonly #sizes: SizeHistogram;
  readonly #whatIf: WhatIfForm;
  readonly #hitRates: HitRatesForm;
  readonly #operations = new LiveChart("Operations", "Requests per second, by kind.", () =>
    timeConfig("per second"),
  );
  readonly #hitRate = new LiveChart("Hit rate", "Hits per look-up, for each second.", () =>
    timeConfig("%", { max: 100 }),
  );
  readonly #latency: LiveChart;
  readonly #bytes = new LiveChart("Memory over time", "Data, compressed data, memory in use.", () =>
    timeConfig("MiB"),
  );
  #isShown = false;

  constructor(picture: ServicePicture) {
    this.name = picture.name;
    const path = `/api/services/${encodeURIComponent(picture.name)}`;
    this.#map = new MemoryMap(path);
    this.#sizes = new SizeHistogram(path);
    this.#whatIf = new WhatIfForm(path, picture.setup);
    this.#hitRates = new HitRatesForm(path, picture.setup);
    const isMeasured = Object.keys(picture.latency).some((name) => name.startsWith("request_"));
    const of = isMeasured ? "Requests as the server measures them" : "Operations of the store";
    this.#latency = new LiveChart("Latency", `${of}, sampled.`, () =>
      timeConfig("µs", { isLog: true }),
    );
    const charts = [this.#operations, this.#hitRate, this.#latency, this.#bytes];
    this.element = el(
      "div",
      { role: "tabpanel", "aria-label": picture.name },
      el("p", { class: "key" }, setupText(picture)),
      this.#tiles.element,
      el(
        "div",
        { class: "grid" },
        this.#map.element,
        ...charts.map((chart) => chart.element),
        this.#memory.element,
        this.#sizes.element,
        this.#events.element,
        this.#whatIf.element,
        this.#hitRates.element,
      ),
    );
  }

  /** Adds a sample of the service, and draws it if the service is shown. */
  add(atMs: number, picture: ServicePicture): void {
    this.#history.add(atMs, picture);
    if (this.#isShown) this.#draw();
  }

  show(isShown: boolean): void {
    this.#isShown = isShown;
    if (isShown) this.#draw();
    else this.#clear();
  }

  /** Requests the map, the sizes and the choices. @throws as `ask` */
  async refresh(): Promise<void> {
    if (!this.#isShown) return;
    await Promise.all([
      this.#map.refresh(),
      this.#sizes.refresh(),
      this.#whatIf.load(),
      this.#hitRates.load(),
    ]);
  }

  /** Draws everything again after a change of colours. */
  redraw(): void {
    if (!this.#isShown) return;
    this.#clear();
    this.#draw();
    this.#map.draw();
    this.#sizes.draw();
  }

  #clear(): void {
    for (const chart of [this.#operations, this.#hitRate, this.#latency, this.#bytes]) {
      chart.clear();
    }
    this.#sizes.clear();
  }

  #draw(): void {
    const { moments } = this.#history;
    const now = moments.at(-1);
    if (now === undefined) return;
    this.#tiles.update(now, moments);
    this.#memory.update(now);
    this.#events.update(now, moments);
    const shown = moments.filter((one) => now.atMs - one.atMs <= SHOWN_S * 1000 && one.seconds > 0);
    const line = (label: string, nth: number, value: Value): Line => ({
      label,
      colour: colourOf(nth),
      points: shown.map((one) => {
        const y = value(one);
        return { x: (one.atMs - now.atMs) / 1000, y: y ?? Number.NaN };
      }),
    });
    const busy = Object.entries(now.picture.operations).filter(([, number]) => number > 0);
    drawLines(
      this.#operations,
      busy.map(([name], nth) => line(words(name), nth, (one) => one.rates[name])),
    );
    drawLines(this.#hitRate, [
      line("hit rate", 2, ({ hitRate }) => (hitRate === undefined ? undefined : hitRate * 100)),
    ]);
    const percentile = (share: number) => (one: Moment) => {
      const ns = quantile(latencyNow(one), share);
      return ns === undefined ? undefined : ns / US;
    };
    drawLines(this.#latency, [
      line("median", 0, percentile(0.5)),
      line("p99", 1, percentile(0.99)),
      line("p99.9", 3, percentile(0.999)),
    ]);
    drawLines(this.#bytes, [
      line("data", 5, ({ picture }) => picture.memory.logicalBytes / MIB),
      line("compressed", 0, ({ picture }) => picture.memory.compressedBytes / MIB),
      line("in use", 1, ({ picture }) => picture.memory.usedBytes / MIB),
    ]);
  }
}

function setupText({ kind, setup }: ServicePicture): string {
  const codec =
    setup.denseCodec === null ? setup.codec : `${setup.codec}, ${setup.denseCodec} when idle`;
  const { holds, pool, policy } = setup;
  return `${kind}: stores ${holds}; codec ${codec}; pool ${pool}; policy ${policy}.`;
}
