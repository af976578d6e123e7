// Caches for suites that run with one shard and with several: test/cache/sharded.test.ts runs them
// again with other numbers.
import { Cache, type CacheKey, type CacheOptions, type LocalOptions } from "../../src/index.ts";
import type { IdleScanOptions, IdleScanResult } from "../../src/store/idle_scan.ts";
import type { Values } from "../../src/values/values.ts";

const VARIABLE = "ZCACHE_TEST_SHARDS";

/** Shards of the caches that a suite opens. */
export const SHARDS = Number(process.env[VARIABLE] ?? 1);

/** Runs the tests of a suite with so many shards, in this process. */
export function useShards(shards: number): void {
  process.env[VARIABLE] = String(shards);
}

/** As `Cache.create`, with SHARDS shards unless the options say otherwise. */
export function createCache<K extends CacheKey = string, V = unknown>(
  options: CacheOptions & LocalOptions,
): Cache<K, V> {
  return Cache.create<K, V>({ shards: SHARDS, ...options });
}

type AnyCache = Pick<Cache, "group" | "shards">;

/** The shard that has a key. */
export function shardOf({ shards }: AnyCache, key: string): Values {
  const bytes = Buffer.from(key);
  return shards.find((values) => values.has(bytes, bytes.length))!;
}

/** Evicts one value from the first shard that has any. @returns how many were evicted */
export function evictOne({ group }: AnyCache): number {
  return Number(group.stores.some((store) => store.shrink(1) > 0));
}

/** Runs a step of the idle scan in each shard. */
export function scanAll({ group }: AnyCache, options: IdleScanOptions): IdleScanResult {
  const results = group.stores.map((store) => store.scanIdle(options));
  const sum = (of: (result: IdleScanResult) => number) =>
    results.reduce((total, result) => total + of(result), 0);
  return {
    recompressed: sum(({ recompressed }) => recompressed),
    writtenBack: sum(({ writtenBack }) => writtenBack),
    expired: sum(({ expired }) => expired),
    ended: results.every(({ ended }) => ended),
  };
}
