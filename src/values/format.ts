// Prepares a store for values: their tmem pool, the seeds of the hash of their keys, and the tables
// of versions and watches.
import { NIL, type WordIndex } from "../base/brand.ts";
import { assert, ZcacheError } from "../base/errors.ts";
import type { StoreState } from "../store/state.ts";
import * as Root from "../store/store.layout.ts";
import { type Store, stateOf } from "../store/store.ts";
import { transaction } from "../store/transaction.ts";
import { VERSIONS_BYTES, WATCHES_BYTES } from "../store/versions.ts";

// Words in the store's root, from Root.FRONT on.
const POOL = 0; // the tmem pool, 0 = not made yet
const SEEDS = 1; // two words: of the keys' hash

/**
 * Prepares a new store, which no other thread uses yet.
 * @param persistent values stay until they are deleted: a value without room is refused
 * @param seeds of the keys' hash: those of the process before, if its values are to be recovered
 * @throws ZcacheError ERR_OPTION if it is a store of pages, ERR_ARENA_FULL
 */
export function formatValues(
  store: Store,
  random: () => number,
  persistent = false,
  seeds: readonly number[] = [random(), random()],
): void {
  const state = valuesStateOf(store);
  const { words, root } = state;
  const pool = store.createPool({ persistent });
  assert(pool >= 0, "a new store has room for a pool");
  words[root + Root.FRONT + SEEDS] = seeds[0]!;
  words[root + Root.FRONT + SEEDS + 1] = seeds[1]!;
  const versions = allocate(state, VERSIONS_BYTES);
  const watches = allocate(state, WATCHES_BYTES);
  if (versions === NIL || watches === NIL) {
    throw new ZcacheError("ERR_ARENA_FULL", "no room in the arena for the tables of a cache");
  }
  words[root + Root.VERSIONS] = versions;
  words[root + Root.WATCHES] = watches;
  words[root + Root.FRONT + POOL] = pool;
}

/** The state of a store of values. @throws ZcacheError ERR_OPTION if it is a store of pages */
export function valuesStateOf(store: Store): StoreState {
  if (store.options.content === "values") return stateOf(store);
  throw new ZcacheError("ERR_OPTION", 'this store holds pages; one of values has content "values"');
}

/** The tmem pool of the values. */
export function poolOf({ words, root }: StoreState): number {
  return words[root + Root.FRONT + POOL]!;
}

/** The seeds of the keys' hash. */
export function seedsOf({ words, root }: StoreState): [low: number, high: number] {
  return [words[root + Root.FRONT + SEEDS]!, words[root + Root.FRONT + SEEDS + 1]!];
}

function allocate(state: StoreState, sizeBytes: number): WordIndex | typeof NIL {
  return transaction(state, () => state.allocateLocked(sizeBytes));
}
