// The table of evictions, refusals and write-back, with their reasons.
import { formatBytes } from "../base/units.ts";
import { el, setText } from "./dom.ts";
import { count, rate, words } from "./format.ts";
import type { Moment } from "./history.ts";
import { sumOf } from "./history.ts";

interface Row {
  readonly name: string;
  readonly value: number;
  readonly text?: string;
}

function rowsOf({ picture }: Moment): readonly Row[] {
  const { evictions, refusals, expired, recompressed, writeBack } = picture;
  const named = (prefix: string, record: Readonly<Record<string, number>>) =>
    Object.entries(record).map(([name, value]) => ({ name: `${prefix}: ${words(name)}`, value }));
  return [
    ...named("evicted", evictions),
    { name: "expired", value: expired },
    ...named("refused", refusals),
    { name: "written to the file", value: writeBack.writtenPages },
    {
      name: "bytes written to the file",
      value: writeBack.writtenBytes,
      text: formatBytes(writeBack.writtenBytes),
    },
    { name: "read from the file", value: writeBack.readPages },
    ...remoteRowsOf(picture.remote),
    { name: "recompressed", value: recompressed },
    { name: "recovered from a dead thread", value: picture.recoveries },
    ...Object.entries(picture.locks).map(([kind, { contended }]) => {
      return { name: `waited for a lock: ${words(kind)}`, value: contended };
    }),
    { name: "internal errors", value: picture.internalErrors },
  ];
}

/** Nothing without a remote tier. */
function remoteRowsOf(remote: Moment["picture"]["remote"]): readonly Row[] {
  if (remote === null) return [];
  return [
    { name: "sent to the remote tier", value: remote.sent },
    { name: "not sent: no answer", value: remote.failed },
    { name: "not sent: the cluster is full", value: remote.refused },
    { name: "read from the remote tier", value: remote.read },
    { name: "not read from the remote tier", value: remote.readFailures },
    { name: "repatriated", value: remote.repatriated },
  ];
}

/** Seconds over which a rate is taken; over one second, rare events would hardly show. */
const RATE_S = 10;

export class Events {
  readonly element: HTMLElement;
  readonly #summary = el("p");
  readonly #body = el("tbody");
  readonly #cells: { line: HTMLElement; total: HTMLElement; rate: HTMLElement }[] = [];
  readonly #never = el("p", { class: "key" });

  constructor() {
    const heads = ["event", "total", `last ${RATE_S} s`].map((text) =>
      el("th", { scope: "col" }, text),
    );
    this.element = el(
      "section",
      {},
      el("h2", {}, "Evictions, refusals, write-back"),
      this.#summary,
      el(
        "div",
        { class: "scroll", tabindex: "0", role: "group", "aria-label": "Events, table" },
        el("table", {}, el("thead", {}, el("tr", {}, ...heads)), this.#body),
      ),
      this.#never,
    );
  }

  update(moment: Moment, moments: readonly Moment[]): void {
    const rows = rowsOf(moment);
    if (this.#cells.length !== rows.length) this.#make(rows);
    const before = moments.find((one) => moment.atMs - one.atMs <= RATE_S * 1000) ?? moment;
    const seconds = (moment.atMs - before.atMs) / 1000;
    const old = rowsOf(before);
    for (const [nth, row] of rows.entries()) {
      const { line, total, rate: rateCell } = this.#cells[nth]!;
      line.hidden = row.value === 0;
      setText(total, row.text ?? count(row.value));
      const added = Math.max(0, row.value - old[nth]!.value);
      setText(rateCell, added === 0 ? "" : `${rate(added / Math.max(1, seconds))}`);
    }
    setText(this.#summary, summaryOf(moment));
    const never = rows.filter((row) => row.value === 0).map((row) => row.name);
    setText(this.#never, never.length === 0 ? "" : `Not so far: ${never.join("; ")}.`);
  }

  #make(rows: readonly Row[]): void {
    this.#cells.length = 0;
    this.#body.replaceChildren(
      ...rows.map(({ name }) => {
        const [total, rateCell] = [el("td"), el("td")];
        const line = el("tr", {}, el("th", { scope: "row" }, name), total, rateCell);
        this.#cells.push({ line, total, rate: rateCell });
        return line;
      }),
    );
  }
}

function summaryOf({ picture: { evictions, refusals, writeBack, remote } }: Moment): string {
  const went = sumOf(evictions);
  const refused = sumOf(refusals);
  const lost = went === 0 ? "No evictions." : `Evictions: ${count(went)}.`;
  const turned = refused === 0 ? "No refusals." : `Refusals: ${count(refused)}.`;
  const { file } = writeBack;
  const space =
    file === null
      ? "No write-back file."
      : `Write-back file: ${formatBytes(file.usedBytes)} of ${formatBytes(file.maxBytes)}.`;
  return `${lost} ${turned} ${space}${remoteText(remote)}`;
}

function remoteText(remote: Moment["picture"]["remote"]): string {
  if (remote === null) return "";
  const { pages, bytes, inTransit } = remote;
  const size = `${count(pages)} pages, ${formatBytes(bytes)}`;
  return ` Remote tier: ${size}; ${count(inTransit)} in transit.`;
}
