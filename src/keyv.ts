// The entry point `zcache/keyv`: a storage adapter for Keyv 5, and with it for cache-manager and
// cacheable, which keep their values in Keyv.
//
// Keyv puts its namespace before each key, and the adapter takes keys as they come. But it tells an
// adapter one namespace, for `clear`: so each Keyv has an adapter of its own, all with one cache.
// Keyv is not imported: what it asks of an adapter is a shape.
import { EventEmitter } from "node:events";
import { AdapterCache, type AdapterOptions, checkAdapterOptions } from "./adapter_cache.ts";
import type { Cache } from "./cache.ts";

export interface KeyvZcacheOptions extends AdapterOptions {
  /** Stands before all keys of this adapter in the cache (default none). */
  readonly prefix?: string;
  /**
   * What Keyv was made with (default true). If it puts no namespace before the keys, the adapter
   * does.
   */
  readonly useKeyPrefix?: boolean;
}

/** One value of `setMany`; ttl in ms. */
export interface KeyvZcacheEntry {
  readonly key: string;
  readonly value: unknown;
  readonly ttl?: number | undefined;
}

const KEYS = ["cache", "cacheOptions", "prefix", "useKeyPrefix"];

export class KeyvZcache extends EventEmitter {
  /** Keyv's namespace: Keyv sets it. `clear` and `iterator` keep to it. */
  namespace: string | undefined;
  /**
   * Keyv 5 iterates over an adapter only if it knows its dialect, and only that is what it looks
   * at it for. Among those it knows, redis is the one that also goes through its keys in no order.
   */
  readonly opts: Record<string, unknown> = { dialect: "redis", url: "zcache:" };
  readonly #adapted: AdapterCache;
  readonly #prefix: string;
  readonly #addsNamespace: boolean;

  /**
   * @param options a cache, or the options of one: see `AdapterOptions`
   * @throws ZcacheError ERR_OPTION, and what `Cache.create` throws
   */
  constructor(options: KeyvZcacheOptions = {}) {
    super();
    checkAdapterOptions(options, KEYS, "KeyvZcache");
    this.#adapted = new AdapterCache(options);
    this.#prefix = options.prefix ?? "";
    this.#addsNamespace = options.useKeyPrefix === false;
  }

  /** The cache below. */
  get cache(): Cache<string, unknown> {
    return this.#adapted.cache;
  }

  // Keyv leaves out the errors of `get` unless it throws them, so they are told here.
  async get<Value>(key: string): Promise<Value | undefined> {
    try {
      return this.cache.get(this.#keyOf(key)) as Value | undefined;
    } catch (error) {
      if (this.listenerCount("error") > 0) this.emit("error", error);
      throw error;
    }
  }

  async getMany<Value>(keys: string[]): Promise<(Value | undefined)[]> {
    return this.cache.getMany(keys.map((key) => this.#keyOf(key))) as (Value | undefined)[];
  }

  /** @param ttl ms; none: as long as the cache's own `ttl` says @returns whether it is stored */
  async set(key: string, value: unknown, ttl?: number): Promise<boolean> {
    return this.#adapted.set(this.#keyOf(key), value, ttl);
  }

  /**
   * What is stored comes back as an array of booleans, which Keyv hands on; its type of an adapter
   * has nothing come back, and an adapter must have that type.
   */
  async setMany(entries: readonly KeyvZcacheEntry[]): Promise<void> {
    const stored = entries.map(({ key, value, ttl }) => {
      return this.#adapted.set(this.#keyOf(key), value, ttl);
    });
    return stored as unknown as Promise<void>;
  }

  /** @returns whether it was there */
  async delete(key: string): Promise<boolean> {
    return this.cache.delete(this.#keyOf(key));
  }

  /** @returns whether all of them were there, as Keyv has it */
  async deleteMany(keys: string[]): Promise<boolean> {
    let isWhole = true;
    for (const key of keys) isWhole = this.cache.delete(this.#keyOf(key)) && isWhole;
    return isWhole;
  }

  /** Removes what is in the namespace; without one, all that this adapter has. */
  async clear(): Promise<void> {
    this.#adapted.clear(this.#prefix + namespacePrefix(this.namespace));
  }

  async has(key: string): Promise<boolean> {
    return this.cache.has(this.#keyOf(key));
  }

  async hasMany(keys: string[]): Promise<boolean[]> {
    return keys.map((key) => this.cache.has(this.#keyOf(key)));
  }

  /** Keys and values of a namespace, in no order; what comes and goes meanwhile may be missed. */
  async *iterator<Value>(namespace?: string): AsyncGenerator<[string, Value], void> {
    const whole = this.#prefix + namespacePrefix(namespace);
    const cut = this.#addsNamespace ? whole.length : this.#prefix.length;
    for (const key of this.#adapted.keysWith(whole)) {
      const value = this.cache.get(key);
      if (value !== undefined) yield [key.slice(cut), value as Value];
    }
  }

  /** Closes the cache, if the adapter has made it. */
  async disconnect(): Promise<void> {
    this.#adapted.close();
  }

  #keyOf(key: string): string {
    return this.#prefix + (this.#addsNamespace ? namespacePrefix(this.namespace) : "") + key;
  }
}

function namespacePrefix(namespace: string | undefined): string {
  return namespace === undefined || namespace === "" ? "" : `${namespace}:`;
}
