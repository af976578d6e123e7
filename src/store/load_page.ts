// Loads a page: index, pool, decompression, or the write-back file. Under the lock are the search
// and one copy of the compressed bytes; decompression runs after it. Pages in the remote tier are
// loaded by load_remote.ts.
//
// A page in the file is read without the lock, so it may move meanwhile. Each record in the file
// names its page, so that a read of a moved page is detected, and the search starts anew.
import { type Address, NIL, type Nil, type WordIndex } from "../base/brand.ts";
import { ZcacheError } from "../base/errors.ts";
import { markFrames } from "../policy/watermarks.ts";
import * as Entry from "../tmem/entry.layout.ts";
import type { TmemKey } from "../tmem/key.ts";
import { Latency, Reason } from "./counters.ts";
import * as Page from "./page.layout.ts";
import { recordHitLocked } from "./read_buffer.ts";
import { slotOf } from "./record.ts";
import { isSampling, sampleGet, sampleRemoval } from "./request_sample.ts";
import type { StoreState } from "./state.ts";
import { recordSince } from "./statistics.ts";
import * as Store from "./store.layout.ts";
import * as Value from "./value.layout.ts";
import { isHead } from "./versions.ts";

/**
 * How often a page may move while it is read from the file. Pages move when segments are cleaned.
 */
const READS_MAX = 16;

/**
 * Loads a page to `target`, a page outside of this thread's scratch `packed`.
 * @returns whether the page was stored
 * @throws ZcacheError ERR_CORRUPT if the file returned other bytes, ERR_IO if it can't be read
 */
export function loadPage(
  state: StoreState,
  pool: number,
  key: TmemKey,
  target: Address,
  exclusive: boolean,
): boolean {
  if (!loadPacked(state, pool, key, exclusive)) return false;
  restoreFound(state, target);
  return true;
}

/** As `loadPage`; adds the time to the histogram of what the get was. */
export function loadPageTimed(
  state: StoreState,
  pool: number,
  key: TmemKey,
  target: Address,
  exclusive: boolean,
): boolean {
  const begin = state.platform.clock.nowNs();
  const loads = state.counter("loads_from_file");
  const found = loadPage(state, pool, key, target, exclusive);
  const loaded = state.counter("loads_from_file") !== loads;
  recordSince(state, found ? (loaded ? Latency.LOAD : Latency.GET) : Latency.MISS, begin);
  return found;
}

/** Restores the page that `findPacked` has found. */
export function restoreFound(state: StoreState, target: Address): void {
  if (Page.whereOf(state.foundMeta) === Page.SAME_FILLED) {
    state.arena.kernels.fillPattern(target, state.foundValue, state.foundHigh, state.pageSize);
    return;
  }
  const meta = state.foundMeta;
  const source = packedOf(state);
  unpack(state, meta, state.pageSize, source, target);
}

/**
 * Finds the page of a key and copies it, still compressed, to the packed scratch. Sets
 * `state.foundMeta` and `foundValue` to the entry's META and VALUE.
 * @returns whether the page was stored
 * @throws ZcacheError as `loadPage`
 */
export function loadPacked(
  state: StoreState,
  pool: number,
  key: TmemKey,
  exclusive: boolean,
): boolean {
  const found = findPacked(state, pool, key, exclusive);
  if (found !== IN_REMOTE) return found === FOUND;
  throw new ZcacheError("ERR_REMOTE_PAGE", "the page is in the remote tier: use getAsync", {
    context: { object: key.object, index: key.index },
  });
}

/** As `loadPacked`. @returns IN_REMOTE for a page whose bytes are in the remote tier */
export function findPacked(
  state: StoreState,
  pool: number,
  key: TmemKey,
  exclusive: boolean,
): typeof MISSED | typeof FOUND | typeof IN_REMOTE {
  if (exclusive) state.changes?.makeRoom(0);
  for (let reads = 0; reads < READS_MAX; reads++) {
    const found =
      !exclusive && state.arena.lock.enterReader()
        ? loadShared(state, pool, key)
        : loadLocked(state, pool, key, exclusive);
    if (found !== IN_FILE) {
      noteRequest(state, pool, key, found === FOUND ? state.foundMeta : 0);
      if (isSampling(state)) sampleLoad(state, pool, key, found !== MISSED, exclusive);
      return found;
    }
    if (loadFromFile(state, pool, key, exclusive)) {
      noteRequest(state, pool, key, 0);
      if (isSampling(state)) sampleLoad(state, pool, key, true, exclusive);
      return FOUND;
    }
  }
  throw new ZcacheError("ERR_IO", `a page moved ${READS_MAX} times while it was being read`);
}

