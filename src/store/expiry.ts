// Removes expired values, so that they make room before living values have to.
//
// No list orders values by expiry. A search walks through the index, some entries per round of
// eviction, as long as an expired value may exist: EXPIRES_FROM bounds that from below
// (expiry_bounds.ts). Each value that is stored lowers the bound. A search that has reached the end
// of the index raises it to the earliest expiry of the values that it has visited and of those
// stored meanwhile. So a store whose values do not expire, or not yet, reads one word.
import type { Handle, WordIndex } from "../base/brand.ts";
import { add, put } from "../memory/journal.ts";
import * as Entry from "../tmem/entry.layout.ts";
import { Reason } from "./counters.ts";
import { recordEvictionLocked } from "./eviction_events.ts";
import {
  BATCH_ENTRIES,
  BUDGET_MAX,
  BUDGET_MIN,
  type ExpirySearch,
  secondsOf,
} from "./expiry_bounds.ts";
import * as Page from "./page.layout.ts";
import { isSampling, sampleRemoval } from "./request_sample.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";
import * as Value from "./value.layout.ts";

/** A round ends once it has removed so many values. */
const ROUND_VALUES = 32;

/**
 * Removes expired values, a bounded number. The caller has no uncommitted changes.
 * @returns how many were removed
 */
export function expireRoundLocked(state: StoreState): number {
  const { words, root, nowMs } = state;
  if (nowMs === undefined || words[root + Store.EXPIRES_FROM] === Store.NEVER) return 0;
  const now = nowMs();
  if (words[root + Store.EXPIRES_FROM]! >>> 0 > secondsOf(now)) return 0;
  const { expirySearch: search } = state;
  const { found } = search;
  let removed = 0;
  let ended = false;
  for (let visited = 0; visited < search.budget && removed < ROUND_VALUES && !ended; ) {
    if (!search.isUnderWay) beginSearchLocked(state, search);
    search.count = 0;
    const visit = (entry: WordIndex) => visitLocked(state, search, entry, now);
    ended = state.index.scan(search.cursor, BATCH_ENTRIES, visit);
    for (let nth = 0; nth < search.count; nth++) expireLocked(state, found[nth]! as WordIndex);
    removed += search.count;
    visited += BATCH_ENTRIES;
    if (ended) endSearchLocked(state, search);
  }
  search.budget = removed > 0 ? BUDGET_MAX : Math.max(BUDGET_MIN, search.budget >>> 1);
  return removed;
}

/**
 * Removes an expired value and commits.
 * @param address where a copy of its prefix is; without it, the prefix is read from the pool
 */
export function expireLocked(state: StoreState, entry: WordIndex, address?: number): void {
  recordEvictionLocked(state, entry, Reason.EXPIRED, address);
  const pool = state.index.keyOf(entry, state.victimKey);
  const hash = state.hash(pool, state.victimKey);
  state.removeLocked(entry, hash, Reason.EXPIRED);
  if (isSampling(state)) sampleRemoval(state, hash);
  state.count("expired");
}

/** Copies the first HEAD_BYTES of a value in memory to the scratch `state.evicted`. */
export function readHead(state: StoreState, entry: WordIndex, meta: number): void {
  const handle = state.words[entry + Entry.VALUE]! as Handle;
  const bytes = Math.min(Value.HEAD_BYTES, Page.sizeOf(meta));
  state.zpools[Page.kindOf(meta)]!.readShared(handle, state.evicted, bytes);
}

function beginSearchLocked(state: StoreState, search: ExpirySearch): void {
  const { words, root } = state;
  put(words, root + Store.EXPIRES_SINCE, Store.NEVER);
  search.round = add(words, root + Store.EXPIRY_ROUNDS, 1) + 1;
  search.earliest = Store.NEVER >>> 0;
  search.isUnderWay = true;
  state.arena.lock.commit();
}

function endSearchLocked(state: StoreState, search: ExpirySearch): void {
  const { words, root } = state;
  search.isUnderWay = false;
  // Another thread has begun a search since and reset EXPIRES_SINCE, so that the values stored
  // before that are unknown here: only the later search may raise the bound.
  if (words[root + Store.EXPIRY_ROUNDS] !== search.round) return;
  const since = words[root + Store.EXPIRES_SINCE]! >>> 0;
  put(words, root + Store.EXPIRES_FROM, Math.min(since, search.earliest) | 0);
  state.arena.lock.commit();
}

function visitLocked(state: StoreState, search: ExpirySearch, entry: WordIndex, now: number): void {
  const meta = state.words[entry + Entry.META]!;
  if (Page.whereOf(meta) !== Page.MEMORY) return;
  readHead(state, entry, meta);
  const expires = Value.expiryOf(state.arena.bytes, state.evicted);
  if (expires <= now && search.count < search.found.length) search.found[search.count++] = entry;
  else search.earliest = Math.min(search.earliest, secondsOf(expires));
}
