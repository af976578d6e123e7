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
import * as Entry from "../tmem/entry.layout.ts";
import type { TmemKey } from "../tmem/key.ts";
import {
  admitLocked,
  dropOldLocked,
  indexReserve,
  isFullLocked,
  refuseFullLocked,
  refuseLocked,
} from "./admit.ts";
import { compactLocked } from "./compaction.ts";
import { Reason } from "./counters.ts";
import { makeRoomLocked } from "./evict.ts";
import { overwriteInPlaceLocked, overwriteLocked } from "./overwrite.ts";
import * as Page from "./page.layout.ts";
import type { PutRequest } from "./put_request.ts";
import { isSampling, samplePut } from "./request_sample.ts";
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
/** Segments that one put writes, at most, if nothing can be evicted before some are written. */
const FLUSHES = 8;
/**
 * If no slot of an object's size is free, larger slots are tried in steps of this fraction of a
 * page.
 */
const ROOM_STEPS = 32;
/** Before a page is refused, also slots between these steps: those of every class of each pool. */
const STEPS_BETWEEN = 8;

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
    if (low === high || Page.holdsWidePatterns(kind)) {
      return storeSameFilled(state, pool, key, low, high);
    }
  }
  const target = (state.packed + state.headerBytes) as Address;
  const codec = state.codecOf(Page.FAST, 0);
  const packedBytes = codec.compress(address, state.pageSize, target, state.packedMax[kind]!);
  countCompression(state, state.pageSize, packedBytes);
  if (packedBytes !== 0) {
    return storePacked(state, pool, key, Page.withSize(0, Page.FAST, packedBytes), target);
  }
  const raw = Page.withSize(0, Page.RAW, state.pageSize);
  // Objects with headers need room for one right before their data, which the scratch has.
  if (state.headerBytes === 0) return storePacked(state, pool, key, raw, address);
  state.arena.kernels.copy(target, address, state.pageSize);
  return storePacked(state, pool, key, raw, target);
}

/** Counts that a new page or value was compressed. @param packedBytes 0: it stays raw */
export function countCompression(state: StoreState, sizeBytes: number, packedBytes: number): void {
  state.count("compressed_pages");
  state.count("compressed_bytes_in", sizeBytes);
  state.count("compressed_bytes_out", packedBytes === 0 ? sizeBytes : packedBytes);
}

/**
 * Stores bytes at `source`, which are compressed already or stay raw.
 * @param packed their CODEC and SIZE as in META: `Page.withSize(0, codec, sizeBytes)`
 * @returns as `storePage`
 */
export function storePacked(
  state: StoreState,
  pool: number,
  key: TmemKey,
  packed: number,
  source: Address,
): typeof STORED | Errno {
  state.room?.beforePut();
  const request = beginRequest(state, pool, key, packed);
  request.source = source;
  return storeRequest(state, request, false);
}

/**
 * As `storePacked`, by a caller that has taken the lock, which is released, and has called
 * `RoomSource.beforePut` before. The store must keep no log of changes.
 */
export function storePackedLocked(
  state: StoreState,
  pool: number,
  key: TmemKey,
  packed: number,
  source: Address,
): typeof STORED | Errno {
  const request = beginRequest(state, pool, key, packed);
  request.source = source;
  return storeRequest(state, request, true);
}

function storeRequest(
  state: StoreState,
  request: PutRequest,
  isLocked: boolean,
): typeof STORED | Errno {
  const { changes } = state;
  const { lock, frames } = state.arena;
  const { source, sizeBytes } = request;
  for (let mustLock = !isLocked; ; mustLock = true) {
    if (changes !== undefined) changes.prepare(source, sizeBytes);
    let result: number = EAGAIN;
    if (mustLock) lock.lock();
    try {
      if (changes !== undefined && !changes.hasRoomLocked(sizeBytes)) continue;
      result = storeLocked(state, request);
    } finally {
      frames.keepFree = 0;
      lock.unlock();
    }
    if (result !== EAGAIN) return finishRequest(state, request, result as typeof STORED | Errno);
    makeRoomOutside(state, request);
  }
}

