// The place that a store has for what its front needs: which pool the values are in, the seeds of
// their keys' hash, and tables that all threads share.
import { NIL } from "../../base/brand.ts";
import { assert, ZcacheError } from "../../base/errors.ts";
import type { Store } from "../../store/store.ts";
import type { Values } from "../../store/values.ts";
import { VERSIONS_BYTES } from "./versions.ts";

// The front's words in the store (store.layout.ts).
export const POOL = 0; // the tmem pool, 0 = not made yet
const SEEDS = 1; // two words: of the keys' hash
export const VERSIONS = 3; // the table of versions (versions.ts)
export const FLIGHTS = 4; // a table for the cache (cache/flights.ts)
export const FLIGHTS_BYTES = 4096;

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
  const versions = valuesOf(store).allocate(VERSIONS_BYTES);
  const flights = valuesOf(store).allocate(FLIGHTS_BYTES);
  if (versions === NIL || flights === NIL) {
    throw new ZcacheError("ERR_ARENA_FULL", "no room in the arena for the tables of a cache");
  }
  words[at + VERSIONS] = versions;
  words[at + FLIGHTS] = flights;
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
