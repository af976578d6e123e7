// The study of hit rates: which hit rate the live traffic would have with other memory limits and
// other eviction policies. It runs at the press of a button, for as long as the user says, and goes
// on if the page is closed.
import { formatBytes } from "../base/units.ts";
import type { Figure, HitRateRow, HitRates, Setup } from "./api.ts";
import { el, setText, table } from "./dom.ts";
import { ask } from "./fetch.ts";
import { count, percent } from "./format.ts";

const LENGTHS = [
  [10, "10 seconds"],
  [60, "1 minute"],
  [600, "10 minutes"],
  [3600, "1 hour"],
] as const;
const LENGTH = 60;
/** The pause between two looks at a study that is running. */
const LOOK_MS = 1000;
/** A range that says little. */
const WIDE = 0.1;

export class HitRatesForm {
  readonly element: HTMLElement;
  readonly #path: string;
  readonly #setup: Setup;
  readonly #length = el("select");
  readonly #button = el("button", { type: "submit", class: "first" }, "Watch");
  readonly #verdict = el("p", { role: "status" });
  readonly #result = el("div");
  #isFollowing = false;
  /** The study that is shown. */
  #shown = "";

  /** @param path the path of the service below /api */
  constructor(path: string, setup: Setup) {
    this.#path = path;
    this.#setup = setup;
    this.#length.replaceChildren(
      ...LENGTHS.map(([seconds, text]) =>
        el("option", { value: String(seconds), selected: seconds === LENGTH }, text),
      ),
    );
    const form = el(
      "form",
      { class: "controls" },
      el("label", {}, "Time", this.#length),
      this.#button,
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#follow(`?seconds=${this.#length.value}`);
    });
    this.element = el(
      "section",
      { class: "wide hit-rates" },
      el("h2", {}, "What if the limit or the policy were another?"),
      el(
        "p",
        { class: "key" },
        "Records the requests for a sample of the keys, and simulates with them what other memory ",
        "limits and eviction policies would answer from memory. Meanwhile, a memcached server ",
        "answers sets more slowly.",
      ),
      form,
      this.#verdict,
      this.#result,
    );
  }

  /** Shows the study that is running, or the last one. @throws as `ask` */
  async load(): Promise<void> {
    if (this.#isFollowing) return;
    const study = await ask<HitRates>(`${this.#path}/hit-rates`);
    if (study.state === "running") void this.#follow("");
    else this.#show(study);
  }

  /** Starts a study, or follows one that is running, until it ends. */
  async #follow(query: string): Promise<void> {
    if (this.#isFollowing) return;
    this.#isFollowing = true;
    this.#button.disabled = true;
    try {
      let study = await ask<HitRates>(`${this.#path}/hit-rates${query}`);
      for (; study.state === "running"; study = await ask(`${this.#path}/hit-rates`)) {
        this.#show(study);
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      }
      this.#show(study);
    } catch (error) {
      this.#verdict.className = "";
      setText(this.#verdict, `No answer: ${(error as Error).message}`);
    } finally {
      this.#isFollowing = false;
      this.#button.disabled = false;
    }
  }

  #show(study: HitRates): void {
    if (study.state === "none") return;
    const text = JSON.stringify(study);
    if (text === this.#shown) return;
    this.#shown = text;
    const isDone = study.state === "ended" && study.rows.length > 0;
    this.#verdict.className = isDone ? "verdict" : "";
    setText(this.#verdict, verdict(study));
    if (study.rows.length === 0) {
      this.#result.replaceChildren();
      return;
    }
    const { policy } = this.#setup;
    const limits = study.rows.filter((row) => row.policy === policy);
    const policies = study.rows.filter((row) => row.limit === 1);
    const head = ["hit rate", "in bytes"];
    const sorted = [...limits].sort((a, b) => a.limit - b.limit);
    const best = [...policies].sort((a, b) => b.hitRate.estimate - a.hitRate.estimate);
    this.#result.replaceChildren(
      table(
        "Hit rates by limit",
        [`limit, with ${policy}`, ...head],
        sorted.map((row) => [`${formatBytes(row.limitBytes)} (${multiple(row)})`, ...cells(row)]),
      ),
      table(
        "Hit rates by policy",
        ["policy, with today's limit", ...head],
        best.map((row) => [row.isCurrent ? `${row.policy} (now)` : row.policy, ...cells(row)]),
      ),
      el("p", { class: "key" }, notes(study, this.#setup)),
    );
  }
}

function multiple({ limit, isCurrent }: HitRateRow): string {
  return isCurrent ? "now" : `${limit}×`;
}

function cells({ hitRate, byteHitRate }: HitRateRow): HTMLElement[] {
  return [hitRate, byteHitRate].map((figure) =>
    el("div", {}, percent(figure.estimate), el("span", { class: "key" }, range(figure))),
  );
}

function range({ low, high }: Figure): string {
  if (high - low < 0.0005) return "measured";
  return `${(low * 100).toFixed(1)} to ${percent(high)}`;
}

function verdict(study: HitRates): string {
  const { state, why, seconds, watchedSeconds, rows } = study;
  if (state === "failed") return `The study has failed: ${why}.`;
  if (state === "running") {
    const watched = `Watching: ${Math.floor(watchedSeconds)} of ${seconds} seconds`;
    return why === null ? `${watched}.` : `${watched}; ${why}.`;
  }
  if (why !== null) return `No figures: ${why}.`;
  const now = rows.find((row) => row.isCurrent);
  if (now === undefined) return "";
  const better = rows.filter((row) => row.hitRate.low > now.hitRate.high);
  const policy = better
    .filter((row) => row.limit === 1)
    .sort((a, b) => b.hitRate.estimate - a.hitRate.estimate)[0];
  const double = rows.find((row) => row.limit === 2);
  const begin = `${percent(now.hitRate.estimate)} of the requests were answered from memory.`;
  const isWide = double !== undefined && double.hitRate.high - double.hitRate.low > WIDE;
  const longer = isWide ? " A longer study tells more." : "";
  const more = double === undefined ? "" : ` With twice the memory: ${range(double.hitRate)}.`;
  const other =
    policy === undefined
      ? " No other policy is better for certain."
      : ` With the policy ${policy.policy}: ${range(policy.hitRate)}.`;
  return begin + more + longer + other;
}

function notes(study: HitRates, { holds }: Setup): string {
  const { keys, requests, share, dropped, countedSeconds } = study;
  const lost = dropped === 0 ? "" : ` ${count(dropped)} more came too fast to be recorded.`;
  const one = share > 0.99 ? "all keys" : `1 key in ${count(1 / share)}`;
  return [
    `Sample: ${count(requests)} requests for ${count(keys)} keys (${one}),`,
    `counted for ${count(countedSeconds)} seconds.${lost}`,
    "A range is three standard errors of the sample, the difference between the simulation and",
    "this service, and, for more memory, hits that the time was too short to tell.",
    holds === "values" ? "Values of more than a page count as several requests." : "",
  ].join(" ");
}
