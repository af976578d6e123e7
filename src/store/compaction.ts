// Compaction: in pools that leave gaps and can move objects (zsmalloc), frames come free without
// anything having to go. Done when the gaps are large, before anything is evicted; and, however
// large they are, before a put is refused.

import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";

/** Frames that one round frees, at about: some tens of microseconds. */
const ROUND_FRAMES = 4;
/** A round pays where more than this part of the pool's frames is empty, ... */
const GAPS_SHIFT = 3;
/** After a round that freed nothing: transactions until another one is tried. */
const PAUSE_AFTER_VAIN = 64;

/** One round in the pool of a kind. @returns whether frames came free */
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

/** As `compactLocked`, where the gaps are large enough for it to pay. */
export function compactIfItPaysLocked(state: StoreState, kind: number): boolean {
  const zpool = state.zpools[kind]!;
  if (!zpool.canCompact) return false;
  const pages = zpool.totalPages();
  const bytes = state.words[state.gaugeAt(kind, Store.BYTES)]! >>> 0;
  const gaps = pages - bytes / state.pageSize;
  return gaps > pages >>> GAPS_SHIFT && compactLocked(state, kind);
}
