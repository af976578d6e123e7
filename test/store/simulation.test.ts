// The whole store in a simulation; the same seed gives the same run. Several actors work on one
// store, each with an attachment of its own, as a thread has. Whenever one reads or writes the
// file, the scheduler lets others run first. The file fails, actors die inside their operations,
// and after each step the whole state is checked against a model.
//
// A failure names its seed: ZCACHE_SIM_SEED=… runs that seed alone, ZCACHE_SIM_STEPS=… sets the
// number of steps.
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
    shards: 1,
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

test("the same seed gives the same run", () => {
  const options = { ...optionsOf(5), steps: 300 };
  assert.deepEqual(new Simulation(options).run(), new Simulation(options).run());
});
