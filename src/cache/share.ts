// What one thread sends to another so that it can attach to a cache.
import { ZcacheError } from "../base/errors.ts";
import { ONE_VERSION } from "../base/version.ts";
import { ShardGroup, type ShardGroupShare } from "../shard/shard_group.ts";
import type { LogShare } from "./engine.ts";
import type { ResolvedCacheOptions } from "./options.ts";

export const SHARE_VERSION = 2;

/** Opens a cache in another thread: plain data, for `workerData` or `postMessage`. */
export interface CacheShare {
  /** Version of this format. */
  readonly zcacheCache: typeof SHARE_VERSION;
  /** @internal The shards. */
  readonly group: ShardGroupShare;
  /** @internal */
  readonly options: ResolvedCacheOptions;
  /** @internal The logs of changes, one for each shard; undefined without `persist`. */
  readonly logs: readonly LogShare[] | undefined;
}

/** @throws ZcacheError ERR_STORE_SHARE if it is no share, or one of another version */
export function checkShare(share: Partial<CacheShare> | null | undefined): void {
  const found: unknown = share?.zcacheCache;
  if (found === SHARE_VERSION && Array.isArray(share?.group?.stores)) return;
  if (typeof found !== "number" || found === SHARE_VERSION) {
    throw new ZcacheError("ERR_STORE_SHARE", "the argument is not the result of a cache's share()");
  }
  const known = `this thread knows version ${SHARE_VERSION}`;
  const message = `the cache's share is of version ${found}, and ${known}: ${ONE_VERSION}`;
  throw new ZcacheError("ERR_STORE_SHARE", message, { context: { found, wanted: SHARE_VERSION } });
}

/** JavaScript code can call the private constructor. */
export function checkGroup(group: ShardGroup | undefined): ShardGroup {
  if (group instanceof ShardGroup) return group;
  throw new ZcacheError(
    "ERR_OPTION",
    "new Cache() makes no cache: call Cache.create(options), or Cache.attach(share) in a worker",
  );
}