/**
 * Counts the request, hit or miss, if the policy tracks requests: it compares new pages with stored
 * ones by their past requests. Needs no lock.
 * @param meta META of the entry in memory that was found, or 0
 */
export function noteRequest(state: StoreState, pool: number, key: TmemKey, meta: number): void {
  if (!state.policies[Store.EPHEMERAL]!.tracksRequests) return;
  // A request for a value of several pages is one for its first page.
  if (state.options.content === "values" && !isHead(key)) return;
  const kind = state.index.kindOf(pool);
  if (kind !== NIL) state.policies[kind]!.recordRequest(state.hash(pool, key), meta);
}

function sampleLoad(
  state: StoreState,
  pool: number,
  key: TmemKey,
  found: boolean,
  exclusive: boolean,
): void {
  sampleGet(state, pool, key, found);
  if (exclusive && found) sampleRemoval(state, state.hash(pool, key));
}

export const MISSED = 0;
export const FOUND = 1;
const IN_FILE = 2;
/** In the remote tier; `state` has the name of the record (remote_page.ts). */
export const IN_REMOTE = 3;

type Found = typeof MISSED | typeof FOUND | typeof IN_FILE | typeof IN_REMOTE;

/**
 * Loads beside other readers. The hit goes to the read buffer, and later, with others, to the
 * policy.
 */
function loadShared(state: StoreState, pool: number, key: TmemKey): Found {
  const { lock } = state.arena;
  let entry: WordIndex | Nil = NIL;
  let found: Found = MISSED;
  let version = 0;
  try {
    entry = state.findLocked(pool, key);
    version = lock.version;
    if (entry !== NIL) found = lookAt(state, entry);
  } finally {
    lock.leaveReader();
  }
  state.readBuffer.countGet(found === FOUND, found === MISSED);
  if (found === FOUND && entry !== NIL) {
    state.readBuffer.recordHit(entry, state.foundValue, state.foundMeta, version);
  }
  return found;
}

function loadLocked(state: StoreState, pool: number, key: TmemKey, exclusive: boolean): Found {
  const { lock } = state.arena;
  // A hit changes only words that no reader looks at.
  if (exclusive) lock.lock();
  else lock.lockBeside();
  try {
    state.count("gets");
    const entry = state.findLocked(pool, key);
    const found = entry === NIL ? MISSED : lookAt(state, entry);
    if (found === MISSED) state.count("misses");
    if (found !== FOUND || entry === NIL) return found;
    state.count("hits");
    usedLocked(state, pool, key, entry, exclusive);
    return FOUND;
  } finally {
    lock.unlock();
  }
}

/**
 * Copies the page of an entry to the packed scratch, if it is in memory: under the lock, or as a
 * reader.
 */
function lookAt(state: StoreState, entry: WordIndex): Exclude<Found, typeof MISSED> {
  const meta = state.words[entry + Entry.META]!;
  const value = state.words[entry + Entry.VALUE]!;
  state.foundMeta = meta;
  state.foundValue = value;
  const where = Page.whereOf(meta);
  if (where === Page.FILE && !readBuffered(state, value, meta)) return IN_FILE;
  if (where === Page.MEMORY) state.readObject(entry, meta, packedOf(state));
  else if (where === Page.SAME_FILLED) state.foundHigh = Page.highOf(state.words, entry, meta);
  else if (where === Page.REMOTE) return lookAtRemote(state, entry, meta);
  return FOUND;
}

/** Copies a page in transit, which is still here. */
function lookAtRemote(state: StoreState, entry: WordIndex, meta: number): Exclude<Found, 0 | 2> {
  const { words } = state;
  state.foundHigh = words[entry + Entry.LINKS]!;
  state.foundEpoch = words[entry + Entry.LINKS + 1]!;
  const slot = slotOf(state.foundHigh);
  if (slot === NIL) return IN_REMOTE;
  state.outbox!.readSlot(slot, Page.sizeOf(meta), packedOf(state));
  return FOUND;
}

/** The packed scratch, after the room for a header. */
export function packedOf(state: StoreState): Address {
  return (state.packed + state.headerBytes) as Address;
}

/** Reads a page on its way to the file from the segment in memory. */
function readBuffered(state: StoreState, place: number, meta: number): boolean {
  return state.backing!.readBuffered(place, Page.sizeOf(meta), packedOf(state));
}

/** Records a hit, removes the page if the get is exclusive, and commits. */
export function usedLocked(
  state: StoreState,
  pool: number,
  key: TmemKey,
  entry: WordIndex,
  exclusive: boolean,
): void {
  if (exclusive) {
    state.count("exclusive_gets");
    state.changes?.removeLocked(pool, key);
    state.versions?.changedLocked(key);
    state.removeLocked(entry, state.hash(pool, key), Reason.EXCLUSIVE_GET);
    return;
  }
  recordHitLocked(state, entry);
  state.arena.lock.commitBeside();
}

