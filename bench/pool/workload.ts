// The workload of the trace files at any number of objects: fill, ten rounds in which half of the
// objects are replaced, 70 % freed at random, refilled. Sizes come from a distribution, everything
// from one seed (test/vectors/README.md has the generator).
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Xorshift32 } from "../../src/base/random.ts";

/** Draws sizes in bytes. */
export interface SizeDistribution {
  readonly name: string;
  draw(random: Xorshift32): number;
}

/** The first histogram of the zcache discussion (2012): LZO on a tar of /usr/lib, 254-byte bins. */
const HIST_A = [
  7644, 4226, 11868, 20356, 43443, 39374, 32903, 37631, 42400, 51921, 56255, 59346, 36545, 12872,
  6513, 3482,
];
const HIST_A_START = 32;
const HIST_A_WIDTH = 254;

/** The index of the first cumulative count above `rank`. */
function search(cumulative: readonly number[], rank: number): number {
  let low = 0;
  let high = cumulative.length - 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (cumulative[middle]! > rank) high = middle;
    else low = middle + 1;
  }
  return low;
}

function accumulate(counts: readonly number[]): number[] {
  let sum = 0;
  return counts.map((count) => {
    sum += count;
    return sum;
  });
}

export function histA(): SizeDistribution {
  const cumulative = accumulate(HIST_A);
  return {
    name: "histA (LZO, 2012)",
    draw: (random) => {
      const bin = search(cumulative, random.below(cumulative.at(-1)!));
      return HIST_A_START + bin * HIST_A_WIDTH + random.below(HIST_A_WIDTH);
    },
  };
}

/** Sizes with their counts. */
export function fromCounts(name: string, counts: ReadonlyMap<number, number>): SizeDistribution {
  const sizes = [...counts.keys()].sort((a, b) => a - b);
  const cumulative = accumulate(sizes.map((size) => counts.get(size)!));
  return {
    name,
    draw: (random) => sizes[search(cumulative, random.below(cumulative.at(-1)!))]!,
  };
}

/** LZ4 sizes of 94,735 real pages, from the vectors. */
export function realLz4(): SizeDistribution {
  const file = fileURLToPath(new URL("../../../test/vectors/hist_mixlz4.csv", import.meta.url));
  const counts = new Map<number, number>();
  for (const line of readFileSync(file, "utf8").trim().split("\n")) {
    if (line.startsWith("#")) continue;
    const [size, count] = line.split(",").map(Number);
    counts.set(size!, count!);
  }
  return fromCounts("LZ4 on real pages", counts);
}

/** The operations of a workload; a refused `alloc` leaves no object. */
export interface Store {
  alloc(slot: number, sizeBytes: number): void;
  free(slot: number): void;
  /** Called at the end of each phase. */
  phase(name: "fill" | "churn" | "free70" | "refill"): void;
}

const ROUNDS = 10;

export function runWorkload(sizes: SizeDistribution, objects: number, store: Store): void {
  const random = new Xorshift32(12345);
  const live: number[] = [];
  const alloc = (slot: number) => {
    store.alloc(slot, sizes.draw(random));
    live.push(slot);
  };
  const freeAny = () => {
    const pick = random.below(live.length);
    const slot = live[pick]!;
    live[pick] = live.at(-1)!;
    live.pop();
    store.free(slot);
    return slot;
  };
  const replace = (count: number) => Array.from({ length: count }, freeAny);
  for (let slot = 0; slot < objects; slot++) alloc(slot);
  store.phase("fill");
  for (let round = 0; round < ROUNDS; round++) {
    for (const slot of replace(Math.floor(objects / 2))) alloc(slot);
  }
  store.phase("churn");
  const freed = replace(Math.floor(objects * 0.7));
  store.phase("free70");
  for (const slot of freed) alloc(slot);
  store.phase("refill");
}
