// Values of any length under keys of bytes, in a store that all threads share: what the cache and
// the memcached server keep their entries in.
//
//  1. values.ts             set, find, read and delete; locks of keys; scans
//  2. pages.ts              a value as a page of the store: stored, found, looked at, rewritten
//  3. chunks.ts             values of more than a page
//  4. prefix.layout.ts      what precedes a value in its page; prefix.ts writes and reads it
//  5. key_hash.ts           64 bits of a key, by which the index finds it
//  6. page_finder.ts        finds a page by a kernel that takes no lock; finder.ts, for memcached
//  7. eviction_listener.ts  tells which values the store has removed by itself
//  8. stored.ts             pages for files; remote_values.ts; format.ts, key_locks.ts
//
// Concurrency: each thread has a `Values` of its own over the one store. A set replaces a value at
// once, for all threads; of two sets of a key, the later one stays. `lock` excludes `lock` only.
//
// Limits: keys of 1 to 1,024 bytes, values of up to 128 MiB. Nothing is allocated for a value that
// fits into a page: it is written to a buffer in the arena, and read from there. A value that has
// expired is not found; it is removed when it is looked for, by an idle scan, or to make room.
import { type Address, NIL } from "../base/brand.ts";
import { plainBytes } from "../base/bytes.ts";
import { ECANCELED, ENOSPC, type Errno } from "../base/errno.ts";
import { assert } from "../base/errors.ts";
import { Dictionaries } from "../store/dictionaries.ts";
import { removeExpired } from "../store/idle_scan.ts";
import type { StoreState } from "../store/state.ts";
import type { Store } from "../store/store.ts";
import { transaction } from "../store/transaction.ts";
import * as Value from "../store/value.layout.ts";
import { isHead, type Versions } from "../store/versions.ts";
import { TmemKey } from "../tmem/key.ts";
import { ScanCursor } from "../tmem/scan_cursor.ts";
import { Chunks } from "./chunks.ts";
import { EvictionListener } from "./eviction_listener.ts";
import { Finder } from "./finder.ts";
import { poolOf, seedsOf, valuesStateOf } from "./format.ts";
import { KeyHash } from "./key_hash.ts";
import { KeyLocks } from "./key_locks.ts";
import { PagePutter } from "./page_putter.ts";
import {
  fetchValue,
  fillPlain,
  peekValue,
  putValue,
  restoreValue,
  rewritePrefix,
  scanPages,
} from "./pages.ts";
import * as Prefix from "./prefix.layout.ts";
import {
  isChunkedAt,
  keyAt,
  keyBytesAt,
  prefixBytesOf,
  readWord,
  writeChunking,
  writePrefix,
} from "./prefix.ts";
import type { SetRequest } from "./request.ts";

/** How often a value may be overwritten while it is read. */
const READS_MAX = 16;

export class Values {
  readonly store: Store;
  /** The tmem pool of the values. */
  readonly pool: number;
  /**
   * Address of the value buffer of this thread, a page: a value that fits is written there before
   * `set`, and is there after `read`.
   */
  readonly bufferAt: Address;
  readonly bufferBytes: number;
  /** The most bytes of a page with its prefix. */
  readonly sizeMax: number;
  /** The whole arena, byte by byte and word by word. */
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  /** Tells which values were set or deleted, for threads that keep copies. */
  readonly versions: Versions;
  readonly dictionaries: Dictionaries;
  readonly #state: StoreState;
  readonly #now: () => number;
  readonly #key = new TmemKey();
  readonly #hash: KeyHash;
  readonly #chunks: Chunks;
  readonly #locks: KeyLocks;
  readonly putter: PagePutter;

  // What `find` has found.
  /** Bytes of the value. */
  valueBytes = 0;
  /** Where its meta bytes are, until the next call; and how many there are. */
  metaAt = 0;
  metaBytes = 0;
  /** When it expires, in ms since 1970; Infinity: never. */
  expiresMs = 0;
  /** What `versions` said of it before it was looked for. */
  version = 0;
  #isChunked = false;
  #chunkVersion = 0;

