// A store made of several arenas, its shards, under one limit: for stores of more than 4 GiB, and
// for many threads that write.
//
//   1. plan.ts           how many shards, and how large
//   2. route.ts          which shard a page or a key belongs to
//   3. quota.ts          one limit for all shards
//   4. sharded_store.ts  a store of pages: sends each operation to its shard, or to all
//   5. shard_group.ts    stores of values, whose users send each operation to the shard of its key
//   6. statistics.ts     sums over shards
//
// A sharded store is its first shard, with the others beside it. The first one also holds what
// threads share that is no page: words of devices, buffers, the quota. Pages of other shards are
// copied to or from these buffers.
//
// Concurrency: as that of a store, shard by shard; each has its own lock, and no thread holds two.
// What concerns several shards (`flushObject`, `freeze`, statistics) is done one shard after the
// other. Pools are created and shared pools are left under the lock of the quota, so that a pool
// has the same id in all shards.
//
// Limits: 64 shards of 4 GiB less 64 KiB.
import { type Address, NIL } from "../base/brand.ts";
import type { Errno } from "../base/errno.ts";
import { assert } from "../base/errors.ts";
import type { Arena } from "../memory/arena.ts";
import { resolvePoolOptions, type TmemPoolOptions } from "../store/arguments.ts";
import type { Explanation } from "../store/explain.ts";
import type { IdleScanOptions, IdleScanResult } from "../store/idle_scan.ts";
import { Inspection } from "../store/inspection.ts";
import type { Use } from "../store/load_remote.ts";
import { markClosed, serveMaintenance } from "../store/maintainer.ts";
import { MISS } from "../store/next_page.ts";
import { attachArena, attachStore, createArena, formatStore } from "../store/open.ts";
import { type ResolvedOptions, resolveOptions, type StoreOptions } from "../store/options.ts";
import type { StorePlatform } from "../store/platform.ts";
import type { StoreState } from "../store/state.ts";
import type { StoreStats } from "../store/statistics.ts";
import { Store, type StoreShare, stateOf } from "../store/store.ts";
import { transaction } from "../store/transaction.ts";
import { TmemKey } from "../tmem/key.ts";
import type { TmemPoolInfo } from "../tmem/pools.ts";
import { openTogether, switched } from "./attaching.ts";
import { optionsOfShard, planShards, removeLeftFiles, type ShardPlan } from "./plan.ts";
import { QUOTA_BYTES, Quota } from "./quota.ts";
import { shardOfPage } from "./route.ts";
import { summaryOf } from "./statistics.ts";

/** As a StoreShare, with the shards after the first. */
export interface ShardedStoreShare extends StoreShare {
  readonly shards: readonly StoreShare[];
  /** Word index of the quota in the first shard's memory. */
  readonly quotaAt: number;
  /** The options of the whole store. */
  readonly whole: ResolvedOptions;
}

/** The states of all shards of a store of pages. */
export function statesOf(store: Store): readonly StoreState[] {
  return store instanceof ShardedStore ? shardStates(store) : [stateOf(store)];
}

/** The state of the shard that has a page. */
export function stateOfPage(store: Store, pool: number, key: TmemKey): StoreState {
  const states = statesOf(store);
  return states[shardOfPage(pool, key, states.length)]!;
}

let shardStates: (store: ShardedStore) => readonly StoreState[];

export class ShardedStore extends Store {
  static {
    shardStates = (store) => store.#states;
  }

  override readonly inspection: Inspection;
  /** All shards but the first, which is this object. */
  readonly #others: readonly Store[];
  readonly #states: readonly StoreState[];
  readonly #quota: Quota;
  readonly #quotaAt: number;
  readonly #whole: ResolvedOptions;
  readonly #best = new TmemKey();
  readonly #probe = new TmemKey();
  /** The shard that the idle scan is in. */
  #scanning = 0;

