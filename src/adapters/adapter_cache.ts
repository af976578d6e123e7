// What all adapters need of a cache: one that they are given or make, and their part of its keys.
//
// An adapter for another library keeps its values under a prefix of the cache's keys, so that
// several of them, and whoever else uses the cache, stay apart.
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import { checkOptionNames } from "../base/option_names.ts";
import { Cache } from "../cache/cache.ts";
import type { CacheOptions, LocalOptions } from "../cache/options.ts";

/** What an adapter is made with. */
export interface AdapterOptions {
  /** The cache to use, which stays open when the adapter is closed … */
  readonly cache?: Cache<string, unknown> | undefined;
  /** … or the options of one that the adapter makes, and closes. */
  readonly cacheOptions?: (CacheOptions & LocalOptions) | undefined;
}

/**
 * The options of an adapter as a plain object: each getter has run once.
 * @param known their names, and the types that are allowed
 * @throws ZcacheError ERR_OPTION for one that is not known, or of another type
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
    throw new ZcacheError("ERR_OPTION", `${what}: ${name} is a ${known[name]}, not ${found}`);
  }
  return read;
}

/**
 * What stands before all keys of a namespace: its name and a ":". A ":" in the name is written in
 * another way, so that no namespace's keys begin as those of another.
 */
export function scopeOf(namespace: string): string {
  return `${namespace.replaceAll("%", "%25").replaceAll(":", "%3A")}:`;
}

/** A cache, as an adapter uses it. */
export class AdapterCache {
  readonly cache: Cache<string, unknown>;
  readonly #isOwn: boolean;
  #isClosed = false;

  /** @throws ZcacheError ERR_OPTION, and what `Cache.create` throws */
  constructor({ cache, cacheOptions }: AdapterOptions) {
    if (cache !== undefined && cacheOptions !== undefined) {
      throw new ZcacheError("ERR_OPTION", "cache and cacheOptions: one of them, not both");
    }
    if (cache !== undefined && !(cache instanceof Cache)) {
      throw new ZcacheError("ERR_OPTION", "cache: what Cache.create or Cache.attach returned");
    }
    this.cache = cache ?? Cache.create<string, unknown>(cacheOptions ?? {});
    this.#isOwn = cache === undefined;
  }

  /**
   * Stores a value for `ttlMs`; undefined: as long as the cache's `ttl` says. A time that is over
   * already removes what there was.
   */
  set(key: string, value: unknown, ttlMs?: number): boolean {
    if (ttlMs === undefined) return this.cache.set(key, value);
    if (typeof ttlMs !== "number" || Number.isNaN(ttlMs)) {
      throw new ZcacheError("ERR_OPTION", `ttl ${describe(ttlMs)}: not a time in ms`);
    }
    if (ttlMs > 0) return this.cache.set(key, value, ttlMs);
    this.cache.delete(key);
    return true;
  }

  /** The keys of text that begin with `prefix`, as they are. */
  *keysWith(prefix: string): Generator<string> {
    for (const key of this.cache.keys()) {
      if (typeof key === "string" && key.startsWith(prefix)) yield key;
    }
  }

  /** Removes what stands under keys that begin with `prefix`. */
  clear(prefix: string): void {
    this.cache.clear(prefix);
  }

  /** Closes the cache if the adapter has made it; once. */
  close(): void {
    if (this.#isOwn && !this.#isClosed) this.cache.close();
    this.#isClosed = true;
  }
}
