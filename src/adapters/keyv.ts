// The entry point `zcache/keyv`: a storage adapter for Keyv 5, and so for cache-manager and
// cacheable, which keep their values in Keyv.
//
// Keyv puts its namespace and a ":" before each key. The adapter replaces them with an escaped name
// (`scopeOf`), so a namespace may have any name.
//
// A Keyv tells its namespace to the adapter once, and calls `clear` without it. If several Keyvs
// share an adapter, KeyvClears finds out which of them clears.
/// <reference types="node" preserve="true" />
import { EventEmitter } from "node:events";
import { ZcacheError } from "../base/errors.ts";
import type { Cache } from "../cache/cache.ts";
import { AdapterCache, type AdapterOptions, readAdapterOptions, scopeOf } from "./adapter_cache.ts";
import { KeyvClears } from "./keyv_clears.ts";

export interface KeyvZcacheOptions extends AdapterOptions {
  /** A prefix of all keys of this adapter in the cache (default none). */
  readonly prefix?: string;
  /**
   * The option of the same name that Keyv was created with (default true). With false, Keyv does
   * not put its namespace before keys, and the adapter does.
   */
  readonly useKeyPrefix?: boolean;
}

/** One entry of `setMany`; ttl in ms. */
export interface KeyvZcacheEntry {
  readonly key: string;
  readonly value: unknown;
  readonly ttl?: number | undefined;
}

const TYPES = {
  cache: "object",
  cacheOptions: "object",
  prefix: "string",
  useKeyPrefix: "boolean",
};

export class KeyvZcache extends EventEmitter {
  /**
   * Keyv 5 iterates only over adapters of a dialect that it knows, and uses this field for nothing
   * else. Of these dialects, redis has no order of keys either.
   */
  readonly opts: Record<string, unknown> = { dialect: "redis", url: "zcache:" };
  readonly #adapted: AdapterCache;
  readonly #prefix: string;
  readonly #addsNamespace: boolean;
  readonly #clears = new KeyvClears();
  #namespace: string | undefined;
  /** All namespaces that Keyv has set, the longest first. */
  #namespaces: string[] = [];

  /**
   * @param options a cache or the options of one, see `AdapterOptions`
   * @throws ZcacheError ERR_OPTION, and what `Cache.create` throws
   */
  constructor(options: KeyvZcacheOptions = {}) {
    super();
    const read = readAdapterOptions(options, TYPES, "KeyvZcache");
    this.#adapted = new AdapterCache(read);
    this.#prefix = read.prefix ?? "";
    this.#addsNamespace = read.useKeyPrefix === false;
  }

  /** The namespace, which Keyv sets. `clear` and `iterator` are limited to it. */
  get namespace(): string | undefined {
    return this.#namespace;
  }

  /** @throws ZcacheError ERR_OPTION for a second namespace if `useKeyPrefix` is false */
  set namespace(namespace: string | undefined) {
    const isNew = namespace !== undefined && !this.#namespaces.includes(namespace);
    if (isNew && this.#addsNamespace && this.#clears.count > 1) {
      throw new ZcacheError(
        "ERR_OPTION",
        "with useKeyPrefix false, each Keyv needs its own KeyvZcache; they can share a cache",
      );
    }
    if (isNew) {
      this.#namespaces.push(namespace);
      this.#namespaces.sort((a, b) => b.length - a.length);
    }
    this.#namespace = namespace;
    this.#clears.named(namespace);
  }

  /** Every Keyv listens to the errors of its adapter, which reveals that it uses the adapter. */
  override on(event: string | symbol, listener: (...args: never[]) => void): this {
    if (event === "error") this.#clears.joined(listener);
    return super.on(event, listener as (...args: unknown[]) => void);
  }

  /** The cache that holds the values. */
  get cache(): Cache<string, unknown> {
    return this.#adapted.cache;
  }

  // Keyv emits errors of `get` only if it throws them, so the adapter emits them.
  async get<Value>(key: string): Promise<Value | undefined> {
    try {
      return (await this.cache.getAsync(this.#keyOf(key))) as Value | undefined;
    } catch (error) {
      if (this.listenerCount("error") > 0) this.emit("error", error);
      throw error;
    }
  }

  async getMany<Value>(keys: string[]): Promise<(Value | undefined)[]> {
    const own = keys.map((key) => this.#keyOf(key));
    const values = this.#adapted.isShared
      ? await Promise.all(own.map((key) => this.cache.getAsync(key)))
      : this.cache.getMany(own);
    return values as (Value | undefined)[];
  }

  /** @param ttl ms; undefined means the cache's `ttl` @returns whether the value is stored */
  async set(key: string, value: unknown, ttl?: number): Promise<boolean> {
    return this.#adapted.setAsync(this.#keyOf(key), value, ttl);
  }

  /**
   * Resolves to an array of booleans, which Keyv passes on: whether each value is stored. Keyv's
   * type of an adapter declares `void`.
   */
  async setMany(entries: readonly KeyvZcacheEntry[]): Promise<void> {
    const stored = await Promise.all(
      entries.map(({ key, value, ttl }) => this.#adapted.setAsync(this.#keyOf(key), value, ttl)),
    );
    return stored as unknown as Promise<void>;
  }

  /** @returns whether the key existed */
  async delete(key: string): Promise<boolean> {
    return this.cache.deleteAsync(this.#keyOf(key));
  }

  /** @returns whether all keys existed, as Keyv defines it */
  async deleteMany(keys: string[]): Promise<boolean> {
    const deleted = await Promise.all(keys.map((key) => this.cache.deleteAsync(this.#keyOf(key))));
    return deleted.every(Boolean);
  }

  /**
   * Removes all keys of the namespace; without a namespace, all keys of this adapter.
   * @throws ZcacheError ERR_OPTION if several Keyvs share the adapter and can't be told apart
   */
  async clear(): Promise<void> {
    await this.#adapted.clearAsync(this.#prefix + scopeIn(this.#clears.take(this.#namespace)));
  }

  async has(key: string): Promise<boolean> {
    return this.#adapted.hasAsync(this.#keyOf(key));
  }

  async hasMany(keys: string[]): Promise<boolean[]> {
    return Promise.all(keys.map((key) => this.#adapted.hasAsync(this.#keyOf(key))));
  }

  /**
   * Keys and values of a namespace in no order; concurrent changes may be missed. Of a cache that
   * several machines share, those of which this machine has a copy.
   */
  async *iterator<Value>(namespace?: string): AsyncGenerator<[string, Value], void> {
    const scope = scopeIn(namespace);
    const whole = this.#prefix + scope;
    // Keyv removes this prefix again.
    const name = this.#addsNamespace || scope === "" ? "" : `${namespace}:`;
    for (const key of this.#adapted.keysWith(whole)) {
      const value = this.cache.get(key);
      if (value !== undefined) yield [name + key.slice(whole.length), value as Value];
    }
  }

  /** Closes the cache if the adapter has created it. */
  async disconnect(): Promise<void> {
    this.#adapted.close();
  }

  #keyOf(key: string): string {
    if (this.#addsNamespace) return this.#prefix + scopeIn(this.#namespace) + key;
    if (typeof key === "string") {
      for (const namespace of this.#namespaces) {
        const { length } = namespace;
        if (length === 0 || key[length] !== ":" || !key.startsWith(namespace)) continue;
        return this.#prefix + scopeOf(namespace) + key.slice(length + 1);
      }
    }
    return this.#prefix + key;
  }
}

function scopeIn(namespace: string | undefined): string {
  return namespace === undefined || namespace === "" ? "" : scopeOf(namespace);
}
