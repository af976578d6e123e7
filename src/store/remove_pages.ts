// Removes pages on request: one, those of an object, or those of a tmem pool. Many pages are
// removed in steps, between which other threads can take the lock.
import type { WordIndex } from "../base/brand.ts";
import { EBUSY, type Errno } from "../base/errno.ts";
import * as Entry from "../tmem/entry.layout.ts";
import type { TmemKey } from "../tmem/key.ts";
import { Reason } from "./counters.ts";
import * as Page from "./page.layout.ts";
import { hasPrefix, isSampling, sampleRemoval } from "./request_sample.ts";
import type { StoreState } from "./state.ts";
import { transaction } from "./transaction.ts";
import { isHead } from "./versions.ts";

/** Pages that one step removes while it holds the lock. */
const STEP_PAGES = 32;

/** As `Store.flush`. */
export function removePage(state: StoreState, pool: number, key: TmemKey): boolean {
  state.changes?.makeRoom(0);
  return transaction(state, () => {
    state.count("flushes");
    if (state.condition !== undefined && isHead(key) && !state.condition()) return false;
    state.changes?.removeLocked(pool, key);
    state.versions?.changedLocked(key);
    if (isSampling(state)) sampleRemoval(state, state.hash(pool, key));
    const entry = state.index.find(pool, key);
    if (entry < 0) return false;
    state.count("flushes_found");
    state.removeLocked(entry as WordIndex, state.hash(pool, key), Reason.FLUSHED);
    return true;
  });
}

/** As `Store.flushObject`. */
export function removeObject(state: StoreState, pool: number, key: TmemKey): number {
  const { index, changes, versions } = state;
  const logLocked = () => {
    changes?.removeObjectLocked(pool, key);
    versions?.objectChangedLocked(key);
  };
  const step = (visit: (entry: WordIndex) => void) => index.removeObject(pool, key, 1, visit);
  const removed = removePages(state, Reason.OBJECT_FLUSHED, step, logLocked);
  // Also of a value that was evicted before, which a larger memory would have kept.
  if (isSampling(state) && hasPrefix(state, key)) sampleRemoval(state, state.hash(pool, key));
  transaction(state, () => {
    state.count("object_flushes");
    if (removed > 0) state.count("object_flushes_found");
  });
  return removed;
}

/** As `Store.destroyPool`. */
export function removePool(state: StoreState, pool: number): 0 | Errno {
  const left = transaction(state, () => state.index.destroyPool(pool));
  // EBUSY: another thread is removing the pages, or has died doing so.
  if (left !== 0 && left !== EBUSY) return left < 0 ? (left as Errno) : 0;
  removePages(state, Reason.POOL_DESTROYED, (visit) => state.index.destroyStep(pool, 1, visit));
  return 0;
}

/**
 * @param reason the miss reason to record for each page (counters.ts)
 * @param removeLocked calls `visit` with the entry of one page, removes it from the index, and
 *   returns how many pages are left; a negative number for an error
 * @param logLocked called first in each step, so that the log of changes says what the step does
 * @returns how many pages were removed
 */
function removePages(
  state: StoreState,
  reason: number,
  removeLocked: (visit: (entry: WordIndex) => void) => number,
  logLocked?: () => void,
): number {
  let removed = 0;
  const visit = (entry: WordIndex) => {
    const meta = state.words[entry + Entry.META]!;
    const pool = state.index.keyOf(entry, state.victimKey);
    if (Page.isListed(meta)) state.policies[Page.kindOf(meta)]!.remove(entry);
    state.detachLocked(entry);
    const hash = state.hash(pool, state.victimKey);
    state.recordMissReasonLocked(hash, reason);
    if (isSampling(state)) sampleRemoval(state, hash);
    removed++;
  };
  for (let left = 1; left > 0; ) {
    if (logLocked !== undefined) state.changes?.makeRoom(0);
    transaction(state.assertOpen(), () => {
      logLocked?.();
      for (let n = 0; n < STEP_PAGES && left > 0; n++) {
        left = removeLocked(visit);
        state.commitLocked();
      }
    });
  }
  return removed;
}
