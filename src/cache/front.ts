// The cache: values of any kind under keys of text or bytes, in a store that all threads share.
//
// A value goes in as bytes: text and bytes as they are, all else by the serializer; what comes out
// is made anew, so nobody shares a value with the cache or with anybody else. This file knows
// types, times and keys; where the bytes are is front/values' business, who loads what,
// flights.ts'.
import { byteCountOf, heldBytes, isBytes } from "../base/bytes.ts";
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import type { Store } from "../store/store.ts";
import { valuesOf } from "../values/format.ts";
import { VALUE_BYTES_MAX } from "../values/prefix.layout.ts";
import { KeyedValues } from "../values/values.ts";
import type { CachePlatform, Serializer, Text } from "./contract.ts";
import * as Meta from "./entry_meta.ts";
import { type CacheKey, KeyWriter, readKey } from "./keys.ts";
import { type Loader, type LoadHost, Loads, type Requested } from "./loads.ts";
import { freeze, NearCache } from "./near.ts";
import {
  allowStaleOf,
  checkSerializer,
  type FetchOptions,
  type FetchPlan,
  fetchPlanOf,
  type GetOptions,
  type Lifetime,
  lifetimeOf,
  type ResolvedCacheOptions,
  type SetOptions,
} from "./options.ts";
import { Flights } from "./single_flight.ts";

/** What happened in this thread; the store counts for all (`stats`). */
export interface LocalCounts {
  nearHits: number;
  loads: number;
  joined: number;
  staleHits: number;
  /** Loads whose values were not stored: refused, or the key was set or removed meanwhile. */
  unstored: number;
}

/** How often a value is touched anew that others change meanwhile. */
const TOUCHES_MAX = 8;

export class CacheFront<K extends CacheKey, V> {
  readonly store: Store;
  readonly values: KeyedValues;
  /** Of this thread. */
  readonly counts: LocalCounts = {
    ...{ nearHits: 0, loads: 0, joined: 0, staleHits: 0, unstored: 0 },
  };
  readonly #options: ResolvedCacheOptions;
  readonly #platform: CachePlatform;
  readonly #serializer: Serializer;
  readonly #keys: KeyWriter;
  readonly #text: Text;
  readonly #near: NearCache | undefined;
  readonly #loads: Loads<K, V>;
  /** A fetch without options. */
  readonly #plan: FetchPlan;
  readonly #meta = new Uint8Array(Meta.META_MAX);
  /** Called with what comes in, as bytes: who makes dictionaries takes samples. */
  onBytes: ((at: number, count: number) => void) | undefined;
  /** Until when what was found last is fresh, and whether that time is over. */
  #freshMs = 0;
  #isStale = false;

  constructor(
    store: Store,
    options: ResolvedCacheOptions,
    serializer: Serializer,
    platform: CachePlatform,
  ) {
    this.store = store;
    this.values = new KeyedValues(store, platform.now, platform.random);
    this.#options = options;
    this.#plan = fetchPlanOf({}, options);
    this.#platform = platform;
    checkSerializer(serializer);
    this.#serializer = serializer;
    this.#keys = new KeyWriter((bytes) => platform.textIn(bytes));
    this.#text = platform.textIn(this.values.bytes);
    const { nearBytes } = options;
    this.#near = nearBytes > 0 ? new NearCache(nearBytes, this.values.versions) : undefined;
    const host: LoadHost<K, V> = {
      peek: (key) => this.#get(key, false, false),
      store: (key, value, lifetime, mayStore) => this.#storeLoaded(key, value, lifetime, mayStore),
    };
    this.#loads = new Loads(host, new Flights(this.values, platform), platform, this.counts);
  }

  /**
   * Stores a value; `undefined` deletes.
   * @param options how long it lives, or its ttl alone
   * @returns whether it is stored: not, if it is too large for the memory that there is
   * @throws ZcacheError ERR_KEY, ERR_VALUE (it can't be made bytes of, or has too many), ERR_OPTION
   */
  set(key: K, value: V, options?: SetOptions | number | string): boolean {
    return this.#store(key, value, lifetimeOf(options, this.#options));
  }

  /**
   * The value of a key, made anew.
   * @returns undefined on a miss
   * @throws ZcacheError ERR_KEY; ERR_CORRUPT, ERR_IO: the file did not give it back
   */
  get(key: K, options?: GetOptions): V | undefined {
    return this.#get(key, allowStaleOf(options));
  }

  /** Whether there is a value whose time is not over; does not count as a use. */
  has(key: K): boolean {
    return this.#has(this.#keys.write(key));
  }

