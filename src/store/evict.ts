// No room: choose a victim → write it back or drop it → free its object.
//
// Ephemeral pages may be dropped, persistent ones only go to the write-back file. Room is made for
// a persistent page out of ephemeral ones first; an ephemeral page takes the place of others of its
// kind only. What leaves is what the policy names, object by object; or, where the store is made
// so, the page frame that the pool names, with all that is in it.
//
// Every page goes in a transaction of its own: whoever calls has nothing that is not committed.
import { type Address, type Handle, NIL, type WordIndex } from "../base/brand.ts";
import { EBUSY } from "../base/errno.ts";
import * as Entry from "../tmem/entry.layout.ts";
import { compactIfItPaysLocked } from "./compaction.ts";
import { Reason } from "./counters.ts";
import { recordEvictionLocked } from "./eviction_events.ts";
import { expireRoundLocked } from "./expiry.ts";
import * as Page from "./page.layout.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";

/**
 * Pages that one round lets go at most: enough that frames come back in any pool (32 is also the
 * kernel's batch), few enough that the lock is held for some tens of microseconds.
 */
const ROUND_PAGES = 32;
/** A round ends when so many frames have come back. */
const ROUND_FRAMES = 4;

/**
 * One round of eviction for a page of `kind`.
 * @returns whether anything went
 */
export function makeRoomLocked(state: StoreState, kind: number): boolean {
  if (compactIfItPaysLocked(state, kind) || expireRoundLocked(state) > 0) return true;
  const went = evictRoundLocked(state, Store.EPHEMERAL);
  if (went > 0) {
    const who = kind === Store.PERSISTENT ? "persistent_ate_ephemeral" : "ephemeral_ate_tail";
    state.count(who, went);
    return true;
  }
  return kind === Store.PERSISTENT && evictRoundLocked(state, Store.PERSISTENT) > 0;
}

/** One round for the watermarks: whatever can go. @returns whether anything went */
export function reclaimRoundLocked(state: StoreState): boolean {
  return (
    expireRoundLocked(state) > 0 ||
    evictRoundLocked(state, Store.EPHEMERAL) > 0 ||
    evictRoundLocked(state, Store.PERSISTENT) > 0
  );
}

/** Lets the coldest page go that may. @returns whether there was one */
export function evictColdestLocked(state: StoreState): boolean {
  const kinds =
    state.backing === undefined ? [Store.EPHEMERAL] : [Store.EPHEMERAL, Store.PERSISTENT];
  return kinds.some((kind) => {
    const victim = victimLocked(state, kind);
    return victim !== NIL && evictLocked(state, victim);
  });
}

/** @returns pages that have left memory */
function evictRoundLocked(state: StoreState, kind: number): number {
  if (kind === Store.PERSISTENT && state.backing === undefined) return 0;
  const before = state.arena.frames.framesFree;
  let went = state.options.reclaim === "frames" ? evictFramesLocked(state, kind) : 0;
  // What has left a frame that stays, because others in it do, is no reason to stop.
  if (state.arena.frames.framesFree <= before) went += evictPagesLocked(state, kind);
  const freed = state.arena.frames.framesFree - before;
  if (freed > 0) state.count("reclaimed_frames", freed);
  return went;
}

/**
 * The page of a kind that the policy names, or NIL. What the search has changed in the order stays,
 * also if the page can't leave after all.
 */
function victimLocked(state: StoreState, kind: number): WordIndex | typeof NIL {
  const victim = state.policies[kind]!.victim();
  state.arena.lock.commit();
  return victim;
}

/** Evicts by the policy's order. @returns pages that have left memory */
function evictPagesLocked(state: StoreState, kind: number): number {
  const frames = state.arena.frames;
  const enough = frames.framesFree + ROUND_FRAMES;
  let went = 0;
  while (went < ROUND_PAGES && frames.framesFree < enough) {
    const victim = victimLocked(state, kind);
    if (victim === NIL || !evictLocked(state, victim)) break;
    went++;
  }
  return went;
}

/**
 * Evicts what lies in the page frame that the pool thinks coldest.
 * @returns pages that have left memory
 */
function evictFramesLocked(state: StoreState, kind: number): number {
  let went = 0;
  state.zpools[kind]!.shrink(1, (handle) => {
    const entry = entryOfObject(state, kind, handle);
    if (entry === NIL || !evictLocked(state, entry)) return EBUSY;
    went++;
    return 0;
  });
  // The pool has committed by itself; readers are to see that something has changed.
  state.arena.lock.commit();
  return went;
}

/**
 * The entry that an object belongs to, or NIL if it has no header: a page stored raw where the pool
 * had no room for both is not to be found this way.
 */
function entryOfObject(state: StoreState, kind: number, handle: Handle): WordIndex | typeof NIL {
  const target = state.evicted;
  if (state.zpools[kind]!.read(handle, target, state.headerBytes) !== 0) return NIL;
  const entry = state.words[target / 4]! as WordIndex;
  if (!state.index.holds(entry)) return NIL;
  const meta = state.words[entry + Entry.META]!;
  const isIts =
    Page.whereOf(meta) === Page.MEMORY &&
    Page.kindOf(meta) === kind &&
    state.words[entry + Entry.VALUE] === handle;
  return isIts ? entry : NIL;
}

/**
 * Writes a listed page back, or drops it.
 * @param keep it is not dropped: it goes to the file or stays
 * @returns whether it has left memory
 */
export function evictLocked(state: StoreState, entry: WordIndex, keep = false): boolean {
  const meta = state.words[entry + Entry.META]!;
  const kind = Page.kindOf(meta);
  const key = state.victimKey;
  const pool = state.index.keyOf(entry, key);
  const hash = state.hash(pool, key);
  if (Page.whereOf(meta) === Page.MEMORY && writeBackLocked(state, entry, pool, hash)) return true;
  if (kind === Store.PERSISTENT || keep) return false;
  state.policies[kind]!.evict(entry, hash);
  recordEvictionLocked(state, entry, Reason.EVICTED);
  state.detachLocked(entry);
  state.index.remove(entry);
  state.recordMissReasonLocked(hash, Reason.EVICTED);
  state.commitLocked();
  state.count("evicted_ephemeral_pages");
  return true;
}

/** Moves a page from the pool into the open segment of the write-back file. */
function writeBackLocked(state: StoreState, entry: WordIndex, pool: number, hash: number): boolean {
  const { backing, options } = state;
  const meta = state.words[entry + Entry.META]!;
  const kind = Page.kindOf(meta);
  if (backing === undefined) return false;
  if (kind === Store.EPHEMERAL && options.writeBack?.ephemeral !== true) return false;
  const source = (state.evicted + state.headerBytes) as Address;
  state.readObject(entry, meta, source);
  const sizeBytes = Page.sizeOf(meta);
  const place = backing.appendLocked(pool, state.victimKey, meta, source, sizeBytes);
  if (place <= 0) {
    state.arena.lock.rollBack();
    return false;
  }
  state.policies[kind]!.evict(entry, hash);
  state.detachLocked(entry);
  state.attachLocked(entry, place, Page.withWhere(meta, Page.FILE), hash);
  state.commitLocked();
  state.count("written_back_pages");
  state.count("written_back_bytes", sizeBytes);
  return true;
}
