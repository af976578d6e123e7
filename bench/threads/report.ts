// Prints what the benchmark of threads has found, and what the model predicts.
import { OTHER_PROCESSORS, type Prediction, predictRow } from "./fit.ts";
import type { ThreadsRow } from "./result.ts";

export interface Result {
  readonly rows: readonly ThreadsRow[];
  readonly many: number;
  readonly processors: number;
  readonly load: number;
  readonly keys: Readonly<Record<ThreadsRow["kind"], number>>;
}

function nameOf(row: ThreadsRow): string {
  return `${row.kind} ${100 - row.sets / 10}/${row.sets / 10}`;
}

function line(cells: readonly (string | number)[]): string {
  const texts = cells.map((cell) => (typeof cell === "number" ? cell.toFixed(2) : cell));
  return `| ${texts.join(" | ")} |`;
}

function table(
  heads: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): string[] {
  return ["", line(heads), `|${"---|".repeat(heads.length)}`, ...rows.map(line)];
}

/** @returns what the model predicts for each row */
export function report(result: Result, print: (line: string) => void): Prediction[] {
  const { rows, many, processors, load, keys } = result;
  const predictions = rows.map((row) => {
    const same = rows.filter(({ kind }) => kind === row.kind);
    return predictRow(same, row, many, processors, keys[row.kind]);
  });
  print(
    `threads: one cache, ${processors} processors, load ${load.toFixed(1)} at the start; ` +
      "medians of the ratios of neighbouring windows",
  );
  const measured = table(
    [
      ...["", "one, thousand/s", "two ÷ one", "by processor time", "own caches", "by that"],
      ...[`${many} ÷ two`, "by that", "slowest ÷ fastest", "stolen"],
    ],
    rows.map((row) => [
      ...[nameOf(row), (row.one / 1000).toFixed(0), row.twoByOne, row.twoByOneCpu],
      ...[row.ownByOne, row.ownByOneCpu, row.manyByTwo],
      ...[row.manyByTwoCpu, row.slowestByFastest],
      `${(100 * row.stolen).toFixed(0)} %`,
    ]),
  );
  const modelled = table(
    [
      ...["model", "two ÷ one", `${many} ÷ two`, "slowest ÷ fastest"],
      `${OTHER_PROCESSORS} threads on ${OTHER_PROCESSORS} processors ÷ one`,
      "think µs: get, set; key; exclusive; reader; beside × share of gets",
    ],
    rows.map((row, nth) => {
      const { twoByOne, manyByTwo, slowestByFastest, otherByOne, costs } = predictions[nth]!;
      const { thinkGetUs, thinkSetUs, keyUs, exclusiveUs, readerUs, besideUs, besideShare } = costs;
      const us = [thinkGetUs, thinkSetUs, keyUs, exclusiveUs, readerUs, besideUs].map((one) =>
        one.toFixed(2),
      );
      const fitted = `${us[0]}, ${us[1]}; ${us.slice(2).join("; ")} × ${besideShare.toFixed(3)}`;
      return [nameOf(row), twoByOne, manyByTwo, slowestByFastest, otherByOne, fitted];
    }),
  );
  for (const text of [...measured, ...modelled]) print(text);
  return predictions;
}
