// Values of any length under keys of bytes: what the cache and the memcached server keep theirs in.
//
// Nothing is allocated for a value that fits a page: it is written to a room in the arena, and read
// from there. Reads and store/idle_scan.ts remove values that have expired.
import { type Address, NIL } from "../base/brand.ts";
import { byteCountOf, plainBytes } from "../base/bytes.ts";
import { ECANCELED, ENOSPC, type Errno } from "../base/errno.ts";
import { assert } from "../base/errors.ts";
import type { Store } from "../store/store.ts";
import * as Value from "../store/value.layout.ts";
import type { Values } from "../store/values.ts";
import type { Versions } from "../store/versions.ts";
import { TmemKey } from "../tmem/key.ts";
import { dropParts, hasParts } from "./chunks.ts";
import { POOL, seedsOf, valuesOf } from "./format.ts";
import { KeyHash } from "./key_hash.ts";
import * as Prefix from "./prefix.layout.ts";
import {
  keyAt,
  keyBytesAt,
  PARTING_BYTES,
  prefixBytesOf,
  readWord,
  writeParting,
  writePrefix,
} from "./prefix.ts";

/** How often a value may be overwritten while it is read. */
const READS_MAX = 16;

export class KeyedValues {
  readonly store: Store;
  /** Where a value is put before `set`, and stands after `read`, if it fits; and bytes there. */
  readonly roomAt: number;
  readonly roomBytes: number;
  /** The whole arena, byte by byte and word by word. */
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  /** Which values have been set or deleted, for those who keep some. */
  readonly versions: Versions;
  readonly #values: Values;
  /** The tmem pool in which they are. */
  readonly pool: number;
  readonly #now: () => number;
  readonly #key = new TmemKey();
  readonly #hash: KeyHash;
  #version: number;
  /** The hash of the key that is locked; and whether by a call of `lock`. */
  #locked = 0;
  #isHeld = false;
  /** Whether values are set and discarded under a condition (`onlyIf`). */
  #isConditional = false;

  // What `find` has found.
  /** Bytes of the value. */
  valueBytes = 0;
  /** Where its meta bytes stand, until the next call; and how many there are. */
  metaAt = 0;
  metaBytes = 0;
  /** When it expires, in ms since 1970; Infinity: never. */
  expiresMs = 0;
  /** What `versions` said of it before it was looked for. */
  version = 0;
  #isParted = false;
  #partVersion = 0;

