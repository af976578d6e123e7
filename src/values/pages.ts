// A value as pages of the store: how the page of a value is stored, found, looked at and rewritten.
//
// These are functions over the store's state, for the class `Values` (values.ts), which knows keys,
// expiry and values of more than a page. The prefix of a page (store/value.layout.ts) is written to
// the packed scratch before the page is stored, and stands there after the page was fetched.
import { type Address, type Handle, NIL, type WordIndex } from "../base/brand.ts";
import { byteCountOf } from "../base/bytes.ts";
import type { Errno } from "../base/errno.ts";
import { assert } from "../base/errors.ts";
import { Latency } from "../store/counters.ts";
import { lowerBoundsLocked } from "../store/expiry_bounds.ts";
import { loadArrived } from "../store/load_arrived.ts";
import { FOUND, findPacked, loadPacked, unpack } from "../store/load_page.ts";
import { makeRoomAfterPut } from "../store/maintainer.ts";
import * as Page from "../store/page.layout.ts";
import { slotOf } from "../store/record.ts";
import { isSampling, sampleRenewal } from "../store/request_sample.ts";
import type { StoreState } from "../store/state.ts";
import { recordSince } from "../store/statistics.ts";
import * as Root from "../store/store.layout.ts";
import { countCompression, storePacked } from "../store/store_page.ts";
import { readTransaction, transaction } from "../store/transaction.ts";
import * as Value from "../store/value.layout.ts";
import * as Entry from "../tmem/entry.layout.ts";
import { TmemKey } from "../tmem/key.ts";
import type { ScanCursor } from "../tmem/scan_cursor.ts";
import type { PageFinder } from "./page_finder.ts";

/** Entries that a scan visits under one hold of the lock. */
const SCANNED = 64;

/**
 * Stores the `sizeBytes` bytes at `state.plain`, behind the prefix at `state.packed`, of which
 * everything but the header is written.
 * @param prefixBytes FIXED_BYTES or more; with `sizeBytes` at most what a page holds
 * @returns as `Store.put`
 */
export function putValue(
  state: StoreState,
  pool: number,
  key: TmemKey,
  sizeBytes: number,
  prefixBytes: number,
): 0 | Errno {
  state.assertOpen();
  const timed = state.isTimed();
  const begin = timed ? state.platform.clock.nowNs() : 0;
  const { plain, packed: prefix } = state;
  const target = (prefix + prefixBytes) as Address;
  let dictionary = dictionaryFor(state, sizeBytes);
  const limit = sizeBytes - (sizeBytes >>> 6) - 1;
  let packed = 0;
  if (limit > 0) {
    packed = state.codecOf(Page.FAST, dictionary).compress(plain, sizeBytes, target, limit);
    countCompression(state, sizeBytes, packed);
  }
  const codec = packed === 0 ? Page.RAW : Page.FAST;
  if (packed === 0) {
    state.arena.kernels.copy(target, plain, sizeBytes);
    packed = sizeBytes;
    dictionary = 0;
  }
  state.words[prefix / 4] = Value.makeHeader(sizeBytes, prefixBytes, dictionary);
  const stored = Page.withSize(0, codec, prefixBytes + packed);
  const result = storePacked(state, pool, key, stored, prefix);
  makeRoomAfterPut(state);
  if (timed) recordSince(state, Latency.PUT, begin);
  return result;
}

/** Copies bytes of a value to `state.plain`. */
export function fillPlain(state: StoreState, value: Uint8Array, from: number, count: number): void {
  const isWhole = from === 0 && count === byteCountOf(value);
  const { bytes, kernels } = state.arena;
  // V8 copies between shared buffers byte by byte unless both sides are aligned alike.
  if (value.buffer === bytes.buffer) {
    kernels.copy(state.plain, value.byteOffset + from, count);
    return;
  }
  bytes.set(isWhole ? value : value.subarray(from, from + count), state.plain);
}

/** The dictionary that a new value is compressed with, 0 = none. */
export function dictionaryFor(state: StoreState, sizeBytes: number): number {
  const dictionary = state.words[state.root + Root.DICTIONARY]!;
  if (dictionary === 0 || sizeBytes > Value.DICTIONARY_HELPS_BYTES) return 0;
  return state.codecs.takesDictionary(false) ? dictionary : 0;
}

/**
 * Finds a page and copies it, as it is stored, to `state.packed`.
 * @param finder for page 0 of a value
 * @returns whether it is there
 * @throws ZcacheError ERR_CORRUPT, ERR_IO: the write-back file did not give it back;
 *   ERR_REMOTE_PAGE: its record is to be read first (store/remote_arrivals.ts); ERR_REMOTE
 */
export function fetchValue(
  state: StoreState,
  pool: number,
  key: TmemKey,
  finder?: PageFinder,
): boolean {
  state.assertOpen();
  if (!state.isTimed()) return finder?.load(key) ?? load(state, pool, key);
  const begin = state.platform.clock.nowNs();
  const loads = state.counter("loads_from_file");
  const found = finder?.load(key) ?? load(state, pool, key);
  const loaded = state.counter("loads_from_file") !== loads;
  recordSince(state, found ? (loaded ? Latency.LOAD : Latency.GET) : Latency.MISS, begin);
  return found;
}

function load(state: StoreState, pool: number, key: TmemKey): boolean {
  return state.outbox === undefined
    ? loadPacked(state, pool, key, false)
    : loadArrived(state, pool, key);
}

/** Decompresses the page that was fetched last. @throws ZcacheError ERR_CODEC_CORRUPT */
export function restoreValue(state: StoreState, target: Address): void {
  const { packed } = state;
  unpack(state, state.foundMeta, state.words[packed / 4]!, packed, target);
}

