// The store that memcached's server keeps its items in, in each of its threads.
import { ZcacheError } from "./base/errors.ts";
import type { ItemStore } from "./front/items/contract.ts";
import { ValueItemStore } from "./front/items/value_store.ts";
import { formatValues } from "./front/values/format.ts";
import { cachePlatform } from "./node/cache_platform.ts";
import type { OpenedItemStore } from "./server/memcached/server.ts";
import type { MemcachedSettings } from "./server/memcached/settings.ts";
import type { Store, StoreShare } from "./store/store.ts";
import { attachStore, createStore } from "./stores.ts";

/** Pages of so many bytes: most values fit one, and little is lost in packing. */
const PAGE_BYTES = 8192;

interface ItemStoreShare {
  readonly store: StoreShare;
  readonly evicts: boolean;
}

/** An item store, and the store of values that it is: for who looks at the memory. */
export interface OpenedValueStore extends OpenedItemStore {
  readonly values: Store;
}

export function openItemStore(settings: MemcachedSettings): OpenedValueStore {
  const { memoryMax, evicts, codec } = settings;
  const store = createStore({
    content: "values",
    memoryMax,
    codec,
    pageSize: PAGE_BYTES,
    policy: "tinylfu",
    lowWatermark: 0.5,
    highWatermark: 1,
  });
  formatValues(store, cachePlatform.random, !evicts);
  return {
    store: itemsIn(store, evicts),
    values: store,
    isShared: true,
    share: (): ItemStoreShare => ({ store: store.share(), evicts }),
  };
}

/** @param share what `share` of the opened store gave, in another thread */
export function attachItemStore(share: unknown): ItemStore {
  const { store, evicts } = (share ?? {}) as Partial<ItemStoreShare>;
  if (store === undefined || evicts === undefined) {
    throw new ZcacheError("ERR_STORE_SHARE", "this is not what a store of items shared");
  }
  return itemsIn(attachStore(store), evicts);
}

function itemsIn(store: Store, evicts: boolean): ItemStore {
  return new ValueItemStore(store, evicts, cachePlatform.now, cachePlatform.random);
}
