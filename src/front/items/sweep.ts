// Drops items that are dead before somebody asks for them, so that they do not take the room of
// others.
import { C } from "./counters.ts";
import type { Items } from "./items.ts";

/**
 * Looks at some items: call it again with what it returned.
 * @param place 0 to begin with
 * @returns where to go on, −1 at the end
 */
export function sweep(items: Items, place: number): number {
  const dead: Uint8Array[] = [];
  const { counters } = items;
  const next = items.store.scan(place, (key) => {
    counters[C.crawler_items_checked]!++;
    if (!items.isAlive()) dead.push(key.slice());
  });
  for (const key of dead) if (dropDead(items, key)) counters[C.crawler_reclaimed]!++;
  return next;
}

function dropDead(items: Items, key: Uint8Array): boolean {
  const { store } = items;
  store.lock(key, 0, key.length);
  try {
    // It may have been stored anew since.
    if (!store.find() || items.isAlive()) return false;
    store.remove();
    return true;
  } finally {
    store.unlock();
  }
}
