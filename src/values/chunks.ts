// The parts of long values: pages under other indexes of the value's object (values.ts).
import { NIL } from "../base/brand.ts";
import { MISS, type Store } from "../store/store.ts";
import * as Value from "../store/value.layout.ts";
import { TmemKey } from "../tmem/key.ts";
import * as Prefix from "./prefix.layout.ts";
import { keyAt, keyBytesAt, readWord } from "./prefix.ts";
import type { KeyedValues } from "./values.ts";

/**
 * Removes parts of an object.
 * @param key names the object; its index is changed
 * @param isOf whether a part of this version is to go
 */
export function dropParts(
  store: Store,
  pool: number,
  key: TmemKey,
  isOf: (version: number) => boolean,
): void {
  key.indexLow = 1;
  key.indexHigh = 0;
  while (store.nextPage(pool, key) !== MISS) {
    if (isOf(key.indexHigh)) store.flush(pool, key);
    if (!key.nextIndex()) break;
  }
}

/** Whether so many parts of a version are there; `key` is as in `dropParts`. */
export function hasParts(
  store: Store,
  pool: number,
  key: TmemKey,
  count: number,
  version: number,
): boolean {
  key.indexHigh = version;
  for (let nth = 1; nth <= count; nth++) {
    key.indexLow = nth;
    if (!store.has(pool, key)) return false;
  }
  return true;
}

/** Removes an object's parts that are not those of the value in it. */
export function dropOrphans(values: KeyedValues, hashLow: number, hashHigh: number): void {
  const { store, pool, bytes } = values;
  const key = new TmemKey().setWords(hashLow, hashHigh, 0, 0);
  const at = store.values!.peek(pool, key);
  if (at === NIL) {
    store.flushObject(pool, key);
    return;
  }
  const isParted = (bytes[at + Value.FLAGS]! & Prefix.PARTED) !== 0;
  const metaAt = keyAt(bytes, at) + keyBytesAt(bytes, at);
  const metaBytes = bytes[keyAt(bytes, at) - 1]!;
  const version = isParted ? readWord(bytes, metaAt + metaBytes) : 0;
  dropParts(store, pool, key, (part) => part !== version);
}
