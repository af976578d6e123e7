// Removes many pages, of an object or of a whole tmem pool, in steps: other threads get the lock
// between two of them.
import type { WordIndex } from "../base/brand.ts";
import * as Entry from "../tmem/entry.layout.ts";
import * as Page from "./page.layout.ts";
import type { StoreState } from "./state.ts";
import { transaction } from "./transaction.ts";

/** Pages that one step removes, under one hold of the lock. */
const STEP_PAGES = 32;

/**
 * @param reason why these pages are gone (counters.ts)
 * @param removeLocked calls `visit` with the entry of one page, removes it from the index, and
 *   returns how many pages are left; a negative number for an error
 * @param logLocked called first in each step, so that the log of changes says what the step does
 * @returns how many pages were removed
 */
export function removePages(
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
    state.recordMissReasonLocked(state.hash(pool, state.victimKey), reason);
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
