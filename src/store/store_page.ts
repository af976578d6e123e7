// Stores a page: same-filled check, compression, allocation, index. Compression, the slow step,
// runs before the lock is taken; under the lock are one copy and some list operations.
//
// A refused put leaves no old copy behind, because a page that the caller has changed must not come
// back as it was. The exception is a pool that KEEPS_OLD: the writer of a disk gets the error, and
// the old sector stays.
import type { Address, WordIndex } from "../base/brand.ts";
import { NIL } from "../base/brand.ts";
import { EAGAIN, ECANCELED, EINVAL, ENOMEM, ENOSPC, type Errno } from "../base/errno.ts";
import { put } from "../memory/journal.ts";
import { ADMITTED, admitCount, admitSize } from "../policy/admission.ts";
import { fullNext } from "../policy/watermarks.ts";
import * as Entry from "../tmem/entry.layout.ts";
import type { TmemKey } from "../tmem/key.ts";
import { compactLocked } from "./compaction.ts";
import { REASON_OF_REFUSAL, Reason } from "./counters.ts";
import { makeRoomLocked } from "./evict.ts";
import * as Page from "./page.layout.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";
import { isHead } from "./versions.ts";
import { flushStep } from "./write_back.ts";

/** The page is stored. */
export const STORED = 0;
/**
 * Rounds of eviction for one put. A round frees many objects (evict.ts); a pool that still can't
 * place an object after so many rounds has its room in places where this size does not fit.
 */
const ROUNDS = 8;
/** The part of the frames within the limit that objects leave to the index, as a shift. */
const INDEX_RESERVE_SHIFT = 8;
/** Segments that one put writes, at most, if nothing can be evicted before some are written. */
const FLUSHES = 8;
/**
 * If no slot of an object's size is free, larger slots are tried in steps of this fraction of a
 * page.
 */
const ROOM_STEPS = 32;

/**
 * Stores the page at `address`, which is outside of this thread's scratch `packed`.
 * @returns STORED, or the reason for a refusal: EINVAL (no such pool), ENOSPC (the limit, or an
 *   admission rule), ENOMEM (no room, and nothing could be evicted). After a refusal the key has no
 *   page.
 */
export function storePage(
  state: StoreState,
  pool: number,
  key: TmemKey,
  address: Address,
): typeof STORED | Errno {
  const kind = state.index.kindOf(pool);
  if (kind === NIL) return EINVAL;
  const { words } = state;
  if (state.arena.kernels.sameFilled(address, state.pageSize) !== 0) {
    const low = words[address / 4]!;
    const high = words[address / 4 + 1]!;
    if (low === high || Page.holdsWidePatterns(kind))
      return storeSameFilled(state, pool, key, low, high);
  }
  const target = (state.packed + state.headerBytes) as Address;
  const packedBytes = pack(state, address, state.pageSize, target, state.packedMax[kind]!, 0);
  if (packedBytes !== 0) return storePacked(state, pool, key, Page.FAST, packedBytes, target);
  // Objects with headers need room for one right before their data, which the scratch has.
  if (state.headerBytes === 0) {
    return storePacked(state, pool, key, Page.RAW, state.pageSize, address);
  }
  state.arena.kernels.copy(target, address, state.pageSize);
  return storePacked(state, pool, key, Page.RAW, state.pageSize, target);
}

/**
 * Compresses a new page or value.
 * @returns bytes at `target`, or 0 if there would be more than `limitBytes`
 */
export function pack(
  state: StoreState,
  source: Address,
  sizeBytes: number,
  target: Address,
  limitBytes: number,
  dictionary: number,
): number {
  const codec = state.codecOf(Page.FAST, dictionary);
  const packedBytes = codec.compress(source, sizeBytes, target, limitBytes);
  state.count("compressed_pages");
  state.count("compressed_bytes_in", sizeBytes);
  state.count("compressed_bytes_out", packedBytes === 0 ? sizeBytes : packedBytes);
  return packedBytes;
}

/**
 * Stores `sizeBytes` bytes at `source`, which are compressed already or stay raw.
 * @returns as `storePage`
 */
