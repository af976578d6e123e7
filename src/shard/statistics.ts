// Statistics of a store with several shards: sums over the shards.
import type { StoreState } from "../store/state.ts";
import { latencySummariesOf, type StoreStats } from "../store/statistics.ts";

/** @param stats of each shard  @param states of the same shards */
export function summaryOf(stats: readonly StoreStats[], states: readonly StoreState[]): StoreStats {
  const [first, ...others] = stats;
  const summed = others.reduce<StoreStats>((sum, one) => added(sum, one) as StoreStats, first!);
  return { ...summed, latency: latencySummariesOf(states) };
}

/** Adds numbers of the same name; of anything else, the first stays. */
function added(a: unknown, b: unknown): unknown {
  if (typeof a === "number") return typeof b === "number" ? a + b : a;
  if (typeof a !== "object" || a === null || typeof b !== "object" || b === null) return a;
  const other = b as Record<string, unknown>;
  const sums = Object.entries(a).map(([name, value]) => [name, added(value, other[name])]);
  return Object.fromEntries(sums);
}
