// The entry point `zcache/keyv`: a storage adapter for Keyv 5, and with it for cache-manager and
// cacheable, which keep their values in Keyv.
//
// Keyv puts its namespace and a ":" before each key. The adapter puts a name that no other name is
// the beginning of in its place (`scopeOf`), so that a namespace may have any name.
//
// An adapter is told the namespace of a Keyv once, and not by which Keyv it is called: with several
// of them, KeyvClears says which one clears. Keyv is not imported: what it asks of an adapter is a
// shape.
/// <reference types="node" preserve="true" />
import { EventEmitter } from "node:events";
import { ZcacheError } from "../base/errors.ts";
import type { Cache } from "../cache/cache.ts";
import { AdapterCache, type AdapterOptions, readAdapterOptions, scopeOf } from "./adapter_cache.ts";
import { KeyvClears } from "./keyv_clears.ts";

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

const TYPES = {
  cache: "object",
  cacheOptions: "object",
  prefix: "string",
  useKeyPrefix: "boolean",
};

export class KeyvZcache extends EventEmitter {
  /**
   * Keyv 5 iterates over an adapter only if it knows its dialect, and only that is what it looks
   * at it for. Among those it knows, redis is the one that also goes through its keys in no order.
   */
  readonly opts: Record<string, unknown> = { dialect: "redis", url: "zcache:" };
  readonly #adapted: AdapterCache;
  readonly #prefix: string;
  readonly #addsNamespace: boolean;
  readonly #clears = new KeyvClears();
  #namespace: string | undefined;
  /** All that Keyv has set, the longest first. */
  #namespaces: string[] = [];

  /**
   * @param options a cache, or the options of one: see `AdapterOptions`
   * @throws ZcacheError ERR_OPTION, and what `Cache.create` throws
   */
  constructor(options: KeyvZcacheOptions = {}) {
    super();
    const read = readAdapterOptions(options, TYPES, "KeyvZcache");
    this.#adapted = new AdapterCache(read);
    this.#prefix = read.prefix ?? "";
    this.#addsNamespace = read.useKeyPrefix === false;
  }

  /** Keyv's namespace: Keyv sets it. `clear` and `iterator` keep to it. */
  get namespace(): string | undefined {
    return this.#namespace;
  }

  /** @throws ZcacheError ERR_OPTION for a second one where the adapter puts it before the keys */
  set namespace(namespace: string | undefined) {
    const isNew = namespace !== undefined && !this.#namespaces.includes(namespace);
    if (isNew && this.#addsNamespace && this.#clears.count > 1) {
      throw new ZcacheError(
        "ERR_OPTION",
        "with useKeyPrefix false, each Keyv needs a KeyvZcache of its own: they may share a cache",
      );
    }
    if (isNew) {
      this.#namespaces.push(namespace);
      this.#namespaces.sort((a, b) => b.length - a.length);
    }
    this.#namespace = namespace;
    this.#clears.named(namespace);
  }

  /** Keyv listens to the errors of its adapter: so it is known that there is a Keyv. */
  override on(event: string | symbol, listener: (...args: never[]) => void): this {
    if (event === "error") this.#clears.joined(listener);
    return super.on(event, listener as (...args: unknown[]) => void);
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

  /**
   * Removes what is in the namespace; without one, all that this adapter has.
   * @throws ZcacheError ERR_OPTION if several Keyvs have the adapter and it can't tell them apart
   */
  async clear(): Promise<void> {
    this.#adapted.clear(this.#prefix + scopeIn(this.#clears.take(this.#namespace)));
  }

  async has(key: string): Promise<boolean> {
    return this.cache.has(this.#keyOf(key));
  }

  async hasMany(keys: string[]): Promise<boolean[]> {
    return keys.map((key) => this.cache.has(this.#keyOf(key)));
  }

  /** Keys and values of a namespace, in no order; what comes and goes meanwhile may be missed. */
  async *iterator<Value>(namespace?: string): AsyncGenerator<[string, Value], void> {
    const scope = scopeIn(namespace);
    const whole = this.#prefix + scope;
    // Keyv takes its own name of the namespace off again.
    const name = this.#addsNamespace || scope === "" ? "" : `${namespace}:`;
    for (const key of this.#adapted.keysWith(whole)) {
      const value = this.cache.get(key);
      if (value !== undefined) yield [name + key.slice(whole.length), value as Value];
    }
  }

  /** Closes the cache, if the adapter has made it. */
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