  /**
   * @param store one that `formatValues` was called for
   * @param now ms since 1970  @param random 32 bits
   * @param hash for tests: one that gives different keys the same hash
   * @throws ZcacheError ERR_OPTION if it is a store of pages
   */
  constructor(store: Store, now: () => number, random: () => number, hash?: KeyHash) {
    const state = valuesStateOf(store);
    this.store = store;
    this.#state = state;
    this.pool = poolOf(state);
    this.bufferAt = state.plain;
    this.bufferBytes = state.pageSize;
    this.sizeMax = Math.min(state.pageSize, ...state.zpools.map((pool) => pool.maxSizeBytes));
    this.bytes = state.arena.bytes;
    this.words = state.words;
    this.versions = state.versions!;
    this.dictionaries = new Dictionaries(state);
    this.#now = now;
    state.nowMs = now;
    this.#hash = hash ?? new KeyHash(...seedsOf(state));
    this.#chunks = new Chunks(store, this.pool, this.#hash, this.sizeMax, random());
    this.#locks = new KeyLocks(state);
    this.putter = new PagePutter(state, this.pool);
  }

  /** The 64-bit hash of the key that was used last, as two words. */
  get hashLow(): number {
    return this.#hash.low;
  }
  get hashHigh(): number {
    return this.#hash.high;
  }

  /** Values stored, including those that have expired and are not yet removed. */
  get count(): number {
    // Chunks without a page 0 are left of values that were evicted, or whose thread died.
    return this.store.poolInfo(this.pool)?.firstPages ?? 0;
  }