function finishRequest(
  state: StoreState,
  request: PutRequest,
  result: typeof STORED | Errno,
): typeof STORED | Errno {
  if (isSampling(state)) samplePut(state, request, result);
  return result;
}

function storeSameFilled(
  state: StoreState,
  pool: number,
  key: TmemKey,
  low: number,
  high: number,
): typeof STORED | Errno {
  const { lock, frames } = state.arena;
  state.room?.beforePut();
  const request = beginRequest(state, pool, key, 0);
  request.low = low;
  request.high = high;
  for (;;) {
    let result: number = EAGAIN;
    lock.lock();
    try {
      result = storeSameLocked(state, request);
    } finally {
      frames.keepFree = 0;
      lock.unlock();
    }
    if (result !== EAGAIN) return finishRequest(state, request, result as typeof STORED | Errno);
    makeRoomOutside(state, request);
  }
}

/** The thread's record for the put that begins. */
function beginRequest(state: StoreState, pool: number, key: TmemKey, packed: number): PutRequest {
  const { putRequest: request } = state;
  request.pool = pool;
  request.key = key;
  request.hash = state.hash(pool, key);
  request.packed = packed;
  request.sizeBytes = Page.sizeOf(packed);
  request.attempts = 0;
  request.hasAskedShards = false;
  request.flushes = 0;
  return request;
}

/**
 * Stores a page that needs an object.
 * @returns as `storePage`, or EAGAIN if a segment must be written first
 */
function storeLocked(state: StoreState, request: PutRequest): typeof STORED | Errno {
  const { key } = request;
  if (state.condition !== undefined && isHead(key) && !state.condition()) return ECANCELED;
  if (request.attempts === 0) state.count("puts");
  const kind = state.index.kindOf(request.pool);
  if (kind === NIL) return EINVAL;
  request.kind = kind;
  const refusal = admitLocked(state, request);
  if (refusal !== STORED) return refusal;
  for (let round = 0; ; round++) {
    const result = placeObjectLocked(state, request, 0);
    if (result === STORED) return STORED;
    if (overwriteLocked(state, request)) return STORED;
    if (result === ENOSPC) {
      state.count("reject_compress_poor");
      return refuseLocked(state, request, Reason.COMPRESS_POOR, ENOSPC);
    }
    if (round === ROUNDS || !makeRoomLocked(state, kind)) break;
  }
  // Nothing more can be evicted: use larger slots, and the gaps between objects.
  const step = state.pageSize / ROOM_STEPS;
  do {
    if (placeObjectLocked(state, request, step) === STORED) return STORED;
  } while (compactLocked(state, kind));
  if (mayRetry(state, request)) return EAGAIN;
  if (placeBetweenLocked(state, request, step)) return STORED;
  // A refusal would remove the old page anyway; its room is the last there is.
  if (dropOldLocked(state, request) && placeObjectLocked(state, request, step) === STORED) {
    state.count("duplicate_puts");
    return STORED;
  }
  return refuseFullLocked(state, request);
}

function storeSameLocked(state: StoreState, request: PutRequest): typeof STORED | Errno {
  if (request.attempts === 0) state.count("puts");
  const kind = state.index.kindOf(request.pool);
  if (kind === NIL) return EINVAL;
  request.kind = kind;
  const refusal = admitLocked(state, request);
  if (refusal !== STORED) return refusal;
  const { frames, lock } = state.arena;
  for (let round = 0; ; round++) {
    frames.keepFree = state.framesAboveLimit;
    const entry = state.insertLocked(request.pool, request.key);
    frames.keepFree = 0;
    if (entry !== NIL) {
      placeLocked(state, request, entry, Page.SAME_FILLED, request.low);
      return STORED;
    }
    lock.rollBack();
    const isMore = round < ROUNDS && makeRoomLocked(state, kind);
    if (!isMore && !compactLocked(state, kind)) break;
  }
  return mayRetry(state, request) ? EAGAIN : refuseFullLocked(state, request);
}

