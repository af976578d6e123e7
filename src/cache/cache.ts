// The cache on Node: what people import. It joins the cache (front/cache) with a store, and with
// what Node has for timers, events, text and errors.
import { EventEmitter } from "node:events";
import { inspect } from "node:util";
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import { parseSize } from "../base/units.ts";
import { ONE_VERSION } from "../base/version.ts";
import { attachWith } from "../node/stores.ts";
import type { PersistStats } from "../persist/persistence.ts";
import type { Departures } from "../store/departures.ts";
import type { StoreStats } from "../store/statistics.ts";
import { Store, type StoreShare } from "../store/store.ts";
import type { BackgroundCounts } from "./background.ts";
import type { Serializer } from "./contract.ts";
import type { DictionaryReport } from "./dictionary.ts";
import {
  abandonValues,
  type LogShare,
  type OpenedValues,
  openValues,
  SharedLog,
  Upkeep,
  type UpkeepOptions,
} from "./engine.ts";
import { CacheFront, type LocalCounts } from "./front.ts";
import { type CacheKey, INTERNAL } from "./keys.ts";
import {
  type CacheOptions,
  type LocalOptions,
  localOptionsOf,
  type ResolvedCacheOptions,
  readCacheOptions,
  resolveCacheOptions,
  storeOptionsOf,
} from "./options.ts";
import { cachePlatform } from "./platform.ts";
import { valueSerializer } from "./serializer/serializer.ts";

const SHARE_VERSION = 1;

/** What travels to another thread, as `workerData` or by `postMessage`. */
export interface CacheShare {
  /** The version of what follows. */
  readonly zcacheCache: typeof SHARE_VERSION;
  readonly store: StoreShare;
  readonly options: ResolvedCacheOptions;
  /** Where changes are kept. */
  readonly log: LogShare | undefined;
}

/** Why a value went without being asked to. */
export type EvictionReason = "evicted" | "expired" | "dropped";

export interface CacheEvents<K> {
  /** A value went to make room, because its time was over, or because the file was full. */
  evict: [key: K, reason: EvictionReason];
  /** So many went that some were not told. */
  overrun: [];
  /** A dictionary was made, or did not pay. */
  dictionary: [report: DictionaryReport];
  /**
   * Work in the background has failed: what is to be kept for the next process could not be
   * written, or no dictionary could be trained. The cache itself goes on.
   */
  fault: [error: ZcacheError];
}

export interface CacheStats {
  readonly entries: number;
  readonly hits: number;
  readonly misses: number;
  /** Of all gets that reached the store. */
  readonly hitRate: number;
  /** Bytes of the values in memory as they came in, and as stored with their keys. */
  readonly originalBytes: number;
  readonly storedBytes: number;
  /** Bytes of memory in use, everything counted; and the limit. */
  readonly memoryUsed: number;
  readonly memoryMax: number;
  /** Values in the file. */
  readonly inFile: number;
  readonly evictions: number;
  readonly expired: number;
  /** Number of the dictionary in use, 0 = none. */
  readonly dictionary: number;
  readonly thread: Readonly<LocalCounts>;
  readonly background: Readonly<BackgroundCounts> | undefined;
  /** Of what is kept for the next process; only in the thread that made the cache. */
  readonly persist: PersistStats | undefined;
  readonly store: StoreStats;
}

const REASONS: Readonly<Record<number, EvictionReason>> = {
  5: "evicted",
  6: "dropped",
  14: "expired",
};
const EVENTS: readonly string[] = ["evict", "overrun", "dictionary", "fault"];
/** How often those who listen hear of what went. */
const LISTEN_MS = 20;

/** A cache of values under keys, compressed, in memory that all threads share. */
export class Cache<K extends CacheKey = string, V = unknown> extends CacheFront<K, V> {
  readonly #options: ResolvedCacheOptions;
  readonly #events = new EventEmitter();
  /** In the thread that made the cache, and in others. */
  readonly #upkeep: Upkeep | undefined;
  readonly #log: SharedLog | undefined;
  #departures: Departures | undefined;
  #listening: NodeJS.Timeout | undefined;

