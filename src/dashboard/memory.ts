// Where memory goes: a bar for the data, a bar of the same scale for the memory in use, and a table
// of its parts.
import { formatBytes } from "../base/units.ts";
import type { MemoryUse } from "./api.ts";
import { COLOURS, GREY } from "./colours.ts";
import { el, setText, swatch } from "./dom.ts";
import { percent, uncamel } from "./format.ts";
import type { Moment } from "./history.ts";

const PARTS = [
  ["compressed", COLOURS[0], "the compressed data itself"],
  ["unused", COLOURS[1], "space in the pools' page frames that holds no object"],
  ["poolMetadata", COLOURS[4], "handles and other records of the pools"],
  ["index", "#8d6e4a", "from keys to entries"],
  ["writeBack", COLOURS[3], "buffers of the write-back file"],
  ["remote", "#5b8c5a", "pages in transit to the remote tier, and its queues"],
  ["arena", COLOURS[5], "arena header and frame table"],
  ["other", GREY, "journal, eviction policies, scratch memory of threads"],
] as const;

export class MemoryBars {
  readonly element: HTMLElement;
  readonly #held = el("span");
  readonly #heldText = el("span");
  readonly #usedText = el("span");
  readonly #rows: readonly (readonly [bar: HTMLElement, bytes: HTMLElement, share: HTMLElement])[];

  constructor() {
    this.#held.style.background = COLOURS[5];
    const bars = PARTS.map(([, colour]) => {
      const bar = el("span");
      bar.style.background = colour;
      return bar;
    });
    this.#rows = bars.map((bar) => [bar, el("td"), el("td")] as const);
    const rows = PARTS.map(([name, colour, meaning], nth) => {
      const [, bytes, share] = this.#rows[nth]!;
      const means = el("span", { class: "key" }, meaning);
      const head = el("th", { scope: "row" }, swatch(colour), uncamel(name), means);
      return el("tr", {}, head, bytes, share);
    });
    const heads = ["part", "bytes", "share"].map((text) => el("th", { scope: "col" }, text));
    this.element = el(
      "section",
      { class: "wide" },
      el("h2", {}, "Memory"),
      el("p", { class: "key" }, "Data, uncompressed: ", this.#heldText),
      el("div", { class: "bar", "aria-hidden": "true" }, this.#held),
      el("p", { class: "key" }, "Memory in use, metadata included: ", this.#usedText),
      el("div", { class: "bar", "aria-hidden": "true" }, ...bars),
      el(
        "div",
        { class: "scroll", tabindex: "0", role: "group", "aria-label": "Parts of memory" },
        el("table", {}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows)),
      ),
    );
  }

  update({ picture: { memory } }: Moment): void {
    const { logicalBytes, usedBytes, limitBytes, usedMaxBytes, parts } = memory;
    const whole = Math.max(logicalBytes, limitBytes, 1);
    const width = (bytes: number) => `${(Math.max(0, bytes) / whole) * 100}%`;
    this.#held.style.width = width(logicalBytes);
    setText(this.#heldText, formatBytes(logicalBytes));
    const most = `${formatBytes(usedBytes)} of ${formatBytes(limitBytes)}${pressureNote(memory)}`;
    setText(this.#usedText, `${most}; peak ${formatBytes(usedMaxBytes)}`);
    for (const [nth, [name]] of PARTS.entries()) {
      const [bar, bytes, share] = this.#rows[nth]!;
      bar.style.width = width(parts[name]);
      setText(bytes, formatBytes(parts[name]));
      setText(share, percent(usedBytes === 0 ? 0 : parts[name] / usedBytes));
    }
  }
}

/** A limit this much below the one that the user has set is not rounding. */
const LOWERED_BELOW = 0.99;

function pressureNote({ limitBytes, pressure }: MemoryUse): string {
  if (pressure === null || limitBytes >= pressure.wantedBytes * LOWERED_BELOW) return "";
  const left = formatBytes(pressure.availableBytes);
  return ` (${formatBytes(pressure.wantedBytes)} are allowed, but the system has ${left} left)`;
}
