// The what-if comparison: how much memory another codec or pool would take for a sample of the
// content. It runs at the press of a button only, because it takes a processor for a moment.
import { formatBytes } from "../base/units.ts";
import type { Choices, Setup, WhatIf, WhatIfRow } from "./api.ts";
import { el, setText, table } from "./dom.ts";
import { ask } from "./fetch.ts";
import { count, duration, times } from "./format.ts";

const WAIT_MS = 90_000;

export class WhatIfForm {
  readonly element: HTMLElement;
  readonly #path: string;
  readonly #setup: Setup;
  readonly #codec = el("select");
  readonly #pool = el("select");
  readonly #button = el("button", { type: "submit", class: "first" }, "Compare");
  readonly #verdict = el("p", { role: "status" });
  readonly #result = el("div");
  #hasChoices = false;

  /** @param path the path of the service below /api */
  constructor(path: string, setup: Setup) {
    this.#path = path;
    this.#setup = setup;
    const form = el(
      "form",
      { class: "controls" },
      el("label", {}, "Codec", this.#codec),
      el("label", {}, "Pool", this.#pool),
      this.#button,
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#compare();
    });
    this.element = el(
      "section",
      { class: "wide" },
      el("h2", {}, "What if the codec or the pool were another?"),
      el(
        "p",
        { class: "key" },
        `Draws a random sample of up to 2,000 ${setup.holds} in memory, compresses it with `,
        "another codec and packs it with another pool. The daemon keeps serving.",
      ),
      form,
      this.#verdict,
      this.#result,
    );
  }

  /** Requests the codecs and pools to choose from, once. @throws as `ask` */
  async load(): Promise<void> {
    if (this.#hasChoices) return;
    const { codecs, pools } = await ask<Choices>(`${this.#path}/choices`);
    this.#hasChoices = true;
    fill(this.#codec, codecs, this.#setup.codec);
    fill(this.#pool, pools, this.#setup.pool);
  }

  async #compare(): Promise<void> {
    this.#button.disabled = true;
    this.#verdict.className = "";
    setText(this.#verdict, "Comparing…");
    const query = new URLSearchParams({ codec: this.#codec.value, pool: this.#pool.value });
    try {
      const answer = await ask<WhatIf>(`${this.#path}/what-if?${query}`, { waitMs: WAIT_MS });
      this.#show(answer, this.#codec.value, this.#pool.value);
    } catch (error) {
      setText(this.#verdict, `No answer: ${(error as Error).message}`);
    } finally {
      this.#button.disabled = false;
    }
  }

  #show(answer: WhatIf, codec: string, pool: string): void {
    if (answer.sampled === 0) {
      setText(this.#verdict, "Nothing to compare: the memory is empty.");
      this.#result.replaceChildren();
      return;
    }
    this.#verdict.className = "verdict";
    setText(this.#verdict, verdict(answer.rows, codec, pool));
    const head = ["codec and pool", "ratio", "memory", "compressed", "compress", "decompress"];
    const rows = answer.rows.map((row) => [
      `${row.codec} in ${row.pool}${row.isCurrent ? " (now)" : ""}`,
      times(row.ratio),
      formatBytes(row.heldBytes),
      formatBytes(row.compressedBytes),
      duration(row.compressNs),
      duration(row.decompressNs),
    ]);
    const { holds, denseCodec } = this.#setup;
    const same = answer.sameFilled > 0 ? `, ${count(answer.sameFilled)} of them same-filled` : "";
    const notes = [
      `Sample: ${count(answer.sampled)} of ${count(answer.of)} ${holds} in memory${same};`,
      `${formatBytes(answer.originalBytes)} uncompressed, ${formatBytes(answer.storedBytes)} as`,
      `stored now${denseCodec === null ? "" : `, partly compressed by ${denseCodec}`}.`,
      "Every row compresses the whole sample again, without dictionaries. In a small pool, partly",
      "filled size classes weigh more than in the whole store. Times are medians for one entry.",
    ];
    this.#result.replaceChildren(
      table("What if", head, rows),
      el("p", { class: "key" }, notes.join(" ")),
    );
  }
}

function fill(select: HTMLSelectElement, names: readonly string[], current: string): void {
  select.replaceChildren(
    ...names.map((name) =>
      el(
        "option",
        { value: name, selected: name === current },
        name === current ? `${name} (now)` : name,
      ),
    ),
  );
}

/** The effect of the change, in a sentence. */
function verdict(rows: readonly WhatIfRow[], codec: string, pool: string): string {
  const now = rows.find((row) => row.isCurrent);
  const then = rows.find((row) => row.codec === codec && row.pool === pool);
  if (now === undefined || then === undefined || now === then) {
    return "This is the current codec and pool.";
  }
  const gain = now.heldBytes / then.heldBytes;
  const change =
    Math.abs(gain - 1) < 0.005
      ? "the same memory"
      : gain > 1
        ? `${((1 - 1 / gain) * 100).toFixed(1)} % less memory`
        : `${((1 / gain - 1) * 100).toFixed(1)} % more memory`;
  const time = `${duration(then.compressNs)} instead of ${duration(now.compressNs)} to compress`;
  const back = `${duration(then.decompressNs)} instead of ${duration(now.decompressNs)}`;
  return `${codec} in ${pool}: ${change} for this sample; ${time}, ${back} to decompress.`;
}
