// The shards of a store of values: stores under one limit, of which each key belongs to one by the
// hash of the key (route.ts). The caller sends each operation to the shard of its key; this class
// has what concerns all shards. A store of one arena is a group of one, without a quota.

import { Inspection } from "../store/inspection.ts";
import { type ResolvedOptions, resolveOptions, type StoreOptions } from "../store/options.ts";
import type { StorePlatform } from "../store/platform.ts";
import type { StoreStats } from "../store/statistics.ts";
import { Store, type StoreShare, stateOf } from "../store/store.ts";
import { openTogether, switched } from "./attaching.ts";
import { optionsOfShard, planShards, removeLeftFiles } from "./plan.ts";
import { QUOTA_BYTES, Quota } from "./quota.ts";
import { shardOfHash } from "./route.ts";
import { summaryOf } from "./statistics.ts";

/** The value that `share` returns for another thread. */
export interface ShardGroupShare {
  readonly stores: readonly StoreShare[];
  /** Word index of the quota in the first shard's memory; 0 = there is none. */
  readonly quotaAt: number;
  /** Limit of the whole group, in bytes, as it was created. */
  readonly memoryMax: number;
}

export class ShardGroup {
  readonly stores: readonly Store[];
  /** Limit of the whole group, in bytes, as it was created. */
  readonly memoryMax: number;
  /** Looks at all shards without using them. */
  readonly inspection: Inspection;
  readonly #quota: Quota | undefined;
  readonly #quotaAt: number;

  private constructor(stores: readonly Store[], memoryMax: number, quotaAt: number) {
    this.stores = stores;
    this.memoryMax = memoryMax;
    const states = stores.map(stateOf);
    this.inspection = new Inspection(states);
    this.#quotaAt = quotaAt;
    this.#quota = quotaAt === 0 ? undefined : new Quota(states, quotaAt);
  }

  /**
   * Creates empty stores.
   * @throws as `Store.create`
   */
  static create(options: StoreOptions, platform: StorePlatform): ShardGroup {
    const { memoryMax, shards, threads, limitMax } = resolveOptions(options);
    const plan = planShards(memoryMax, shards, threads, limitMax);
    const stores: Store[] = [];
    const shared = plan.shards === 1 ? platform : switched(platform);
    try {
      for (let nth = 0; nth < plan.shards; nth++) {
        stores.push(Store.create(optionsOfShard(options, plan, nth), shared));
      }
      removeLeftFiles(options, plan.shards, platform);
      if (plan.shards === 1) return new ShardGroup(stores, memoryMax, 0);
      const quotaAt = stores[0]!.allocate(QUOTA_BYTES) / 4;
      const group = new ShardGroup(stores, memoryMax, quotaAt);
      group.#quota!.format(memoryMax);
      return group;
    } catch (error) {
      for (const store of stores) store.close();
      throw error;
    }
  }

  /** @throws as `Store.attach` */
  static attach(share: ShardGroupShare, platform: StorePlatform): ShardGroup {
    return openTogether(platform, share.stores.length, (shared) => {
      const stores: Store[] = [];
      try {
        for (const one of share.stores) stores.push(Store.attach(one, shared));
        return new ShardGroup(stores, share.memoryMax, share.quotaAt);
      } catch (error) {
        for (const store of stores) store.detach();
        throw error;
      }
    });
  }

  share(): ShardGroupShare {
    return {
      stores: this.stores.map((store) => store.share()),
      quotaAt: this.#quotaAt,
      memoryMax: this.memoryMax,
    };
  }

  /** The number of the shard of a key, by the two words of the key's hash. */
  shardOf(hashLow: number, hashHigh: number): number {
    return shardOfHash(hashLow, hashHigh, this.stores.length);
  }

  get pageSize(): number {
    return this.stores[0]!.pageSize;
  }

  /** Of the first shard: the others have an equal limit, and a write-back file of their own. */
  get options(): ResolvedOptions {
    return this.stores[0]!.options;
  }

  /** As `Store.limit`, for all shards together. @throws ZcacheError ERR_OPTION */
  limit(bytes: number): void {
    if (this.#quota === undefined) this.stores[0]!.limit(bytes);
    else this.#quota.limit(bytes === 0 ? this.memoryMax : bytes);
  }

  /** The limit of all shards together, in bytes, as `limit` has set it. */
  get limitBytes(): number {
    return this.#quota === undefined ? this.stores[0]!.limitBytes : this.#quota.limitBytes;
  }

  /** The most that `limit` accepts, in bytes. */
  get limitMax(): number {
    return this.stores.reduce((sum, store) => sum + store.limitMax, 0);
  }

  /** As `Store.maintain`, one step in each shard. */
  maintain(): boolean {
    return this.stores.filter((store) => store.maintain()).length > 0;
  }

  /** Sums over the shards, each of which is consistent in itself. */
  stats(): StoreStats {
    const stats = this.stores.map((store) => store.stats());
    return stats.length === 1 ? stats[0]! : summaryOf(stats, this.stores.map(stateOf));
  }

  /** @throws AssertionError naming what does not hold */
  verify(): void {
    for (const store of this.stores) store.verify();
    this.#quota?.verify();
  }

  /** Whether any thread has closed the stores, or this thread has detached. */
  get isClosed(): boolean {
    return this.stores[0]!.isClosed;
  }

  /** Ends this thread's use of all shards. */
  detach(): void {
    for (const store of this.stores) store.detach();
  }

  /** Closes all shards for all threads; the first one last. */
  close(): void {
    for (const store of this.stores.toReversed()) store.close();
  }
}
