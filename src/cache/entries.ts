// The entries of a cache as bytes: a JavaScript value with its type and its times, stored under a
// key in a store of values (src/values).
//
// Times: a value is fresh for its time to live, and then stale until it expires; without
// `staleWhileRevalidate` both times are the same. The store knows the time of expiry only.
//
// Code of the caller (a serializer, the getters of a value) runs only while a value is encoded or
// decoded, and may use the same cache. For that reason the buffers that all calls share, for a key
// and for a value, are written after encoding and are not read after decoding.
import { Buffer } from "node:buffer";
import { byteCountOf, heldBytes, isBytes } from "../base/bytes.ts";
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import { type PackedValue, packValue, putPacked } from "../values/packed.ts";
import { VALUE_BYTES_MAX } from "../values/prefix.layout.ts";
import { SetRequest } from "../values/request.ts";
import type { Values } from "../values/values.ts";
import * as Meta from "./entry_meta.ts";
import { type CacheKey, KeyWriter, readKey } from "./keys.ts";
import type { Lifetime } from "./options.ts";
import type { Serializer } from "./serializer/serializer.ts";
import { bufferOver, decodeText, encodeText, isLatin1, TextBuffer } from "./text.ts";

const NO_BYTES = new Uint8Array(0);

/** In place of a condition: what is set is packed, and not stored. */
const PACK = () => true;

/** A value in bytes, to be sent to other machines: packed if it fits into a page. */
export interface EncodedValue {
  readonly packed: PackedValue | undefined;
  /** The bytes of a longer value. */
  readonly long: Uint8Array;
  readonly meta: Uint8Array;
  /** ms since 1970; Infinity: never. */
  readonly expiresMs: number;
}

/** Attempts of `touch` while other threads change the same entry. */
const TOUCHES_MAX = 8;

/** The entries of one shard. */
export class Entries<K extends CacheKey> {
  /** Methods without a parameter `key` are about the key that was written last. */
  readonly keys: KeyWriter;
  readonly values: Values;
  /** ms since 1970 until which the entry that was found last is fresh; Infinity: for ever. */
  freshMs = 0;
  /** Type (entry_meta.ts) and number of bytes of the value that was read last. */
  type = 0;
  valueBytes = 0;
  /** Called with the address and the length of each value of up to a page that is stored. */
  sampler: ((at: number, count: number) => void) | undefined;
  readonly #serializer: Serializer;
  readonly #text: TextBuffer;
  readonly #request = new SetRequest();
  /** What `encode` has made. */
  #encoded: EncodedValue | undefined;

  /** @param keys shared by all shards of a cache */
  constructor(values: Values, serializer: Serializer, keys: KeyWriter = new KeyWriter()) {
    this.keys = keys;
    this.values = values;
    this.#serializer = serializer;
    this.#text = new TextBuffer(values.bytes);
    this.#request.meta = new Uint8Array(Meta.META_BYTES_MAX);
  }

  /**
   * Stores a value; `undefined` deletes the entry.
   * @param mayStore asked under the store's lock; false: the entry stays as it is
   * @returns whether the value is stored
   * @throws ZcacheError ERR_KEY, ERR_VALUE, ERR_STORE_CLOSED
   */
  set(key: K, value: unknown, lifetime: Lifetime, mayStore?: () => boolean): boolean {
    const values = this.values;
    const { keys } = this;
    if (value === undefined) {
      keys.write(key);
      values.delete(keys.bytes, keys.count);
      return true;
    }
    if (typeof value === "string") {
      keys.write(key);
      values.store.assertOpen();
      const asLatin1 = isLatin1(value);
      const type = asLatin1 ? Meta.LATIN1 : Meta.TEXT;
      const count = this.#text.write(value, values.bufferAt, values.bufferBytes, asLatin1);
      if (count >= 0) return this.#put(type, undefined, count, lifetime, mayStore);
      const bytes = encodeText(value, asLatin1);
      return this.#put(type, bytes, bytes.length, lifetime, mayStore);
    }
    const type = typeOf(value);
    const bytes = type === Meta.STRUCTURED ? this.#encode(value) : (value as Uint8Array);
    const held = heldBytes(bytes);
    keys.write(key);
    return this.#put(type, held, byteCountOf(held), lifetime, mayStore);
  }

  /**
   * Encodes and compresses a value as `set` does, without storing it.
   * @throws ZcacheError ERR_KEY, ERR_VALUE, ERR_STORE_CLOSED
   */
  encode(key: K, value: unknown, lifetime: Lifetime): EncodedValue {
    this.set(key, value, lifetime, PACK);
    const encoded = this.#encoded!;
    this.#encoded = undefined;
    return encoded;
  }

