// The whole store in a simulation; the same seed gives the same run. Several actors work on one
// store, each with an attachment of its own, as a thread has. Whenever one reads or writes the
// file, the scheduler lets others run first. The file fails, actors die inside their operations,
// and after each step the whole state is checked against a model.
import { testSimulation } from "./simulation_runs.ts";

testSimulation({
  path: "test/store/simulation.test.ts",
  steps: 60_000,
  shards: 1,
  memories: [1 << 20, 3 << 20],
});
