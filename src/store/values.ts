// Values in a store: of any length up to a page, with a header of their own (value.layout.ts).
//
// A value goes the way of a page, in two halves each: its front fills in the prefix and names the
// bytes, and the store compresses and packs; the store finds and copies, and the front, once it has
// looked at the prefix, lets it be decompressed, or not.
import { type Address, type Handle, NIL, type WordIndex } from "../base/brand.ts";
import type { Errno } from "../base/errno.ts";
import { assert } from "../base/errors.ts";
import { Mutex } from "../memory/mutex.ts";
import * as Entry from "../tmem/entry.layout.ts";
import { TmemKey } from "../tmem/key.ts";
import { ScanCursor } from "../tmem/scan_cursor.ts";
import { Latency } from "./counters.ts";
import { Dictionaries } from "./dictionaries.ts";
import { Departures } from "./eviction_events.ts";
import { lowerBoundsLocked } from "./expiry_bounds.ts";
import { Finder } from "./finder.ts";
import { removeExpired } from "./idle_scan.ts";
import { loadPacked, unpack } from "./load_page.ts";
import { makeRoomAfterPut } from "./maintainer.ts";
import * as Page from "./page.layout.ts";
import type { StoreState } from "./state.ts";
import { recordSince } from "./statistics.ts";
import * as Store from "./store.layout.ts";
import { pack, storePacked } from "./store_page.ts";
import { StoredValues } from "./stored.ts";
import { readTransaction, transaction } from "./transaction.ts";
import * as Value from "./value.layout.ts";
import { VERSIONS_BYTES, type Versions, WATCHES_BYTES } from "./versions.ts";

/** Entries that are looked at under one hold of the lock. */
const SCANNED = 64;

// What has come of rewriting a prefix.
const DONE = 0;
const GONE = 1;
/** It is in the file, or lies as it can't be written to. */
const ELSEWHERE = 2;
const NO_ROOM = 3;

export class Values {
  /** Room of this thread for a value, before it is compressed and after it is restored. */
  readonly plain: Address;
  /** Where the prefix of a value is written before `put`, and stands after `fetch`. */
  readonly prefix: Address;
  /** The most bytes of a value and its prefix together. */
  readonly sizeMax: number;
  readonly #state: StoreState;
  readonly #stripes: Mutex[] = [];
  readonly #dictionaries: Dictionaries;
  /** Values as they are stored. */
  readonly stored: StoredValues;

  constructor(state: StoreState) {
    this.#state = state;
    this.stored = new StoredValues(state, this);
    this.#dictionaries = new Dictionaries(state);
    this.plain = state.plain;
    this.prefix = state.packed;
    this.sizeMax = Math.min(state.pageSize, ...state.zpools.map((pool) => pool.maxSizeBytes));
    const { words, kernels, owner, isDead } = state.arena;
    for (let nth = 0; nth < Store.STRIPES_MAX; nth++) {
      const at = state.root + Store.STRIPES + nth;
      this.#stripes.push(new Mutex(words, kernels, at, owner, isDead));
    }
  }

  /**
   * Stores `sizeBytes` from an address in the arena, behind the prefix that stands at `prefix` and
   * of which all but the header is filled in.
   * @param prefixBytes FIXED_BYTES or more; with `sizeBytes` at most `sizeMax`
   * @returns as `Store.put`
   */
  put(
    pool: number,
    key: TmemKey,
    source: Address,
    sizeBytes: number,
    prefixBytes: number,
  ): 0 | Errno {
    const state = this.#state.assertOpen();
    const timed = state.isTimed();
    const begin = timed ? state.platform.clock.nowNs() : 0;
    const target = (this.prefix + prefixBytes) as Address;
    let dictionary = this.#dictionaryFor(sizeBytes);
    const limit = sizeBytes - (sizeBytes >>> 6) - 1;
    let packed = limit > 0 ? pack(state, source, sizeBytes, target, limit, dictionary) : 0;
    const codec = packed === 0 ? Page.RAW : Page.FAST;
    if (packed === 0) {
      state.arena.kernels.copy(target, source, sizeBytes);
      packed = sizeBytes;
      dictionary = 0;
    }
    state.words[this.prefix / 4] = Value.makeHeader(sizeBytes, prefixBytes, dictionary);
    const result = this.putPacked(pool, key, codec, prefixBytes + packed, this.prefix);
    if (timed) recordSince(state, Latency.PUT, begin);
    return result;
  }

