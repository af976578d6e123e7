// A store with a remote tier in a simulation, with one shard and with three: no persistent page is
// lost while the cluster keeps its copies, no read returns an older version or another page, and
// nothing is left in the cluster at the end, also if threads die in the middle.
//
// A failure names its seed: ZCACHE_SIM_SEED=… runs that seed alone, ZCACHE_SIM_STEPS=… sets the
// number of steps of all runs together.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Xorshift32 } from "../../src/base/random.ts";
import { policyNames } from "../../src/policy/registry.ts";
import { RemoteSimulation, type RemoteSimulationOptions } from "./remote_simulation.ts";

const STEPS_OF_RUN = 2500;
const SEED = process.env["ZCACHE_SIM_SEED"];
const STEPS = Number(process.env["ZCACHE_SIM_STEPS"] ?? 17_500);

function optionsOf(seed: number): RemoteSimulationOptions {
  const random = new Xorshift32(seed);
  const pick = <T>(list: readonly T[]): T => list[random.below(list.length)]!;
  const shards = seed % 3 === 0 ? 3 : 1;
  return {
    seed,
    steps: STEPS_OF_RUN,
    memoryMax: (shards === 3 ? 3 : 1) << 20,
    shards,
    pool: pick(["dense", "zsmalloc", "zblock", "z3fold", "zbud"]),
    policy: pick(policyNames()),
    reclaim: pick(["objects", "frames"] as const),
    file: pick(["none", "none", "small", "large"] as const),
    first: pick(["remote", "remote", "file"] as const),
    ephemeral: pick([true, false]),
    copies: pick([1, 2] as const),
    faults: pick([true, false]),
    crashes: pick([true, false]),
    leases: pick([true, false]),
    deaths: pick([true, false]),
  };
}

const count = SEED === undefined ? Math.ceil(STEPS / STEPS_OF_RUN) : 1;
const first = SEED === undefined ? 1 : Number(SEED);
for (let seed = first; seed < first + count; seed++) {
  const options = optionsOf(seed);
  const { steps, memoryMax, ...rest } = options;
  test(`seed ${seed}: ${JSON.stringify(rest)}`, async (t) => {
    try {
      const tally = await new RemoteSimulation(options).run();
      if (options.deaths) assert.ok(tally["died"]! > 10, `${tally["died"]} threads have died`);
      if (SEED !== undefined) t.diagnostic(JSON.stringify(tally));
    } catch (cause) {
      const again = `ZCACHE_SIM_SEED=${seed} npm test -- test/store/remote_simulation.test.ts`;
      throw new Error(`${String(cause)}\nthe same again: ${again}`, { cause });
    }
  });
}

test("the same seed gives the same run", async () => {
  const options = { ...optionsOf(5), steps: 300 };
  assert.deepEqual(
    await new RemoteSimulation(options).run(),
    await new RemoteSimulation(options).run(),
  );
});
