// memcached's items with a remote tier in a simulation, with one shard and with three: no request
// gets an older value or another key's, no item that must stay is lost while the cluster keeps its
// copies, and nothing is left in the cluster at the end.
//
// A failure names its seed: ZCACHE_SIM_SEED=… runs that seed alone, ZCACHE_SIM_STEPS=… sets the
// number of steps of all runs together.
import { test } from "node:test";
import { Xorshift32 } from "../../src/base/random.ts";
import { type RemoteItemsOptions, RemoteItemsSimulation } from "./remote_simulation.ts";

const STEPS_OF_RUN = 2500;
const SEED = process.env["ZCACHE_SIM_SEED"];
const STEPS = Number(process.env["ZCACHE_SIM_STEPS"] ?? 12_500);

function optionsOf(seed: number): RemoteItemsOptions {
  const random = new Xorshift32(Math.imul(seed, 0x9e3779b1) | 1);
  const pick = <T>(list: readonly T[]): T => list[random.below(list.length)]!;
  return {
    seed,
    steps: STEPS_OF_RUN,
    shards: seed % 3 === 0 ? 3 : 1,
    evicts: seed % 2 === 0,
    faults: pick([true, false]),
    crashes: pick([true, false]),
    leases: pick([true, false]),
  };
}

const count = SEED === undefined ? Math.ceil(STEPS / STEPS_OF_RUN) : 1;
const first = SEED === undefined ? 1 : Number(SEED);
for (let seed = first; seed < first + count; seed++) {
  const options = optionsOf(seed);
  const { steps, ...rest } = options;
  test(`seed ${seed}: ${JSON.stringify(rest)}`, async (t) => {
    try {
      const tally = await new RemoteItemsSimulation(options).run();
      if (SEED !== undefined) t.diagnostic(JSON.stringify(tally));
    } catch (cause) {
      const again = `ZCACHE_SIM_SEED=${seed} npm test -- test/memcached/remote_simulation.test.ts`;
      throw new Error(`${String(cause)}\nthe same again: ${again}`, { cause });
    }
  });
}
