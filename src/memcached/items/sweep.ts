// The search for items that nobody asks for any more: items that have expired or were flushed, and
// still take room.
import { C } from "./counters.ts";
import type { Items } from "./items.ts";
import type { ItemScan } from "./shards.ts";

/**
 * Removes items that are gone, some at a time.
 * @returns whether all items have been looked at
 */
export function sweep(items: Items, scan: ItemScan): boolean {
  const dead: Uint8Array[] = [];
  const { counts } = items;
  const ended = items.scan(scan, (key) => {
    counts[C.crawler_items_checked]!++;
    if (!items.isAlive()) dead.push(key);
  });
  for (const key of dead) removeDead(items, key);
  return ended;
}

function removeDead(items: Items, key: Uint8Array): void {
  items.lock(key, 0, key.length);
  try {
    // It may have been stored anew since.
    if (!items.look() || items.isAlive()) return;
    items.remove();
    items.counts[C.crawler_reclaimed]!++;
  } finally {
    items.unlock();
  }
}