  /** Removes a value. @returns whether there was one, as `has` says it */
  delete(key: K): boolean {
    const keyBytes = this.#keys.write(key);
    if (!this.#has(keyBytes)) {
      this.values.delete(this.#keys.bytes, keyBytes);
      return false;
    }
    this.values.remove(this.#keys.bytes, keyBytes);
    return true;
  }

  /** The values of many keys, in their order. */
  getMany(keys: Iterable<K>, options?: GetOptions): (V | undefined)[] {
    const allowStale = allowStaleOf(options);
    return Array.from(keys, (key) => this.#get(key, allowStale));
  }

  /** Stores many. @returns how many are stored */
  setMany(entries: Iterable<readonly [K, V]>, options?: SetOptions | number | string): number {
    const lifetime = lifetimeOf(options, this.#options);
    let stored = 0;
    for (const [key, value] of entries) if (this.#store(key, value, lifetime)) stored++;
    return stored;
  }

  /**
   * Gives a value that is fresh a new time to live, from now on.
   * @returns whether it was there
   */
  touch(key: K, options?: SetOptions | number | string): boolean {
    const lifetime = lifetimeOf(options, this.#options);
    const keyBytes = this.#keys.write(key);
    const { values } = this;
    for (let tries = 0; tries < TOUCHES_MAX; tries++) {
      if (!this.#findFresh(keyBytes)) return false;
      const { hashLow, valueBytes } = values;
      let type = values.bytes[values.metaAt]!;
      const long = values.read(this.#keys.bytes, keyBytes);
      if (long === null) return false;
      if (long !== undefined) type = values.bytes[values.metaAt]!;
      const { version } = values;
      const count = long === undefined ? valueBytes : long.length;
      // Another thread may set the key just now, whose value is not to be lost to the older one.
      const isUnchanged = () => values.versions.of(hashLow) === version;
      if (this.#put(keyBytes, type, long, count, lifetime, isUnchanged)) return true;
      if (isUnchanged()) return false;
    }
    return this.#has(keyBytes);
  }

  /** ms that a value has to live: Infinity if it does not expire, 0 if it is not there. */
  remainingTtl(key: K): number {
    const keyBytes = this.#keys.write(key);
    if (!this.values.has(this.#keys.bytes, keyBytes)) return 0;
    return Math.max(0, this.#freshOf() - this.#platform.now());
  }

  /**
   * The value of a key; if there is none, what the loader makes of it, which is then stored, unless
   * somebody sets or removes the key meanwhile. One loader runs for a key in all threads; the
   * others wait for what it gives, or throws.
   * @returns what the loader gives, also where it can't be stored; undefined is not stored
   * @throws as a rejection: what the loader throws, what `get` does, the signal's reason,
   *   ZcacheError ERR_OPTION before the loader runs, and ERR_LOAD_CYCLE
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
      throw new ZcacheError("ERR_OPTION", `loader ${describe(loader)}: allowed is a function`);
    }
    if (plan.signal?.aborted) throw plan.signal.reason;
    const value = plan.forceRefresh ? undefined : this.#get(key, true);
    if (value !== undefined && !this.#isStale) return value;
    const requested = this.#requested(key);
    if (value !== undefined) {
      this.counts.staleHits++;
      // Who gets the old value does not hear of a failure; who finds none will.
      this.#loads.refresh(requested, loader, plan);
      return value;
    }
    if (plan.forceRefresh) {
      this.store.assertOpen();
      valuesOf(this.store).countRequest();
    }
    return this.#loads.request(requested, loader, plan);
  }

  /** The same as `fetch`, by the name that users of cacheable know. */
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
   * Removes all values; or those under keys of text that begin with `prefix`.
   * @throws ZcacheError ERR_OPTION
   */
  clear(prefix = ""): void {
    if (typeof prefix !== "string") {
      throw new ZcacheError("ERR_OPTION", `prefix ${describe(prefix)}: allowed is a string`);
    }
    this.#near?.clear();
    if (prefix === "") {
      this.values.clear();
      return;
    }
    // Loaders and near copies may have values of keys that are not there.
    valuesOf(this.store).allChanged();
    for (const key of this.#keysOf(true)) {
      if (typeof key === "string" && key.startsWith(prefix)) this.delete(key);
    }
    valuesOf(this.store).allChanged();
  }

  /** Values stored, those that have expired and were not yet removed included. */
  get size(): number {
    return this.values.count;
  }

  /** The keys that `has` confirms, in no order; some that come and go may be missed. */
  keys(): Generator<K> {
    return this.#keysOf(false);
  }

  *#keysOf(allowStale: boolean): Generator<K> {
    const { bytes } = this.values;
    const scan = this.values.beginScan();
    for (let ended = false; !ended; ) {
      const found: K[] = [];
      const now = this.#platform.now();
      ended = this.values.scan(scan, (at, count) => {
        const key = readKey(bytes, at, count, this.#text);
        const isListed = key !== undefined && (allowStale || this.#freshOf() > now);
        if (isListed) found.push(key as K);
      });
      yield* found;
    }
  }

  /** Keys and values, in no order. */
  *entries(): Generator<[K, V]> {
    for (const key of this.keys()) {
      const value = this.get(key);
      if (value !== undefined) yield [key, value];
    }
  }

  [Symbol.iterator](): Generator<[K, V]> {
    return this.entries();
  }

  /** The key that stands in these bytes; undefined for one of the cache's own. */
  keyAt(at: number, count: number): K | undefined {
    return readKey(this.values.bytes, at, count, this.#text) as K | undefined;
  }

  /** @param counts whether it is somebody's request, and so a hit or a miss */
  #get(key: K, allowStale: boolean, counts = true): V | undefined {
    const near = this.#near;
    this.#isStale = false;
    if (near !== undefined && typeof key === "string") {
      const kept = near.get(key, this.#platform.now);
      if (kept !== undefined) {
        this.counts.nearHits++;
        return kept as V;
      }
    }
    const keyBytes = this.#keys.write(key);
    const isFound = this.#find(keyBytes);
    const isStale = isFound && this.#freshMs <= this.#platform.now();
    if (!counts) valuesOf(this.store).countNothing(isFound);
    else if (isStale) valuesOf(this.store).countMiss();
    if (!isFound || (isStale && !allowStale)) return undefined;
    const value = this.#read(key, keyBytes, counts && !isStale);
    // The serializer may have used this cache.
    this.#isStale = isStale;
    return value;
  }

  /**
   * Stores a value. Code of the caller's runs only while the value is turned into bytes: what all
   * calls share (the key, the room for a value) is written after that.
   */
  #store(key: K, value: V, lifetime: Lifetime, mayStore?: () => boolean): boolean {
    const { values } = this;
    if (value === undefined) {
      values.delete(this.#keys.bytes, this.#keys.write(key));
      return true;
    }
    if (typeof value === "string") {
      const keyBytes = this.#keys.write(key);
      this.store.assertOpen();
      const isLatin1 = this.#text.isLatin1(value);
      const type = isLatin1 ? Meta.LATIN1 : Meta.TEXT;
      const count = this.#text.write(value, values.roomAt, values.roomBytes, isLatin1);
      if (count >= 0) return this.#put(keyBytes, type, undefined, count, lifetime, mayStore);
      const bytes = this.#platform.encodeText(value, isLatin1);
      return this.#put(keyBytes, type, bytes, bytes.length, lifetime, mayStore);
    }
    const type = this.#typeOf(value);
    const bytes = type === Meta.STRUCTURED ? this.#encode(value) : (value as Uint8Array);
    const held = heldBytes(bytes);
    const count = byteCountOf(held);
    return this.#put(this.#keys.write(key), type, held, count, lifetime, mayStore);
  }

  /** Stores what a loader gave, if that can be done and `mayStore` says so, under the lock. */
  #storeLoaded(key: K, value: V, lifetime: Lifetime, mayStore: () => boolean): void {
    try {
      if (this.#store(key, value, lifetime, mayStore)) return;
    } catch (error) {
      // The caller has the value all the same.
      if (!(error instanceof ZcacheError)) throw error;
    }
    this.counts.unstored++;
    if (valuesOf(this.store).stored.isClosed) return;
    // An older value is not to be given as if nothing had been loaded.
    const keyBytes = this.#keys.write(key);
    const { values } = this;
    values.onlyIf(mayStore, () => values.discard(this.#keys.bytes, keyBytes));
  }

  /**
   * Stores bytes under the key that was written last; nothing of the caller's runs in it.
   * @param bytes undefined: they stand in the room for a value
   * @param mayStore asked under the store's lock; if not, what is stored stays
   */
  #put(
    keyBytes: number,
    type: number,
    bytes: Uint8Array | undefined,
    count: number,
    { ttlMs, staleMs }: Lifetime,
    mayStore?: () => boolean,
  ): boolean {
    const { values } = this;
    const key = this.#keys.bytes;
    if (count > VALUE_BYTES_MAX) {
      if (mayStore === undefined) values.delete(key, keyBytes);
      throw new ZcacheError("ERR_VALUE", `${count} bytes: a value has at most ${VALUE_BYTES_MAX}`);
    }
    const freshMs = Meta.timeOf(this.#platform.now() + ttlMs);
    const expiresMs = Meta.timeOf(freshMs + staleMs);
    const isTimed = freshMs !== expiresMs;
    const metaBytes = Meta.writeMeta(
      this.#meta,
      type,
      isTimed ? freshMs : Number.POSITIVE_INFINITY,
    );
    const meta = this.#meta;
    const result =
      mayStore === undefined
        ? values.set(key, keyBytes, meta, metaBytes, bytes, count, expiresMs)
        : values.onlyIf(mayStore, () =>
            values.set(key, keyBytes, meta, metaBytes, bytes, count, expiresMs),
          );
    if (this.onBytes !== undefined && count <= values.roomBytes) this.onBytes(values.roomAt, count);
    return result === 0;
  }

  /** A key as loads need it: one of bytes may be changed by its owner while it is loaded. */
  #requested(key: K): Requested<K> {
    const keyBytes = this.#keys.write(key);
    const bytes = this.#keys.bytes.slice(0, keyBytes);
    const own = typeof key === "string" ? key : (bytes.slice(1) as CacheKey as K);
    return { given: key, own, bytes, name: this.#keys.nameOf(keyBytes) };
  }

  /** How a value is kept that is no string. */
  #typeOf(value: unknown): number {
    if (!isBytes(value)) return Meta.STRUCTURED;
    if (Object.getPrototypeOf(value) === Uint8Array.prototype) return Meta.BYTES;
    return this.#platform.isBuffer(value) ? Meta.BUFFER : Meta.STRUCTURED;
  }

  #encode(value: unknown): Uint8Array {
    let bytes: unknown;
    try {
      bytes = this.#serializer.encode(value);
    } catch (cause) {
      if (cause instanceof ZcacheError && cause.code === "ERR_VALUE") throw cause;
      throw new ZcacheError("ERR_VALUE", `no bytes can be made of ${describe(value)}`, { cause });
    }
    if (isBytes(bytes)) return bytes;
    throw new ZcacheError(
      "ERR_VALUE",
      `serializer.encode returned ${describe(bytes)}: allowed is a Uint8Array`,
    );
  }

  #has(keyBytes: number): boolean {
    if (!this.values.has(this.#keys.bytes, keyBytes)) return false;
    return this.#freshOf() > this.#platform.now();
  }

  #findFresh(keyBytes: number): boolean {
    if (!this.#find(keyBytes)) return false;
    if (this.#freshMs > this.#platform.now()) return true;
    valuesOf(this.store).countMiss();
    return false;
  }

  #find(keyBytes: number): boolean {
    if (!this.values.find(this.#keys.bytes, keyBytes)) return false;
    this.#freshMs = this.#freshOf();
    return true;
  }

  /** Until when what was found is fresh. */
  #freshOf(): number {
    const { values } = this;
    const fresh = Meta.freshUntil(values.bytes, values.metaAt, values.metaBytes);
    return Math.min(fresh, values.expiresMs);
  }

  /**
   * Makes the value that was found.
   * @param isHit whether it is counted as a hit
   * @returns undefined if it went meanwhile
   */
  #read(key: K, keyBytes: number, isHit: boolean): V | undefined {
    const { values } = this;
    const type = values.bytes[values.metaAt]!;
    const { hashLow, version, valueBytes } = values;
    const freshMs = this.#freshMs;
    const long = values.read(this.#keys.bytes, keyBytes);
    if (long === null) {
      if (isHit) valuesOf(this.store).countMiss();
      return undefined;
    }
    // A value with parts may have been overwritten by another while it was read.
    const count = long === undefined ? valueBytes : long.length;
    const now = long === undefined ? type : values.bytes[values.metaAt]!;
    const value = this.#decode(now, long, count);
    if (this.#near !== undefined && typeof key === "string" && this.#mayBeNear(now, value)) {
      this.#near.keep(key, value, count, hashLow, version, freshMs);
    }
    return value as V;
  }

  #mayBeNear(type: number, value: unknown): boolean {
    if (type === Meta.LATIN1 || type === Meta.TEXT) return true;
    return type === Meta.STRUCTURED && this.#options.nearFrozen && freeze(value);
  }

  #decode(type: number, long: Uint8Array | undefined, count: number): unknown {
    const { bytes, roomAt } = this.values;
    if (type === Meta.LATIN1 || type === Meta.TEXT) {
      const isLatin1 = type === Meta.LATIN1;
      if (long === undefined) return this.#text.read(roomAt, count, isLatin1);
      return this.#platform.decodeText(long, isLatin1);
    }
    const own = long ?? bytes.slice(roomAt, roomAt + count);
    if (type === Meta.BYTES) return own;
    if (type === Meta.BUFFER) return this.#platform.bufferOf(own);
    try {
      return this.#serializer.decode(own);
    } catch (cause) {
      throw new ZcacheError("ERR_VALUE", "the serializer can't decode the bytes of this value", {
        cause,
      });
    }
  }
}