  /** Stores `sizeBytes` from `source`: a value that is compressed, behind its whole prefix. */
  putPacked(
    pool: number,
    key: TmemKey,
    codec: number,
    sizeBytes: number,
    source: Address,
  ): 0 | Errno {
    const state = this.#state.assertOpen();
    const result = storePacked(state, pool, key, codec, sizeBytes, source);
    makeRoomAfterPut(state);
    return result;
  }

  /**
   * Whether the object that the last `put` went to has, or had, other values under other indexes.
   */
  get hadOthers(): boolean {
    return this.#state.hasOthers;
  }

  /**
   * Finds a value, and copies it to `prefix` as it is stored.
   * @param exclusive takes it out of the store
   * @returns whether it is there
   * @throws ZcacheError ERR_CORRUPT, ERR_IO: the write-back file did not give it back
   */
  fetch(pool: number, key: TmemKey, exclusive = false): boolean {
    const state = this.#state.assertOpen();
    if (!state.isTimed()) return loadPacked(state, pool, key, exclusive);
    const begin = state.platform.clock.nowNs();
    const loads = state.counter("loads_from_file");
    const found = loadPacked(state, pool, key, exclusive);
    const loaded = state.counter("loads_from_file") !== loads;
    recordSince(state, found ? (loaded ? Latency.LOAD : Latency.GET) : Latency.MISS, begin);
    return found;
  }

  /** Says by which clock values expire, in ms since 1970: those that have go before others. */
  setClock(nowMs: () => number): void {
    this.#state.nowMs = nowMs;
  }

  /** The header of the value that was fetched last (value.layout.ts). */
  get header(): number {
    return this.#state.words[this.prefix / 4]!;
  }

  /** Bytes that the value that was fetched last takes, with its prefix. */
  get storedBytes(): number {
    return Page.sizeOf(this.#state.foundMeta);
  }

  /** Restores the value that was fetched last. @throws ZcacheError ERR_CODEC_CORRUPT */
  restore(target: Address): void {
    const state = this.#state;
    const { header } = this;
    const prefixBytes = Value.prefixOf(header);
    unpack(
      state,
      Page.codecOf(state.foundMeta),
      Value.dictionaryOf(header),
      (this.prefix + prefixBytes) as Address,
      Page.sizeOf(state.foundMeta) - prefixBytes,
      target,
      Value.sizeOf(header),
    );
  }

  /**
   * Writes the prefix that stands at `prefix` over that of a value, which is as long; the value
   * stays as it is. To be called by who has the key's lock and has fetched the value since.
   * @param lasts whether the next process is to see it too
   * @returns whether it is there
   */
  rewritePrefix(pool: number, key: TmemKey, prefixBytes: number, lasts: boolean): boolean {
    const state = this.#state.assertOpen();
    const changes = lasts ? state.changes : undefined;
    const codec = Page.codecOf(state.foundMeta);
    const { storedBytes } = this;
    let outcome: number = NO_ROOM;
    while (outcome === NO_ROOM) {
      changes?.prepare(this.prefix, storedBytes);
      outcome = transaction(state, () => {
        if (changes?.hasRoomLocked(storedBytes) === false) return NO_ROOM;
        const entry = state.findLocked(pool, key);
        if (entry === NIL) return GONE;
        if (Page.whereOf(state.words[entry + Entry.META]!) !== Page.MEMORY) return ELSEWHERE;
        // As it was fetched, it is whole: for a restart that is as good as what it is by now.
        changes?.putLocked(pool, key, codec, this.prefix, storedBytes);
        if (lasts) state.versions!.changedLocked(key);
        this.#rewriteLocked(entry, prefixBytes);
        return DONE;
      });
    }
    if (outcome !== ELSEWHERE) return outcome === DONE;
    // To note what need not last is no reason to put something anew, which may fail.
    return !lasts || this.putPacked(pool, key, codec, storedBytes, this.prefix) === 0;
  }

  #rewriteLocked(entry: WordIndex, prefixBytes: number): void {
    const state = this.#state;
    const handle = state.words[entry + Entry.VALUE]! as Handle;
    const zpool = state.zpools[Page.kindOf(state.words[entry + Entry.META]!)]!;
    const fetched = state.words[this.prefix / 4]!;
    // It may have been recompressed meanwhile: what the header says is not the front's to change.
    zpool.readShared(handle, state.evicted, Value.FLAGS);
    state.words[this.prefix / 4] = state.words[state.evicted / 4]!;
    const result = zpool.overwrite(handle, this.prefix, prefixBytes, state.evicted);
    assert(result === 0, "what is written over is there and not mapped");
    lowerBoundsLocked(state, Value.expiryOf(this.bytes, this.prefix));
    // Behind this prefix there is what was fetched, for `restore` and others.
    state.words[this.prefix / 4] = fetched;
  }

