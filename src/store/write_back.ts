// Maintenance beside puts and gets: writes full segments to the file, cleans segments that hold
// little, and makes room before it runs out. It runs in bounded steps, on a thread that has put a
// page or on the maintainer thread. No lock is held during file I/O.
import type { RecordKey } from "../backing/contract.ts";
import { type Address, NIL } from "../base/brand.ts";
import { ZcacheError } from "../base/errors.ts";
import { put } from "../memory/journal.ts";
import { markFrames, reclaimNext } from "../policy/watermarks.ts";
import * as Entry from "../tmem/entry.layout.ts";
import { compactIfItPaysLocked } from "./compaction.ts";
import { Reason } from "./counters.ts";
import { evictColdestLocked, reclaimRoundLocked } from "./evict.ts";
import { recordEvictionLocked } from "./eviction_events.ts";
import * as Page from "./page.layout.ts";
import { repackStep } from "./repack.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";
import { transaction } from "./transaction.ts";

/** Whether free memory is below the low watermark. */
export function isLow(state: StoreState): boolean {
  return state.framesFree < lowFrames(state);
}

/** The low watermark, in frames. */
export function lowFrames(state: StoreState): number {
  return markFrames(state.words[state.root + Store.LIMIT_FRAMES]!, state.options.lowPercent);
}

/** Whether free memory is below half of the low watermark: the maintainer does not keep up. */
export function isVeryLow(state: StoreState): boolean {
  const limit = state.words[state.root + Store.LIMIT_FRAMES]!;
  return state.framesFree < markFrames(limit, state.options.lowPercent / 2);
}

/**
 * Runs one step of each kind of work.
 * @returns whether there may be more to do now
 */
export function maintain(state: StoreState): boolean {
  const compacted = compactStep(state);
  repackStep(state);
  const reclaimed = reclaimStep(state);
  const flushed = flushStep(state);
  const cleaned = cleanStep(state);
  return compacted || reclaimed || flushed || cleaned;
}

/** Runs one round of compaction in pools that have become sparse. */
function compactStep(state: StoreState): boolean {
  if (!state.zpools.some((zpool) => zpool.canCompact)) return false;
  return transaction(
    state,
    () =>
      compactIfItPaysLocked(state, Store.EPHEMERAL) ||
      compactIfItPaysLocked(state, Store.PERSISTENT),
  );
}

/** Runs one round of reclaim, which begins below the low watermark and ends at the high one. */
export function reclaimStep(state: StoreState): boolean {
  const { words, root, options } = state;
  const { lock } = state.arena;
  lock.lock();
  try {
    const limit = words[root + Store.LIMIT_FRAMES]!;
    const before = words[root + Store.RECLAIMING] !== 0;
    const now = reclaimNext(before, state.framesFree, limit, options);
    if (now !== before) put(words, root + Store.RECLAIMING, now ? 1 : 0);
    lock.commit();
    return now && reclaimRoundLocked(state);
  } finally {
    lock.unlock();
  }
}

/**
 * Writes one full segment to the file.
 * @returns whether one was written
 */
export function flushStep(state: StoreState): boolean {
  const { backing } = state;
  if (backing === undefined) return false;
  const segment = transaction(state, () => backing.beginFlushLocked());
  if (segment === NIL) return false;
  let failure: ZcacheError | undefined;
  try {
    backing.flush(segment);
  } catch (error) {
    if (!(error instanceof ZcacheError)) throw error;
    failure = error;
  }
  transaction(state, () => backing.endFlushLocked(segment, failure));
  return failure === undefined;
}

/**
 * Moves the live records out of a segment that holds few, so that the segment can be reused.
 * @returns whether a segment was cleaned
 */
export function cleanStep(state: StoreState): boolean {
  const { backing } = state;
  if (backing === undefined) return false;
  const ephemeralAt = state.gaugeAt(Store.EPHEMERAL, Store.IN_FILE);
  const segment = transaction(state, () => backing.pickVictimLocked(state.words[ephemeralAt]! > 0));
  if (segment === NIL) return false;
  return backing.clean(segment, {
    run: (work) => transaction(state, work),
    keep: (pool, key, place, address) => moveRecordLocked(state, pool, key, place, address),
  });
}

/**
 * Moves a record of the segment being cleaned to the open segment, if its page is still stored. If
 * the file is full, an ephemeral page is dropped instead, so that the oldest pages go.
 */
function moveRecordLocked(
  state: StoreState,
  pool: number,
  key: RecordKey,
  place: number,
  address: Address,
): void {
  const name = state.victimKey.copy(key);
  const entry = state.findLocked(pool, name);
  if (entry === NIL || state.words[entry + Entry.VALUE] !== place) return;
  const meta = state.words[entry + Entry.META]!;
  if (Page.whereOf(meta) !== Page.FILE) return;
  const hash = state.hash(pool, name);
  const backing = state.backing!;
  if (backing.isFullLocked && Page.kindOf(meta) === Store.EPHEMERAL) {
    recordEvictionLocked(state, entry, Reason.DROPPED_FROM_FILE, address);
    state.count("dropped_from_file");
    state.removeLocked(entry, hash, Reason.DROPPED_FROM_FILE);
    return;
  }
  const next = backing.appendLocked(pool, name, meta, address, true);
  if (next < 0) {
    state.arena.lock.rollBack();
    return;
  }
  backing.releaseLocked(place, Page.sizeOf(meta));
  put(state.words, entry + Entry.VALUE, next);
  state.commitLocked();
}

/** Writes all pending segments, before the store is closed. */
export function flushAll(state: StoreState): void {
  const { backing } = state;
  if (backing === undefined) return;
  transaction(state, () => backing.sealLocked());
  while (flushStep(state));
}

/**
 * Evicts pages, coldest first.
 * @returns how many have left memory
 */
export function shrink(state: StoreState, pages: number): number {
  state.readBuffer.flush();
  let gone = 0;
  while (gone < pages) {
    if (transaction(state, () => evictColdestLocked(state))) gone++;
    // If segments that wait to be written are in the way, write one.
    else if (!flushStep(state)) break;
  }
  return gone;
}
