// The simulation of test/store with stores of three shards: each shard has its own file, whose
// operations fail, and a thread may die in any of the shards.
import { testSimulation } from "../store/simulation_runs.ts";

testSimulation({
  path: "test/shard/simulation.test.ts",
  steps: 20_000,
  shards: 3,
  memories: [3 << 20, 4 << 20],
});
