// The cache: values of any kind under keys of text or bytes, compressed, in memory that all threads
// of a process share.
//
// A value is stored as bytes: strings and byte arrays as they are, everything else through a
// serializer. `get` decodes it anew each time, so that no caller shares an object with the cache or
// with another caller; values that the option `near.frozen` keeps are the exception.
//
// Parts:
//   options.ts        options of a cache and of its methods: defaults and checks
//   keys.ts           keys as bytes; key_router.ts: to which shard a key belongs
//   entries.ts        entries of one shard as bytes: types (entry_meta.ts, text.ts), times to live
//   serializer/       the default serializer
//   near.ts           decoded values that one thread keeps
//   loads.ts          `fetch`: the loads of one thread, and cycles of loaders
//   single_flight.ts  `fetch`: one load per key among all threads (packed_error.ts: its errors)
//   events.ts         listeners, and evictions in all threads
//   statistics.ts     what `stats` returns
//   fleet.ts          values that several machines share (fleet_record.ts: as they are sent)
//   cache_methods.ts  methods made of others, and those that wait for the cluster
//   engine.ts         background work, dictionaries (dictionary.ts), files of `persist`, for one
//                     shard; engines.ts: for all of them
//
// Concurrency: each thread has a Cache of its own over the same memory (`share`, `attach`). All
// methods but `fetch`, `getOrSet` and `train` are synchronous; they wait for other threads only as
// long as those hold the store's lock, for some microseconds. The thread that created the cache
// also does the background work.
//
// Limits: keys have 1 to 1024 bytes, values at most 128 MiB. 512 loads can be in progress among all
// threads as single flights; further loads run, but other threads do not wait for them.
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import { parseSize } from "../base/units.ts";
import { random32 } from "../node/platform.ts";
import { attachGroupWith } from "../node/stores.ts";
import { resolveShared } from "../remote/options.ts";
import type { ShardGroup } from "../shard/shard_group.ts";
import { type Store, stateOf } from "../store/store.ts";
import { seedsOf } from "../values/format.ts";
import { Values } from "../values/values.ts";
import { assertNotShared, CacheMethods } from "./cache_methods.ts";
import type { DictionaryReport } from "./dictionary.ts";
import { abandonValues, type OpenedValues, openValues } from "./engine.ts";
import { AttachedLogs, type Engines, startEngines } from "./engines.ts";
import { Entries } from "./entries.ts";
import * as Meta from "./entry_meta.ts";
import { type CacheEvents, CacheListeners } from "./events.ts";
import { Fleet, type FleetHost } from "./fleet.ts";
import { KeyRouter, ownKey, RoutedHash } from "./key_router.ts";
import type { CacheKey } from "./keys.ts";
import { type Loader, type LoadHost, Loads } from "./loads.ts";
import { freeze, NearCache } from "./near.ts";
import {
  allowStaleOf,
  type CacheOptions,
  type FetchOptions,
  type FetchPlan,
  fetchPlanOf,
  type GetOptions,
  type Lifetime,
  type LocalOptions,
  lifetimeOf,
  localOptionsOf,
  type ResolvedCacheOptions,
  readCacheOptions,
  resolveCacheOptions,
  type SetOptions,
  storeOptionsOf,
} from "./options.ts";
import { valueSerializer } from "./serializer/serializer.ts";
import { type CacheShare, checkGroup, checkShare, SHARE_VERSION } from "./share.ts";
import { SingleFlight } from "./single_flight.ts";
import { type CacheStats, type LocalCounts, storeFigures } from "./statistics.ts";

