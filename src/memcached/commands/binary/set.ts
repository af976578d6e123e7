// SET, ADD, REPLACE with client flags and expiry as extras; APPEND and PREPEND without.
import { ADD, APPEND, DONE, PREPEND, REPLACE, SET, type StoreMode } from "../../items/requests.ts";
import { storeItem } from "../../items/set.ts";
import { type BinaryRequest, statusOf } from "./request.ts";

export function set(request: BinaryRequest): void {
  store(request, SET, true);
}

export function add(request: BinaryRequest): void {
  store(request, ADD, true);
}

export function replace(request: BinaryRequest): void {
  store(request, REPLACE, true);
}

export function append(request: BinaryRequest): void {
  store(request, APPEND, false);
}

export function prepend(request: BinaryRequest): void {
  store(request, PREPEND, false);
}

function store(request: BinaryRequest, mode: StoreMode, hasExtras: boolean): void {
  const { items, parts, bytes, keyFrom, keyTo } = request;
  const { cas, quiet } = request.header;
  const change = request.store.reset(mode);
  change.setValue(bytes, keyTo, request.valueTo);
  if (hasExtras) {
    change.clientFlags = request.extra(0);
    change.expires = request.expiry(4);
  }
  if (!cas.isZero) {
    change.hasCas = true;
    change.cas.set(cas.high, cas.low);
    // With a cas number each of these three is a set of the item that has it.
    if (hasExtras) change.mode = SET;
  }
  const outcome = storeItem(items, bytes, keyFrom, keyTo, change);
  if (parts.stats.detailed) parts.stats.prefixSet(bytes, keyFrom, keyTo);
  if (outcome !== DONE) request.fail(statusOf(outcome, change.mode));
  else if (!quiet) request.beginItem(0, 0, 0);
}