  /**
   * Copies the first bytes of a value, its prefix at least, as they are stored; does not count as a
   * use of it.
   * @returns where they stand until the next call, or NIL if it is not there
   */
  peek(pool: number, key: TmemKey): Address | typeof NIL {
    const state = this.#state.assertOpen();
    const where = readTransaction(state, () => this.#look(pool, key));
    if (where !== Page.FILE) return where === 0 ? NIL : state.evicted;
    return loadPacked(state, pool, key, false) ? this.prefix : NIL;
  }

  /** Whether changes are kept for a later process: then of removals too, whatever is there. */
  get isKept(): boolean {
    return this.#state.changes !== undefined;
  }

  /** Keeps four words of the front's for a later process, which gets the last that were noted. */
  note(words: ArrayLike<number>): void {
    this.#state.assertOpen().changes?.note(words);
  }

  /** Keeps that everything is to go that was put before. */
  noteClear(): void {
    this.#state.assertOpen().changes?.clear();
  }

  /** A walk for `scan` that stands at the beginning. */
  beginScan(): ScanCursor {
    return new ScanCursor();
  }

  /**
   * Walks on through the values of a tmem pool: the keys of those with index 0.
   * @param visit called without any lock: it may do what it likes
   * @returns whether a round has ended
   */
  scan(cursor: ScanCursor, pool: number, visit: (key: TmemKey) => void): boolean {
    const state = this.#state.assertOpen();
    const found: TmemKey[] = [];
    const ended = transaction(state, () =>
      state.index.scan(cursor, SCANNED, (entry) => {
        const key = new TmemKey();
        if (state.index.keyOf(entry, key) !== pool || (key.indexLow | key.indexHigh) !== 0) return;
        found.push(key);
      }),
    );
    for (const key of found) visit(key);
    return ended;
  }

  /** As `Finder.of`: finds values of one tmem pool without this thread leaving WebAssembly. */
  finder(pool: number, seeds: readonly number[]): Finder | undefined {
    return Finder.of(this.#state, pool, seeds);
  }

  /** The arena, byte by byte and word by word. */
  get bytes(): Uint8Array {
    return this.#state.arena.bytes;
  }

  get words(): Int32Array {
    return this.#state.words;
  }

  /** Hears of what is evicted or expires, in all threads, from now on. */
  listen(): Departures {
    const departures = new Departures(this.#state);
    transaction(this.#state, () => departures.beginLocked());
    return departures;
  }

  /** The same for threads that hear in turns, once one of them begins. */
  listenInTurns(turns: Int32Array): Departures {
    return new Departures(this.#state, turns);
  }

  /** As `Departures.beginLocked`. */
  beginListening(departures: Departures): boolean {
    return transaction(this.#state, () => departures.beginLocked());
  }

  /** As `Departures.endLocked`. */
  endListening(departures: Departures): void {
    transaction(this.#state, () => departures.endLocked());
  }

  /** As `Departures.hearLocked`. */
  hear(departures: Departures, visit: (reason: number, at: number) => void): boolean {
    return transaction(this.#state, () => departures.hearLocked(visit));
  }

  /**
   * Takes zeroed memory of the arena for good.
   * @param sizeBytes sixteen pages at most
   * @returns its word index, or NIL without room
   */
  allocate(sizeBytes: number): WordIndex | typeof NIL {
    return transaction(this.#state, () => this.#state.allocateLocked(sizeBytes));
  }

  /** Which values have been set or removed, once `makeVersions` has made the tables for that. */
  get versions(): Versions {
    return this.#state.versions!;
  }

  /** Makes the tables of versions and watches, once. @returns whether there was room */
  makeVersions(): boolean {
    const { words, root } = this.#state;
    const versions = this.allocate(VERSIONS_BYTES);
    const watches = this.allocate(WATCHES_BYTES);
    if (versions === NIL || watches === NIL) return false;
    words[root + Store.VERSIONS] = versions;
    words[root + Store.WATCHES] = watches;
    return true;
  }

  /** Begins a watch of a key in a place that this thread has taken (versions.ts). */
  watch(at: number, hashLow: number, hashHigh: number): void {
    transaction(this.#state, () => this.versions.watchLocked(at, hashLow, hashHigh));
  }

  unwatch(at: number): void {
    transaction(this.#state, () => this.versions.unwatchLocked(at));
  }

  /** A key was set or removed, though nothing is stored or goes. */
  changed(key: TmemKey): void {
    transaction(this.#state, () => this.versions.objectChangedLocked(key));
  }

  /** All copies are old, and all watches are of values that have changed. */
  allChanged(): void {
    transaction(this.#state, () => this.versions.allChangedLocked());
  }

  /**
   * While it is set, a value with index 0 is put, and flushed, only if this says so under the
   * lock: `put` returns ECANCELED then, and what is stored stays as it is.
   */
  set condition(holds: (() => boolean) | undefined) {
    this.#state.condition = holds;
  }

  /** What was fetched last is counted as a hit, but is of no use: it is counted as a miss. */
  countMiss(): void {
    this.#state.readBuffer.adjustCounts(0, -1, 1);
  }

  /** What was fetched last, found or not, was nobody's request: it is not counted. */
  countNothing(found: boolean): void {
    this.#state.readBuffer.adjustCounts(-1, found ? -1 : 0, found ? 0 : -1);
  }

  /** There was a request that has not looked for a value. */
  countRequest(): void {
    this.#state.readBuffer.adjustCounts(1, 0, 1);
  }

  /** Removes the value that was fetched, if it is still there and has expired by then. */
  removeExpired(pool: number, key: TmemKey, nowMs: number): void {
    removeExpired(this.#state, pool, key, nowMs);
  }

  /** Words of the front's own, in the arena: Store.FRONT_WORDS from this one on. */
  get frontAt(): number {
    return this.#state.root + Store.FRONT;
  }

  /**
   * Keeps other threads that do the same from a key until `unlock`; gets and puts take no notice.
   * A thread holds one key at a time.
   */
  lock(hash: number): void {
    this.#stripes[hash & (Store.STRIPES_MAX - 1)]!.lock();
  }

  unlock(hash: number): void {
    this.#stripes[hash & (Store.STRIPES_MAX - 1)]!.unlock();
  }

  /**
   * Makes a dictionary the one for all values that come in from now on; those that are stored keep
   * theirs until they are recompressed.
   * @returns its number; NIL if there is no number or no room left
   */
  useDictionary(bytes: Uint8Array): number {
    this.#state.assertOpen();
    return this.#dictionaries.add(bytes);
  }

  /** The dictionary for what comes in, 0 = none. */
  get dictionary(): number {
    return this.#dictionaries.current;
  }

  /** Whether the codec for what comes in, or the denser one, can use a dictionary. */
  takesDictionary(isDense: boolean): boolean {
    return this.#state.codecs.takesDictionary(isDense);
  }

  #look(pool: number, key: TmemKey): number {
    const state = this.#state;
    const entry = state.findLocked(pool, key);
    if (entry === NIL) return 0;
    const meta = state.words[entry + Entry.META]!;
    const where = Page.whereOf(meta);
    if (where === Page.FILE) return where;
    const handle = state.words[entry + Entry.VALUE]! as Handle;
    const bytes = Math.min(Page.sizeOf(meta), Value.PREFIX_MAX);
    state.zpools[Page.kindOf(meta)]!.readShared(handle, state.evicted, bytes);
    return where;
  }

  #dictionaryFor(sizeBytes: number): number {
    const { dictionary } = this;
    if (dictionary === 0 || sizeBytes > Value.DICTIONARY_HELPS_BYTES) return 0;
    return this.#state.codecs.takesDictionary(false) ? dictionary : 0;
  }
}
