// The place that a store has for what its front needs: which pool the values are in, and the seeds
// of their keys' hash.
import { assert, ZcacheError } from "../base/errors.ts";
import type { Store } from "../store/store.ts";
import type { Values } from "../store/values.ts";

// The front's words in the store (store.layout.ts).
export const POOL = 0; // the tmem pool, 0 = not made yet
const SEEDS = 1; // two words: of the keys' hash

/**
 * Makes the place for values in a store that is nobody else's yet.
 * @param persistent values stay until they are deleted: what has no room is refused
 * @param seeds of the keys' hash, where values are to come that were stored under such
 */
export function formatValues(
  store: Store,
  random: () => number,
  persistent = false,
  seeds: readonly number[] = [random(), random()],
): void {
  const { words, frontAt: at } = valuesOf(store);
  const pool = store.createPool({ persistent });
  assert(pool >= 0, "a new store has room for a pool");
  words[at + SEEDS] = seeds[0]!;
  words[at + SEEDS + 1] = seeds[1]!;
  if (!valuesOf(store).makeVersions()) {
    throw new ZcacheError("ERR_ARENA_FULL", "no room in the arena for the tables of a cache");
  }
  words[at + POOL] = pool;
}

export function valuesOf(store: Store): Values {
  const { values } = store;
  if (values !== undefined) return values;
  throw new ZcacheError("ERR_OPTION", 'this store holds pages; one of values has content "values"');
}

/** The seeds of the keys' hash. */
export function seedsOf({ words, frontAt }: Values): [low: number, high: number] {
  return [words[frontAt + SEEDS]!, words[frontAt + SEEDS + 1]!];
}