  /**
   * Stores an encoded value under the key that was written last.
   * @param mayStore asked under the store's lock
   * @returns whether it is stored
   */
  putEncoded({ packed, long, meta, expiresMs }: EncodedValue, mayStore: () => boolean): boolean {
    const { values, keys } = this;
    return values.onlyIf(mayStore, () => {
      if (packed !== undefined) return putPacked(values, keys.bytes, keys.count, packed) === 0;
      const request = this.#request;
      request.key = keys.bytes;
      request.keyBytes = keys.count;
      request.meta.set(meta);
      request.metaBytes = meta.length;
      request.value = long;
      request.valueBytes = long.length;
      request.expiresMs = expiresMs;
      return values.set(request) === 0;
    });
  }

  /** Decodes the bytes of a value. @throws ZcacheError ERR_VALUE */
  decode(type: number, bytes: Uint8Array): unknown {
    return this.#decode(type, bytes, bytes.length);
  }

  /**
   * Stores what a loader returned if `mayStore` agrees, under the store's lock. A value that can't
   * be stored removes the older one, which is not to be returned as if nothing had been loaded.
   * @returns whether the value is stored
   */
  setLoaded(key: K, value: unknown, lifetime: Lifetime, mayStore: () => boolean): boolean {
    try {
      if (this.set(key, value, lifetime, mayStore)) return true;
    } catch (error) {
      // The caller of `fetch` gets the value all the same.
      if (!(error instanceof ZcacheError)) throw error;
    }
    if (this.values.store.isClosed) return false;
    const { keys } = this;
    keys.write(key);
    this.values.onlyIf(mayStore, () => this.values.discard(keys.bytes, keys.count));
    return false;
  }

  /** Whether there is a fresh value; does not count as a use. */
  has(): boolean {
    return this.remainingTtl() > 0;
  }

