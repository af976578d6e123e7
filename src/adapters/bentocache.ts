// The entry point `zcache/bentocache`: a driver for bentocache's first layer, in place of its own
// in memory: `bentostore().useL1Layer(zcacheDriver({ cacheOptions: { memoryMax: "1GiB" } }))`.
//
// bentocache is not imported: what it asks of a driver is a shape. A namespace is a prefix of keys,
// with a ":" behind it.
/// <reference types="node" preserve="true" />

import type { Cache } from "../cache/cache.ts";
import { AdapterCache, type AdapterOptions, readAdapterOptions, scopeOf } from "./adapter_cache.ts";

export interface ZcacheBentoOptions extends AdapterOptions {
  /** Stands before all keys; bentocache sets it, if it has one (default none). */
  readonly prefix?: string | undefined;
}

/** What bentocache's `useL1Layer` takes. */
export interface ZcacheBentoDriver {
  readonly options: ZcacheBentoOptions;
  factory(config: ZcacheBentoOptions): ZcacheBento;
}

const TYPES = { cache: "object", cacheOptions: "object", prefix: "string" };

/**
 * Makes the driver of a store's first layer.
 * @throws ZcacheError ERR_OPTION; what `Cache.create` throws comes when bentocache is made
 */
export function zcacheDriver(given: ZcacheBentoOptions = {}): ZcacheBentoDriver {
  const options = readAdapterOptions(given, TYPES, "zcacheDriver");
  return { options, factory: (config) => new ZcacheBento(config) };
}

/** Fulfils bentocache's `L1CacheDriver`. Values are text: bentocache has made it. */
export class ZcacheBento {
  readonly type = "l1";
  readonly #adapted: AdapterCache;
  readonly #prefix: string;

  /** @param config of bentocache too, whose other options are not the driver's business */
  constructor(config: ZcacheBentoOptions = {}, parent?: ZcacheBento) {
    this.#adapted = parent === undefined ? new AdapterCache(config) : parent.#adapted;
    const prefix = config.prefix?.replace(/:+$/, "") ?? "";
    const own = prefix === "" ? "" : scopeOf(prefix);
    this.#prefix = parent === undefined ? own : parent.#prefix + own;
  }

  /** The cache below. */
  get cache(): Cache<string, unknown> {
    return this.#adapted.cache;
  }

  namespace(namespace: string): ZcacheBento {
    return new ZcacheBento({ prefix: namespace }, this);
  }

  get(key: string): string | undefined {
    return this.cache.get(this.#prefix + key) as string | undefined;
  }

  /** The value, which is gone then. */
  pull(key: string): string | undefined {
    const value = this.get(key);
    this.delete(key);
    return value;
  }

  /** @param ttl ms; none: as long as the cache's own `ttl` says @returns whether it is stored */
  set(key: string, value: string, ttl?: number): boolean {
    return this.#adapted.set(this.#prefix + key, value, ttl);
  }

  /** ms that a value has to live; undefined if it does not expire, or is not there. */
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

  /** Closes the cache, if the driver has made it. */
  disconnect(): void {
    this.#adapted.close();
  }
}
