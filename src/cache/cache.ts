// The cache: values of any kind under keys of text or bytes, compressed, in memory that all threads
// of a process share.
//
// A value is stored as bytes: strings and byte arrays as they are, everything else through a
// serializer. `get` decodes it anew each time, so that no caller shares an object with the cache or
// with another caller; values that the option `near.frozen` keeps are the exception.
//
// Parts:
//   options.ts        options of a cache and of its methods: defaults and checks
//   keys.ts           keys as bytes
//   entries.ts        entries as bytes: types of values (entry_meta.ts, text.ts), times to live
//   serializer/       the default serializer
//   near.ts           decoded values that one thread keeps
//   loads.ts          `fetch`: the loads of one thread, and cycles of loaders
//   single_flight.ts  `fetch`: one load per key among all threads (packed_error.ts: its errors)
//   events.ts         listeners, and evictions in all threads
//   statistics.ts     what `stats` returns
//   engine.ts         background work, dictionaries (dictionary.ts), files of `persist`
//
// Concurrency: each thread has a Cache of its own over the same memory (`share`, `attach`). All
// methods but `fetch`, `getOrSet` and `train` are synchronous; they wait for other threads only as
// long as those hold the store's lock, for some microseconds. The thread that created the cache
// also does the background work.
//
// Limits: keys have 1 to 1024 bytes, values at most 128 MiB. 512 loads can be in progress among all
// threads as single flights; further loads run, but other threads do not wait for them.
import { inspect } from "node:util";
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import { parseSize } from "../base/units.ts";
import { random32 } from "../node/platform.ts";
import { attachWith } from "../node/stores.ts";
import { Store } from "../store/store.ts";
import { Values } from "../values/values.ts";
import type { DictionaryReport } from "./dictionary.ts";
import {
  AttachedLog,
  abandonValues,
  Engine,
  type EngineOptions,
  type LogShare,
  type OpenedValues,
  openValues,
} from "./engine.ts";
import { Entries } from "./entries.ts";
import * as Meta from "./entry_meta.ts";
import { type CacheEvents, CacheListeners } from "./events.ts";
import { type CacheKey, INTERNAL } from "./keys.ts";
import { type Loader, Loads } from "./loads.ts";
import { freeze, NearCache } from "./near.ts";
import {
  allowStaleOf,
  type CacheOptions,
  type FetchOptions,
  type FetchPlan,
  fetchPlanOf,
  type GetOptions,
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
import { type CacheShare, checkShare, SHARE_VERSION } from "./share.ts";
import { SingleFlight } from "./single_flight.ts";
import { type CacheStats, type LocalCounts, storeFigures } from "./statistics.ts";

/** A cache of values under keys, compressed, in memory that all threads share. */
export class Cache<K extends CacheKey = string, V = unknown> {
  /** The store under the cache, for its statistics and for tools. */
  readonly store: Store;
  /** @internal The values of bytes in it. */
  readonly values: Values;
  /** @internal Counts of this thread. */
  readonly counts: LocalCounts = {
    ...{ nearHits: 0, loads: 0, joined: 0, staleHits: 0, unstored: 0 },
  };
  readonly #options: ResolvedCacheOptions;
  /** Plan of a fetch without options. */
  readonly #plan: FetchPlan;
  readonly #entries: Entries<K>;
  readonly #near: NearCache | undefined;
  readonly #loads: Loads<K, V>;
  readonly #listeners: CacheListeners<K>;
  /** In the thread that created the cache. */
  readonly #engine: Engine | undefined;
  /** In other threads, with `persist`. */
  readonly #log: AttachedLog | undefined;
  /** Whether the value that #get returned last is stale. */
  #isStale = false;

  /**
   * @param opened in the thread that creates the cache
   * @param log in other threads, with `persist`
   */
  private constructor(
    store: Store,
    options: ResolvedCacheOptions,
    local: LocalOptions,
    opened: OpenedValues | undefined,
    log?: LogShare,
  ) {
    this.store = checkStore(store);
    this.values = new Values(store, () => Date.now(), random32);
    this.#options = options;
    this.#plan = fetchPlanOf({}, options);
    const serializer = local.serializer ?? valueSerializer(options.classes);
    const entries = new Entries<K>(this.values, serializer);
    this.#entries = entries;
    const { nearBytes } = options;
    this.#near = nearBytes > 0 ? new NearCache(nearBytes, this.values.versions) : undefined;
    this.#loads = new Loads<K, V>(
      {
        peek: (key) => this.#get(key, false, false),
        store: (key, value, lifetime, mayStore) => {
          if (!entries.setLoaded(key, value, lifetime, mayStore)) this.counts.unstored++;
        },
      },
      new SingleFlight(this.values),
      this.counts,
    );
    this.#listeners = new CacheListeners(this.values, (at, count) => entries.keyAt(at, count));
    const onFault = (error: ZcacheError) => this.#listeners.emit("fault", error);
    if (log !== undefined) this.#log = new AttachedLog(this.values, log, onFault);
    if (opened === undefined) return;
    this.#engine = this.#start(opened, onFault);
    entries.sampler = this.#engine.sampler;
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
    const settings = { ...storeOptionsOf(read), shards: 1 };
    const opened = openValues(settings, resolved.persist, { front: "", stays: false });
    try {
      return new Cache<K, V>(opened.group.stores[0]!, resolved, read, opened);
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
    const { store, options, log } = share;
    return attachWith(store, (one) => new Cache<K, V>(one, options, read, undefined, log));
  }

  /** Plain data, for `workerData` or `postMessage`, with which another thread attaches. */
  share(): CacheShare {
    const store = this.store.share();
    const log = (this.#engine ?? this.#log)?.share();
    return { zcacheCache: SHARE_VERSION, store, options: this.#options, log };
  }

  /**
   * Stores a value; `undefined` deletes.
   * @param options how long the value lives, or only its ttl: ms or text such as "10m"
   * @returns whether it is stored: false if it is too large for the memory of the cache
   * @throws ZcacheError ERR_KEY; ERR_VALUE if the value can't be encoded or is longer than 128 MiB;
   *   ERR_OPTION, ERR_STORE_CLOSED
   */
  set(key: K, value: V, options?: SetOptions | number | string): boolean {
    return this.#entries.set(key, value, lifetimeOf(options, this.#options));
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
    this.#entries.keys.write(key);
    return this.#entries.has();
  }

  /** Removes a value. @returns whether `has` was true before @throws ZcacheError as `get` */
  delete(key: K): boolean {
    this.#entries.keys.write(key);
    return this.#entries.delete();
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
    for (const [key, value] of entries) if (this.#entries.set(key, value, lifetime)) stored++;
    return stored;
  }

  /**
   * Gives a fresh value a new time to live, from now on.
   * @returns whether there was a fresh value
   * @throws ZcacheError as `get`
   */
  touch(key: K, options?: SetOptions | number | string): boolean {
    const lifetime = lifetimeOf(options, this.#options);
    this.#entries.keys.write(key);
    return this.#entries.touch(lifetime);
  }

  /** ms for which a value stays fresh: Infinity if it does not expire, 0 if there is none. */
  remainingTtl(key: K): number {
    this.#entries.keys.write(key);
    return this.#entries.remainingTtl();
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
    const requested = this.#entries.keys.request(key);
    if (value !== undefined) {
      this.counts.staleHits++;
      // An error of this load is ignored: the next caller that finds no value gets one.
      this.#loads.refresh(requested, loader, plan);
      return value;
    }
    if (plan.forceRefresh) {
      this.store.assertOpen();
      this.values.countRequest();
    }
    return this.#loads.request(requested, loader, plan);
  }

  /** The same as `fetch`, under the name that cacheable uses. */
  getOrSet(key: K, loader: Loader<K, V>, options?: FetchOptions): Promise<V>;
  getOrSet(
    key: K,
    loader: Loader<K, V | undefined>,
    options?: FetchOptions,
  ): Promise<V | undefined>;
  getOrSet(
    key: K,
    loader: Loader<K, V | undefined>,
    options?: FetchOptions,
  ): Promise<V | undefined> {
    return this.fetch(key, loader, options);
  }

  /**
   * Removes all values, or those under strings that begin with `prefix`.
   * @throws ZcacheError ERR_OPTION, ERR_STORE_CLOSED
   */
  clear(prefix = ""): void {
    if (typeof prefix !== "string") {
      throw new ZcacheError("ERR_OPTION", `prefix ${describe(prefix)}: must be a string`);
    }
    this.#near?.clear();
    if (prefix === "") {
      this.values.clear();
      return;
    }
    // Loads in progress and near copies may hold values of keys that are not stored.
    this.values.allChanged();
    for (const key of this.#entries.list(true)) {
      if (typeof key === "string" && key.startsWith(prefix)) this.delete(key);
    }
    this.values.allChanged();
  }

  /** Number of values stored, including expired ones that are not removed yet. */
  get size(): number {
    return this.values.count;
  }

  /**
   * All keys with a fresh value, in no order. A key that is stored or removed during the iteration
   * may be listed or not.
   */
  keys(): Generator<K> {
    return this.#entries.list(false);
  }

  /** All keys with their values, as `keys`. */
  *entries(): Generator<[K, V]> {
    for (const key of this.keys()) {
      const value = this.get(key);
      if (value !== undefined) yield [key, value];
    }
  }

  [Symbol.iterator](): Generator<[K, V]> {
    return this.entries();
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
      ...storeFigures(this.values),
      entries: this.size,
      thread: { ...this.counts },
      background: this.#engine?.backgroundCounts,
      persist: this.#engine?.persistStats,
    };
  }

  /**
   * Sets the limit of memory in use. Values above it are evicted before the method returns.
   * @param memoryMax bytes or text such as "512MiB", at most the limit that the cache was created
   *   with
   * @throws ZcacheError ERR_OPTION, ERR_STORE_CLOSED
   */
  resize(memoryMax: number | string): void {
    this.store.limit(parseSize(memoryMax, "memoryMax"));
    while (this.store.maintain());
  }

  /**
   * Trains a dictionary now from the values that were set lately.
   * @returns what came of it; undefined without the option `dictionary`, and in threads that
   *   attached. Rejects with ERR_WORKER, or with ERR_STORE_CLOSED if the cache is closed meanwhile
   * @throws ZcacheError ERR_STORE_CLOSED
   */
  train(): Promise<DictionaryReport> | undefined {
    this.store.assertOpen();
    return this.#engine?.train();
  }

  /**
   * With `persist`: writes all changes of all threads so far to the files, which then survive any
   * end of the process. Only `close` makes them survive a loss of power too.
   * @throws ZcacheError ERR_IO, ERR_STORE_CLOSED
   */
  flush(): void {
    this.store.assertOpen();
    (this.#engine ?? this.#log)?.flush();
  }

  /** Ends the use in this thread; other threads go on. */
  detach(): void {
    this.#listeners.stop();
    this.#engine?.detach();
    this.store.detach();
  }

  /** Closes the cache for all threads. */
  close(): void {
    this.#listeners.stop();
    (this.#engine ?? this.#log ?? this.store).close();
  }

  /** Keeps `console.log` from printing the whole memory, which is a property of its properties. */
  [inspect.custom](): string {
    try {
      const { entries, memoryUsed, memoryMax } = this.stats();
      return `Cache { entries: ${entries}, memoryUsed: ${memoryUsed}, memoryMax: ${memoryMax} }`;
    } catch {
      return "Cache { closed }";
    }
  }

  [Symbol.dispose](): void {
    this.close();
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
    const entries = this.#entries;
    entries.keys.write(key);
    const isFound = entries.find();
    const { freshMs } = entries;
    const isStale = isFound && freshMs <= Date.now();
    if (!isCounted) this.values.countNothing(isFound);
    else if (isStale) this.values.countMiss();
    if (!isFound || (isStale && !allowStale)) return undefined;
    const { hashLow, version } = this.values;
    const value = entries.read(isCounted && !isStale);
    if (near !== undefined && typeof key === "string" && this.#mayBeNear(value)) {
      near.keep(key, { value, bytes: entries.valueBytes, hashLow, version, freshMs });
    }
    // Set after decoding, which may run code of the caller that uses this cache.
    this.#isStale = isStale;
    return value as V | undefined;
  }

  /** Whether the value that was read last can be given to several callers. */
  #mayBeNear(value: unknown): boolean {
    if (value === undefined) return false;
    const { type } = this.#entries;
    if (type === Meta.LATIN1 || type === Meta.TEXT) return true;
    return type === Meta.STRUCTURED && this.#options.nearFrozen && freeze(value);
  }

  /** Recovers the values in the files of `persist`, and starts the background work. */
  #start(opened: OpenedValues, onFault: (error: ZcacheError) => void): Engine {
    const { values } = this;
    const { bytes } = values;
    return new Engine(opened.shards[0]!, values, engineOptionsOf(this.#options), {
      isUnwanted: (prefixAt) => bytes[values.keyStart(prefixAt)] === INTERNAL,
      onFault,
      onDictionary: (report) => this.#listeners.emit("dictionary", report),
      onError: (_, error) => {
        if (!(error instanceof ZcacheError)) throw error;
        onFault(error);
      },
    });
  }
}

/** JavaScript code can call the private constructor. */
function checkStore(store: Store | undefined): Store {
  if (store instanceof Store) return store;
  throw new ZcacheError(
    "ERR_OPTION",
    "new Cache() makes no cache: call Cache.create(options), or Cache.attach(share) in a worker",
  );
}

function engineOptionsOf(options: ResolvedCacheOptions): EngineOptions {
  const { backgroundMs, dictionaryBytes, codec, codecOptions } = options;
  const background = backgroundMs > 0 ? { everyMs: backgroundMs } : undefined;
  return { background, dictionaryBytes, codec, codecOptions };
}
