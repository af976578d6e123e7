// Items whose value is a number in decimal, with spaces around it: adding and subtracting.
import { parseU64, type U64, U64_DIGITS_MAX, writeU64 } from "../../base/u64.ts";
import { C } from "./counters.ts";
import * as Item from "./items.layout.ts";
import type { Items } from "./items.ts";
import { type DeltaRequest, EXISTS, NOT_FOUND, NOT_NUMBER, type Outcome } from "./requests.ts";

/** No number is looked for in longer values: twenty digits, and the spaces that a client adds. */
const NUMBER_BYTES_MAX = 64;
const SPACE = 32;

/** Adds to the number under a key or subtracts from it; the result is `items.number`. */
export function deltaItem(
  items: Items,
  key: Uint8Array,
  from: number,
  to: number,
  request: DeltaRequest,
): Outcome {
  items.lock(key, from, to);
  try {
    if (items.findAlive(key, from, to)) return deltaLocked(items, request);
    if (!request.vivify) {
      items.counts[request.increment ? C.incr_misses : C.decr_misses]!++;
      return NOT_FOUND;
    }
    request.created = true;
    items.number.set(request.initial.high, request.initial.low);
    items.newMeta(0, request.expiresIfCreated, request.keyBinary);
    return putNumber(items, 0, request);
  } finally {
    items.unlock();
  }
}

function deltaLocked(items: Items, request: DeltaRequest): Outcome {
  const { number, meta } = items;
  const oldBytes = items.valueBytes;
  if (oldBytes === 0) return NOT_NUMBER;
  if (request.hasCas && !items.hasCas(request.cas)) return EXISTS;
  if (oldBytes > NUMBER_BYTES_MAX) return NOT_NUMBER;
  const scratch = items.scratchOf(NUMBER_BYTES_MAX + U64_DIGITS_MAX);
  if (!items.read(scratch, 0) || !parseSpaced(scratch, oldBytes, number)) return NOT_NUMBER;
  const { high, low } = request.delta;
  if (request.increment) number.add(high, low);
  else number.subtract(high, low);
  items.counts[request.increment ? C.incr_hits : C.decr_hits]!++;
  request.expiresBefore = meta[Item.EXPIRES]!;
  if (request.hasExpires) meta[Item.EXPIRES] = request.expires;
  meta[Item.ACCESSED] = items.now;
  return putNumber(items, oldBytes, request);
}

/** Stores `items.number`, filled up with spaces to `bytesMin` bytes. */
function putNumber(items: Items, bytesMin: number, request: DeltaRequest): Outcome {
  const scratch = items.scratchOf(NUMBER_BYTES_MAX + U64_DIGITS_MAX);
  const bytes = writeSpaced(scratch, items.number, bytesMin);
  // As memcached: a number that has become longer is a new item, neither fetched nor stale.
  if (bytes > bytesMin) items.meta[Item.BITS]! &= ~(Item.FETCHED | Item.STALE | Item.TOKEN_SENT);
  items.setCas(request);
  return items.putCounted(scratch, 0, bytes);
}

/** Reads a number with spaces around it, up to the first that follows its digits. */
function parseSpaced(bytes: Uint8Array, length: number, out: U64): boolean {
  let from = 0;
  while (from < length && bytes[from]! <= SPACE) from++;
  let to = from;
  while (to < length && bytes[to]! > SPACE) to++;
  return parseU64(bytes, from, to, out);
}

/**
 * Writes a number. As memcached's, one that has become shorter is filled up with spaces.
 * @returns bytes written, at least `bytesMin`
 */
function writeSpaced(bytes: Uint8Array, number: U64, bytesMin: number): number {
  const end = writeU64(bytes, 0, number.high, number.low);
  for (let at = end; at < bytesMin; at++) bytes[at] = SPACE;
  return Math.max(end, bytesMin);
}
