// Storing items: set, add, replace, append, prepend and cas, as a StoreRequest says.
import { C } from "./counters.ts";
import { PLAIN_SET, type StoreFacts } from "./item_log.ts";
import * as Item from "./items.layout.ts";
import type { Items } from "./items.ts";
import {
  ADD,
  APPEND,
  DONE,
  EXISTS,
  NOT_FOUND,
  NOT_STORED,
  type Outcome,
  PREPEND,
  REPLACE,
  SET,
  type StoreRequest,
  TOO_LARGE,
} from "./requests.ts";

/**
 * Stores the value of the request under a key, on the request's conditions. The value is read from
 * the caller's buffer when it is stored, under the lock.
 */
export function storeItem(
  items: Items,
  key: Uint8Array,
  from: number,
  to: number,
  request: StoreRequest,
): Outcome {
  const { mode } = request;
  const valueBytes = request.valueTo - request.valueFrom;
  items.workBytes += valueBytes;
  items.counts[C.cmd_set]!++;
  if (!items.fits(to - from, valueBytes)) return refuseTooLarge(items, key, from, to, request);
  items.isSetOpen = true;
  const isExtension = mode === APPEND || mode === PREPEND;
  items.lock(key, from, to);
  try {
    // A plain set replaces whatever it finds.
    const isPlain = mode === SET && !request.hasCas;
    const found = items.findAlive(key, from, to, isPlain);
    request.itemBytes = valueBytes + (isExtension && found ? items.valueBytes : 0);
    let outcome = mayStore(items, found, request);
    if (outcome === DONE && isExtension && !extend(items, to - from, request)) {
      outcome = NOT_STORED;
    }
    if (outcome === DONE) outcome = putLocked(items, request);
    items.log?.stored(key, from, to, outcome, request);
    items.isSetOpen = false;
    return outcome;
  } finally {
    items.unlock();
  }
}

/** Refuses a value that is too large. The old item is removed, so that nobody takes it for new. */
export function refuseTooLarge(
  items: Items,
  key: Uint8Array,
  from: number,
  to: number,
  request: StoreFacts = PLAIN_SET,
): Outcome {
  items.lock(key, from, to);
  try {
    items.remove();
    return countTooLarge(items, key, from, to, request);
  } finally {
    items.unlock();
  }
}

/** The same for a command whose old item stays. */
export function refuseAndKeep(
  items: Items,
  key: Uint8Array,
  from: number,
  to: number,
  request: StoreFacts,
): Outcome {
  items.lock(key, from, to);
  try {
    return countTooLarge(items, key, from, to, request);
  } finally {
    items.unlock();
  }
}

function countTooLarge(
  items: Items,
  key: Uint8Array,
  from: number,
  to: number,
  request: StoreFacts,
): Outcome {
  items.counts[C.store_too_large]!++;
  items.log?.stored(key, from, to, TOO_LARGE, request);
  return TOO_LARGE;
}

/** Whether the request's conditions hold; `meta` tells of the item that was found. */
function mayStore(items: Items, found: boolean, request: StoreRequest): Outcome {
  const { mode, cas } = request;
  const { counts } = items;
  if (!found) {
    if (request.hasCas && (mode === SET || mode === REPLACE)) {
      counts[C.cas_misses]!++;
      return NOT_FOUND;
    }
    if (mode === SET || mode === ADD) return DONE;
    return mode !== REPLACE && request.vivify ? DONE : NOT_STORED;
  }
  if (mode === ADD) {
    items.bump(0);
    return NOT_STORED;
  }
  const isExtension = mode === APPEND || mode === PREPEND;
  if (!request.hasCas || (isExtension && cas.isZero)) return DONE;
  if (items.hasCas(cas) || (request.invalidate && !isExtension && items.isOlder(cas))) {
    counts[C.cas_hits]!++;
    return DONE;
  }
  counts[C.cas_badval]!++;
  return EXISTS;
}

/** Makes the value of the request the old value with what is added to it. */
function extend(items: Items, keyBytes: number, request: StoreRequest): boolean {
  const { value, valueFrom: from, valueTo: to } = request;
  if (!items.find()) {
    // There is no old item, and one may be created.
    request.expires = request.vivifyExpires;
    return true;
  }
  const oldBytes = items.valueBytes;
  const bytes = oldBytes + to - from;
  if (!items.fits(keyBytes, bytes)) return false;
  items.workBytes += oldBytes + bytes;
  const scratch = items.scratchOf(bytes);
  const isAppend = request.mode === APPEND;
  if (!items.read(scratch, isAppend ? 0 : to - from)) return false;
  scratch.set(value.subarray(from, to), isAppend ? oldBytes : 0);
  request.setValue(scratch, 0, bytes);
  request.clientFlags = items.meta[Item.CLIENT_FLAGS]!;
  request.expires = items.meta[Item.EXPIRES]!;
  return true;
}

function putLocked(items: Items, request: StoreRequest): Outcome {
  const { meta } = items;
  const isLate = request.invalidate && request.hasCas && items.isOlder(request.cas) && items.find();
  const kept = isLate ? (meta[Item.BITS]! & Item.TOKEN_SENT) | Item.STALE : 0;
  const expires = isLate ? meta[Item.EXPIRES]! : request.expires;
  items.newMeta(request.clientFlags, expires, request.keyBinary);
  meta[Item.BITS]! |= kept;
  items.setCas(request);
  return items.putCounted(request.value, request.valueFrom, request.valueTo);
}