export function storePacked(
  state: StoreState,
  pool: number,
  key: TmemKey,
  codec: number,
  sizeBytes: number,
  source: Address,
): typeof STORED | Errno {
  const { lock, frames } = state.arena;
  const { changes } = state;
  const hash = state.hash(pool, key);
  for (let flushes = 0; ; ) {
    if (changes !== undefined) changes.prepare(source, sizeBytes);
    let result: number = EAGAIN;
    lock.lock();
    try {
      if (changes !== undefined && !changes.hasRoomLocked(sizeBytes)) continue;
      result = storeLocked(state, pool, key, hash, codec, sizeBytes, source, flushes);
    } finally {
      frames.keepFree = 0;
      lock.unlock();
    }
    if (result !== EAGAIN) return result as typeof STORED | Errno;
    flushes = flushStep(state) ? flushes + 1 : FLUSHES;
  }
}

function storeSameFilled(
  state: StoreState,
  pool: number,
  key: TmemKey,
  low: number,
  high: number,
): typeof STORED | Errno {
  const { lock, frames } = state.arena;
  const hash = state.hash(pool, key);
  for (let flushes = 0; ; ) {
    let result: number = EAGAIN;
    lock.lock();
    try {
      result = storeSameLocked(state, pool, key, hash, low, high, flushes);
    } finally {
      frames.keepFree = 0;
      lock.unlock();
    }
    if (result !== EAGAIN) return result as typeof STORED | Errno;
    flushes = flushStep(state) ? flushes + 1 : FLUSHES;
  }
}

/**
 * Stores a page that needs an object.
 * @param flushes segments that this put has written so far
 * @returns as `storePage`, or EAGAIN if a segment must be written first
 */
function storeLocked(
  state: StoreState,
  pool: number,
  key: TmemKey,
  hash: number,
  codec: number,
  sizeBytes: number,
  source: Address,
  flushes: number,
): typeof STORED | Errno {
  if (state.condition !== undefined && isHead(key) && !state.condition()) return ECANCELED;
  if (flushes === 0) state.count("puts");
  const kind = state.index.kindOf(pool);
  if (kind === NIL) return EINVAL;
  const refusal = admitLocked(state, pool, kind, key, hash, sizeBytes);
  if (refusal !== STORED) return refusal;
  for (let round = 0; ; round++) {
    const result = placeObjectLocked(state, pool, key, kind, hash, codec, sizeBytes, source, 0);
    if (result === STORED) return STORED;
    if (overwriteLocked(state, pool, key, kind, hash, codec, sizeBytes, source)) return STORED;
    if (result === ENOSPC) {
      state.count("reject_compress_poor");
      return refuseLocked(state, pool, key, hash, Reason.COMPRESS_POOR, ENOSPC);
    }
    if (round === ROUNDS || !makeRoomLocked(state, kind)) break;
  }
  // Nothing more can be evicted: use larger slots, and the gaps between objects.
  const step = state.pageSize / ROOM_STEPS;
  do {
    const result = placeObjectLocked(state, pool, key, kind, hash, codec, sizeBytes, source, step);
    if (result === STORED) return STORED;
  } while (compactLocked(state, kind));
  if (canFlushLocked(state, flushes)) return EAGAIN;
  // A refusal would remove the old page anyway; its room is the last there is.
  if (dropOldLocked(state, pool, key, hash)) {
    const result = placeObjectLocked(state, pool, key, kind, hash, codec, sizeBytes, source, step);
    if (result === STORED) {
      state.count("duplicate_puts");
      return STORED;
    }
  }
  return refuseFullLocked(state, pool, key, hash);
}

function storeSameLocked(
  state: StoreState,
  pool: number,
  key: TmemKey,
  hash: number,
  low: number,
  high: number,
  flushes: number,
): typeof STORED | Errno {
  if (flushes === 0) state.count("puts");
  const kind = state.index.kindOf(pool);
  if (kind === NIL) return EINVAL;
  const refusal = admitLocked(state, pool, kind, key, hash, 0);
  if (refusal !== STORED) return refusal;
  const { frames, lock } = state.arena;
  for (let round = 0; ; round++) {
    frames.keepFree = state.framesAboveLimit;
    const entry = state.insertLocked(pool, key);
    frames.keepFree = 0;
    if (entry !== NIL) {
      placeLocked(state, entry, low, high, kind, Page.SAME_FILLED, hash, Page.RAW, 0);
      return STORED;
    }
    lock.rollBack();
    const isMore = round < ROUNDS && makeRoomLocked(state, kind);
    if (!isMore && !compactLocked(state, kind)) break;
  }
  return canFlushLocked(state, flushes) ? EAGAIN : refuseFullLocked(state, pool, key, hash);
}

