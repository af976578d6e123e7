// A page comes in: same-filled? → compress → allocate → index. What takes long, compressing, is
// done before the lock is taken; under it are one copy and some list steps.
//
// A put that is refused leaves no old copy behind: a page that the caller has changed must not come
// back as it was. But for a pool that KEEPS_OLD: a disk's writer is told, and its old sector stays.
import type { Address, WordIndex } from "../base/brand.ts";
import { NIL } from "../base/brand.ts";
import { ECANCELED, EINVAL, ENOMEM, ENOSPC, type Errno } from "../base/errno.ts";
import * as Entry from "../index/entry.layout.ts";
import type { TmemKey } from "../index/key.ts";
import { put } from "../memory/journal.ts";
import { ADMITTED, admitCount, admitSize } from "../policy/admission.ts";
import { fullNext } from "../policy/watermarks.ts";
import { REASON_OF_REFUSAL, Reason } from "./counters.ts";
import { makeRoomLocked } from "./evict.ts";
import * as Page from "./page.layout.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";
import { isHead } from "./versions.ts";

/** Stored: none of the refusals. */
export const STORED = 0;
/**
 * Rounds of eviction for one put. A round frees many objects (evict.ts); a pool that can't place
 * one after so many has its room in places where this size does not fit.
 */
const ROUNDS = 8;

/** Same-filled: the word that fills the page, in 33 bits so that none of them means "no". */
const NOT_SAME = 2 ** 32;

/**
 * Stores the page at `address`, elsewhere in the arena, under a key.
 * @returns STORED, or why not: EINVAL (no such pool), ENOSPC (the limit, or a rule of admission),
 *   ENOMEM (no room, and nothing could be evicted). Whatever was there under the key is gone then.
 */
export function pageIn(
  state: StoreState,
  pool: number,
  key: TmemKey,
  address: Address,
): typeof STORED | Errno {
  const pattern = patternOf(state, address);
  if (pattern !== NOT_SAME) return sameIn(state, pool, key, pattern);
  const target = (state.packed + state.headerBytes) as Address;
  const packedBytes = pack(state, address, state.pageSize, target, state.packedMax, 0);
  if (packedBytes !== 0) return packedIn(state, pool, key, Page.FAST, packedBytes, target);
  // Where there are headers, there is room for one right before the scratch.
  if (state.headerBytes === 0) {
    return packedIn(state, pool, key, Page.RAW, state.pageSize, address);
  }
  state.arena.kernels.copy(target, address, state.pageSize);
  return packedIn(state, pool, key, Page.RAW, state.pageSize, target);
}

/** Compresses what comes in. @returns bytes at `target`; 0 if there would be more than the limit */
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

/** Stores what is compressed already, or is not to be: `sizeBytes` at `source`. */
export function packedIn(
  state: StoreState,
  pool: number,
  key: TmemKey,
  codec: number,
  sizeBytes: number,
  source: Address,
): typeof STORED | Errno {
  const { lock } = state.arena;
  const { changes } = state;
  const hash = state.hash(pool, key);
  for (;;) {
    if (changes !== undefined) changes.prepare(source, sizeBytes);
    lock.lock();
    try {
      if (changes === undefined || changes.hasRoomLocked(sizeBytes)) {
        return storeLocked(state, pool, key, hash, codec, sizeBytes, source);
      }
    } finally {
      lock.unlock();
    }
  }
}

function sameIn(
  state: StoreState,
  pool: number,
  key: TmemKey,
  pattern: number,
): typeof STORED | Errno {
  const { lock } = state.arena;
  const hash = state.hash(pool, key);
  lock.lock();
  try {
    return storeSameLocked(state, pool, key, hash, pattern);
  } finally {
    lock.unlock();
  }
}

/** The word that the page at `address` repeats, or NOT_SAME. */
function patternOf(state: StoreState, address: Address): number {
  if (state.arena.kernels.sameFilled(address, state.pageSize) === 0) return NOT_SAME;
  const low = state.words[address / 4]!;
  // The kernel looks for 64 bits; an entry has room for 32, and few pages repeat a larger pattern.
  return state.words[address / 4 + 1] === low ? low : NOT_SAME;
}