  private constructor(
    first: StoreState,
    others: readonly Store[],
    whole: ResolvedOptions,
    quotaAt: number | undefined,
  ) {
    super(first);
    this.#others = others;
    this.#states = [first, ...others.map(stateOf)];
    this.#whole = whole;
    this.#quotaAt = quotaAt ?? super.allocate(QUOTA_BYTES) / 4;
    this.#quota = new Quota(this.#states, this.#quotaAt);
    if (quotaAt === undefined) this.#quota.format(whole.memoryMax);
    this.inspection = new Inspection(this.#states);
  }

  /**
   * Creates an empty store, of one shard or several as its options say.
   * @throws as `Store.create`
   */
  static override create(options: StoreOptions, platform: StorePlatform): Store {
    const whole = resolveOptions(options);
    const plan = planShards(whole.memoryMax, whole.shards, whole.threads, whole.limitMax);
    const store =
      plan.shards === 1
        ? Store.create({ ...options, shards: 1 }, platform)
        : ShardedStore.#createShards(options, whole, plan, platform);
    removeLeftFiles(options, plan.shards, platform);
    return store;
  }

  static #createShards(
    options: StoreOptions,
    whole: ResolvedOptions,
    plan: ShardPlan,
    platform: StorePlatform,
  ): ShardedStore {
    const others: Store[] = [];
    const shared = switched(platform);
    let arena: Arena | undefined;
    try {
      const own = resolveOptions(optionsOfShard(options, plan, 0));
      arena = createArena(own, shared);
      const first = formatStore(arena, own, shared);
      for (let nth = 1; nth < plan.shards; nth++) {
        others.push(Store.create(optionsOfShard(options, plan, nth), shared));
      }
      return new ShardedStore(first, others, whole, undefined);
    } catch (error) {
      for (const other of others) other.close();
      arena?.close();
      throw error;
    }
  }

  /** @throws as `Store.attach` */
  static override attach(share: StoreShare, platform: StorePlatform): Store {
    const { shards, quotaAt, whole } = share as Partial<ShardedStoreShare>;
    if (shards === undefined || quotaAt === undefined || whole === undefined) {
      return Store.attach(share, platform);
    }
    return openTogether(platform, shards.length + 1, (shared) => {
      const arena = attachArena(share, shared);
      const others: Store[] = [];
      try {
        const first = attachStore(arena, share.zcacheStore, share.options, shared, share.device);
        for (const one of shards) others.push(Store.attach(one, shared));
        return new ShardedStore(first, others, whole, quotaAt);
      } catch (error) {
        for (const other of others) other.detach();
        arena.detach();
        throw error;
      }
    });
  }

  override share(): ShardedStoreShare {
    return {
      ...super.share(),
      shards: this.#others.map((other) => other.share()),
      quotaAt: this.#quotaAt,
      whole: this.#whole,
    };
  }

  /** The options of the whole store. */
  override get options(): ResolvedOptions {
    return this.#whole;
  }