/**
 * Allocates an object and attaches it to the entry, if there is room within the limit.
 * @param step 0, or, if no slot of the size is free, the difference by which larger slots are tried
 * @returns STORED; ENOSPC or ENOMEM as the pool says, and then nothing has changed
 */
function placeObjectLocked(
  state: StoreState,
  pool: number,
  key: TmemKey,
  kind: number,
  hash: number,
  codec: number,
  sizeBytes: number,
  source: Address,
  step: number,
): typeof STORED | Errno {
  const { frames, lock } = state.arena;
  const isFull = isFullLocked(state);
  const above = state.framesAboveLimit;
  frames.keepFree = above;
  const entry = state.insertLocked(pool, key);
  frames.keepFree = isFull ? frames.framesFree : above + indexReserve(state);
  let handle: number = ENOMEM;
  if (entry !== NIL) {
    handle = state.makeObjectLocked(kind, entry, source, sizeBytes, 0);
    for (let more = step; handle === ENOMEM && step !== 0; more += step) {
      handle = state.makeObjectLocked(kind, entry, source, sizeBytes, more);
      if (more >= state.pageSize) break;
    }
  }
  frames.keepFree = 0;
  if (entry === NIL || handle < 0) {
    lock.rollBack();
    return handle === ENOSPC && step === 0 ? ENOSPC : ENOMEM;
  }
  state.hasOthers = !state.index.isInline(entry);
  state.changes?.putLocked(pool, key, codec, source, sizeBytes);
  state.versions?.changedLocked(key);
  placeLocked(state, entry, handle, 0, kind, Page.MEMORY, hash, codec, sizeBytes);
  return STORED;
}

/**
 * Overwrites the page's object if the new one fits into it, which needs no room. A rollback
 * restores the old bytes.
 */
function overwriteLocked(
  state: StoreState,
  pool: number,
  key: TmemKey,
  kind: number,
  hash: number,
  codec: number,
  sizeBytes: number,
  source: Address,
): boolean {
  const entry = state.findLocked(pool, key);
  if (entry === NIL) return false;
  const before = state.words[entry + Entry.META]!;
  if (Page.whereOf(before) !== Page.MEMORY) return false;
  const handle = state.words[entry + Entry.VALUE]!;
  state.unaccountLocked(entry);
  if (!state.overwriteObjectLocked(kind, entry, source, sizeBytes)) {
    state.arena.lock.rollBack();
    return false;
  }
  state.count("duplicate_puts");
  if (codec === Page.RAW) state.count("huge_pages_since");
  state.policies[kind]!.remove(entry);
  state.hasOthers = !state.index.isInline(entry);
  state.changes?.putLocked(pool, key, codec, source, sizeBytes);
  state.versions?.changedLocked(key);
  const meta = Page.makeMeta(kind, Page.MEMORY, state.words[state.root + Store.TICK]!);
  state.attachLocked(entry, handle, Page.withSize(meta, codec, sizeBytes), hash);
  state.commitLocked();
  return true;
}

/** Attaches the page to a new or existing entry, and commits. */
function placeLocked(
  state: StoreState,
  entry: WordIndex,
  value: number,
  high: number,
  kind: number,
  where: number,
  hash: number,
  codec: number,
  sizeBytes: number,
): void {
  if (where === Page.MEMORY && codec === Page.RAW) state.count("huge_pages_since");
  const before = state.words[entry + Entry.META]!;
  if (before !== 0) {
    state.count("duplicate_puts");
    if (Page.isListed(before)) state.policies[kind]!.remove(entry);
    state.detachLocked(entry);
  }
  if (where === Page.SAME_FILLED && Page.holdsWidePatterns(kind)) {
    put(state.words, entry + Entry.LINKS, high);
  }
  const meta = Page.makeMeta(kind, where, state.words[state.root + Store.TICK]!);
  state.attachLocked(entry, value, Page.withSize(meta, codec, sizeBytes), hash);
  state.commitLocked();
}