  /**
   * Stores a value under a key.
   * @returns 0, or why not: the value that was there before is gone then
   * @throws ZcacheError ERR_STORE_CLOSED
   */
  set(request: SetRequest): 0 | Errno {
    const { key, keyBytes, value, valueBytes } = request;
    request.value = undefined;
    assert(keyBytes >= 1 && keyBytes <= Prefix.KEY_BYTES_MAX, "a key has 1 … 1024 bytes");
    assert(request.metaBytes <= Prefix.META_BYTES_MAX, "meta has at most 255 bytes");
    const state = this.#state.assertOpen();
    this.#setKey(key, keyBytes);
    if (valueBytes > Prefix.VALUE_BYTES_MAX) {
      this.#discard(0);
      return ENOSPC;
    }
    const flags = valueBytes === 0 ? Prefix.EMPTY : 0;
    const prefixBytes = writePrefix(this.bytes, state.packed, flags, request);
    if (prefixBytes + valueBytes > this.sizeMax) {
      const { bytes, bufferAt: at } = this;
      return this.#setChunked(request, plainBytes(value ?? bytes.slice(at, at + valueBytes)));
    }
    if (value !== undefined) fillPlain(state, value, 0, valueBytes);
    const result = this.putter.put(this.#key, Math.max(1, valueBytes), prefixBytes);
    if (result !== ECANCELED && state.hasOthers) this.#dropChunks();
    return result;
  }

  /**
   * Runs `work`, which may set or discard a value of one key, but does so only if `condition`
   * holds, which is called under the store's lock: if not, `set` returns ECANCELED, and what is
   * stored stays.
   */
  onlyIf<T>(condition: () => boolean, work: () => T): T {
    const state = this.#state;
    state.condition = condition;
    try {
      return work();
    } finally {
      state.condition = undefined;
    }
  }

  /** Removes a value that is outdated, without another in its place. */
  discard(key: Uint8Array, keyBytes: number): void {
    this.#setKey(key, keyBytes);
    this.#discard(0);
  }

  /**
   * Finds a value, and describes it in the fields of this object; `read` restores it, before any
   * other call.
   * @throws ZcacheError ERR_STORE_CLOSED; ERR_CORRUPT, ERR_IO: the file did not give it back;
   *   ERR_REMOTE_PAGE, ERR_REMOTE (remote_values.ts)
   */
  find(key: Uint8Array, keyBytes: number): boolean {
    this.#setKey(key, keyBytes);
    this.version = this.versions.of(this.#hash.low);
    const state = this.#state;
    if (!fetchValue(state, this.pool, this.#key, this.putter.finder)) return false;
    if (this.#readPrefix(state.packed, key, keyBytes)) {
      if (this.#isChunked) this.#chunks.wantRemote(this.valueBytes, this.#chunkVersion);
      // Asking for the time costs as much as the look at a prefix.
      if (this.expiresMs === Number.POSITIVE_INFINITY || this.expiresMs > this.#now()) return true;
      removeExpired(state, this.pool, this.#key, this.#now());
      if (this.#isChunked) this.#dropChunks();
    }
    this.countMiss();
    return false;
  }

  /**
   * Restores the value that was found: to `target` if it fits into a page, and then nothing is
   * returned; else to an array of its own.
   * @param key the same as in `find`  @param target has room for `valueBytes`
   * @returns undefined as said; null if it was overwritten or lost meanwhile: to be found again
   */
  read(key: Uint8Array, keyBytes: number, target = this.bufferAt): Uint8Array | undefined | null {
    if (this.#isChunked) return this.#readChunked(key, keyBytes);
    if (this.valueBytes > 0) restoreValue(this.#state, target);
    return undefined;
  }

  /** Whether there is a value that has not expired; does not count as a use. */
  has(key: Uint8Array, keyBytes: number): boolean {
    this.#setKey(key, keyBytes);
    const at = peekValue(this.#state, this.pool, this.#key);
    return at !== NIL && this.#readPrefix(at, key, keyBytes) && this.expiresMs > this.#now();
  }

  /**
   * Deletes a value, also where none is found: one that was evicted may still be in a file or in
   * copies, and one that is being loaded is older than this call.
   * @returns whether there was one that had not expired
   */
  delete(key: Uint8Array, keyBytes: number): boolean {
    this.#setKey(key, keyBytes);
    const at = peekValue(this.#state, this.pool, this.#key);
    const isIts = at === NIL || this.#readPrefix(at, key, keyBytes);
    if (isIts) this.store.flushObject(this.pool, this.#key);
    else transaction(this.#state, () => this.versions.objectChangedLocked(this.#key));
    return at !== NIL && isIts && this.expiresMs > this.#now();
  }

  /** Removes the value that was found. */
  remove(key: Uint8Array, keyBytes: number): void {
    this.#setKey(key, keyBytes);
    this.store.flushObject(this.pool, this.#key);
  }

  /**
   * Replaces the meta bytes of the value that was found by as many others. The key has been locked
   * since before.
   * @param lasts whether the next process is to have them too
   * @returns whether the value was still there
   */
  rewriteMeta(meta: Uint8Array, lasts = true): boolean {
    assert(
      this.#locks.isHeld && meta.length === this.metaBytes,
      "it is locked, and keeps its size",
    );
    this.bytes.set(meta, this.metaAt);
    const chunking = this.#isChunked ? Prefix.CHUNKING_BYTES : 0;
    const prefixBytes = this.metaAt + this.metaBytes + chunking - this.#state.packed;
    this.#toHead();
    return rewritePrefix(this.#state, this.pool, this.#key, prefixBytes, lasts);
  }

  /**
   * Keeps other threads from locking this key until `unlock`; sets and finds take no notice of it.
   * In between, this thread may set and find this key, and no other.
   */
  lock(key: Uint8Array, keyBytes: number): void {
    this.#hash.set(key, keyBytes);
    this.#locks.lock(this.#hash.low);
    this.#locks.isHeld = true;
  }

  unlock(): void {
    this.#locks.isHeld = false;
    this.#locks.unlock();
  }

  /** A cursor for `scan`, at the beginning. */
  beginScan(): ScanCursor {
    return new ScanCursor();
  }

  /**
   * Continues a scan of the keys, in no order; a key that stays is visited once.
   * @param visit called without any lock, with the address of a key, which is there until `visit`
   *   returns; the fields of this object describe the value
   * @returns whether the scan is over
   */
  scan(cursor: ScanCursor, visit: (at: number, keyBytes: number) => void): boolean {
    const now = this.#now();
    return scanPages(this.#state, cursor, this.pool, isHead, (key) => {
      const at = peekValue(this.#state, this.pool, key);
      if (at === NIL || Value.expiryOf(this.bytes, at) <= now) return;
      this.readFields(at);
      visit(keyAt(this.bytes, at), keyBytesAt(this.bytes, at));
    });
  }

  /** Calls `read` with where the key is in a prefix, whose FLAGS are at `flagsAt`. */
  keyOfPrefix<T>(flagsAt: number, read: (at: number, keyBytes: number) => T): T {
    const start = flagsAt - Value.FLAGS;
    return read(keyAt(this.bytes, start), keyBytesAt(this.bytes, start));
  }

  /** Where the key is of the value whose prefix is at `start`. */
  keyStart(start: number): number {
    return keyAt(this.bytes, start);
  }

  /** Removes all values one by one, and chunks that a terminated thread has left. */
  clear(): void {
    this.#state.assertOpen().changes?.clear();
    // Values that are loaded before this call or during it are older than it.
    this.allChanged();
    const cursor = this.beginScan();
    const remove = (key: TmemKey) => this.store.flushObject(this.pool, key);
    while (!scanPages(this.#state, cursor, this.pool, () => true, remove));
    this.allChanged();
  }

  /** Marks all copies as old, and all watched values as changed. */
  allChanged(): void {
    transaction(this.#state, () => this.versions.allChangedLocked());
  }

  /** Begins a watch of a key in a place that this thread has taken (store/versions.ts). */
  watch(at: number, hashLow: number, hashHigh: number): void {
    transaction(this.#state, () => this.versions.watchLocked(at, hashLow, hashHigh));
  }

  unwatch(at: number): void {
    transaction(this.#state, () => this.versions.unwatchLocked(at));
  }

  /** Counts the value that was found last as a miss: it was counted as a hit, but is of no use. */
  countMiss(): void {
    this.#state.readBuffer.adjustCounts(0, -1, 1);
  }

  /** Takes the last `find` out of the counters: it was not a request of a user. */
  countNothing(found: boolean): void {
    this.#state.readBuffer.adjustCounts(-1, found ? -1 : 0, found ? 0 : -1);
  }

  /** Counts a request that did not look for a value, as a miss. */
  countRequest(): void {
    this.#state.readBuffer.adjustCounts(1, 0, 1);
  }

  /** A finder of these values; undefined where the kernels can't find them. */
  finder(): Finder | undefined {
    return Finder.of(this.#state, this.pool, seedsOf(this.#state));
  }

  /** A listener to eviction events. @param shared words of listeners that take turns */
  evictionListener(shared?: Int32Array): EvictionListener {
    return new EvictionListener(this.#state, shared);
  }

  /** Whether changes are kept for the next process: then every removal counts. */
  get isKept(): boolean {
    return this.#state.changes !== undefined;
  }

  /** Keeps four words of the caller's for the next process, which gets those that came last. */
  note(words: ArrayLike<number>): void {
    this.#state.assertOpen().changes?.note(words);
  }

  /** Removes chunks of an object that do not belong to the value that it has. */
  dropOrphans(hashLow: number, hashHigh: number): void {
    this.#chunks.dropOrphans(hashLow, hashHigh);
  }

  /** Describes, in the fields of this object, the value whose prefix is at `start`. */
  readFields(start: number): void {
    const { bytes } = this;
    const nameAt = keyAt(bytes, start);
    this.metaBytes = bytes[nameAt - 1]!;
    this.metaAt = nameAt + keyBytesAt(bytes, start);
    this.expiresMs = Value.expiryOf(bytes, start);
    this.#isChunked = isChunkedAt(bytes, start);
    if (this.#isChunked) {
      const at = this.metaAt + this.metaBytes;
      this.#chunkVersion = readWord(bytes, at);
      this.valueBytes = readWord(bytes, at + 4) >>> 0;
    } else {
      const isEmpty = (bytes[start + Value.FLAGS]! & Prefix.EMPTY) !== 0;
      this.valueBytes = isEmpty ? 0 : Value.sizeOf(readWord(bytes, start));
    }
  }

  /** Reads the prefix at `start`. @returns whether it is this key's */
  #readPrefix(start: number, key: Uint8Array, keyBytes: number): boolean {
    const { bytes } = this;
    if (keyBytesAt(bytes, start) !== keyBytes) return false;
    const nameAt = keyAt(bytes, start);
    for (let i = 0; i < keyBytes; i++) if (bytes[nameAt + i] !== key[i]) return false;
    this.readFields(start);
    return true;
  }

  #setKey(key: Uint8Array, keyBytes: number): void {
    // A thread that has locked a key uses no other.
    if (!this.#locks.isHeld) this.#hash.set(key, keyBytes);
    this.#toHead();
  }

  /** Lets the tmem key name page 0 of the key's object. */
  #toHead(): void {
    this.#key.setWords(this.#hash.low, this.#hash.high, 0, 0);
  }

  #setChunked(request: SetRequest, value: Uint8Array): 0 | Errno {
    // Of two threads that set the same key, one drops all chunks of the other, never some of them.
    const locked = this.#locks.lockUnlessHeld(this.#hash.low);
    try {
      const version = this.#chunks.nextVersion();
      const first = this.sizeMax - prefixBytesOf(request) - Prefix.CHUNKING_BYTES;
      const result = this.#putChunked(request, value, first, version);
      if (result < 0) {
        this.#discard(version);
        return result;
      }
      // A value with more chunks than memory has room for evicts its own.
      if (!this.#chunks.hasAll(request.valueBytes - first, version)) {
        this.store.flushObject(this.pool, this.#key);
        return ENOSPC;
      }
      this.#chunks.drop((chunk) => chunk !== version);
      return 0;
    } finally {
      if (locked) this.#locks.unlock();
    }
  }

  /** Stores all chunks, page 0 last. @param first bytes in page 0 */
  #putChunked(request: SetRequest, value: Uint8Array, first: number, version: number): 0 | Errno {
    const state = this.#state;
    const { valueBytes } = request;
    const result = this.#chunks.put(value, valueBytes, first, version);
    if (result < 0) return result;
    const prefixBytes = writePrefix(this.bytes, state.packed, Prefix.CHUNKED, request);
    writeChunking(this.bytes, state.packed + prefixBytes, version, valueBytes);
    fillPlain(state, value, 0, first);
    return putValue(state, this.pool, this.#key, first, prefixBytes + Prefix.CHUNKING_BYTES);
  }

  #readChunked(key: Uint8Array, keyBytes: number): Uint8Array | null {
    for (let reads = 0; reads < READS_MAX; reads++) {
      const version = this.#chunkVersion;
      const meta = this.bytes.slice(this.metaAt, this.metaAt + this.metaBytes);
      const value = this.#chunks.read(this.valueBytes, version);
      if (value !== null) {
        // Where the meta bytes were there is a chunk now.
        this.metaAt = this.#state.packed;
        this.bytes.set(meta, this.metaAt);
        return value;
      }
      if (!this.find(key, keyBytes) || !this.#isChunked) return null;
      // A chunk of the same value was evicted: the rest is of no use.
      if (this.#chunkVersion === version) {
        this.remove(key, keyBytes);
        return null;
      }
    }
    return null;
  }

  /**
   * Removes the value in whose place none could be stored; under a condition, only if it holds.
   * @param version of chunks that belong to no value, 0 = there are none
   */
  #discard(version: number): void {
    if (this.#state.condition === undefined) this.store.flushObject(this.pool, this.#key);
    else {
      const isRemoved = this.store.flush(this.pool, this.#key);
      this.#chunks.drop((chunk) => isRemoved || chunk === version);
    }
  }

  /** Removes the chunks of a value that was replaced by one without chunks, or that has expired. */
  #dropChunks(): void {
    const locked = this.#locks.lockUnlessHeld(this.#hash.low);
    try {
      // Another thread may have set a chunked value meanwhile, to which the chunks belong.
      const at = peekValue(this.#state, this.pool, this.#key);
      if (at === NIL || !isChunkedAt(this.bytes, at)) this.#chunks.drop(() => true);
    } finally {
      if (locked) this.#locks.unlock();
    }
  }
}