/** Stores a page that needs an object. */
function storeLocked(
  state: StoreState,
  pool: number,
  key: TmemKey,
  hash: number,
  codec: number,
  sizeBytes: number,
  source: Address,
): typeof STORED | Errno {
  if (state.condition !== undefined && isHead(key) && !state.condition()) return ECANCELED;
  state.count("puts");
  const kind = state.index.kindOf(pool);
  if (kind === NIL) return EINVAL;
  const refusal = admitLocked(state, pool, kind, key, hash, sizeBytes);
  if (refusal !== STORED) return refusal;
  for (let round = 0; ; round++) {
    const entry = state.insertLocked(pool, key);
    const handle = entry === NIL ? ENOMEM : state.makeObjectLocked(kind, entry, source, sizeBytes);
    if (entry !== NIL && handle > 0) {
      state.hasOthers = !state.index.isInline(entry);
      state.changes?.putLocked(pool, key, codec, source, sizeBytes);
      state.versions?.changedLocked(key);
      placeLocked(state, entry, handle, kind, Page.MEMORY, hash, codec, sizeBytes);
      return STORED;
    }
    state.arena.lock.rollBack();
    if (handle === ENOSPC || round === ROUNDS || !makeRoomLocked(state, kind)) {
      const poor = handle === ENOSPC;
      state.count(poor ? "reject_compress_poor" : "reject_alloc_fail");
      const reason = poor ? Reason.COMPRESS_POOR : Reason.NO_ROOM;
      return refuseLocked(state, pool, key, hash, reason, poor ? ENOSPC : ENOMEM);
    }
  }
}

function storeSameLocked(
  state: StoreState,
  pool: number,
  key: TmemKey,
  hash: number,
  pattern: number,
): typeof STORED | Errno {
  state.count("puts");
  const kind = state.index.kindOf(pool);
  if (kind === NIL) return EINVAL;
  const refusal = admitLocked(state, pool, kind, key, hash, 0);
  if (refusal !== STORED) return refusal;
  for (let round = 0; ; round++) {
    const entry = state.insertLocked(pool, key);
    if (entry !== NIL) {
      placeLocked(state, entry, pattern, kind, Page.SAME_FILLED, hash, Page.RAW, 0);
      return STORED;
    }
    state.arena.lock.rollBack();
    if (round === ROUNDS || !makeRoomLocked(state, kind)) {
      state.count("reject_alloc_fail");
      return refuseLocked(state, pool, key, hash, Reason.NO_ROOM, ENOMEM);
    }
  }
}

/** Lets a new or found entry stand for the page, and commits. */
function placeLocked(
  state: StoreState,
  entry: WordIndex,
  value: number,
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
    if (Page.isListed(before)) state.policies[kind]!.removed(entry);
    state.letGoLocked(entry);
  }
  const meta = Page.makeMeta(kind, where, state.words[state.root + Store.TICK]!);
  state.fillLocked(entry, value, Page.withSize(meta, codec, sizeBytes), hash);
  state.commitLocked();
}

/** Whether the store takes a page of this size now. */
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
  if (isFullLocked(state)) {
    makeRoomLocked(state, kind);
    if (isFullLocked(state)) {
      state.count("pool_limit_hit");
      return refuseLocked(state, pool, key, hash, Reason.LIMIT, ENOSPC);
    }
  }
  const { admission } = state.options;
  const pages = words[state.gaugeAt(kind, Store.IN_MEMORY)]!;
  const bytes = words[state.gaugeAt(kind, Store.BYTES)]! >>> 0;
  const count = admitCount(admission, pages, words[root + Store.LIMIT_FRAMES]!);
  const verdict =
    count === ADMITTED ? admitSize(admission, sizeBytes, state.pageSize, pages, bytes) : count;
  if (verdict === ADMITTED) return STORED;
  state.count(verdict);
  return refuseLocked(state, pool, key, hash, REASON_OF_REFUSAL[verdict], ENOSPC);
}

/** Whether the limit is reached, or was and the accept threshold is not yet. */
function isFullLocked(state: StoreState): boolean {
  const { words, root } = state;
  const before = words[root + Store.FULL] !== 0;
  const limit = words[root + Store.LIMIT_FRAMES]!;
  const used = state.arena.frames.framesUsed;
  const now = fullNext(before, used, limit, state.options.acceptPercent);
  if (now !== before) put(words, root + Store.FULL, now ? 1 : 0);
  return now;
}

/**
 * Takes away what was stored under the key before, and remembers why; unless the pool keeps it.
 */
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
    state.buryLocked(hash, reason);
    state.commitLocked();
  }
  return errno;
}
