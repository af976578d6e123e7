// Which store of items memcached's server runs on: the one place to change. For now it is the plain
// one, uncompressed and of one thread; the contract is the same for the compressed, shared one.
import { assert } from "./base/errors.ts";
import type { ItemStore } from "./front/items/contract.ts";
import { MapStore } from "./front/items/map_store.ts";
import type { OpenedItemStore } from "./server/memcached/server.ts";
import type { MemcachedSettings } from "./server/memcached/settings.ts";

export function openItemStore(settings: MemcachedSettings): OpenedItemStore {
  const { memoryMax, evicts } = settings;
  return {
    store: new MapStore({ memoryMax, evicts }),
    isShared: false,
    share: () => ({ memoryMax, evicts }),
  };
}

/** @param share what `share` of the opened store gave, in another thread */
export function attachItemStore(share: unknown): ItemStore {
  assert(typeof share === "object" && share !== null, "a store was shared");
  return new MapStore(share as { memoryMax: number; evicts: boolean });
}
