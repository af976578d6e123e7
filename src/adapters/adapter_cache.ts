// Adapters to the interfaces of other libraries, each an entry point of the package:
//
//   keyv, keyv_clears   Keyv 5, and with it cache-manager and cacheable
//   unstorage           unstorage (Nitro, Nuxt)
//   bentocache          the first layer of bentocache
//   chunk_store         abstract-chunk-store (WebTorrent)
//   adapter_cache       what the first three share: their cache and its key prefixes (this file)
//
// An adapter uses a cache that it is given or creates one. It keeps its values under a key prefix,
// so several adapters and other users can share a cache. No library is imported: an adapter has the
// shape that the library asks for. Concurrency: as of Cache; an adapter is used by one thread, and
// threads share values through a shared cache.
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import { checkOptionNames } from "../base/option_names.ts";
import { Cache } from "../cache/cache.ts";
import type { CacheOptions, LocalOptions } from "../cache/options.ts";

/** Options of every adapter: at most one of the two. */
export interface AdapterOptions {
  /** A cache to use. It stays open when the adapter is closed. */
  readonly cache?: Cache<string, unknown> | undefined;
  /** Options of a cache that the adapter creates, and closes with itself. */
  readonly cacheOptions?: (CacheOptions & LocalOptions) | undefined;
}

/**
 * Copies the options of an adapter into a plain object, so that each getter runs only once.
 * @param known the names of all options, and their types
 * @throws ZcacheError ERR_OPTION for an unknown option or a wrong type
 */
export function readAdapterOptions<O extends object>(
  options: O,
  known: Readonly<Record<string, string>>,
  what: string,
): O {
  checkOptionNames(options, Object.keys(known), what);
  const read = { ...options };
  for (const [name, value] of Object.entries(read)) {
    if (value === undefined || typeof value === known[name]) continue;
    const found = describe(value);
    throw new ZcacheError("ERR_OPTION", `${what}: ${name} must be a ${known[name]}, not ${found}`);
  }
  return read;
}

/**
 * The key prefix of a namespace: its name and a ":". Each ":" and "%" in the name is escaped, so no
 * prefix is the beginning of another.
 */
export function scopeOf(namespace: string): string {
  return `${namespace.replaceAll("%", "%25").replaceAll(":", "%3A")}:`;
}

/** The cache of an adapter, given or created. */
export class AdapterCache {
  readonly cache: Cache<string, unknown>;
  readonly #isOwn: boolean;
  #isClosed = false;

  /** @throws ZcacheError ERR_OPTION, and what `Cache.create` throws */
  constructor({ cache, cacheOptions }: AdapterOptions) {
    if (cache !== undefined && cacheOptions !== undefined) {
      throw new ZcacheError("ERR_OPTION", "cache and cacheOptions: give one of them, not both");
    }
    if (cache !== undefined && !(cache instanceof Cache)) {
      throw new ZcacheError("ERR_OPTION", "cache: must come from Cache.create or Cache.attach");
    }
    this.cache = cache ?? Cache.create<string, unknown>(cacheOptions ?? {});
    this.#isOwn = cache === undefined;
  }

  /**
   * Stores a value.
   * @param ttlMs time to live; undefined means the cache's `ttl`, and 0 or less removes the value
   * @returns whether the value is stored, or removed
   */
  set(key: string, value: unknown, ttlMs?: number): boolean {
    checkTtl(ttlMs);
    if (ttlMs === undefined || ttlMs > 0) return this.cache.set(key, value, ttlMs);
    this.cache.delete(key);
    return true;
  }

  /** Whether other machines have the same values: then methods wait for the cluster. */
  get isShared(): boolean {
    return this.cache.fleet !== undefined;
  }

  /** As `set`, and waits until the cluster has the value, if there is one. */
  async setAsync(key: string, value: unknown, ttlMs?: number): Promise<boolean> {
    if (!this.isShared) return this.set(key, value, ttlMs);
    checkTtl(ttlMs);
    if (ttlMs === undefined || ttlMs > 0) return this.cache.setAsync(key, value, ttlMs);
    await this.cache.deleteAsync(key);
    return true;
  }

  /** Whether there is a value, here or in the cluster. */
  async hasAsync(key: string): Promise<boolean> {
    if (this.cache.has(key)) return true;
    return this.isShared && (await this.cache.getAsync(key)) !== undefined;
  }

  /** All string keys that begin with `prefix`, with it; of a shared cache, those of its copies. */
  *keysWith(prefix: string): Generator<string> {
    for (const key of this.cache.keys()) {
      if (typeof key === "string" && key.startsWith(prefix)) yield key;
    }
  }

  /** Removes all keys that begin with `prefix`. */
  clear(prefix: string): void {
    this.cache.clear(prefix);
  }

  /** As `clear`, and waits for the cluster, if there is one. */
  clearAsync(prefix: string): Promise<void> {
    return this.cache.clearAsync(prefix);
  }

  /** Closes the cache if the adapter has created it. Further calls do nothing. */
  close(): void {
    if (this.#isOwn && !this.#isClosed) this.cache.close();
    this.#isClosed = true;
  }
}

/** @throws ZcacheError ERR_OPTION */
function checkTtl(ttlMs: unknown): void {
  if (ttlMs === undefined || (typeof ttlMs === "number" && !Number.isNaN(ttlMs))) return;
  throw new ZcacheError("ERR_OPTION", `ttl ${describe(ttlMs)} is not a time in ms`);
}
