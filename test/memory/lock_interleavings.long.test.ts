// The arena's lock in all orders in which three threads can take their steps (lock_model.ts).
import { test } from "node:test";
import { MORTAL, runScenario, type Scenario } from "./lock_model.ts";

const SCENARIOS: readonly Scenario[] = [
  { name: "two writers and a reader that spin", rounds: ["w", "w", "r"], processors: 2 },
  { name: "a death anywhere", rounds: ["w", "w", "r"], more: MORTAL, processors: 1 },
];

for (const scenario of SCENARIOS) {
  test(`${scenario.name}: ${scenario.rounds.join(" ")}`, (t) => {
    runScenario(t, { ...scenario, statesMax: 2_000_000 });
  });
}
