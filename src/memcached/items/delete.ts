// Deleting items, and what `md` may do instead: mark an item stale, or empty it.
import { C } from "./counters.ts";
import * as Item from "./items.layout.ts";
import type { Items } from "./items.ts";
import { DONE, EXISTS, NOT_FOUND, type Outcome, type RemoveRequest } from "./requests.ts";

export function deleteItem(
  items: Items,
  key: Uint8Array,
  from: number,
  to: number,
  request: RemoveRequest,
): Outcome {
  const { counts, log } = items;
  items.lock(key, from, to);
  try {
    if (!items.findAlive(key, from, to)) {
      items.forget();
      counts[C.delete_misses]!++;
      return NOT_FOUND;
    }
    if (request.hasCas && !items.hasCas(request.cas)) {
      counts[C.delete_misses]!++;
      return EXISTS;
    }
    if (request.invalidate || request.emptied) return invalidate(items, request);
    log?.removed(key, from, to, request.byMeta, items.valueBytes);
    items.remove();
    counts[C.delete_hits]!++;
    return DONE;
  } finally {
    items.unlock();
  }
}

function invalidate(items: Items, request: RemoveRequest): Outcome {
  const { meta } = items;
  if (request.hasExpires) meta[Item.EXPIRES] = request.expires;
  // The next client that asks may win the right to store it anew.
  if (request.invalidate) meta[Item.BITS] = (meta[Item.BITS]! | Item.STALE) & ~Item.TOKEN_SENT;
  items.setCas(request);
  if (!request.emptied) return items.writeMeta() ? DONE : NOT_FOUND;
  meta[Item.CLIENT_FLAGS] = 0;
  return items.putEmpty();
}
