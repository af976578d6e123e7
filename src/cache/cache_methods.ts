// Methods of a cache that are made of its other methods; and those that wait for a cluster (option
// `remote`), which without that option do at once what their synchronous namesakes do.
import { inspect } from "node:util";
import { ZcacheError } from "../base/errors.ts";
import type { Fleet } from "./fleet.ts";
import type { CacheKey } from "./keys.ts";
import type { Loader } from "./loads.ts";
import {
  type FetchOptions,
  type GetOptions,
  type Lifetime,
  lifetimeOf,
  type SetOptions,
} from "./options.ts";
import type { CacheStats } from "./statistics.ts";

export abstract class CacheMethods<K extends CacheKey, V> {
  /** @internal Undefined without the option `remote`. */
  fleet: Fleet<K, V> | undefined;

  abstract get(key: K, options?: GetOptions): V | undefined;
  abstract set(key: K, value: V, options?: SetOptions | number | string): boolean;
  abstract delete(key: K): boolean;
  abstract touch(key: K, options?: SetOptions | number | string): boolean;
  abstract clear(prefix?: string): void;
  abstract fetch(
    key: K,
    loader: Loader<K, V | undefined>,
    options?: FetchOptions,
  ): Promise<V | undefined>;
  abstract keys(): Generator<K>;
  abstract stats(): CacheStats;
  abstract close(): void;
  /** @internal */
  protected abstract get lifetime(): Lifetime;

  /**
   * The value of a key, here or in the cluster.
   * @returns undefined on a miss, and if the cluster does not answer (event `fault`)
   * @throws as a rejection, as `get`
   */
  async getAsync(key: K, options?: GetOptions): Promise<V | undefined> {
    return this.get(key, options) ?? this.fleet?.get(key);
  }

  /**
   * Stores a value, and waits until the cluster has it.
   * @returns whether it is stored here too
   * @throws as a rejection: as `set`; ERR_REMOTE if the cluster does not answer or is full, and
   *   then the value is not stored here either
   */
  async setAsync(key: K, value: V, options?: SetOptions | number | string): Promise<boolean> {
    if (this.fleet === undefined) return this.set(key, value, options);
    const { isStored, sent } = this.fleet.set(key, value, lifetimeOf(options, this.lifetime));
    await sent;
    return isStored;
  }

  /**
   * Deletes a value, and waits until it is gone from the cluster.
   * @returns whether there was one, here or there
   * @throws as a rejection: as `delete`; ERR_REMOTE if the cluster does not answer
   */
  async deleteAsync(key: K): Promise<boolean> {
    if (this.fleet === undefined) return this.delete(key);
    const { wasHere, sent } = this.fleet.delete(key);
    return (await sent) || wasHere;
  }

  /**
   * Gives a fresh value, here or in the cluster, a new time to live, and waits until the cluster
   * has done so.
   * @returns whether there was one
   * @throws as a rejection: as `touch`; ERR_REMOTE if the cluster does not answer
   */
  async touchAsync(key: K, options?: SetOptions | number | string): Promise<boolean> {
    if (this.fleet === undefined) return this.touch(key, options);
    return this.fleet.touch(key, lifetimeOf(options, this.lifetime));
  }

  /**
   * Removes all values, or those under strings that begin with `prefix`, and waits until they are
   * gone from the cluster.
   * @throws as a rejection: as `clear`; ERR_REMOTE if the cluster does not answer
   */
  async clearAsync(prefix = ""): Promise<void> {
    this.clear(prefix);
    await this.fleet?.cleared;
  }

  /** The same as `fetch`, under the name that cacheable uses. */
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

  /** All keys with their values, as `keys`. */
  *entries(): Generator<[K, V]> {
    for (const key of this.keys()) {
      const value = this.get(key);
      if (value !== undefined) yield [key, value];
    }
  }

  [Symbol.iterator](): Generator<[K, V]> {
    return this.entries();
  }

  /** Keeps `console.log` from printing the whole memory, which is a property of its properties. */
  [inspect.custom](): string {
    try {
      const { entries, memoryUsed, memoryMax } = this.stats();
      return `Cache { entries: ${entries}, memoryUsed: ${memoryUsed}, memoryMax: ${memoryMax} }`;
    } catch {
      return "Cache { closed }";
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Copies in another process can't be told of changes, nor can those in a file. */
export function assertNotShared(fleet: unknown, what: string): void {
  if (fleet === undefined) return;
  throw new ZcacheError("ERR_OPTION", `a cache with the option remote has no ${what}`);
}
