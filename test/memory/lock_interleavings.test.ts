// The arena's lock in all orders in which two threads, and in simple cases three, can take their
// steps (lock_model.ts); lock_interleavings.long.test.ts has more of them.
import { test } from "node:test";
import { IMPATIENT, MORTAL, runScenario, type Scenario } from "./lock_model.ts";

const SCENARIOS: readonly Scenario[] = [
  { name: "a writer and a reader", rounds: ["ww", "rr"], processors: 1 },
  { name: "a writer and a reader that spin", rounds: ["w", "rr"], processors: 2 },
  { name: "a writer and two readers", rounds: ["w", "r", "r"], processors: 1 },
  { name: "a writer and an optimistic reader", rounds: ["ww", "o"], processors: 1 },
  { name: "a writer and an optimistic reader that spin", rounds: ["w", "oo"], processors: 2 },
  { name: "a wait of an optimistic reader", rounds: ["w", "o"], timeouts: 1, processors: 1 },
  { name: "a death beside optimistic reads", rounds: ["w", "o"], more: MORTAL, processors: 1 },
  {
    name: "a repair and an optimistic read",
    rounds: ["b", "p", "b"],
    more: MORTAL,
    isFirstOnly: true,
    isRepairing: true,
    timeouts: 1,
    processors: 1,
  },
  { name: "two writers that spin", rounds: ["ww", "w"], processors: 2 },
  { name: "three writers", rounds: ["w", "w", "w"], processors: 1 },
  { name: "all kinds", rounds: ["w", "b", "r"], processors: 2 },
  { name: "impatient threads", rounds: ["ww", "w"], more: IMPATIENT, processors: 1 },
  { name: "a wait that times out", rounds: ["w", "r"], timeouts: 1, processors: 1 },
  { name: "a wait that times out, of a writer", rounds: ["w", "w"], timeouts: 1, processors: 1 },
  { name: "a death of a writer or a reader", rounds: ["ww", "r"], more: MORTAL, processors: 1 },
  { name: "a death of writers", rounds: ["w", "w"], more: MORTAL, processors: 1 },
  { name: "a death beside readers", rounds: ["b", "r", "b"], more: MORTAL, processors: 1 },
  {
    name: "a death of impatient threads",
    rounds: ["w", "ww"],
    more: { ...MORTAL, ...IMPATIENT },
    processors: 1,
  },
];

for (const scenario of SCENARIOS) {
  test(`${scenario.name}: ${scenario.rounds.join(" ")}`, (t) => runScenario(t, scenario));
}