  /** ms for which the value stays fresh: Infinity without an end, 0 if there is no fresh value. */
  remainingTtl(): number {
    if (!this.values.has(this.keys.bytes, this.keys.count)) return 0;
    return Math.max(0, this.#freshMs() - Date.now());
  }

  /** Removes the entry. @returns whether it had a fresh value */
  delete(): boolean {
    const { keys } = this;
    const isFresh = this.has();
    if (isFresh) this.values.remove(keys.bytes, keys.count);
    else this.values.delete(keys.bytes, keys.count);
    return isFresh;
  }

  /** Finds the entry, fresh or stale; `freshMs` tells which. Counts a hit or a miss. */
  find(): boolean {
    if (!this.values.find(this.keys.bytes, this.keys.count)) return false;
    this.freshMs = this.#freshMs();
    return true;
  }

  /**
   * Decodes the value of the entry that was found.
   * @param isHit whether `find` was counted as a hit: it becomes a miss if the value is gone
   * @returns undefined if another thread or an eviction has removed it meanwhile
   * @throws ZcacheError ERR_VALUE, ERR_CORRUPT, ERR_IO
   */
  read(isHit: boolean): unknown {
    const values = this.values;
    let type = values.bytes[values.metaAt]!;
    let count = values.valueBytes;
    const long = values.read(this.keys.bytes, this.keys.count);
    if (long === null) {
      if (isHit) this.values.countMiss();
      return undefined;
    }
    if (long !== undefined) {
      // Another thread may have replaced a value of several pages while it was read.
      type = values.bytes[values.metaAt]!;
      count = long.length;
    }
    // Decoding may run code of the caller that uses this cache: the fields are set after it.
    const value = this.#decode(type, long, count);
    this.type = type;
    this.valueBytes = count;
    return value;
  }

  /** Gives a fresh value a new lifetime from now on. @returns whether there was one */
  touch(lifetime: Lifetime): boolean {
    const values = this.values;
    const { keys } = this;
    for (let tries = 0; tries < TOUCHES_MAX; tries++) {
      if (!this.find()) return false;
      if (this.freshMs <= Date.now()) {
        this.values.countMiss();
        return false;
      }
      const { hashLow, valueBytes } = values;
      let type = values.bytes[values.metaAt]!;
      const long = values.read(keys.bytes, keys.count);
      if (long === null) return false;
      if (long !== undefined) type = values.bytes[values.metaAt]!;
      const { version } = values;
      const count = long === undefined ? valueBytes : long.length;
      // A newer value that another thread sets meanwhile must not be replaced by this one.
      const isUnchanged = () => values.versions.of(hashLow) === version;
      if (this.#put(type, long, count, lifetime, isUnchanged)) return true;
      if (isUnchanged()) return false;
    }
    return this.has();
  }

  /** All keys, in no order; those of stale values only if `includeStale`. */
  *list(includeStale: boolean): Generator<K> {
    const scan = this.values.beginScan();
    for (let ended = false; !ended; ) {
      const found: K[] = [];
      const now = Date.now();
      ended = this.values.scan(scan, (at, count) => {
        const key = this.keyAt(at, count);
        if (key !== undefined && (includeStale || this.#freshMs() > now)) found.push(key);
      });
      yield* found;
    }
  }

  /** The key that stands at an address; undefined for a record of the cache's own. */
  keyAt(at: number, count: number): K | undefined {
    return readKey(this.values.bytes, at, count, this.#text) as K | undefined;
  }

  /**
   * Stores the bytes of a value under the key that was written last.
   * @param bytes undefined: they stand in the value buffer
   */
  #put(
    type: number,
    bytes: Uint8Array | undefined,
    count: number,
    { ttlMs, staleMs }: Lifetime,
    mayStore?: () => boolean,
  ): boolean {
    const values = this.values;
    const { bytes: key, count: keyBytes } = this.keys;
    if (count > VALUE_BYTES_MAX) {
      if (mayStore === undefined) values.delete(key, keyBytes);
      throw new ZcacheError("ERR_VALUE", `${count} bytes: a value has at most ${VALUE_BYTES_MAX}`);
    }
    const freshMs = Meta.timeOf(Date.now() + ttlMs);
    const expiresMs = Meta.timeOf(freshMs + staleMs);
    const freshUntil = freshMs === expiresMs ? Number.POSITIVE_INFINITY : freshMs;
    const request = this.#request;
    request.key = key;
    request.keyBytes = keyBytes;
    request.metaBytes = Meta.writeMeta(request.meta, type, freshUntil);
    request.value = bytes;
    request.valueBytes = count;
    request.expiresMs = expiresMs;
    if (mayStore === PACK) {
      const packed = packValue(values, request);
      const long = packed === undefined ? (bytes ?? this.#buffered(count)) : NO_BYTES;
      const meta = request.meta.slice(0, request.metaBytes);
      this.#encoded = { packed, long, meta, expiresMs };
      request.value = undefined;
      this.#sample(count);
      return true;
    }
    const result =
      mayStore === undefined
        ? values.set(request)
        : values.onlyIf(mayStore, () => values.set(request));
    this.#sample(count);
    return result === 0;
  }

  #sample(count: number): void {
    const { bufferAt, bufferBytes } = this.values;
    if (this.sampler !== undefined && count <= bufferBytes) this.sampler(bufferAt, count);
  }

  #buffered(count: number): Uint8Array {
    const { bytes, bufferAt } = this.values;
    return bytes.slice(bufferAt, bufferAt + count);
  }

  /** Until when the entry that `values` has found is fresh. */
  #freshMs(): number {
    const values = this.values;
    const fresh = Meta.freshUntil(values.bytes, values.metaAt, values.metaBytes);
    return Math.min(fresh, values.expiresMs);
  }

  #encode(value: unknown): Uint8Array {
    let bytes: unknown;
    try {
      bytes = this.#serializer.encode(value);
    } catch (cause) {
      if (cause instanceof ZcacheError && cause.code === "ERR_VALUE") throw cause;
      const message = `the serializer can't encode ${describe(value)}`;
      throw new ZcacheError("ERR_VALUE", message, { cause });
    }
    if (isBytes(bytes)) return bytes;
    throw new ZcacheError(
      "ERR_VALUE",
      `serializer.encode returned ${describe(bytes)}: must be a Uint8Array`,
    );
  }

  /** @param long the bytes of a value of several pages; others stand in the value buffer */
  #decode(type: number, long: Uint8Array | undefined, count: number): unknown {
    const { bytes, bufferAt } = this.values;
    if (type === Meta.LATIN1 || type === Meta.TEXT) {
      const asLatin1 = type === Meta.LATIN1;
      if (long === undefined) return this.#text.read(bufferAt, count, asLatin1);
      return decodeText(long, asLatin1);
    }
    const own = long ?? bytes.slice(bufferAt, bufferAt + count);
    if (type === Meta.BYTES) return own;
    if (type === Meta.BUFFER) return bufferOver(own);
    try {
      return this.#serializer.decode(own);
    } catch (cause) {
      throw new ZcacheError("ERR_VALUE", "the serializer can't decode the bytes of this value", {
        cause,
      });
    }
  }
}

/** The type under which a value that is no string is stored. */
function typeOf(value: unknown): number {
  if (!isBytes(value)) return Meta.STRUCTURED;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Uint8Array.prototype) return Meta.BYTES;
  return prototype === Buffer.prototype ? Meta.BUFFER : Meta.STRUCTURED;
}
