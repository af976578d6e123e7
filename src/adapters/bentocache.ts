// The entry point `zcache/bentocache`: a driver for the first layer of bentocache, in place of its
// own memory driver: `bentostore().useL1Layer(zcacheDriver({ cacheOptions: { memoryMax: "1GiB" }
// }))`. A namespace is a key prefix that ends with ":".
//
// bentocache does not wait for its first layer. A cache that several machines share waits for the
// cluster, so it is a second layer: `bentostore().useL2Layer(zcacheSharedDriver({ cache }))`.
/// <reference types="node" preserve="true" />

import type { Cache } from "../cache/cache.ts";
import { AdapterCache, type AdapterOptions, readAdapterOptions, scopeOf } from "./adapter_cache.ts";

export interface ZcacheBentoOptions extends AdapterOptions {
  /** A prefix of all keys, which bentocache sets if it has one (default none). */
  readonly prefix?: string | undefined;
}

/** The argument of bentocache's `useL1Layer`. */
export interface ZcacheBentoDriver {
  readonly options: ZcacheBentoOptions;
  factory(config: ZcacheBentoOptions): ZcacheBento;
}

const TYPES = { cache: "object", cacheOptions: "object", prefix: "string" };

/**
 * Makes the driver of a first layer.
 * @throws ZcacheError ERR_OPTION; errors of `Cache.create` are thrown when bentocache is created
 */
export function zcacheDriver(given: ZcacheBentoOptions = {}): ZcacheBentoDriver {
  const options = readAdapterOptions(given, TYPES, "zcacheDriver");
  return { options, factory: (config) => new ZcacheBento(config) };
}

/** Implements bentocache's `L1CacheDriver`. Values are text, which bentocache has serialised. */
export class ZcacheBento {
  readonly type = "l1";
  readonly #adapted: AdapterCache;
  readonly #prefix: string;

  /** @param config the options; those of bentocache itself are ignored */
  constructor(config: ZcacheBentoOptions = {}, parent?: ZcacheBento) {
    this.#adapted = parent === undefined ? new AdapterCache(config) : parent.#adapted;
    this.#prefix = (parent === undefined ? "" : parent.#prefix) + scopeIn(config);
  }

  /** The cache that holds the values. */
  get cache(): Cache<string, unknown> {
    return this.#adapted.cache;
  }

  namespace(namespace: string): ZcacheBento {
    return new ZcacheBento({ prefix: namespace }, this);
  }

  get(key: string): string | undefined {
    return this.cache.get(this.#prefix + key) as string | undefined;
  }

  /** Returns a value and removes it. */
  pull(key: string): string | undefined {
    const value = this.get(key);
    this.delete(key);
    return value;
  }

  /** @param ttl ms; undefined means the cache's `ttl` @returns whether the value is stored */
  set(key: string, value: string, ttl?: number): boolean {
    return this.#adapted.set(this.#prefix + key, value, ttl);
  }

  /** Remaining time in ms; undefined if the value does not expire or does not exist. */
  getRemainingTtl(key: string): number | undefined {
    const ttl = this.cache.remainingTtl(this.#prefix + key);
    return ttl > 0 && ttl < Number.POSITIVE_INFINITY ? ttl : undefined;
  }

  clear(): void {
    this.#adapted.clear(this.#prefix);
  }

  delete(key: string): boolean {
    return this.cache.delete(this.#prefix + key);
  }

  deleteMany(keys: string[]): boolean {
    for (const key of keys) this.delete(key);
    return true;
  }

  /** Closes the cache if the driver has created it. */
  disconnect(): void {
    this.#adapted.close();
  }
}

/** The argument of bentocache's `useL2Layer`. */
export interface ZcacheBentoSharedDriver {
  readonly options: ZcacheBentoOptions;
  factory(config: ZcacheBentoOptions): ZcacheBentoShared;
}

/**
 * Makes the driver of a second layer, of a cache that several machines share.
 * @throws ZcacheError as `zcacheDriver`
 */
export function zcacheSharedDriver(given: ZcacheBentoOptions = {}): ZcacheBentoSharedDriver {
  const options = readAdapterOptions(given, TYPES, "zcacheSharedDriver");
  return { options, factory: (config) => new ZcacheBentoShared(config) };
}

/** Implements bentocache's `L2CacheDriver`. */
export class ZcacheBentoShared {
  readonly type = "l2";
  readonly #adapted: AdapterCache;
  readonly #prefix: string;

  /** @param config as of `ZcacheBento` */
  constructor(config: ZcacheBentoOptions = {}, parent?: ZcacheBentoShared) {
    this.#adapted = parent === undefined ? new AdapterCache(config) : parent.#adapted;
    this.#prefix = (parent === undefined ? "" : parent.#prefix) + scopeIn(config);
  }

  /** The cache that holds the values. */
  get cache(): Cache<string, unknown> {
    return this.#adapted.cache;
  }

  namespace(namespace: string): ZcacheBentoShared {
    return new ZcacheBentoShared({ prefix: namespace }, this);
  }

  async get(key: string): Promise<string | undefined> {
    return (await this.cache.getAsync(this.#prefix + key)) as string | undefined;
  }

  /** Returns a value and removes it. */
  async pull(key: string): Promise<string | undefined> {
    const value = await this.get(key);
    await this.delete(key);
    return value;
  }

  /** @param ttl ms; undefined means the cache's `ttl` @returns whether the value is stored */
  set(key: string, value: string, ttl?: number): Promise<boolean> {
    return this.#adapted.setAsync(this.#prefix + key, value, ttl);
  }

  clear(): Promise<void> {
    return this.#adapted.clearAsync(this.#prefix);
  }

  delete(key: string): Promise<boolean> {
    return this.cache.deleteAsync(this.#prefix + key);
  }

  async deleteMany(keys: string[]): Promise<boolean> {
    await Promise.all(keys.map((key) => this.delete(key)));
    return true;
  }

  /** Closes the cache if the driver has created it. */
  async disconnect(): Promise<void> {
    this.#adapted.close();
  }
}

function scopeIn({ prefix }: ZcacheBentoOptions): string {
  const name = prefix?.replace(/:+$/, "") ?? "";
  return name === "" ? "" : scopeOf(name);
}