  /** @param opened by the thread that makes the cache  @param log in others */
  private constructor(
    store: Store,
    options: ResolvedCacheOptions,
    local: LocalOptions,
    opened: OpenedValues | undefined,
    log?: LogShare,
  ) {
    super(checkMade(store), options, serializerOf(options, local), cachePlatform);
    this.#options = options;
    if (log !== undefined) this.#log = new SharedLog(this.values, log);
    if (opened === undefined) return;
    const { bytes } = this.values;
    this.#upkeep = new Upkeep(opened, this.values, upkeepOf(options), {
      isUnwanted: (prefixAt) => bytes[this.values.keyStart(prefixAt)] === INTERNAL,
      onFault: (error) => this.#tell("fault", error),
      onDictionary: (report) => this.#tell("dictionary", report),
      onError: (_, error) => {
        if (!(error instanceof ZcacheError)) throw error;
        this.#tell("fault", error);
      },
    });
    this.onBytes = this.#upkeep.sampler;
  }

  /**
   * Makes a cache: an empty one, or with `persist` one that has what the process before had.
   * @throws ZcacheError ERR_OPTION naming the option and what is allowed, ERR_CODEC_UNKNOWN,
   *   ERR_ARENA_MEMORY; of the files ERR_IO and ERR_FILE_LOCKED
   */
  static create<K extends CacheKey = string, V = unknown>(
    options: CacheOptions & LocalOptions = {},
  ): Cache<K, V> {
    const read = readCacheOptions(options);
    const resolved = resolveCacheOptions(read);
    const settings = storeOptionsOf(read);
    const opened = openValues(settings, resolved.persist, { front: "", stays: false });
    try {
      return new Cache<K, V>(opened.store, resolved, read, opened);
    } catch (error) {
      abandonValues(opened);
      throw error;
    }
  }

  /**
   * Opens, in another thread, the cache whose `share()` it was sent.
   * @throws ZcacheError ERR_STORE_SHARE or ERR_ARENA_SHARE for anything else, ERR_ARENA_CLOSED,
   *   ERR_ARENA_THREADS
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

  /** A value for `workerData` or `postMessage`, from which another thread attaches. */
  share(): CacheShare {
    const store = this.store.share();
    const log = (this.#upkeep ?? this.#log)?.share();
    return { zcacheCache: SHARE_VERSION, store, options: this.#options, log };
  }

  /**
   * Calls `listener` for what happens in any thread: soon after it, and not while it does. What a
   * listener throws is an uncaught exception; other listeners are called all the same.
   * @throws ZcacheError ERR_OPTION for an event that there is not, ERR_STORE_CLOSED
   */
  on<E extends keyof CacheEvents<K>>(event: E, listener: (...args: CacheEvents<K>[E]) => void) {
    if (!EVENTS.includes(event)) {
      const all = EVENTS.join(", ");
      throw new ZcacheError(
        "ERR_OPTION",
        `a cache has no event ${describe(event)}; there are ${all}`,
      );
    }
    if (typeof listener !== "function") {
      const found = describe(listener);
      throw new ZcacheError("ERR_OPTION", `listener ${found}: allowed is a function`);
    }
    this.store.assertOpen();
    this.#events.on(event, listener as (...args: unknown[]) => void);
    if (event === "evict" || event === "overrun") this.#listen();
    return this;
  }

  off<E extends keyof CacheEvents<K>>(event: E, listener: (...args: CacheEvents<K>[E]) => void) {
    this.#events.off(event, listener as (...args: unknown[]) => void);
    return this;
  }

  stats(): CacheStats {
    const store = this.store.stats();
    const { hits, misses, gets } = store.counters;
    return {
      entries: this.size,
      hits,
      misses,
      hitRate: gets === 0 ? 0 : hits / gets,
      originalBytes: store.ephemeral.originalBytes,
      storedBytes: store.ephemeral.compressedBytes,
      memoryUsed: store.mem_used_total,
      memoryMax: store.mem_limit,
      inFile: store.ephemeral.pagesInFile,
      evictions: store.counters.evicted_ephemeral_pages,
      expired: store.counters.expired,
      dictionary: this.store.values!.dictionary,
      thread: { ...this.counts },
      background: this.#upkeep?.backgroundCounts,
      persist: this.#upkeep?.persistStats,
      store,
    };
  }

  /**
   * Sets how much memory may be in use: up to what the cache was made with. What is above goes now.
   * @throws ZcacheError ERR_OPTION
   */
  resize(memoryMax: number | string): void {
    this.store.limit(parseSize(memoryMax, "memoryMax"));
    while (this.store.maintain());
  }

  /**
   * Makes a dictionary now, of what has come in lately, instead of when there is enough of it.
   * @returns what came of it; undefined where the cache makes none. Rejects with ERR_WORKER, and
   *   with ERR_STORE_CLOSED if the cache is closed meanwhile
   * @throws ZcacheError ERR_STORE_CLOSED
   */
  train(): Promise<DictionaryReport> | undefined {
    this.store.assertOpen();
    return this.#upkeep?.train();
  }

  /**
   * With `persist`: sees to it that all that was set and deleted so far, in any thread, outlives
   * the process, however it ends. (That it outlives the machine, only `close` sees to.)
   * @throws ZcacheError ERR_IO, ERR_STORE_CLOSED
   */
  flush(): void {
    this.store.values!.stored.assertOpen();
    (this.#upkeep ?? this.#log)?.flush();
  }

  /** Ends this thread's use; the cache lives on in others. */
  detach(): void {
    clearInterval(this.#listening);
    this.#upkeep?.detach();
    this.store.detach();
  }

  /** Ends the cache for all threads. */
  close(): void {
    clearInterval(this.#listening);
    if (this.#upkeep !== undefined) this.#upkeep.close();
    else this.store.close(() => this.#drain());
  }

  /** What console.log shows of it: not the whole memory, which is a property of its properties. */
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

  /** In a thread that did not make the cache: writes what waits for the log, if that can be. */
  #drain(): void {
    try {
      this.#log?.drain();
    } catch (error) {
      if (!(error instanceof ZcacheError)) throw error;
      this.#tell("fault", error);
    }
  }

  /** Calls the listeners of an event. What one throws keeps the event from no other. */
  #tell<E extends keyof CacheEvents<K>>(event: E, ...args: CacheEvents<K>[E]): void {
    for (const listener of this.#events.listeners(event)) {
      try {
        listener(...args);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  #listen(): void {
    if (this.#listening !== undefined) return;
    this.#departures = this.store.values!.listen();
    this.#listening = setInterval(() => this.#hear(), LISTEN_MS);
    this.#listening.unref();
  }

  #hear(): void {
    const gone: [K, EvictionReason][] = [];
    const { stored } = this.store.values!;
    // Another thread may have closed the cache.
    if (stored.isClosed) {
      clearInterval(this.#listening);
      return;
    }
    const isWhole = this.store.values!.hear(this.#departures!, (reason, flagsAt) => {
      const name = REASONS[reason];
      const key = this.values.keyOfPrefix(flagsAt, (at, count) => this.keyAt(at, count));
      if (name !== undefined && key !== undefined) gone.push([key, name]);
    });
    if (!isWhole) this.#tell("overrun");
    for (const [key, reason] of gone) {
      // A listener may have closed it.
      if (stored.isClosed) return;
      this.#tell("evict", key, reason);
    }
  }
}

function serializerOf({ classes }: ResolvedCacheOptions, { serializer }: LocalOptions): Serializer {
  return serializer ?? valueSerializer(classes);
}

/** In JavaScript, anybody may call the constructor. */
function checkMade(store: Store | undefined): Store {
  if (store instanceof Store) return store;
  throw new ZcacheError(
    "ERR_OPTION",
    "new Cache() makes no cache: call Cache.create(options), or Cache.attach(share) in a worker",
  );
}

/** @throws ZcacheError ERR_STORE_SHARE */
function checkShare(share: Partial<CacheShare> | null | undefined): void {
  const found: unknown = share?.zcacheCache;
  if (found === SHARE_VERSION) return;
  if (typeof found !== "number") {
    throw new ZcacheError("ERR_STORE_SHARE", "this is not what a cache's share() returned");
  }
  const known = `this thread knows version ${SHARE_VERSION}`;
  const message = `the cache's share is of version ${found}, and ${known}: ${ONE_VERSION}`;
  throw new ZcacheError("ERR_STORE_SHARE", message, { context: { found, wanted: SHARE_VERSION } });
}

function upkeepOf(options: ResolvedCacheOptions): UpkeepOptions {
  const { backgroundMs, dictionaryBytes, codec, codecOptions } = options;
  const background = backgroundMs > 0 ? { everyMs: backgroundMs } : undefined;
  return { background, dictionaryBytes, codec, codecOptions };
}
