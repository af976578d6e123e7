// Reading items: a plain get, a touch, a look for people, and `mg` with all that it may ask.
import { C } from "./counters.ts";
import * as Item from "./items.layout.ts";
import type { Items } from "./items.ts";
import { DONE, type GetRequest } from "./requests.ts";

/** Finds an item, whose `meta`, `valueBytes` and `read` then say what it is. */
export function getItem(items: Items, key: Uint8Array, from: number, to: number): boolean {
  const { counts } = items;
  items.lock(key, from, to);
  try {
    const found = items.findAlive(key, from, to);
    if (found) items.bump();
    counts[C.cmd_get]!++;
    counts[found ? C.get_hits : C.get_misses]!++;
    return found;
  } finally {
    items.unlock();
  }
}

/** Finds an item and changes when it expires: seconds since 1970, 0 never. */
export function touchItem(
  items: Items,
  key: Uint8Array,
  from: number,
  to: number,
  expires: number,
): boolean {
  const { counts, meta } = items;
  items.lock(key, from, to);
  try {
    const found = items.findAlive(key, from, to);
    counts[C.cmd_touch]!++;
    counts[found ? C.touch_hits : C.touch_misses]!++;
    if (!found) return false;
    meta[Item.EXPIRES] = expires;
    meta[Item.ACCESSED] = items.now;
    meta[Item.BITS]! |= Item.FETCHED;
    return items.writeMeta();
  } finally {
    items.unlock();
  }
}

/** Finds an item without recording that it was used. */
export function peekItem(items: Items, key: Uint8Array, from: number, to: number): boolean {
  items.lock(key, from, to);
  try {
    return items.findAlive(key, from, to);
  } finally {
    items.unlock();
  }
}

/** Finds an item, or creates an empty one, as `mg` asks; the request takes the answers. */
export function metaGetItem(
  items: Items,
  key: Uint8Array,
  from: number,
  to: number,
  request: GetRequest,
): boolean {
  const { counts } = items;
  items.lock(key, from, to);
  try {
    const found = items.findAlive(key, from, to) || vivify(items, request);
    const isTouch = found && request.hasExpires;
    if (!request.isCounted) {
      counts[isTouch ? C.cmd_touch : C.cmd_get]!++;
      counts[isTouch ? C.touch_hits : found ? C.get_hits : C.get_misses]!++;
    }
    if (found) answer(items, request);
    return found;
  } finally {
    items.unlock();
  }
}

function vivify(items: Items, request: GetRequest): boolean {
  if (!request.vivify) return false;
  items.newMeta(0, request.vivifyExpires, request.keyBinary);
  items.setCas(request);
  if (items.putEmpty() !== DONE || !items.find()) return false;
  request.created = true;
  return true;
}

/** Reads what was before, then does what the request asks of an item that is there. */
function answer(items: Items, request: GetRequest): void {
  const { meta } = items;
  const bits = meta[Item.BITS]!;
  request.wasFetched = (bits & Item.FETCHED) !== 0;
  request.accessedBefore = meta[Item.ACCESSED]!;
  request.expiresBefore = meta[Item.EXPIRES]!;
  const isTouched = request.hasExpires && !(request.created && request.vivifyLast);
  const expiresAfter = isTouched ? request.expires : request.expiresBefore;
  const compared = request.touchFirst ? expiresAfter : request.expiresBefore;
  const recache = request.hasRecache && compared !== 0 && compared < request.recacheBefore;
  const stale = (bits & Item.STALE) !== 0;
  request.won = request.created || ((bits & Item.TOKEN_SENT) === 0 && (stale || recache));
  meta[Item.EXPIRES] = expiresAfter;
  if (!request.noBump) {
    meta[Item.ACCESSED] = items.now;
    meta[Item.BITS]! |= Item.FETCHED;
  }
  if (request.won) meta[Item.BITS]! |= Item.TOKEN_SENT;
  const used = meta[Item.BITS] !== bits || meta[Item.ACCESSED] !== request.accessedBefore;
  if (request.won || expiresAfter !== request.expiresBefore) items.writeMeta();
  else if (used) items.writeUse();
  // The reply mentions a token that was sent before; a winner is told that it has won.
  meta[Item.BITS] = request.won ? meta[Item.BITS]! & ~Item.TOKEN_SENT : meta[Item.BITS]!;
}
