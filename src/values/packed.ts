// Values that are packed without being stored, and stored as they were packed: for values that
// cross the network. A value that does not fit into a page is not packed.
import type { Address } from "../base/brand.ts";
import { ECANCELED, type Errno } from "../base/errno.ts";
import { makeRoomAfterPut } from "../store/maintainer.ts";
import * as Page from "../store/page.layout.ts";
import { stateOf } from "../store/store.ts";
import { storePacked } from "../store/store_page.ts";
import * as Value from "../store/value.layout.ts";
import { TmemKey } from "../tmem/key.ts";
import { fillPlain } from "./pages.ts";
import * as Prefix from "./prefix.layout.ts";
import { prefixBytesOf, writePrefix } from "./prefix.ts";
import { SetRequest } from "./request.ts";
import type { Values } from "./values.ts";

/** A value of at most a page. */
export interface PackedValue {
  /** Page.RAW, FAST or DENSE. */
  readonly codec: number;
  /** Number of the store's dictionary, 0 for none. */
  readonly dictionary: number;
  /** Uncompressed bytes, 1 or more: a value without bytes has one that counts for nothing. */
  readonly plainBytes: number;
  readonly isEmpty: boolean;
  readonly meta: Uint8Array;
  /** ms since 1970; Infinity: never. */
  readonly expiresMs: number;
  /** The compressed bytes. */
  readonly data: Uint8Array;
}

/**
 * Compresses a value as `Values.set` does.
 * @returns undefined for a value of more than a page
 */
export function packValue(values: Values, request: SetRequest): PackedValue | undefined {
  const state = stateOf(values.store).assertOpen();
  const { value, valueBytes, expiresMs } = request;
  if (prefixBytesOf(request) + valueBytes > values.sizeMax) return undefined;
  if (value !== undefined) fillPlain(state, value, 0, valueBytes);
  const plainBytes = Math.max(1, valueBytes);
  const { current } = values.dictionaries;
  const takesIt = valueBytes <= Value.DICTIONARY_HELPS_BYTES && values.dictionaries.isUsable(false);
  const dictionary = takesIt ? current : 0;
  const limit = plainBytes - (plainBytes >>> 6) - 1;
  const codec = state.codecOf(Page.FAST, dictionary);
  const packed = limit > 0 ? codec.compress(state.plain, plainBytes, state.packed, limit) : 0;
  const from = packed === 0 ? state.plain : state.packed;
  return {
    codec: packed === 0 ? Page.RAW : Page.FAST,
    dictionary: packed === 0 ? 0 : dictionary,
    plainBytes,
    isEmpty: valueBytes === 0,
    meta: request.meta.slice(0, request.metaBytes),
    expiresMs,
    data: values.bytes.slice(from, from + (packed === 0 ? plainBytes : packed)),
  };
}

/**
 * Restores the bytes of a packed value of this store.
 * @throws ZcacheError ERR_CODEC_CORRUPT
 */
export function unpackValue(values: Values, packed: PackedValue): Uint8Array {
  const state = stateOf(values.store).assertOpen();
  if (packed.isEmpty) return new Uint8Array(0);
  if (packed.codec === Page.RAW) return packed.data.slice();
  values.bytes.set(packed.data, state.packed);
  const codec = state.codecOf(packed.codec, packed.dictionary);
  codec.decompress(state.packed, packed.data.length, state.plain, packed.plainBytes);
  return values.bytes.slice(state.plain, state.plain + packed.plainBytes);
}

/** Whether a store takes a packed value: it has room in a page for it, and such a dictionary. */
export function fitsPacked(values: Values, keyBytes: number, packed: PackedValue): boolean {
  const prefix = Value.HEAD_BYTES + 3 + keyBytes + packed.meta.length;
  return (
    packed.plainBytes >= 1 &&
    (packed.plainBytes === 1 || !packed.isEmpty) &&
    packed.plainBytes <= values.bufferBytes &&
    packed.data.length <= packed.plainBytes &&
    packed.data.length + prefix <= values.sizeMax &&
    packed.dictionary <= values.dictionaries.count
  );
}

const key = new TmemKey();
const prefix = new SetRequest();

/** Stores a packed value under a key. @returns as `Values.set` */
export function putPacked(
  values: Values,
  keyOf: Uint8Array,
  keyBytes: number,
  packed: PackedValue,
): 0 | Errno {
  const state = stateOf(values.store).assertOpen();
  // Hashes the key.
  values.has(keyOf, keyBytes);
  const { hashLow, hashHigh } = values;
  prefix.key = keyOf;
  prefix.keyBytes = keyBytes;
  prefix.meta = packed.meta;
  prefix.metaBytes = packed.meta.length;
  prefix.expiresMs = packed.expiresMs;
  const start: Address = state.packed;
  const flags = packed.isEmpty ? Prefix.EMPTY : 0;
  const prefixBytes = writePrefix(values.bytes, start, flags, prefix);
  values.bytes.set(packed.data, start + prefixBytes);
  values.words[start / 4] = Value.makeHeader(packed.plainBytes, prefixBytes, packed.dictionary);
  key.setWords(hashLow, hashHigh, 0, 0);
  const stored = Page.withSize(0, packed.codec, prefixBytes + packed.data.length);
  const result = storePacked(state, values.pool, key, stored, start);
  makeRoomAfterPut(state);
  if (result !== ECANCELED && state.hasOthers) values.dropOrphans(hashLow, hashHigh);
  return result;
}
