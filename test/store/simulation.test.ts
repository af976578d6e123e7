// The whole store: one seed, one run. Several actors work on one store, each as a thread does, with
// an attachment of its own; whenever one of them reads or writes the file, the scheduler lets
// others go on first. The file fails, the actors die inside their operations, and after each step
// everything that can be said of a store is checked against a model.
//
// A failure names its seed: ZCACHE_SIM_SEED=… runs that one alone, ZCACHE_SIM_STEPS=… any number of
// steps.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Xorshift32 } from "../../src/base/random.ts";
import { policyNames } from "../../src/policy/registry.ts";
import { Simulation, type SimulationOptions } from "./simulation.ts";

const STEPS = Number(process.env["ZCACHE_SIM_STEPS"] ?? 110_000);
const SEED = process.env["ZCACHE_SIM_SEED"];

/** Every pool with every way to reclaim meets every policy and every kind of trouble by chance. */
const POOLS = ["dense", "zsmalloc", "zblock", "z3fold", "zbud"];

function optionsOf(seed: number): SimulationOptions {
  const random = new Xorshift32(seed);
  const pick = <T>(list: readonly T[]): T => list[random.below(list.length)]!;
  return {
    seed,
    steps: 2000,
    memoryMax: pick([1 << 20, 3 << 20]),
    ephemeralPool: pick(POOLS),
    persistentPool: pick(POOLS),
    policy: pick(policyNames()),
    reclaim: pick(["objects", "frames"] as const),
    codec: pick(["lz4", "lz4", "lz4", "none", "zstd"]),
    recompress: { codec: "zstd" },
    file: pick(["none", "small", "large"] as const),
    faults: pick([true, false]),
    deaths: pick([true, false]),
  };
}

const runs = SEED === undefined ? Math.ceil(STEPS / 2000) : 1;
const first = SEED === undefined ? 1 : Number(SEED);

for (let run = 0; run < runs; run++) {
  const options = optionsOf(first + run);
  const { seed, steps, memoryMax, ...rest } = options;
  test(`seed ${seed}: ${JSON.stringify(rest)}`, () => {
    try {
      new Simulation(options).run();
    } catch (cause) {
      const again = `ZCACHE_SIM_SEED=${seed} npm test -- test/store/simulation.test.ts`;
      throw new Error(`${String(cause)}\nthe same again: ${again}`, { cause });
    }
  });
}

test("one seed gives one run", () => {
  const options = { ...optionsOf(5), steps: 300 };
  assert.deepEqual(new Simulation(options).run(), new Simulation(options).run());
});