  override get shards(): readonly Store[] {
    return [this, ...this.#others];
  }

  override createPool(options: TmemPoolOptions = {}): number | Errno {
    const { client, flags, uuid } = resolvePoolOptions(options);
    return this.#quota.exclusive(() => {
      const pool = super.createPool(options);
      if (pool < 0) return pool;
      for (const other of this.#others) {
        const state = stateOf(other);
        // A thread that died while it created or destroyed a pool may have left another one.
        const left = state.index.poolInPlaceOf(pool);
        if (left !== NIL && left !== pool) while (other.destroyPool(left) !== 0);
        const create = () => state.index.createPool(client, flags, uuid, pool);
        const created = transaction(state, create);
        assert(created === pool, "a pool has the same id in all shards");
      }
      return pool;
    });
  }

  override destroyPool(pool: number): 0 | Errno {
    // Last in the first shard, which says which ids are free.
    const destroy = () => {
      for (const other of this.#others) other.destroyPool(pool);
      return super.destroyPool(pool);
    };
    return this.isShared(pool) ? this.#quota.exclusive(destroy) : destroy();
  }

  override put(pool: number, key: TmemKey, page: Uint8Array): 0 | Errno {
    const other = this.#otherOf(pool, key);
    return other === undefined ? super.put(pool, key, page) : other.put(pool, key, page);
  }

  override putAsync(pool: number, key: TmemKey, page: Uint8Array): Promise<0 | Errno> {
    const other = this.#otherOf(pool, key);
    return other === undefined ? super.putAsync(pool, key, page) : other.putAsync(pool, key, page);
  }

  override putFrom(pool: number, key: TmemKey, address: Address): 0 | Errno {
    const other = this.#otherOf(pool, key);
    if (other === undefined) return super.putFrom(pool, key, address);
    this.assertOpen();
    const { arena, plain } = stateOf(other);
    arena.bytes.set(this.arena.bytes.subarray(address, address + this.pageSize), plain);
    return other.putFrom(pool, key, plain);
  }

  override get(pool: number, key: TmemKey, target: Uint8Array, exclusive = false): boolean {
    const other = this.#otherOf(pool, key);
    if (other === undefined) return super.get(pool, key, target, exclusive);
    return other.get(pool, key, target, exclusive);
  }

  override getTo(pool: number, key: TmemKey, address: Address, exclusive = false): boolean {
    const other = this.#otherOf(pool, key);
    if (other === undefined) return super.getTo(pool, key, address, exclusive);
    const { arena, plain } = stateOf(other);
    if (!other.getTo(pool, key, plain, exclusive)) return false;
    this.arena.bytes.set(arena.bytes.subarray(plain, plain + this.pageSize), address);
    return true;
  }

  override load(pool: number, key: TmemKey, target: Uint8Array, use: Use): Promise<boolean> {
    const other = this.#otherOf(pool, key);
    return other === undefined
      ? super.load(pool, key, target, use)
      : other.load(pool, key, target, use);
  }

  override isRemote(pool: number, key: TmemKey): boolean {
    const other = this.#otherOf(pool, key);
    return other === undefined ? super.isRemote(pool, key) : other.isRemote(pool, key);
  }

  override remotify(enabled: Parameters<Store["remotify"]>[0]): void {
    for (const other of this.#others) other.remotify(enabled);
    super.remotify(enabled);
  }

  override has(pool: number, key: TmemKey): boolean {
    const other = this.#otherOf(pool, key);
    return other === undefined ? super.has(pool, key) : other.has(pool, key);
  }

  override flush(pool: number, key: TmemKey): boolean {
    const other = this.#otherOf(pool, key);
    return other === undefined ? super.flush(pool, key) : other.flush(pool, key);
  }

  override flushObject(pool: number, key: TmemKey): number {
    return this.#others.reduce(
      (sum, other) => sum + other.flushObject(pool, key),
      super.flushObject(pool, key),
    );
  }

  override nextPage(pool: number, key: TmemKey): ReturnType<Store["nextPage"]> {
    const begin = this.#probe.copy(key);
    // Usually the page itself is stored, and its shard knows that no page comes before it.
    const nth = shardOfPage(pool, key, this.#states.length);
    let kind = this.#nextPageIn(nth, pool, key);
    if (kind !== MISS && isSameIndex(key, begin)) return kind;
    const best = this.#best.copy(key);
    for (let other = 0; other < this.#states.length; other++) {
      if (other === nth) continue;
      key.copy(begin);
      const found = this.#nextPageIn(other, pool, key);
      if (found === MISS || (kind !== MISS && !isBefore(key, best))) continue;
      kind = found;
      best.copy(key);
    }
    key.copy(kind === MISS ? begin : best);
    return kind;
  }

  /** Pages are those of all shards; objects and users those of the shard that has most. */
  override poolInfo(pool: number): TmemPoolInfo | null {
    const own = super.poolInfo(pool);
    if (own === null) return null;
    let { pages, objects, firstPages } = own;
    for (const other of this.#others) {
      const info = other.poolInfo(pool);
      if (info === null) continue;
      pages += info.pages;
      objects = Math.max(objects, info.objects);
      firstPages += info.firstPages;
    }
    return { ...own, pages, objects, firstPages };
  }

  override freeze(frozen: boolean): void {
    for (const other of this.#others) other.freeze(frozen);
    super.freeze(frozen);
  }

  override tick(): void {
    for (const other of this.#others) other.tick();
    super.tick();
  }

  override maintain(): boolean {
    let isMore = super.maintain();
    for (const other of this.#others) if (other.maintain()) isMore = true;
    return isMore;
  }

  /** A scan goes through the shards one after the other. */
  override scanIdle(options: IdleScanOptions): IdleScanResult {
    const nth = this.#scanning;
    const result = nth === 0 ? super.scanIdle(options) : this.#others[nth - 1]!.scanIdle(options);
    if (!result.ended) return result;
    this.#scanning = (nth + 1) % this.#states.length;
    return { ...result, ended: this.#scanning === 0 };
  }

  override shrink(pages: number): number {
    const step = Math.ceil(pages / this.#states.length);
    let gone = 0;
    for (let before = -1; gone < pages && gone !== before; ) {
      before = gone;
      gone += super.shrink(Math.min(step, pages - gone));
      for (const other of this.#others) gone += other.shrink(Math.min(step, pages - gone));
    }
    return gone;
  }

  override compact(frames: number): number {
    let freed = super.compact(frames);
    for (const other of this.#others) if (freed < frames) freed += other.compact(frames - freed);
    return freed;
  }

  override limit(bytes: number): void {
    this.assertOpen();
    this.#quota.limit(bytes === 0 ? this.#whole.memoryMax : bytes);
  }

  override get limitBytes(): number {
    this.assertOpen();
    return this.#quota.limitBytes;
  }

  override get limitMax(): number {
    return this.#others.reduce((sum, other) => sum + other.limitMax, super.limitMax);
  }

  override serve(): void {
    this.assertOpen();
    serveMaintenance(this.#states);
    this.detach();
  }

  override uncounted<T>(work: () => Promise<T>): Promise<T> {
    const all = this.#others.reduce((inner, other) => () => other.uncounted(inner), work);
    return super.uncounted(all);
  }

  override flushReadBuffer(): void {
    for (const other of this.#others) other.flushReadBuffer();
    super.flushReadBuffer();
  }

  /** Sums over the shards, each of which is consistent in itself. */
  override stats(): StoreStats {
    const stats = [super.stats(), ...this.#others.map((other) => other.stats())];
    return summaryOf(stats, this.#states);
  }

  override explain(pool: number, key: TmemKey): Explanation {
    const other = this.#otherOf(pool, key);
    return other === undefined ? super.explain(pool, key) : other.explain(pool, key);
  }

  override verify(): void {
    super.verify();
    for (const other of this.#others) other.verify();
    this.#quota.verify();
  }

  override detach(): void {
    for (const other of this.#others) other.detach();
    super.detach();
  }

  override close(beforeDetach?: () => void): void {
    if (!this.isClosed) markClosed(this.#states[0]!);
    try {
      for (const other of this.#others) other.close();
    } finally {
      super.close(beforeDetach);
    }
  }

  /** The shard of a page; undefined: the first one, which is this object. */
  #otherOf(pool: number, key: TmemKey): Store | undefined {
    return this.#others[shardOfPage(pool, key, this.#states.length) - 1];
  }

  #nextPageIn(nth: number, pool: number, key: TmemKey): ReturnType<Store["nextPage"]> {
    return nth === 0 ? super.nextPage(pool, key) : this.#others[nth - 1]!.nextPage(pool, key);
  }
}

function isSameIndex(a: TmemKey, b: TmemKey): boolean {
  return a.indexLow === b.indexLow && a.indexHigh === b.indexHigh;
}

function isBefore(a: TmemKey, b: TmemKey): boolean {
  if (a.indexHigh !== b.indexHigh) return a.indexHigh >>> 0 < b.indexHigh >>> 0;
  return a.indexLow >>> 0 < b.indexLow >>> 0;
}
