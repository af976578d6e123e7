// Bounds on the times at which values expire, and the state of a thread's search for expired values
// (expiry.ts).
//
// Two words of the root are lower bounds, in seconds since 1970: no value expires before
// EXPIRES_FROM, and no value that was stored since the current search began expires before
// EXPIRES_SINCE.
import { put } from "../memory/journal.ts";
import { ScanCursor } from "../tmem/scan_cursor.ts";
import type { StoreContext } from "./parts.ts";
import * as Store from "./store.layout.ts";

/** Entries that a search visits between two removals of what it has found. */
export const BATCH_ENTRIES = 64;
/** Entries that one round of a search visits, at most; half as many after each round in vain … */
export const BUDGET_MAX = 4096;
/** … but at least so many. */
export const BUDGET_MIN = 64;

/** A thread's search for expired values: it continues where the last round stopped. */
export class ExpirySearch {
  readonly cursor = new ScanCursor();
  /** Entries of expired values in the current batch; a scan may visit more than it is asked for. */
  readonly found = new Int32Array(2 * BATCH_ENTRIES);
  /** How many of these there are. */
  count = 0;
  /** Entries that the next round visits. */
  budget = BUDGET_MAX;
  /** Whether a search has begun and not reached the end of the index. */
  isUnderWay = false;
  /** The number of the search (EXPIRY_ROUNDS). */
  round = 0;
  /** The earliest time at which a value that the search has visited expires, in seconds. */
  earliest = Store.NEVER;
}

/**
 * Lowers the bounds for a value that is being stored, in the same transaction.
 * @param expiresMs when the value expires, in ms since 1970; Infinity if it never does
 */
export function lowerBoundsLocked(store: StoreContext, expiresMs: number): void {
  if (expiresMs === Number.POSITIVE_INFINITY) return;
  const { words, root } = store;
  const seconds = secondsOf(expiresMs);
  for (const what of [Store.EXPIRES_FROM, Store.EXPIRES_SINCE]) {
    if (seconds < words[root + what]! >>> 0) put(words, root + what, seconds);
  }
}

/** Whole seconds in 32 bits: Infinity and times after 2106 become NEVER. */
export function secondsOf(ms: number): number {
  return Math.min(Math.floor(ms / 1000), Store.NEVER >>> 0);
}
