// Items that nobody asks for any more: what has expired, or was flushed, and is still there.
import type { ItemScan } from "./contract.ts";
import { C } from "./counters.ts";
import type { Items } from "./items.ts";

/**
 * Drops items that have expired or were flushed, so that they do not take the room of others
 * until somebody asks for them. Some at a time.
 * @param scan of the store's `beginScan`
 * @returns whether all have been looked at
 */
export function sweep(items: Items, scan: ItemScan): boolean {
  const dead: Uint8Array[] = [];
  const counters = items.counters.own;
  const ended = items.store.scan(scan, (key) => {
    counters[C.crawler_items_checked]!++;
    if (!items.isAlive()) dead.push(key.slice());
  });
  for (const key of dead) dropDead(items, key);
  return ended;
}

function dropDead(items: Items, key: Uint8Array): void {
  const { store } = items;
  store.lock(key, 0, key.length);
  try {
    // It may have been stored anew since.
    if (!store.find() || items.isAlive()) return;
    store.remove();
    items.counters.own[C.crawler_reclaimed]!++;
  } finally {
    store.unlock();
  }
}