/**
 * Copies the first bytes of a page, its prefix at least, as they are stored; does not count as a
 * use. A page that is in the remote tier alone is not looked at.
 * @returns where they stand until the next call, or NIL if the page is not there
 */
export function peekValue(state: StoreState, pool: number, key: TmemKey): Address | typeof NIL {
  state.assertOpen();
  const where = readTransaction(state, () => copyHead(state, pool, key));
  if (where !== Page.FILE) return where === 0 ? NIL : state.evicted;
  return findPacked(state, pool, key, false) === FOUND ? state.packed : NIL;
}

/** Copies the head of a page in memory to `state.evicted`. @returns its WHERE, 0 = not there */
function copyHead(state: StoreState, pool: number, key: TmemKey): number {
  const entry = state.findLocked(pool, key);
  if (entry === NIL) return 0;
  const meta = state.words[entry + Entry.META]!;
  const where = Page.whereOf(meta);
  if (where === Page.FILE) return where;
  if (where === Page.REMOTE) return copyInTransit(state, entry, meta);
  const handle = state.words[entry + Entry.VALUE]! as Handle;
  const bytes = Math.min(Page.sizeOf(meta), Value.PREFIX_MAX);
  state.zpools[Page.kindOf(meta)]!.readShared(handle, state.evicted, bytes);
  return where;
}

/** Copies the head of a page in transit, which is still here. @returns 0 for one that is not */
function copyInTransit(state: StoreState, entry: WordIndex, meta: number): number {
  const slot = slotOf(state.words[entry + Entry.LINKS]!);
  if (slot === NIL) return 0;
  const bytes = Math.min(Page.sizeOf(meta), Value.PREFIX_MAX);
  state.outbox!.readSlot(slot, bytes, state.evicted);
  return Page.MEMORY;
}

// What an attempt to rewrite a prefix comes to.
const DONE = 0;
const GONE = 1;
/** The page is in the file or in the remote tier, where its prefix can't be rewritten. */
const ELSEWHERE = 2;
const NO_ROOM = 3;

/**
 * Writes the prefix at `state.packed` over that of the page, which is as long; the value stays as
 * it is. The caller holds the lock of the key, and has fetched the page since it took the lock.
 * @param lasts whether the next process is to see the prefix too
 * @returns whether the page is there
 */
export function rewritePrefix(
  state: StoreState,
  pool: number,
  key: TmemKey,
  prefixBytes: number,
  lasts: boolean,
): boolean {
  state.assertOpen();
  const changes = lasts ? state.changes : undefined;
  const codec = Page.codecOf(state.foundMeta);
  const storedBytes = Page.sizeOf(state.foundMeta);
  let outcome: number = NO_ROOM;
  while (outcome === NO_ROOM) {
    changes?.prepare(state.packed, storedBytes);
    outcome = transaction(state, () => {
      if (changes?.hasRoomLocked(storedBytes) === false) return NO_ROOM;
      const entry = state.findLocked(pool, key);
      if (entry === NIL) return GONE;
      if (Page.whereOf(state.words[entry + Entry.META]!) !== Page.MEMORY) return ELSEWHERE;
      // The page as it was fetched is whole: a restart may use it as well as the present one.
      changes?.putLocked(pool, key, codec, state.packed, storedBytes);
      if (lasts) state.versions!.changedLocked(key);
      rewriteLocked(state, entry, prefixBytes);
      return DONE;
    });
  }
  if (outcome === DONE && isSampling(state)) sampleRenewal(state, pool, key);
  if (outcome !== ELSEWHERE) return outcome === DONE;
  // A prefix that need not last is no reason to store a page again, which may fail.
  return !lasts || putPacked(state, pool, key, codec, storedBytes) === 0;
}

/** Stores what stands at `state.packed`: a compressed value behind its whole prefix. */
function putPacked(
  state: StoreState,
  pool: number,
  key: TmemKey,
  codec: number,
  storedBytes: number,
): 0 | Errno {
  const stored = Page.withSize(0, codec, storedBytes);
  const result = storePacked(state, pool, key, stored, state.packed);
  makeRoomAfterPut(state);
  return result;
}

function rewriteLocked(state: StoreState, entry: WordIndex, prefixBytes: number): void {
  const { words, packed, evicted } = state;
  const handle = words[entry + Entry.VALUE]! as Handle;
  const zpool = state.zpools[Page.kindOf(words[entry + Entry.META]!)]!;
  const fetched = words[packed / 4]!;
  // The page may have been recompressed meanwhile: the header stays as it is by now.
  zpool.readShared(handle, evicted, Value.FLAGS);
  words[packed / 4] = words[evicted / 4]!;
  const result = zpool.overwrite(handle, packed, prefixBytes, evicted);
  assert(result === 0, "what is written over is there and not mapped");
  lowerBoundsLocked(state, Value.expiryOf(state.arena.bytes, packed));
  // Behind the new prefix stands the value as it was fetched, for `restoreValue`.
  words[packed / 4] = fetched;
}

/**
 * Continues a scan of a tmem pool: a page that stays is visited at least once, whatever else comes
 * and goes meanwhile.
 * @param wants under the lock: whether a key is to be visited
 * @param visit called without any lock
 * @returns whether the scan is over
 */
export function scanPages(
  state: StoreState,
  cursor: ScanCursor,
  pool: number,
  wants: (key: TmemKey) => boolean,
  visit: (key: TmemKey) => void,
): boolean {
  state.assertOpen();
  const found: TmemKey[] = [];
  const ended = transaction(state, () =>
    state.index.scan(cursor, SCANNED, (entry) => {
      const key = new TmemKey();
      if (state.index.keyOf(entry, key) === pool && wants(key)) found.push(key);
    }),
  );
  for (const key of found) visit(key);
  return ended;
}