  /**
   * @param store one that `formatValues` was called for
   * @param now ms since 1970  @param random 32 bits
   * @param hash for tests: one that gives different keys the same place
   */
  constructor(store: Store, now: () => number, random: () => number, hash?: KeyHash) {
    this.store = store;
    this.#values = valuesOf(store);
    ({ bytes: this.bytes, words: this.words } = this.#values);
    this.#now = now;
    this.#values.setClock(now);
    this.versions = this.#values.versions;
    const [seedLow, seedHigh] = seedsOf(this.#values);
    this.#hash = hash ?? new KeyHash(seedLow, seedHigh);
    this.pool = this.words[this.#values.frontAt + POOL]!;
    this.#version = random() | 1;
    this.roomAt = this.#values.plain;
    this.roomBytes = store.pageSize;
  }

  /** The 64 bits under which the key that was used last stands, as two words. */
  get hashLow(): number {
    return this.#hash.low;
  }
  get hashHigh(): number {
    return this.#hash.high;
  }

  /** Values stored, those that have expired and were not yet removed included. */
  get count(): number {
    // Parts without a first page are left of values that were evicted, or that a thread died over.
    return this.store.poolInfo(this.pool)?.firstPages ?? 0;
  }

  /**
   * Stores a value under a key.
   * @param meta bytes that `find` gives back
   * @param value the value, of `valueBytes` bytes; or undefined, if they stand at `roomAt`
   * @param expiresMs ms since 1970, or Infinity
   * @returns 0, or why not: what was there before is gone then
   */
  set(
    key: Uint8Array,
    keyBytes: number,
    meta: Uint8Array,
    metaBytes: number,
    value: Uint8Array | undefined,
    valueBytes: number,
    expiresMs: number,
  ): 0 | Errno {
    assert(keyBytes >= 1 && keyBytes <= Prefix.KEY_BYTES_MAX, "a key has 1 … 1024 bytes");
    assert(metaBytes <= Prefix.META_BYTES_MAX, "meta has at most 255 bytes");
    this.store.assertOpen();
    this.#setKey(key, keyBytes);
    if (valueBytes > Prefix.VALUE_BYTES_MAX) {
      this.#discard(0);
      return ENOSPC;
    }
    const flags = valueBytes === 0 ? Prefix.EMPTY : 0;
    const at = this.#values.prefix;
    const { bytes } = this;
    const prefix = writePrefix(bytes, at, flags, key, keyBytes, meta, metaBytes, expiresMs);
    if (prefix + valueBytes > this.#values.sizeMax) {
      const whole = plainBytes(value ?? bytes.slice(this.roomAt, this.roomAt + valueBytes));
      return this.#setParted(key, keyBytes, meta, metaBytes, whole, valueBytes, expiresMs);
    }
    if (value !== undefined) this.#fill(value, 0, valueBytes);
    const result = this.#putAt(0, 0, Math.max(1, valueBytes), prefix);
    if (result !== ECANCELED && this.#values.hadOthers) this.#dropOtherParts(0);
    return result;
  }

  /**
   * Lets `work` set or discard a value of one key only if `condition` holds, which is asked under
   * the store's lock: if not, `set` returns ECANCELED, and what is stored stays.
   */
  onlyIf<T>(condition: () => boolean, work: () => T): T {
    this.#values.condition = condition;
    this.#isConditional = true;
    try {
      return work();
    } finally {
      this.#isConditional = false;
      this.#values.condition = undefined;
    }
  }

  /** Removes a value that is outdated, though there is none in its place. */
  discard(key: Uint8Array, keyBytes: number): void {
    this.#setKey(key, keyBytes);
    this.#discard(0);
  }

  /**
   * Finds a value. What it is, stands in this object's fields; `read` restores it, before any other
   * call.
   */
  find(key: Uint8Array, keyBytes: number): boolean {
    this.#setKey(key, keyBytes);
    this.version = this.versions.of(this.#hash.low);
    if (!this.#values.fetch(this.pool, this.#key)) return false;
    if (this.#readPrefix(this.#values.prefix, key, keyBytes)) {
      // Asking for the time costs as much as the look at a prefix.
      if (this.expiresMs === Number.POSITIVE_INFINITY || this.expiresMs > this.#now()) return true;
      this.#values.removeExpired(this.pool, this.#key, this.#now());
      if (this.#isParted) this.#dropOtherParts(0);
    }
    this.#values.countMiss();
    return false;
  }

  /**
   * Restores the value that was found: to `target` if it fits a page, and then nothing is returned;
   * else to an array of its own.
   * @param key the same as in `find`  @param target has room for `valueBytes`
   * @returns undefined as said; null if it was overwritten or lost meanwhile: to be found again
   */
  read(key: Uint8Array, keyBytes: number, target = this.roomAt): Uint8Array | undefined | null {
    if (this.#isParted) return this.#readParted(key, keyBytes);
    if (this.valueBytes > 0) this.#values.restore(target as Address);
    return undefined;
  }

  /** Whether there is a value that has not expired; does not count as a use. */
  has(key: Uint8Array, keyBytes: number): boolean {
    this.#setKey(key, keyBytes);
    const at = this.#values.peek(this.pool, this.#key);
    return at !== NIL && this.#readPrefix(at, key, keyBytes) && this.expiresMs > this.#now();
  }

  /**
   * Removes a value, whether there is one or not: one that was evicted may be in a file or in
   * copies yet, and one that is being loaded is older than this.
   * @returns whether there was one that had not expired
   */
  delete(key: Uint8Array, keyBytes: number): boolean {
    this.#setKey(key, keyBytes);
    const at = this.#values.peek(this.pool, this.#key);
    const isIts = at === NIL || this.#readPrefix(at, key, keyBytes);
    if (isIts) this.store.flushObject(this.pool, this.#key);
    else this.#values.changed(this.#key);
    return at !== NIL && isIts && this.expiresMs > this.#now();
  }

  /** Removes the value that was found. */
  remove(key: Uint8Array, keyBytes: number): void {
    this.#setKey(key, keyBytes);
    this.store.flushObject(this.pool, this.#key);
  }

  /**
   * Writes other meta bytes, as many, to the value that was found; the key is locked since.
   * @param lasts whether a later process is to have them too
   * @returns whether it was still there
   */
  rewriteMeta(meta: Uint8Array, lasts = true): boolean {
    assert(this.#isHeld && meta.length === this.metaBytes, "it is locked, and keeps its size");
    this.bytes.set(meta, this.metaAt);
    const start = this.#values.prefix;
    const parting = this.#isParted ? PARTING_BYTES : 0;
    const prefixBytes = this.metaAt + this.metaBytes + parting - start;
    this.#key.setWords(this.#hash.low, this.#hash.high, 0, 0);
    return this.#values.rewritePrefix(this.pool, this.#key, prefixBytes, lasts);
  }

  /**
   * Keeps other threads that do the same from this key until `unlock`; sets and finds don't mind.
   * In between, this thread may set and find this key, and no other.
   */
  lock(key: Uint8Array, keyBytes: number): void {
    this.#hash.set(key, keyBytes);
    this.#lockStripe();
    this.#isHeld = true;
  }

  unlock(): void {
    this.#isHeld = false;
    this.#values.unlock(this.#locked);
  }

  /** A walk for `scan` that stands at the beginning. */
  beginScan(): ReturnType<Values["beginScan"]> {
    return this.#values.beginScan();
  }

  /**
   * Walks on through the keys, some at a time and in no order; each is met once if it stays.
   * @param visit is called with where a key stands in `bytes`, for as long as the call lasts; what
   *   `find` would have found stands in the fields
   * @returns whether that was all
   */
  scan(
    cursor: ReturnType<Values["beginScan"]>,
    visit: (at: number, keyBytes: number) => void,
  ): boolean {
    const now = this.#now();
    return this.#values.scan(cursor, this.pool, (key) => {
      const at = this.#values.peek(this.pool, key);
      if (at === NIL || Value.expiryOf(this.bytes, at) <= now) return;
      this.readFields(at);
      visit(keyAt(this.bytes, at), keyBytesAt(this.bytes, at));
    });
  }

  /** Calls `read` with where the key stands of a prefix, whose FLAGS stand at `flagsAt`. */
  keyOfPrefix<T>(flagsAt: number, read: (at: number, keyBytes: number) => T): T {
    const start = flagsAt - Value.FLAGS;
    return read(keyAt(this.bytes, start), keyBytesAt(this.bytes, start));
  }

  /** Where the key stands of a value whose prefix stands at `start`. */
  keyStart(start: number): number {
    return keyAt(this.bytes, start);
  }

  /** Removes all values, one after the other, and parts that a terminated thread has left. */
  clear(): void {
    this.#values.noteClear();
    // What is being loaded now is older; and so is what will be loaded until this is done.
    this.#values.allChanged();
    const { stored } = this.#values;
    const cursor = stored.beginScan();
    for (let ended = false; !ended; ) {
      ended = stored.scan(cursor, this.pool, (key) => {
        this.store.flushObject(this.pool, key);
      });
    }
    this.#values.allChanged();
  }

  #lockStripe(): void {
    assert(!this.#isHeld, "a thread has one key locked at a time");
    this.#values.lock(this.#hash.low);
    this.#locked = this.#hash.low;
  }

  /** Locks the key of this call, unless the caller has done so. @returns whether to unlock it */
  #lockUnlessHeld(): boolean {
    if (this.#isHeld) {
      assert(this.#locked === this.#hash.low, "who has locked a key sets that one");
      return false;
    }
    this.#lockStripe();
    return true;
  }

  #setKey(key: Uint8Array, keyBytes: number): void {
    // Who has locked a key asks for no other.
    if (!this.#isHeld) this.#hash.set(key, keyBytes);
    this.#key.setWords(this.#hash.low, this.#hash.high, 0, 0);
  }

  #fill(value: Uint8Array, from: number, count: number): void {
    const isWhole = from === 0 && count === byteCountOf(value);
    this.bytes.set(isWhole ? value : value.subarray(from, from + count), this.roomAt);
  }

  /** Puts what stands at `roomAt` under an index of the key's object. */
  #putAt(indexLow: number, version: number, sizeBytes: number, prefixBytes: number): 0 | Errno {
    const { plain } = this.#values;
    this.#key.setWords(this.#hash.low, this.#hash.high, indexLow, version);
    return this.#values.put(this.pool, this.#key, plain, sizeBytes, prefixBytes);
  }

  #setParted(
    key: Uint8Array,
    keyBytes: number,
    meta: Uint8Array,
    metaBytes: number,
    value: Uint8Array,
    valueBytes: number,
    expiresMs: number,
  ): 0 | Errno {
    // Of two threads that set the same key, one drops the other's parts, but not half of them.
    const locked = this.#lockUnlessHeld();
    try {
      const version = this.#nextVersion();
      const headBytes = prefixBytesOf(keyBytes, metaBytes, expiresMs) + PARTING_BYTES;
      const first = this.#values.sizeMax - headBytes;
      const result = this.#putParts(value, first, valueBytes, version);
      if (result < 0) {
        this.#discard(version);
        return result;
      }
      const { bytes } = this;
      const at = this.#values.prefix;
      const flags = Prefix.PARTED;
      const prefix = writePrefix(bytes, at, flags, key, keyBytes, meta, metaBytes, expiresMs);
      writeParting(bytes, at + prefix, version, valueBytes);
      this.#fill(value, 0, first);
      const last = this.#putAt(0, 0, first, prefix + PARTING_BYTES);
      if (last < 0) {
        this.#discard(version);
        return last;
      }
      // What has more parts than memory has room for drives out its own.
      const parts = Math.ceil((valueBytes - first) / this.#partBytes);
      if (!hasParts(this.store, this.pool, this.#key, parts, version)) {
        this.remove(key, keyBytes);
        return ENOSPC;
      }
      this.#dropOthersLocked(version);
      return 0;
    } finally {
      if (locked) this.#values.unlock(this.#locked);
    }
  }

  /** Puts all parts but the first. */
  #putParts(value: Uint8Array, first: number, valueBytes: number, version: number): 0 | Errno {
    const step = this.#partBytes;
    for (let at = first, nth = 1; at < valueBytes; at += step, nth++) {
      const count = Math.min(step, valueBytes - at);
      this.#fill(value, at, count);
      this.bytes[this.#values.prefix + Value.FLAGS] = 0;
      const result = this.#putAt(nth, version, count, Prefix.PART_PREFIX_BYTES);
      if (result < 0) return result;
    }
    return 0;
  }

  /** Bytes of a part that is not the first. */
  get #partBytes(): number {
    return this.#values.sizeMax - Prefix.PART_PREFIX_BYTES;
  }

  #readParted(key: Uint8Array, keyBytes: number): Uint8Array | null {
    for (let reads = 0; reads < READS_MAX; reads++) {
      const version = this.#partVersion;
      const value = this.#readParts(version);
      if (value !== null) return value;
      if (!this.find(key, keyBytes) || !this.#isParted) return null;
      // The same value, and a part of it is gone: evicted, so the rest is of no use.
      if (this.#partVersion === version) {
        this.remove(key, keyBytes);
        return null;
      }
    }
    return null;
  }

  /** Reads the value whose first page was fetched. @returns null if a part is missing */
  #readParts(version: number): Uint8Array | null {
    const total = this.valueBytes;
    const { plain } = this.#values;
    const value = new Uint8Array(total);
    const { metaAt } = this;
    const meta = this.bytes.slice(metaAt, metaAt + this.metaBytes);
    let at = 0;
    for (let nth = 0; at < total; nth++) {
      if (nth > 0) {
        this.#key.setWords(this.#hash.low, this.#hash.high, nth, version);
        if (!this.#values.fetch(this.pool, this.#key)) return null;
      }
      this.#values.restore(plain);
      const count = Value.sizeOf(this.#values.header);
      if (at + count > total) return null;
      value.set(this.bytes.subarray(plain, plain + count), at);
      at += count;
    }
    // Where the meta bytes stood there is a part now.
    this.metaAt = this.#values.prefix;
    this.bytes.set(meta, this.metaAt);
    return value;
  }

  /**
   * Removes the value in whose place none could be stored; under a condition, only if it holds.
   * @param version of parts that belong to no value, 0 = there are none
   */
  #discard(version: number): void {
    this.#key.setWords(this.#hash.low, this.#hash.high, 0, 0);
    if (!this.#isConditional) this.store.flushObject(this.pool, this.#key);
    else {
      const isRemoved = this.store.flush(this.pool, this.#key);
      dropParts(this.store, this.pool, this.#key, (part) => isRemoved || part === version);
    }
  }

  /** After a value without parts was set over one that may have had some. */
  #dropOtherParts(version: number): void {
    const locked = this.#lockUnlessHeld();
    try {
      // Another thread may have set a value with parts meanwhile, whose they are.
      this.#key.setWords(this.#hash.low, this.#hash.high, 0, 0);
      const at = this.#values.peek(this.pool, this.#key);
      const isParted = at !== NIL && (this.bytes[at + Value.FLAGS]! & Prefix.PARTED) !== 0;
      if (isParted) return;
      this.#dropOthersLocked(version);
    } finally {
      if (locked) this.#values.unlock(this.#locked);
    }
  }

  /** Removes all parts of other versions; under the key's lock. */
  #dropOthersLocked(version: number): void {
    this.#key.setWords(this.#hash.low, this.#hash.high, 0, 0);
    dropParts(this.store, this.pool, this.#key, (part) => part !== version);
  }

  #nextVersion(): number {
    this.#version = (this.#version + 2) | 0;
    return this.#version;
  }

  /** Takes up what the prefix at `start` says. @returns whether it is this key's */
  #readPrefix(start: number, key: Uint8Array, keyBytes: number): boolean {
    const { bytes } = this;
    if (keyBytesAt(this.bytes, start) !== keyBytes) return false;
    const nameAt = keyAt(bytes, start);
    for (let i = 0; i < keyBytes; i++) if (bytes[nameAt + i] !== key[i]) return false;
    this.readFields(start);
    return true;
  }

  /** Takes up what the prefix at `start` says, whoever's it is, as `find` does. */
  readFields(start: number): void {
    const { bytes } = this;
    const flags = bytes[start + Value.FLAGS]!;
    const nameAt = keyAt(bytes, start);
    this.metaBytes = bytes[nameAt - 1]!;
    this.metaAt = nameAt + keyBytesAt(bytes, start);
    this.expiresMs = Value.expiryOf(bytes, start);
    this.#isParted = (flags & Prefix.PARTED) !== 0;
    if (this.#isParted) {
      const at = this.metaAt + this.metaBytes;
      this.#partVersion = readWord(bytes, at);
      this.valueBytes = readWord(bytes, at + 4) >>> 0;
    } else {
      const header = readWord(bytes, start);
      this.valueBytes = (flags & Prefix.EMPTY) !== 0 ? 0 : Value.sizeOf(header);
    }
  }
}
