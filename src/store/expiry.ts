// Values that have expired: they make room before living ones do.
//
// Nothing lists values by the time at which they expire. A walk through the index, some entries for
// each round of eviction, finds those that have: as long as there may be any. EXPIRES_FROM says
// before which time none does: every value that is stored lowers it, and a walk that has gone once
// round without finding one raises it again, to the earliest time that it or a put meanwhile has
// seen. So a store whose values do not expire, or not yet, looks at one word.
import type { Handle, WordIndex } from "../base/brand.ts";
import { add, put } from "../memory/journal.ts";
import * as Entry from "../tmem/entry.layout.ts";
import { ScanCursor } from "../tmem/scan_cursor.ts";
import { Reason } from "./counters.ts";
import { recordEvictionLocked } from "./eviction_events.ts";
import * as Page from "./page.layout.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";
import * as Value from "./value.layout.ts";

/** Entries that are looked at between two looks at what has been found. */
const LOOKED = 64;
/** Entries that one round looks at, at most and at least: half as many after a round in vain. */
const BUDGET_MAX = 4096;
const BUDGET_MIN = 64;
/** Values that one round removes, at most. */
const ROUND_VALUES = 32;

/** A thread's walk in search of what has expired. */
export class ExpiryWalk {
  readonly cursor = new ScanCursor();
  readonly found = new Int32Array(2 * LOOKED);
  count = 0;
  budget = BUDGET_MAX;
  /** Whether it has begun a round; its number, and the earliest time that it has seen, in s. */
  isUnderWay = false;
  round = 0;
  earliest = Store.NEVER;
}

/** A value that expires at this time, in ms since 1970, is stored; in its transaction. */
export function noteExpiryLocked(state: StoreState, expiresMs: number): void {
  if (expiresMs === Number.POSITIVE_INFINITY) return;
  const { words, root } = state;
  const seconds = secondsOf(expiresMs);
  for (const what of [Store.EXPIRES_FROM, Store.EXPIRES_SINCE]) {
    if (seconds < words[root + what]! >>> 0) put(words, root + what, seconds);
  }
}

/**
 * Removes values that have expired, some at most; nothing may wait to be committed.
 * @returns how many
 */
export function expireRoundLocked(state: StoreState): number {
  const { words, root, nowMs } = state;
  if (nowMs === undefined || words[root + Store.EXPIRES_FROM] === Store.NEVER) return 0;
  const now = nowMs();
  if (words[root + Store.EXPIRES_FROM]! >>> 0 > secondsOf(now)) return 0;
  const { expiryWalk: walk } = state;
  let went = 0;
  let ended = false;
  for (let looked = 0; looked < walk.budget && went < ROUND_VALUES && !ended; looked += LOOKED) {
    if (!walk.isUnderWay) beginRoundLocked(state, walk);
    walk.count = 0;
    ended = state.index.scan(walk.cursor, LOOKED, (entry) => lookLocked(state, walk, entry, now));
    for (let nth = 0; nth < walk.count; nth++) expireLocked(state, walk.found[nth]! as WordIndex);
    went += walk.count;
    if (ended) endRoundLocked(state, walk);
  }
  walk.budget = went > 0 ? BUDGET_MAX : Math.max(BUDGET_MIN, walk.budget >>> 1);
  return went;
}

/** Takes an expired value out. @param address of its prefix; if left out, it is read */
export function expireLocked(state: StoreState, entry: WordIndex, address?: number): void {
  recordEvictionLocked(state, entry, Reason.EXPIRED, address);
  const pool = state.index.keyOf(entry, state.victimKey);
  state.removeLocked(entry, state.hash(pool, state.victimKey), Reason.EXPIRED);
  state.count("expired");
}

/** Reads the first bytes of a value's object to where evictions do their work. */
export function readHead(state: StoreState, entry: WordIndex, meta: number): void {
  const handle = state.words[entry + Entry.VALUE]! as Handle;
  const bytes = Math.min(Value.HEAD_BYTES, Page.sizeOf(meta));
  state.zpools[Page.kindOf(meta)]!.readShared(handle, state.evicted, bytes);
}

function beginRoundLocked(state: StoreState, walk: ExpiryWalk): void {
  const { words, root } = state;
  put(words, root + Store.EXPIRES_SINCE, Store.NEVER);
  walk.round = add(words, root + Store.EXPIRY_ROUNDS, 1) + 1;
  walk.earliest = Store.NEVER >>> 0;
  walk.isUnderWay = true;
  state.arena.lock.commit();
}

function endRoundLocked(state: StoreState, walk: ExpiryWalk): void {
  const { words, root } = state;
  walk.isUnderWay = false;
  // Where another thread has begun a round since, what was put meanwhile is not known here.
  if (words[root + Store.EXPIRY_ROUNDS] !== walk.round) return;
  const since = words[root + Store.EXPIRES_SINCE]! >>> 0;
  put(words, root + Store.EXPIRES_FROM, Math.min(since, walk.earliest) | 0);
  state.arena.lock.commit();
}

function lookLocked(state: StoreState, walk: ExpiryWalk, entry: WordIndex, now: number): void {
  const meta = state.words[entry + Entry.META]!;
  if (Page.whereOf(meta) !== Page.MEMORY) return;
  readHead(state, entry, meta);
  const expires = Value.expiryOf(state.arena.bytes, state.evicted);
  if (expires <= now && walk.count < walk.found.length) walk.found[walk.count++] = entry;
  else walk.earliest = Math.min(walk.earliest, secondsOf(expires));
}

/** Seconds since 1970, in 32 bits, rounded down; Infinity and what is later than 2106 is NEVER. */
function secondsOf(ms: number): number {
  return Math.min(Math.floor(ms / 1000), Store.NEVER >>> 0);
}
