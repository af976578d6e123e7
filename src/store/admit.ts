// Whether a put may store its page, and what a refusal does: it removes the page that the key had
// and records the reason, unless the pool keeps its old pages.
import { NIL } from "../base/brand.ts";
import { ENOMEM, ENOSPC, type Errno } from "../base/errno.ts";
import { put } from "../memory/journal.ts";
import { ADMITTED, admitCount, admitSize } from "../policy/admission.ts";
import { fullNext } from "../policy/watermarks.ts";
import { REASON_OF_REFUSAL, Reason } from "./counters.ts";
import { makeRoomLocked } from "./evict.ts";
import type { PutRequest } from "./put_request.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";

/** Of the frames within the limit, objects leave this part to the index, as a shift. */
const INDEX_RESERVE_SHIFT = 8;

/** Applies the admission rules. @returns 0, or the error number of a refusal */
export function admitLocked(state: StoreState, request: PutRequest): 0 | Errno {
  const { words, root } = state;
  const { kind } = request;
  if (words[root + Store.FROZEN] !== 0) {
    state.count("put_to_flush");
    return refuseLocked(state, request, Reason.FROZEN, ENOSPC);
  }
  const { admission, acceptPercent } = state.options;
  // As in zswap, a store that was full takes nothing until its use has fallen to the threshold.
  if (acceptPercent < 100 && isFullLocked(state)) {
    makeRoomLocked(state, kind);
    if (isFullLocked(state)) return refuseFullLocked(state, request);
  }
  const pages = words[state.gaugeAt(kind, Store.IN_MEMORY)]!;
  const bytes = words[state.gaugeAt(kind, Store.BYTES)]! >>> 0;
  const count = admitCount(admission, pages, words[root + Store.LIMIT_FRAMES]!);
  const verdict =
    count === ADMITTED
      ? admitSize(admission, request.sizeBytes, state.pageSize, pages, bytes)
      : count;
  if (verdict === ADMITTED) return 0;
  state.count(verdict);
  return refuseLocked(state, request, REASON_OF_REFUSAL[verdict], ENOSPC);
}

/**
 * Whether objects may not take another frame: the limit is reached, or it was and the threshold is
 * not reached yet.
 */
export function isFullLocked(state: StoreState): boolean {
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
export function indexReserve(state: StoreState): number {
  return Math.max(2, state.words[state.root + Store.LIMIT_FRAMES]! >>> INDEX_RESERVE_SHIFT);
}

/**
 * Removes the page that the key had, unless the pool keeps it.
 * @returns whether a page was removed
 */
export function dropOldLocked(state: StoreState, { pool, key, hash }: PutRequest): boolean {
  const entry = state.findLocked(pool, key);
  if (entry === NIL || state.index.keepsOld(pool)) return false;
  state.changes?.removeLocked(pool, key);
  state.versions?.changedLocked(key);
  state.removeLocked(entry, hash, Reason.NO_ROOM);
  return true;
}

/** Refuses a put for which there is no room. */
export function refuseFullLocked(state: StoreState, request: PutRequest): Errno {
  const atLimit = isFullLocked(state);
  state.count(atLimit ? "pool_limit_hit" : "reject_alloc_fail");
  state.count("reject_reclaim_fail");
  const reason = atLimit ? Reason.LIMIT : Reason.NO_ROOM;
  return refuseLocked(state, request, reason, atLimit ? ENOSPC : ENOMEM);
}

/**
 * Removes the page that the key had, unless the pool keeps it, and records the reason.
 * @returns `errno`
 */
export function refuseLocked(
  state: StoreState,
  { pool, key, hash }: PutRequest,
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
