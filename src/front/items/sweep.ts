// Items that nobody asks for any more: what has expired, or was flushed, and is still there.
import { C } from "./counters.ts";
import type { Items } from "./items.ts";

/**
 * Drops items that have expired or were flushed, so that they do not take the room of others
 * until somebody asks for them. Some at a time: call it again with what it returned.
 * @param place 0 to begin with
 * @returns where to go on, −1 at the end
 */
export function sweep(items: Items, place: number): number {
  const dead: Uint8Array[] = [];
  const counters = items.counters.own;
  const next = items.store.scan(place, (key) => {
    counters[C.crawler_items_checked]++;
    if (!items.isAlive()) dead.push(key.slice());
  });
  for (const key of dead) dropDead(items, key);
  return next;
}

function dropDead(items: Items, key: Uint8Array): void {
  const { store } = items;
  store.lock(key, 0, key.length);
  try {
    // It may have been stored anew since.
    if (!store.find() || items.isAlive()) return;
    store.remove();
    items.counters.own[C.crawler_reclaimed]++;
  } finally {
    store.unlock();
  }
}
