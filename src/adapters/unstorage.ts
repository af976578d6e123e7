// The entry point `zcache/unstorage`: a driver for unstorage, which Nitro, Nuxt and others use for
// their caches. unstorage serialises values to text itself; raw items are stored as values.
/// <reference types="node" preserve="true" />

import type { Cache } from "../cache/cache.ts";
import { AdapterCache, type AdapterOptions, readAdapterOptions, scopeOf } from "./adapter_cache.ts";

export interface ZcacheDriverOptions extends AdapterOptions {
  /** A prefix of all keys of this storage in the cache, followed by ":" (default none). */
  readonly base?: string;
  /** Time to live in seconds, as in unstorage's other drivers (default: the cache's `ttl`). */
  readonly ttl?: number;
}

/** Options of one call of unstorage; ttl in seconds. */
export interface TransactionOptions {
  readonly ttl?: number;
  readonly [option: string]: unknown;
}

/** Metadata of an item: remaining seconds if it expires, and bytes if it is text or binary. */
export interface ZcacheItemMeta {
  readonly ttl?: number;
  readonly size?: number;
  readonly [name: string]: number | undefined;
}

/** Implements unstorage's `Driver`. */
export interface ZcacheDriver {
  readonly name: "zcache";
  readonly flags: { readonly ttl: true };
  readonly options: ZcacheDriverOptions;
  getInstance(): Cache<string, unknown>;
  hasItem(key: string): boolean;
  getItem(key: string): string | null;
  getItemRaw(key: string): unknown;
  setItem(key: string, value: string, options?: TransactionOptions): void;
  setItemRaw(key: string, value: unknown, options?: TransactionOptions): void;
  removeItem(key: string): void;
  getMeta(key: string): ZcacheItemMeta | null;
  getKeys(base?: string): string[];
  clear(base?: string): void;
  dispose(): void;
}

const TYPES = { cache: "object", cacheOptions: "object", base: "string", ttl: "number" };
const SECOND_MS = 1000;

/**
 * Makes a driver, for `createStorage({ driver: zcacheDriver({ cacheOptions }) })`.
 * @throws ZcacheError ERR_OPTION, and what `Cache.create` throws
 */
export function zcacheDriver(given: ZcacheDriverOptions = {}): ZcacheDriver {
  const options = readAdapterOptions(given, TYPES, "zcacheDriver");
  const adapted = new AdapterCache(options);
  const { cache } = adapted;
  const base = options.base === undefined ? "" : scopeOf(options.base.replace(/:+$/, ""));
  const set = (key: string, value: unknown, transaction?: TransactionOptions) => {
    const ttl = transaction?.ttl ?? options.ttl;
    adapted.set(base + key, value, ttl === undefined ? ttl : ttl * SECOND_MS);
  };
  return {
    name: "zcache",
    flags: { ttl: true },
    options,
    getInstance: () => cache,
    hasItem: (key) => cache.has(base + key),
    getItem: (key) => (cache.get(base + key) as string | undefined) ?? null,
    getItemRaw: (key) => cache.get(base + key) ?? null,
    setItem: set,
    setItemRaw: set,
    removeItem: (key) => void cache.delete(base + key),
    getMeta(key) {
      const ttlMs = cache.remainingTtl(base + key);
      const value = cache.get(base + key);
      if (value === undefined) return null;
      const size = sizeOf(value);
      return {
        ...(ttlMs === Number.POSITIVE_INFINITY ? {} : { ttl: ttlMs / SECOND_MS }),
        ...(size === undefined ? {} : { size }),
      };
    },
    getKeys: (from = "") =>
      Array.from(adapted.keysWith(base + folderOf(from)), (key) => key.slice(base.length)),
    clear: (from = "") => adapted.clear(base + folderOf(from)),
    dispose: () => adapted.close(),
  };
}

/** A base as a key prefix: unstorage's keys form a hierarchy whose levels end with ":". */
function folderOf(base: string): string {
  return base === "" ? "" : `${base.replace(/:+$/, "")}:`;
}

function sizeOf(value: unknown): number | undefined {
  if (typeof value === "string") return Buffer.byteLength(value);
  return value instanceof Uint8Array ? value.length : undefined;
}

/** @alias Nitro imports the default export of a driver's module. */
export default zcacheDriver;
