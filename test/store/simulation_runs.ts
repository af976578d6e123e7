// Runs of the simulation, a test for each seed.
//
// A failure names its seed: ZCACHE_SIM_SEED=… runs that seed alone, ZCACHE_SIM_STEPS=… sets the
// number of steps.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Xorshift32 } from "../../src/base/random.ts";
import { policyNames } from "../../src/policy/registry.ts";
import { Simulation, type SimulationOptions } from "./simulation.ts";

export interface SimulationRuns {
  /** The test file, for the command that repeats a failure. */
  readonly path: string;
  /** Steps of all runs together. */
  readonly steps: number;
  readonly shards: number;
  /** One of them by chance, in bytes. */
  readonly memories: readonly number[];
}

const STEPS_OF_RUN = 2000;
const SEED = process.env["ZCACHE_SIM_SEED"];
/** Every pool with every way to reclaim meets every policy and every kind of trouble by chance. */
const POOLS = ["dense", "zsmalloc", "zblock", "z3fold", "zbud"];

function optionsOf(seed: number, { shards, memories }: SimulationRuns): SimulationOptions {
  const random = new Xorshift32(seed);
  const pick = <T>(list: readonly T[]): T => list[random.below(list.length)]!;
  return {
    seed,
    steps: STEPS_OF_RUN,
    memoryMax: pick(memories),
    shards,
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

/** Declares the tests. */
export function testSimulation(runs: SimulationRuns): void {
  const allSteps = Number(process.env["ZCACHE_SIM_STEPS"] ?? runs.steps);
  const count = SEED === undefined ? Math.ceil(allSteps / STEPS_OF_RUN) : 1;
  const first = SEED === undefined ? 1 : Number(SEED);
  for (let run = 0; run < count; run++) {
    const options = optionsOf(first + run, runs);
    const { seed, steps, memoryMax, ...rest } = options;
    test(`seed ${seed}: ${JSON.stringify(rest)}`, () => {
      try {
        new Simulation(options).run();
      } catch (cause) {
        const again = `ZCACHE_SIM_SEED=${seed} npm test -- ${runs.path}`;
        throw new Error(`${String(cause)}\nthe same again: ${again}`, { cause });
      }
    });
  }
  test("the same seed gives the same run", () => {
    const options = { ...optionsOf(5, runs), steps: 300 };
    assert.deepEqual(new Simulation(options).run(), new Simulation(options).run());
  });
}