/**
 * Overwrites the page's object in place, or allocates another, if there is room within the limit,
 * and attaches it to the entry.
 * @param step 0, or, if no slot of the size is free, the difference by which larger slots are tried
 * @param first the first such difference
 * @returns STORED; ENOSPC or ENOMEM as the pool says, and then nothing has changed
 */
function placeObjectLocked(
  state: StoreState,
  request: PutRequest,
  step: number,
  first = step,
): typeof STORED | Errno {
  const { frames, lock } = state.arena;
  const { pool, key, kind, sizeBytes, source } = request;
  const isFull = isFullLocked(state);
  const above = state.framesAboveLimit;
  frames.keepFree = above;
  const entry = state.insertLocked(pool, key);
  if (entry !== NIL && state.words[entry + Entry.META] !== 0) {
    frames.keepFree = 0;
    if (overwriteInPlaceLocked(state, request, entry, isFull)) return STORED;
  }
  frames.keepFree = isFull ? frames.framesFree : above + indexReserve(state);
  let handle: number = ENOMEM;
  if (entry !== NIL) {
    handle = state.makeObjectLocked(kind, entry, source, sizeBytes, 0);
    for (let more = first; handle === ENOMEM && step !== 0; more += step) {
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
  state.changes?.putLocked(pool, key, Page.codecOf(request.packed), source, sizeBytes);
  state.versions?.changedLocked(key);
  placeLocked(state, request, entry, Page.MEMORY, handle);
  return STORED;
}

/**
 * As `placeObjectLocked`, for slots of sizes between the steps: the slot of a page which was
 * overwritten by a larger one may be of any class. In several passes, because each is a
 * transaction.
 */
function placeBetweenLocked(state: StoreState, request: PutRequest, step: number): boolean {
  for (let nth = 1; nth < STEPS_BETWEEN; nth++) {
    const first = (step * nth) / STEPS_BETWEEN;
    if (placeObjectLocked(state, request, step, first) === STORED) return true;
  }
  return false;
}

/**
 * Attaches the page to a new or existing entry, and commits.
 * @param value as META's WHERE says (page.layout.ts)
 */
function placeLocked(
  state: StoreState,
  request: PutRequest,
  entry: WordIndex,
  where: number,
  value: number,
): void {
  const { kind, packed } = request;
  if (where === Page.MEMORY && Page.codecOf(packed) === Page.RAW) state.count("huge_pages_since");
  const before = state.words[entry + Entry.META]!;
  const tick = state.words[state.root + Store.TICK]!;
  if (before !== 0) {
    state.count("duplicate_puts");
    if (where === Page.MEMORY && Page.isListed(before) && !state.isOrdered(kind)) {
      state.detachLocked(entry);
      state.reattachLocked(entry, value, Page.replaced(before, packed, tick));
      state.commitLocked();
      return;
    }
    if (Page.isListed(before)) state.policies[kind]!.remove(entry);
    state.detachLocked(entry);
  }
  if (where === Page.SAME_FILLED && Page.holdsWidePatterns(kind)) {
    put(state.words, entry + Entry.LINKS, request.high);
  }
  const meta = Page.makeMeta(kind, where, tick);
  state.attachLocked(entry, value, meta | packed, request.hash);
  state.commitLocked();
}

/** Whether room outside of this store's pools may help: of other shards, or in the file. */
function mayRetry(state: StoreState, { hasAskedShards, flushes }: PutRequest): boolean {
  if (state.room !== undefined && !hasAskedShards) return true;
  return state.backing !== undefined && flushes < FLUSHES;
}

/** Asks other shards for room; then writes a segment, which may make evictions possible. */
function makeRoomOutside(state: StoreState, request: PutRequest): void {
  request.attempts++;
  if (state.room !== undefined && !request.hasAskedShards) {
    request.hasAskedShards = true;
    if (state.room.raise()) return;
  }
  request.flushes = flushStep(state) ? request.flushes + 1 : FLUSHES;
}
