// Measures the garbage collections that operations of a store cause; there should be almost none.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

export interface GarbageBenchOptions {
  readonly tiny?: boolean;
  readonly print?: (line: string) => void;
}

export interface GarbageRow {
  readonly operations: number;
  readonly seconds: number;
  /** Collections of any kind between the first and the last operation, and their time. */
  readonly collections: number;
  readonly pauseMs: number;
}

const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
const CHILD = fileURLToPath(new URL(`./garbage_child.${EXTENSION}`, import.meta.url));

export function benchGarbage(options: GarbageBenchOptions = {}): GarbageRow {
  const { tiny = false, print = console.log } = options;
  const seconds = tiny ? 1 : 60;
  const args = ["--trace-gc", CHILD, String(seconds * 1000)];
  const { stdout } = spawnSync(process.execPath, args, { encoding: "utf8" });
  const [, work = ""] = stdout.split("begin\n");
  const collections = [...work.matchAll(/ms: (?:Scavenge|Mark-Compact).* ([\d.]+) \/ [\d.]+ ms/g)];
  const row: GarbageRow = {
    operations: Number(/end (\d+)/.exec(work)?.[1] ?? 0),
    seconds,
    collections: collections.length,
    pauseMs: collections.reduce((sum, [, ms]) => sum + Number(ms), 0),
  };
  print(
    `${row.operations} puts and gets in ${seconds} s: ${row.collections} collections, ` +
      `${row.pauseMs.toFixed(1)} ms`,
  );
  return row;
}
