// `set`, `add`, `replace`, `append`, `prepend` and `cas`: NAME KEY FLAGS EXPTIME BYTES [CAS]
// [noreply], and the value behind the line.
import { parseU64 } from "../../../base/u64.ts";
import { expiryOf } from "../../items/lifetime.ts";
import { ADD, APPEND, PREPEND, REPLACE, SET, type StoreMode } from "../../items/requests.ts";
import { refuseAndKeep, refuseTooLarge, storeItem } from "../../items/set.ts";
import { parseSigned, parseU32 } from "../../protocol/text.ts";
import * as Say from "./replies.ts";
import { type TextRequest, VALUE_BYTES_LIMIT } from "./request.ts";

export function set(request: TextRequest): number {
  return store(request, SET, false);
}

export function add(request: TextRequest): number {
  return store(request, ADD, false);
}

export function replace(request: TextRequest): number {
  return store(request, REPLACE, false);
}

export function append(request: TextRequest): number {
  return store(request, APPEND, false);
}

export function prepend(request: TextRequest): number {
  return store(request, PREPEND, false);
}

export function cas(request: TextRequest): number {
  return store(request, SET, true);
}

function store(request: TextRequest, mode: StoreMode, isCas: boolean): number {
  const { tokens, bytes, items, parts } = request;
  const words = isCas ? 6 : 5;
  if (tokens.count !== words && tokens.count !== words + 1) return request.say(Say.ERROR);
  request.readNoreply();
  const flags = parseU32(bytes, tokens.from[2]!, tokens.to[2]!);
  const exptime = parseSigned(bytes, tokens.from[3]!, tokens.to[3]!);
  const valueBytes = parseSigned(bytes, tokens.from[4]!, tokens.to[4]!);
  const wrong =
    request.isKeyTooLong ||
    Number.isNaN(flags + exptime) ||
    !(valueBytes >= 0 && valueBytes <= VALUE_BYTES_LIMIT) ||
    (isCas && !parseU64(bytes, tokens.from[5]!, tokens.to[5]!, request.cas));
  if (wrong) return request.say(Say.BAD_FORMAT);
  const key = tokens.from[1]!;
  const keyTo = tokens.to[1]!;
  if (!items.fits(keyTo - key, valueBytes)) {
    // Of all these only `set` removes the item that the value was to replace.
    const refuse = mode === SET && !isCas ? refuseTooLarge : refuseAndKeep;
    refuse(items, bytes, key, keyTo, request.store.reset(mode));
    return request.refuseValue(Say.TOO_LARGE, valueBytes);
  }
  if (!request.hasValue(valueBytes)) return 0;
  if (!request.isValueEnded(valueBytes)) {
    if (parts.stats.detailed) parts.stats.prefixSet(bytes, key, keyTo);
    return request.sayOfValue(Say.BAD_CHUNK, valueBytes);
  }
  const change = request.store.reset(mode);
  change.setValue(bytes, tokens.next, tokens.next + valueBytes);
  change.clientFlags = flags;
  change.expires = expiryOf(exptime, items.now);
  change.hasCas = isCas;
  if (isCas) change.cas.set(request.cas.high, request.cas.low);
  const outcome = storeItem(items, bytes, key, keyTo, change);
  if (parts.stats.detailed) parts.stats.prefixSet(bytes, key, keyTo);
  return request.sayOfValue(Say.STORE_REPLY[outcome], valueBytes);
}
