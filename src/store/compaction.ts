// Compaction: in pools that leave gaps and can move objects (zsmalloc), frees page frames without
// an eviction. It runs before evictions if the gaps are large, and, however large they are, before
// a put is refused.

import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";
import { transaction } from "./transaction.ts";

/** Frames that one round frees, at about; takes some tens of microseconds. */
const ROUND_FRAMES = 4;
/** A round is worth its time if more than this part of the pool's frames is empty, as a shift. */
const GAPS_SHIFT = 3;
/** Transactions between a round that freed nothing and the next. */
const PAUSE_AFTER_VAIN = 64;

/**
 * Runs one round in the pool of a kind.
 * @returns whether frames were freed
 */
export function compactLocked(state: StoreState, kind: number): boolean {
  const zpool = state.zpools[kind]!;
  if (!zpool.canCompact) return false;
  const { lock } = state.arena;
  const since = (lock.version - state.compactedInVain[kind]!) | 0;
  if (since >= 0 && since < PAUSE_AFTER_VAIN) return false;
  const freed = zpool.compact(ROUND_FRAMES);
  lock.commit();
  if (freed === 0) state.compactedInVain[kind] = lock.version;
  return freed > 0;
}

/** As `compactLocked`, if the gaps are large enough. */
export function compactIfItPaysLocked(state: StoreState, kind: number): boolean {
  const zpool = state.zpools[kind]!;
  if (!zpool.canCompact) return false;
  const pages = zpool.totalPages();
  const bytes = state.words[state.gaugeAt(kind, Store.BYTES)]! >>> 0;
  const gaps = pages - bytes / state.pageSize;
  return gaps > pages >>> GAPS_SHIFT && compactLocked(state, kind);
}

/** Compacts the pools frame by frame. @returns page frames freed, `frames` at about */
export function compactFrames(state: StoreState, frames: number): number {
  let freed = 0;
  for (const zpool of state.zpools) {
    for (let step = 1; step > 0 && freed < frames; freed += step) {
      step = transaction(state, () => zpool.compact(1));
    }
  }
  return freed;
}