/** Applies the admission rules to a page of this size. */
function admitLocked(
  state: StoreState,
  pool: number,
  kind: number,
  key: TmemKey,
  hash: number,
  sizeBytes: number,
): typeof STORED | Errno {
  const { words, root } = state;
  if (words[root + Store.FROZEN] !== 0) {
    state.count("put_to_flush");
    return refuseLocked(state, pool, key, hash, Reason.FROZEN, ENOSPC);
  }
  const { admission, acceptPercent } = state.options;
  // As in zswap, a store that was full takes nothing until its use has fallen to the threshold.
  if (acceptPercent < 100 && isFullLocked(state)) {
    makeRoomLocked(state, kind);
    if (isFullLocked(state)) return refuseFullLocked(state, pool, key, hash);
  }
  const pages = words[state.gaugeAt(kind, Store.IN_MEMORY)]!;
  const bytes = words[state.gaugeAt(kind, Store.BYTES)]! >>> 0;
  const count = admitCount(admission, pages, words[root + Store.LIMIT_FRAMES]!);
  const verdict =
    count === ADMITTED ? admitSize(admission, sizeBytes, state.pageSize, pages, bytes) : count;
  if (verdict === ADMITTED) return STORED;
  state.count(verdict);
  return refuseLocked(state, pool, key, hash, REASON_OF_REFUSAL[verdict], ENOSPC);
}

/**
 * Whether objects may not take another frame: the limit is reached, or it was and the threshold is
 * not reached yet.
 */
function isFullLocked(state: StoreState): boolean {
  const { words, root } = state;
  const before = words[root + Store.FULL] !== 0;
  const limit = words[root + Store.LIMIT_FRAMES]! - indexReserve(state);
  const used = state.arena.frames.framesUsed;
  const now = fullNext(before, used, limit, state.options.acceptPercent);
  if (now === before) return now;
  put(words, root + Store.FULL, now ? 1 : 0);
  state.arena.lock.commit();
  return now;
}

/**
 * Frames that objects leave to the index. Without them, a store whose frames all hold objects could
 * not store a page under a new key, although slots of removed objects are free.
 */
function indexReserve(state: StoreState): number {
  return Math.max(2, state.words[state.root + Store.LIMIT_FRAMES]! >>> INDEX_RESERVE_SHIFT);
}

/** Whether writing a segment may make evictions possible. */
function canFlushLocked(state: StoreState, flushes: number): boolean {
  return state.backing !== undefined && flushes < FLUSHES;
}

/**
 * Removes the old page, unless the pool keeps it.
 * @returns whether a page was removed
 */
function dropOldLocked(state: StoreState, pool: number, key: TmemKey, hash: number): boolean {
  const entry = state.findLocked(pool, key);
  if (entry === NIL || state.index.keepsOld(pool)) return false;
  state.changes?.removeLocked(pool, key);
  state.versions?.changedLocked(key);
  state.removeLocked(entry, hash, Reason.NO_ROOM);
  return true;
}

function refuseFullLocked(state: StoreState, pool: number, key: TmemKey, hash: number): Errno {
  const atLimit = isFullLocked(state);
  state.count(atLimit ? "pool_limit_hit" : "reject_alloc_fail");
  state.count("reject_reclaim_fail");
  const reason = atLimit ? Reason.LIMIT : Reason.NO_ROOM;
  return refuseLocked(state, pool, key, hash, reason, atLimit ? ENOSPC : ENOMEM);
}

/** Removes the page that the key had, unless the pool keeps it, and records the reason. */
function refuseLocked(
  state: StoreState,
  pool: number,
  key: TmemKey,
  hash: number,
  reason: number,
  errno: Errno,
): Errno {
  const entry = state.findLocked(pool, key);
  if (entry !== NIL && state.index.keepsOld(pool)) {
    state.commitLocked();
    return errno;
  }
  state.changes?.removeLocked(pool, key);
  state.versions?.changedLocked(key);
  if (entry !== NIL) {
    state.removeLocked(entry, hash, reason);
  } else {
    state.recordMissReasonLocked(hash, reason);
    state.commitLocked();
  }
  return errno;
}
