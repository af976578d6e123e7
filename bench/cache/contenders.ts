// The caches that the benchmark compares, zcache first.
import type { Contender } from "./contender.ts";
import {
  CLASSIC_LEVEL,
  KEYV,
  LMDB,
  LMDB_LZ4,
  LRU_CACHE,
  LRU_OBJECTS,
  MAP,
  NOTHING,
} from "./in_process.ts";
import { OURS } from "./ours.ts";
import { MEMCACHED, REDIS_LFU, REDIS_LRU } from "./servers.ts";

const ALL: readonly Contender[] = [
  ...OURS,
  MAP,
  LRU_CACHE,
  LRU_OBJECTS,
  LMDB,
  LMDB_LZ4,
  CLASSIC_LEVEL,
  KEYV,
  MEMCACHED,
  REDIS_LFU,
  REDIS_LRU,
];

/** Name of the contender without a cache, whose cost is subtracted. */
export const BASELINE = NOTHING.name;

export function contenderNames(): string[] {
  return ALL.map(({ name }) => name);
}

export function findContender(name: string): Contender {
  const found = [...ALL, NOTHING].find((one) => one.name === name);
  if (found === undefined) {
    throw new Error(`no cache is called "${name}"; there are ${contenderNames().join(", ")}`);
  }
  return found;
}
