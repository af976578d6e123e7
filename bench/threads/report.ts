// Prints what the benchmark of threads has found.
import type { ThreadsRow } from "./result.ts";

export interface Result {
  readonly rows: readonly ThreadsRow[];
  readonly many: number;
  readonly processors: number;
  readonly load: number;
}

export function report(
  { rows, many, processors, load }: Result,
  print: (line: string) => void,
): void {
  print(
    `threads: one cache, ${processors} processors, load ${load.toFixed(1)} at the start; ` +
      "medians of neighbouring windows",
  );
  print("| | one, thousand/s | two ÷ one | own caches | many ÷ two | slowest ÷ fastest | stolen |");
  print("|---|---|---|---|---|---|---|");
  for (const row of rows) {
    const mix = `${row.kind} ${100 - row.sets / 10}/${row.sets / 10}`;
    const figures = [row.twoByOne, row.ownByOne, row.manyByTwo, row.slowestByFastest];
    const cells = [
      ...[mix, (row.one / 1000).toFixed(0), ...figures.map((one) => one.toFixed(2))],
      `${(100 * row.stolen).toFixed(0)} %`,
    ];
    print(`| ${cells.join(" | ")} |`);
  }
  print(`many: ${many} threads; stolen: processor time of two threads that others had`);
}