/** A cache of values under keys, compressed, in memory that all threads share. */
export class Cache<K extends CacheKey = string, V = unknown> extends CacheMethods<K, V> {
  /** The store under the cache, for tools; with several shards, the first of them. */
  readonly store: Store;
  /** @internal The stores of all shards. */
  readonly group: ShardGroup;
  /** @internal The values of bytes in each of them. */
  readonly shards: readonly Values[];
  /** @internal Counts of this thread. */
  readonly counts: LocalCounts = {
    ...{ nearHits: 0, loads: 0, joined: 0, staleHits: 0, unstored: 0 },
  };
  readonly #options: ResolvedCacheOptions;
  /** Plan of a fetch without options. */
  readonly #plan: FetchPlan;
  /** The entries of each shard. */
  readonly #entries: readonly Entries<K>[];
  readonly #first: Entries<K>;
  /** Finds the shard of a key; undefined if there is one shard. */
  readonly #router: KeyRouter | undefined;
  readonly #near: NearCache | undefined;
  readonly #flights: readonly SingleFlight[];
  readonly #loads: Loads<K, V>;
  readonly #listeners: CacheListeners<K>;
  /** In the thread that created the cache. */
  readonly #engines: Engines | undefined;
  /** In other threads, with `persist`. */
  readonly #logs: AttachedLogs | undefined;
  /** Whether the value that #get returned last is stale. */
  #isStale = false;

