// What shards cost one thread: processor time of an operation of a cache and of a store of pages.
// Each number of shards has a process of its own, and the processes work in turn.
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

export const SHARDED_WORK = ["set", "get", "delete", "put", "load"] as const;
export type ShardedWork = (typeof SHARDED_WORK)[number];

const NAMES: Readonly<Record<ShardedWork, string>> = {
  set: "cache, set of 1 KiB",
  get: "cache, get",
  delete: "cache, delete of a key that is not there",
  put: "store, put of 4 KiB",
  load: "store, get",
};
const SHARDS = [1, 3, 8];
const ROUNDS = 15;
/** So long works each process at a time, about. */
const WINDOW_MS = 100;

const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
const CHILD = fileURLToPath(new URL(`./shards_child.${EXTENSION}`, import.meta.url));

export interface ShardCostRow {
  readonly work: ShardedWork;
  readonly shards: readonly number[];
  /** Medians, in ns. */
  readonly ns: readonly number[];
  /** Medians of the ratios to one shard in the same round. */
  readonly ratios: readonly number[];
}

export interface ShardCostOptions {
  readonly tiny?: boolean;
  readonly print?: (line: string) => void;
}

export async function benchShardCosts(options: ShardCostOptions = {}): Promise<ShardCostRow[]> {
  const { tiny = false, print = console.log } = options;
  const rows: ShardCostRow[] = [];
  for (const work of SHARDED_WORK) {
    const row = await measure(work, tiny);
    rows.push(row);
    const figures = row.shards.map(
      (shards, nth) => `${shards}: ${row.ns[nth]!.toFixed(0)} ns (${row.ratios[nth]!.toFixed(2)})`,
    );
    print(`${NAMES[work]}, with shards ${figures.join(", ")}`);
  }
  return rows;
}

async function measure(work: ShardedWork, tiny: boolean): Promise<ShardCostRow> {
  const children = SHARDS.map((shards) => fork(CHILD, [String(shards), work]));
  try {
    await Promise.all(children.map((child) => once(child, "message")));
    // The first windows warm up the JavaScript engine.
    for (const child of children) await ask(child, tiny ? 10 : 40_000);
    const count = tiny ? 10 : Math.ceil((WINDOW_MS * 1e6) / (await ask(children[0]!, 10_000)));
    const rounds: number[][] = [];
    for (let round = 0; round < (tiny ? 1 : ROUNDS); round++) {
      const times: number[] = [];
      for (const child of children) times.push(await ask(child, count));
      rounds.push(times);
    }
    const medians = (of: (times: readonly number[], nth: number) => number) =>
      SHARDS.map((_, nth) => median(rounds.map((times) => of(times, nth))));
    return {
      ...{ work, shards: SHARDS },
      ns: medians((times, nth) => times[nth]!),
      ratios: medians((times, nth) => times[nth]! / times[0]!),
    };
  } finally {
    for (const child of children) child.kill();
  }
}

async function ask(child: ChildProcess, count: number): Promise<number> {
  const answer = once(child, "message");
  child.send(count);
  return ((await answer) as [number])[0];
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!;
}
