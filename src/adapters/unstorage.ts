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
  hasItem(key: string): MaybePromise<boolean>;
  getItem(key: string): MaybePromise<string | null>;
  getItemRaw(key: string): unknown;
  setItem(key: string, value: string, options?: TransactionOptions): MaybePromise<void>;
  setItemRaw(key: string, value: unknown, options?: TransactionOptions): MaybePromise<void>;
  removeItem(key: string): MaybePromise<void>;
  getMeta(key: string): MaybePromise<ZcacheItemMeta | null>;
  /** Of a cache that several machines share: of which there is a copy here. */
  getKeys(base?: string): string[];
  clear(base?: string): MaybePromise<void>;
  dispose(): void;
}

/** A promise if several machines share the cache, and the cluster is to be waited for. */
export type MaybePromise<T> = T | Promise<T>;

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
  const common = {
    name: "zcache",
    flags: { ttl: true },
    options,
    getInstance: () => cache,
    getKeys: (from = "") =>
      Array.from(adapted.keysWith(base + folderOf(from)), (key) => key.slice(base.length)),
    dispose: () => adapted.close(),
  } as const;
  const msOf = (transaction?: TransactionOptions) => {
    const ttl = transaction?.ttl ?? options.ttl;
    return ttl === undefined ? ttl : ttl * SECOND_MS;
  };
  if (adapted.isShared) return { ...common, ...sharedMethods(adapted, base, msOf) };
  const set = (key: string, value: unknown, transaction?: TransactionOptions) => {
    adapted.set(base + key, value, msOf(transaction));
  };
  return {
    ...common,
    hasItem: (key) => cache.has(base + key),
    getItem: (key) => (cache.get(base + key) as string | undefined) ?? null,
    getItemRaw: (key) => cache.get(base + key) ?? null,
    setItem: set,
    setItemRaw: set,
    removeItem: (key) => void cache.delete(base + key),
    getMeta: (key) => metaOf(cache, base + key),
    clear: (from = "") => adapted.clear(base + folderOf(from)),
  };
}

/** The methods that wait for the cluster of a cache that several machines share. */
function sharedMethods(
  adapted: AdapterCache,
  base: string,
  msOf: (transaction?: TransactionOptions) => number | undefined,
) {
  const { cache } = adapted;
  const get = async (key: string) => (await cache.getAsync(base + key)) ?? null;
  const set = async (key: string, value: unknown, transaction?: TransactionOptions) => {
    await adapted.setAsync(base + key, value, msOf(transaction));
  };
  return {
    hasItem: (key: string) => adapted.hasAsync(base + key),
    getItem: get as (key: string) => Promise<string | null>,
    getItemRaw: get,
    setItem: set,
    setItemRaw: set,
    async removeItem(key: string) {
      await cache.deleteAsync(base + key);
    },
    async getMeta(key: string) {
      // Keeps a copy.
      await cache.getAsync(base + key);
      return metaOf(cache, base + key);
    },
    clear: (from = "") => adapted.clearAsync(base + folderOf(from)),
  };
}

function metaOf(cache: Cache<string, unknown>, key: string): ZcacheItemMeta | null {
  const ttlMs = cache.remainingTtl(key);
  const value = cache.get(key);
  if (value === undefined) return null;
  const size = sizeOf(value);
  return {
    ...(ttlMs === Number.POSITIVE_INFINITY ? {} : { ttl: ttlMs / SECOND_MS }),
    ...(size === undefined ? {} : { size }),
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