  /**
   * @param opened in the thread that creates the cache
   * @param logs in other threads, with `persist`
   */
  private constructor(
    group: ShardGroup,
    options: ResolvedCacheOptions,
    local: LocalOptions,
    opened: OpenedValues | undefined,
    logs?: CacheShare["logs"],
  ) {
    super();
    const { stores } = checkGroup(group);
    this.group = group;
    this.store = stores[0]!;
    this.#options = options;
    this.#plan = fetchPlanOf({}, options);
    const serializer = local.serializer ?? valueSerializer(options.classes);
    const seeds = seedsOf(stateOf(this.store));
    this.#router = stores.length > 1 ? new KeyRouter(group, seeds) : undefined;
    const router = this.#router;
    this.#entries = stores.map((store) => {
      const hash = router && new RoutedHash(router, seeds);
      return new Entries<K>(
        new Values(store, () => Date.now(), random32, hash),
        serializer,
        router,
      );
    });
    this.#first = this.#entries[0]!;
    this.shards = this.#entries.map(({ values }) => values);
    const { nearBytes } = options;
    this.#near = nearBytes > 0 ? new NearCache(nearBytes) : undefined;
    this.#flights = SingleFlight.ofShards(this.shards);
    this.#loads = new Loads<K, V>(this.#loadHost(), this.counts);
    this.#listeners = new CacheListeners(this.#entries);
    const onFault = (error: ZcacheError) => this.#listeners.emit("fault", error);
    if (logs !== undefined) this.#logs = new AttachedLogs(this.shards, logs, onFault);
    if (opened === undefined) return;
    this.#engines = startEngines(opened, this.shards, options, this.#listeners);
    for (const entries of this.#entries) entries.sampler = this.#engines.samplerOf(entries.values);
  }

  /**
   * Creates a cache. It is empty, unless `persist` names files of an earlier process.
   * @throws ZcacheError ERR_OPTION naming the option and what is allowed, ERR_CODEC_UNKNOWN,
   *   ERR_ARENA_MEMORY; for the files ERR_IO and ERR_FILE_LOCKED
   */
  static create<K extends CacheKey = string, V = unknown>(
    options: CacheOptions & LocalOptions = {},
  ): Cache<K, V> {
    const read = readCacheOptions(options);
    const resolved = resolveCacheOptions(read);
    const remote = read.remote && resolveShared(read.remote);
    assertNotShared(resolved.persist && remote, "persist");
    const settings = storeOptionsOf(read);
    const opened = openValues(settings, resolved.persist, { front: "", stays: false });
    try {
      const cache = new Cache<K, V>(opened.group, resolved, read, opened);
      if (remote !== undefined) cache.fleet = new Fleet<K, V>(remote, resolved, cache.#fleetHost());
      return cache;
    } catch (error) {
      abandonValues(opened);
      throw error;
    }
  }

  /**
   * Opens a cache in another thread.
   * @param share what `share()` returned in a thread that has the cache
   * @throws ZcacheError ERR_STORE_SHARE or ERR_ARENA_SHARE for anything else, ERR_ARENA_CLOSED,
   *   ERR_ARENA_THREADS, ERR_OPTION
   */
  static attach<K extends CacheKey = string, V = unknown>(
    share: CacheShare,
    local: LocalOptions = {},
  ): Cache<K, V> {
    checkShare(share);
    const read = localOptionsOf(local);
    const { group, options, logs } = share;
    return attachGroupWith(group, (one) => new Cache<K, V>(one, options, read, undefined, logs));
  }

  /** Plain data, for `workerData` or `postMessage`, with which another thread attaches. */
  share(): CacheShare {
    assertNotShared(this.fleet, "share(): other threads create caches of their own");
    const group = this.group.share();
    const logs = (this.#engines ?? this.#logs)?.share();
    return { zcacheCache: SHARE_VERSION, group, options: this.#options, logs };
  }

  /**
   * Stores a value; `undefined` deletes.
   * @param options how long the value lives, or only its ttl: ms or text such as "10m"
   * @returns whether it is stored: false if it is too large for the memory of the cache
   * @throws ZcacheError ERR_KEY; ERR_VALUE if the value can't be encoded or is longer than 128 MiB;
   *   ERR_OPTION, ERR_STORE_CLOSED
   */
  set(key: K, value: V, options?: SetOptions | number | string): boolean {
    const lifetime = lifetimeOf(options, this.#options);
    if (this.fleet !== undefined) return this.fleet.set(key, value, lifetime).isStored;
    return this.#set(key, value, lifetime);
  }

  /**
   * The value of a key, decoded anew.
   * @returns undefined on a miss
   * @throws ZcacheError ERR_KEY, ERR_OPTION, ERR_STORE_CLOSED; ERR_VALUE if the serializer can't
   *   decode it; ERR_CORRUPT, ERR_IO if the write-back file does not give it back
   */
  get(key: K, options?: GetOptions): V | undefined {
    return this.#get(key, allowStaleOf(options), true);
  }

  /** Whether there is a fresh value; does not count as a use. @throws ZcacheError as `get` */
  has(key: K): boolean {
    return this.#entriesOf(key).has();
  }

  /** Removes a value. @returns whether `has` was true before @throws ZcacheError as `get` */
  delete(key: K): boolean {
    return this.fleet?.delete(key).wasHere ?? this.#entriesOf(key).delete();
  }

  /** The values of many keys, in their order. @throws ZcacheError as `get` */
  getMany(keys: Iterable<K>, options?: GetOptions): (V | undefined)[] {
    const allowStale = allowStaleOf(options);
    return Array.from(keys, (key) => this.#get(key, allowStale, true));
  }

  /** Stores many values. @returns how many are stored @throws ZcacheError as `set` */
  setMany(entries: Iterable<readonly [K, V]>, options?: SetOptions | number | string): number {
    const lifetime = lifetimeOf(options, this.#options);
    let stored = 0;
    const { fleet } = this;
    for (const [key, value] of entries) {
      if (fleet?.set(key, value, lifetime).isStored ?? this.#set(key, value, lifetime)) stored++;
    }
    return stored;
  }

  /**
   * Gives a fresh value a new time to live, from now on.
   * @returns whether there was a fresh value
   * @throws ZcacheError as `get`
   */
  touch(key: K, options?: SetOptions | number | string): boolean {
    const lifetime = lifetimeOf(options, this.#options);
    this.fleet?.touch(key, lifetime);
    return this.#entriesOf(key).touch(lifetime);
  }

  /** ms for which a value stays fresh: Infinity if it does not expire, 0 if there is none. */
  remainingTtl(key: K): number {
    return this.#entriesOf(key).remainingTtl();
  }

  /**
   * The value of a key. If there is none, the loader is called and its value is stored, unless the
   * key is set or deleted meanwhile. Among all threads one loader runs for a key at a time; other
   * callers wait for its value or error. A stale value is returned at once while it is loaded anew.
   * @returns what the loader returned, even if that can't be stored; undefined is not stored
   * @throws as a rejection: the loader's error, the signal's reason, what `get` throws, ZcacheError
   *   ERR_LOAD_CYCLE; ERR_OPTION before the loader is called
   */
  fetch(key: K, loader: Loader<K, V>, options?: FetchOptions): Promise<V>;
  fetch(key: K, loader: Loader<K, V | undefined>, options?: FetchOptions): Promise<V | undefined>;
  async fetch(
    key: K,
    loader: Loader<K, V | undefined>,
    options?: FetchOptions,
  ): Promise<V | undefined> {
    const plan = options === undefined ? this.#plan : fetchPlanOf(options, this.#options);
    if (typeof loader !== "function") {
      throw new ZcacheError("ERR_OPTION", `loader ${describe(loader)}: must be a function`);
    }
    if (plan.signal?.aborted) throw plan.signal.reason;
    const value = plan.forceRefresh ? undefined : this.#get(key, true, true);
    if (value !== undefined && !this.#isStale) return value;
    const requested = this.#first.keys.request(key);
    if (value !== undefined) {
      this.counts.staleHits++;
      // An error of this load is ignored: the next caller that finds no value gets one.
      this.#loads.refresh(requested, loader, plan);
      return value;
    }
    if (plan.forceRefresh) {
      this.store.assertOpen();
      this.#first.values.countRequest();
    }
    return this.#loads.request(requested, loader, plan);
  }

  /**
   * Removes all values, or those under strings that begin with `prefix`.
   * @throws ZcacheError ERR_OPTION, ERR_STORE_CLOSED
   */
  clear(prefix = ""): void {
    if (typeof prefix !== "string") {
      throw new ZcacheError("ERR_OPTION", `prefix ${describe(prefix)}: must be a string`);
    }
    this.#clearHere(prefix);
    this.fleet?.clear(prefix);
  }

  #clearHere(prefix: string): void {
    this.#near?.clear();
    if (prefix === "") {
      for (const values of this.shards) values.clear();
      return;
    }
    for (const entries of this.#entries) {
      // Loads in progress and near copies may hold values of keys that are not stored.
      entries.values.allChanged();
      for (const key of entries.list(true)) {
        if (typeof key === "string" && key.startsWith(prefix)) this.#entriesOf(key).delete();
      }
      entries.values.allChanged();
    }
  }

  /** Number of values stored, including expired ones that are not removed yet. */
  get size(): number {
    return this.shards.reduce((sum, { count }) => sum + count, 0);
  }

  /**
   * All keys with a fresh value, in no order. A key that is stored or removed during the iteration
   * may be listed or not.
   */
  *keys(): Generator<K> {
    for (const entries of this.#entries) yield* entries.list(false);
  }

  /**
   * Calls `listener` for events of all threads, up to 20 ms after they happened. An error that it
   * throws is an uncaught exception; the other listeners are called nevertheless.
   * @throws ZcacheError ERR_OPTION for an unknown event or no function; ERR_STORE_CLOSED
   */
  on<E extends keyof CacheEvents<K>>(event: E, listener: (...args: CacheEvents<K>[E]) => void) {
    this.#listeners.on(event, listener);
    return this;
  }

  off<E extends keyof CacheEvents<K>>(event: E, listener: (...args: CacheEvents<K>[E]) => void) {
    this.#listeners.off(event, listener);
    return this;
  }

  /** Statistics of all threads, of this thread and of the background work. */
  stats(): CacheStats {
    return {
      ...storeFigures(this.group, this.#first.values.dictionaries.current),
      entries: this.size,
      thread: { ...this.counts },
      background: this.#engines?.backgroundCounts,
      persist: this.#engines?.persistStats,
    };
  }

  /**
   * Sets the limit of memory in use. Values above it are evicted before the method returns.
   * @param memoryMax bytes or text such as "512MiB", at most 64 times the limit that the cache was
   *   created with, and 4 GiB for each of its shards
   * @throws ZcacheError ERR_OPTION, ERR_STORE_CLOSED
   */
  resize(memoryMax: number | string): void {
    this.group.limit(parseSize(memoryMax, "memoryMax"));
    while (this.group.maintain());
  }

  /**
   * Trains a dictionary now from the values that were set lately.
   * @returns what came of it; undefined without the option `dictionary`, and in threads that
   *   attached. Rejects with ERR_WORKER, or with ERR_STORE_CLOSED if the cache is closed meanwhile
   * @throws ZcacheError ERR_STORE_CLOSED
   */
  train(): Promise<DictionaryReport> | undefined {
    this.store.assertOpen();
    return this.#engines?.train();
  }

  /**
   * With `persist`: writes all changes of all threads so far to the files, which then survive any
   * end of the process. Only `close` makes them survive a loss of power too.
   * @throws ZcacheError ERR_IO, ERR_STORE_CLOSED
   */
  flush(): void {
    this.store.assertOpen();
    (this.#engines ?? this.#logs)?.flush();
  }

  /** Ends the use in this thread; other threads go on. */
  detach(): void {
    this.fleet?.close();
    this.#listeners.stop();
    this.#engines?.detach();
    this.group.detach();
  }

  /** Closes the cache for all threads. */
  close(): void {
    this.fleet?.close();
    this.#listeners.stop();
    (this.#engines ?? this.#logs ?? this.group).close();
  }

  /** @param isCounted whether a caller asked, so that it counts as a hit or a miss */
  #get(key: K, allowStale: boolean, isCounted: boolean): V | undefined {
    const near = this.#near;
    this.#isStale = false;
    if (near !== undefined && typeof key === "string") {
      const kept = near.get(key);
      if (kept !== undefined) {
        this.counts.nearHits++;
        return kept as V;
      }
    }
    const entries = this.#entriesOf(key);
    const isFound = entries.find();
    const { freshMs, values } = entries;
    const isStale = isFound && freshMs <= Date.now();
    if (!isCounted) values.countNothing(isFound);
    else if (isStale) values.countMiss();
    if (!isFound || (isStale && !allowStale)) return undefined;
    const { hashLow, version, versions } = values;
    const value = entries.read(isCounted && !isStale);
    if (near !== undefined && typeof key === "string" && this.#mayBeNear(value, entries.type)) {
      near.keep(key, { value, bytes: entries.valueBytes, hashLow, versions, version, freshMs });
    }
    // Set after decoding, which may run code of the caller that uses this cache.
    this.#isStale = isStale;
    return value as V | undefined;
  }

  /** Whether the value that was read last can be given to several callers. */
  #mayBeNear(value: unknown, type: number): boolean {
    if (value === undefined) return false;
    if (type === Meta.LATIN1 || type === Meta.TEXT) return true;
    return type === Meta.STRUCTURED && this.#options.nearFrozen && freeze(value);
  }

  /** Writes a key, and returns the entries of its shard. */
  #entriesOf(key: K): Entries<K> {
    const router = this.#router;
    if (router !== undefined) return this.#entries[router.shardOf(key)]!;
    const first = this.#first;
    first.keys.write(key);
    return first;
  }

  #set(key: K, value: V, lifetime: Lifetime): boolean {
    const router = this.#router;
    if (router === undefined) return this.#first.set(key, value, lifetime);
    // The key must not change after its shard was found: encoding may run code of the caller.
    const own = ownKey(key);
    return this.#entries[router.shardOf(own)]!.set(own, value, lifetime);
  }

  #loadHost(): LoadHost<K, V> {
    return {
      singleFlightOf: (key) => this.#flightOf(key),
      peek: (key) => this.#get(key, false, false),
      store: (key, value, lifetime, mayStore) => {
        const entries = this.#entriesOf(key);
        if (!entries.setLoaded(key, value, lifetime, mayStore)) this.counts.unstored++;
      },
      shared: () => this.fleet,
    };
  }

  #flightOf(key: K): SingleFlight {
    return this.#flights[this.#router?.shardOf(key) ?? 0]!;
  }

  #fleetHost(): FleetHost<K> {
    return {
      entriesOf: (key) => this.#entriesOf(key),
      requestOf: (key) => this.#first.keys.request(key),
      watch: ({ own, bytes }) => this.#flightOf(own).watchVersion(bytes, bytes.length),
      clear: () => this.#clearHere(""),
      fault: (error) => this.#listeners.emit("fault", error),
    };
  }

  /** @internal */
  protected get lifetime(): Lifetime {
    return this.#options;
  }
}