/**
 * Restores what is stored at `at` to `target`.
 * @param meta META of the page  @param header HEADER of the value (value.layout.ts); of a page its
 *   size, which is the header of a value without prefix and dictionary
 * @throws ZcacheError ERR_CODEC_CORRUPT
 */
export function unpack(
  state: StoreState,
  meta: number,
  header: number,
  at: Address,
  target: Address,
): void {
  const prefix = Value.prefixOf(header);
  const source = (at + prefix) as Address;
  const targetBytes = Value.sizeOf(header);
  const codec = Page.codecOf(meta);
  if (codec === Page.RAW) {
    state.arena.kernels.copy(target, source, targetBytes);
    return;
  }
  try {
    const sourceBytes = Page.sizeOf(meta) - prefix;
    const decoder = state.codecOf(codec, Value.dictionaryOf(header));
    decoder.decompress(source, sourceBytes, target, targetBytes);
  } catch (error) {
    state.count("decompress_fail");
    throw error;
  }
}

/**
 * Reads the found page from the file to the packed scratch.
 * @returns false if it has moved: the caller searches again
 */
function loadFromFile(state: StoreState, pool: number, key: TmemKey, exclusive: boolean): boolean {
  const meta = state.foundMeta;
  const place = state.foundValue;
  const sizeBytes = Page.sizeOf(meta);
  const result = state.backing!.read(place, pool, key, sizeBytes, packedOf(state));
  if (result === "mismatch") return failLoad(state, pool, key, place);
  // A failed device may recover: the page stays where it is.
  if (result !== "ok") throw result;
  state.count("loads_from_file");
  const { lock } = state.arena;
  lock.lock();
  try {
    const entry = state.findLocked(pool, key);
    const stands =
      entry !== NIL &&
      state.words[entry + Entry.VALUE] === place &&
      state.backing!.hasStayedLocked(place);
    const now = stands ? state.words[entry + Entry.META]! : 0;
    if (stands && Page.whereOf(now) === Page.FILE) {
      state.count("hits");
      state.count("read_back_pages");
      if (exclusive || !promoteLocked(state, pool, key, entry, now)) {
        usedLocked(state, pool, key, entry, exclusive);
      }
    } else return false;
  } finally {
    lock.unlock();
  }
  state.foundMeta = meta;
  return true;
}

/**
 * Moves a page that was read from the file back to memory, still compressed, if there is room above
 * the high watermark.
 */
function promoteLocked(
  state: StoreState,
  pool: number,
  key: TmemKey,
  entry: WordIndex,
  meta: number,
): boolean {
  const { words, options } = state;
  const limit = words[state.root + Store.LIMIT_FRAMES]!;
  if (state.framesFree < markFrames(limit, options.highPercent) + 1) return false;
  const kind = Page.kindOf(meta);
  const sizeBytes = Page.sizeOf(meta);
  const handle = state.remakeObjectLocked(kind, entry, packedOf(state), sizeBytes);
  if (handle < 0) {
    state.arena.lock.rollBack();
    return false;
  }
  state.detachLocked(entry);
  const tick = words[state.root + Store.TICK]!;
  const next = Page.withTick(Page.withWhere(meta, Page.MEMORY), tick);
  state.attachLocked(entry, handle, next, state.hash(pool, key));
  state.commitLocked();
  state.count("promoted_pages");
  return true;
}

/**
 * Handles a read that returned another page's record. If the page has moved, the caller searches
 * again; if it has not, it is lost and removed, so that the error is thrown once.
 * @returns false: search again
 */
function failLoad(state: StoreState, pool: number, key: TmemKey, place: number): false {
  const { lock } = state.arena;
  lock.lock();
  try {
    const entry = state.findLocked(pool, key);
    if (entry === NIL || state.words[entry + Entry.VALUE] !== place) return false;
    if (Page.whereOf(state.words[entry + Entry.META]!) !== Page.FILE) return false;
    // The page may have moved away and back to the same place; only a second mismatch proves that
    // it is lost.
    if (state.doubtedPlace !== place) {
      state.doubtedPlace = place;
      return false;
    }
    state.doubtedPlace = NIL;
    state.count("lost_pages");
    state.removeLocked(entry, state.hash(pool, key), Reason.LOST);
  } finally {
    lock.unlock();
  }
  throw new ZcacheError("ERR_CORRUPT", "the write-back file did not return the bytes of a page", {
    context: { object: key.object, index: key.index },
  });
}
