// The figures at the top of a service: the current value of each, and a note beside it.
import { formatBytes } from "../base/units.ts";
import { quantile } from "./api.ts";
import { el, setText } from "./dom.ts";
import { count, duration, NOTHING, percent, rate, times } from "./format.ts";
import { latencySum, type Moment } from "./history.ts";

interface Tile {
  readonly title: string;
  value(moment: Moment, moments: readonly Moment[]): string;
  note(moment: Moment, moments: readonly Moment[]): string;
}

function ratio(part: number, whole: number): string {
  return whole > 0 ? times(part / whole) : NOTHING;
}

/**
 * Seconds over which latency is taken; one second has few measurements if few clients are active.
 */
const LATENCY_S = 10;

function latencyLately(moments: readonly Moment[]) {
  const now = moments.at(-1)!;
  const lately = moments.filter((one) => now.atMs - one.atMs < LATENCY_S * 1000);
  return latencySum(lately.map(latencyNow));
}

/** Latency of requests as the server measures it, or else of the store's operations. */
export function latencyNow({ latency }: Moment) {
  const requests = Object.entries(latency).filter(([name]) => name.startsWith("request_"));
  if (requests.length > 0) return latencySum(requests.map(([, times]) => times));
  return latencySum(["store_put", "store_get", "store_miss"].map((name) => latency[name] ?? []));
}

function what({ picture }: Moment): string {
  return picture.setup.holds;
}

const TILES: readonly Tile[] = [
  {
    title: "Effective ratio",
    value: ({ picture: { memory } }) => ratio(memory.logicalBytes, memory.usedBytes),
    note: ({ picture: { memory } }) =>
      `${formatBytes(memory.logicalBytes)} of data in ${formatBytes(memory.usedBytes)}`,
  },
  {
    title: "Compression",
    value: ({ picture: { memory } }) => ratio(memory.logicalBytes, memory.compressedBytes),
    note: ({ picture: { setup } }) =>
      setup.denseCodec === null ? setup.codec : `${setup.codec}, ${setup.denseCodec} when idle`,
  },
  {
    title: "Memory",
    value: ({ picture: { memory } }) => percent(memory.usedBytes / memory.limitBytes),
    note: ({ picture: { memory } }) => `of ${formatBytes(memory.limitBytes)}`,
  },
  {
    title: "Operations",
    value: ({ operations, seconds }) => (seconds === 0 ? NOTHING : rate(operations)),
    note: ({ rates }) => {
      const most = Object.entries(rates).sort(([, a], [, b]) => b - a);
      const two = most.slice(0, 2).filter(([, n]) => n > 0);
      return two.map(([name, n]) => `${name} ${rate(n)}`).join(", ") || "no requests now";
    },
  },
  {
    title: "Hit rate",
    value: ({ hitRate }) => (hitRate === undefined ? NOTHING : percent(hitRate)),
    note: ({ picture: { hits, misses } }) =>
      hits + misses === 0
        ? "no look-ups yet"
        : `${percent(hits / (hits + misses))} since the start`,
  },
  {
    title: "Latency, p99",
    value: (_moment, moments) => {
      const ns = quantile(latencyLately(moments), 0.99);
      return ns === undefined ? NOTHING : duration(ns);
    },
    note: (_moment, moments) => {
      const ns = quantile(latencyLately(moments), 0.5);
      return ns === undefined
        ? "no measurement yet"
        : `median ${duration(ns)}, last ${LATENCY_S} s`;
    },
  },
  {
    title: "Stored",
    value: ({ picture: { stored } }) => count(stored.inPool + stored.sameFilled + stored.inFile),
    note: (moment) => {
      const { sameFilled, inFile } = moment.picture.stored;
      const parts = [
        sameFilled > 0 ? `${count(sameFilled)} same-filled` : "",
        inFile > 0 ? `${count(inFile)} in the file` : "",
      ].filter((part) => part !== "");
      return [what(moment), ...parts].join(", ");
    },
  },
  {
    title: "Clients",
    value: ({ picture: { connections } }) => count(connections.now),
    note: ({ picture: { connections } }) =>
      `${count(connections.accepted)} accepted, ${count(connections.refused)} refused`,
  },
];

export class Tiles {
  readonly element = el("dl", { class: "tiles" });
  readonly #values: readonly (readonly [Tile, HTMLElement, HTMLElement])[];

  constructor() {
    this.#values = TILES.map((tile) => {
      const value = el("dd", { class: "value" }, NOTHING);
      const note = el("dd", { class: "note" });
      this.element.append(el("div", {}, el("dt", {}, tile.title), value, note));
      return [tile, value, note] as const;
    });
  }

  update(moment: Moment, moments: readonly Moment[]): void {
    for (const [tile, value, note] of this.#values) {
      setText(value, tile.value(moment, moments));
      setText(note, tile.note(moment, moments));
    }
  }
}
