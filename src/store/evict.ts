// Makes room: chooses a victim, sends it to the remote tier, writes it back or drops it, and frees
// its object.
//
// Ephemeral pages may be dropped; persistent pages only move elsewhere. Room for a
// persistent page comes from ephemeral pages first; an ephemeral page takes room only from
// ephemeral pages. The victim is the object that the policy names, or, with `reclaim: "frames"`,
// all objects in the page frame that the pool names.
//
// Each page is evicted in a transaction of its own: callers have no uncommitted changes.
import * as Box from "../backing/outbox.layout.ts";
import { type Address, type Handle, NIL, type WordIndex } from "../base/brand.ts";
import { EBUSY } from "../base/errno.ts";
import * as Entry from "../tmem/entry.layout.ts";
import type { TmemKey } from "../tmem/key.ts";
import { compactIfItPaysLocked } from "./compaction.ts";
import { Reason } from "./counters.ts";
import { recordEvictionLocked } from "./eviction_events.ts";
import { expireRoundLocked } from "./expiry.ts";
import * as Page from "./page.layout.ts";
import { keyHolderOf } from "./policy_space.ts";
import { sendOutLocked } from "./remote_page.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";

/**
 * Pages that one round evicts, at most: enough to free frames in any pool (32 is also the kernel's
 * batch), few enough to hold the lock for some tens of microseconds.
 */
const ROUND_PAGES = 32;
/** A round ends once it has freed so many frames. */
const ROUND_FRAMES = 4;

/**
 * Runs one round of eviction to make room for a page of `kind`.
 * @returns whether anything was evicted
 */
export function makeRoomLocked(state: StoreState, kind: number): boolean {
  if (compactIfItPaysLocked(state, kind) || expireRoundLocked(state) > 0) return true;
  const evicted = evictRoundLocked(state, Store.EPHEMERAL);
  if (evicted > 0) {
    const counter = kind === Store.PERSISTENT ? "persistent_ate_ephemeral" : "ephemeral_ate_tail";
    state.count(counter, evicted);
    return true;
  }
  return kind === Store.PERSISTENT && evictRoundLocked(state, Store.PERSISTENT) > 0;
}

/**
 * Runs one round of eviction for the watermarks: of any page that may be evicted.
 * @returns whether anything was evicted
 */
export function reclaimRoundLocked(state: StoreState): boolean {
  return (
    expireRoundLocked(state) > 0 ||
    (!waitsForSlot(state, Store.EPHEMERAL) && evictRoundLocked(state, Store.EPHEMERAL) > 0) ||
    evictRoundLocked(state, Store.PERSISTENT) > 0
  );
}

/**
 * Whether a page of a kind would be dropped now, and may be sent out soon: pages in transit have
 * taken all slots of the outbox.
 */
function waitsForSlot({ outbox, backing, options }: StoreState, kind: number): boolean {
  if (outbox === undefined || outbox.get(Box.FREE_FIRST) !== 0 || !outbox.accepts(kind)) {
    return false;
  }
  return backing === undefined || options.writeBack?.ephemeral !== true;
}

/**
 * Evicts the coldest page that may be evicted.
 * @returns whether there was one
 */
export function evictColdestLocked(state: StoreState): boolean {
  const kinds = state.mayLeave(Store.PERSISTENT)
    ? [Store.EPHEMERAL, Store.PERSISTENT]
    : [Store.EPHEMERAL];
  return kinds.some((kind) => {
    const victim = victimLocked(state, kind);
    return victim !== NIL && evictValueLocked(state, kind, victim) > 0;
  });
}

/** Evicts a page, and with it other pages of its value. @returns pages that have left memory */
function evictValueLocked(state: StoreState, kind: number, victim: WordIndex): number {
  const isPart = isPartLocked(state, victim);
  if (!evictLocked(state, victim)) return 0;
  return isPart ? 1 + evictRestLocked(state, kind) : 1;
}

/**
 * Whether a page is one of several of a value, which is evicted as a whole. While values are loaded
 * page by page, a newer value of the same key may be there in part, and no lock tells so.
 */
function isPartLocked(state: StoreState, entry: WordIndex): boolean {
  const { options, index, keepsNewest } = state;
  return options.content === "values" && !keepsNewest && !index.isInline(entry);
}

/**
 * Drops other pages of the value that the page evicted last belonged to: without that page they are
 * of no use. Of a value with many pages some are left, which the policy names next.
 * @returns how many
 */
function evictRestLocked(state: StoreState, kind: number): number {
  const { index, victimKey: key } = state;
  const pool = state.victimPool;
  // It was moved elsewhere; or another value is being stored under its key, page by page.
  if (state.findLocked(pool, key) !== NIL || mayArriveLocked(state, key)) return 0;
  let evicted = 0;
  key.indexLow = key.indexHigh = 0;
  for (let seen = 0; seen < ROUND_PAGES; seen++) {
    const entry = index.nextPage(pool, key);
    if (entry < 0) break;
    if (Page.isListed(state.words[entry + Entry.META]!)) {
      dropLocked(state, entry as WordIndex, kind, state.hash(pool, key));
      evicted++;
    }
    if (!key.nextIndex()) break;
  }
  return evicted;
}

/** Whether pages of a key may belong to a value that a thread is storing. */
function mayArriveLocked({ arena, words, root, putRequest }: StoreState, key: TmemKey): boolean {
  const holder = keyHolderOf(words, root, key);
  if (holder !== arena.owner) return holder !== 0;
  // This thread stores a value of one key at a time; others have the same lock.
  const { id } = putRequest.key;
  return id[0] === key.id[0] && id[1] === key.id[1];
}

/** @returns pages that have left memory */
function evictRoundLocked(state: StoreState, kind: number): number {
  if (kind === Store.PERSISTENT && !state.mayLeave(kind)) return 0;
  const before = state.arena.frames.framesFree;
  let evicted = state.options.reclaim === "frames" ? evictFramesLocked(state, kind) : 0;
  // Pages that left a frame which other pages keep in use have freed nothing yet.
  if (state.arena.frames.framesFree <= before) evicted += evictPagesLocked(state, kind);
  const freed = state.arena.frames.framesFree - before;
  if (freed > 0) state.count("reclaimed_frames", freed);
  return evicted;
}

/**
 * The policy's victim of a kind, or NIL. Commits, so that changes in the policy's order stay even
 * if the page can't be evicted.
 */
function victimLocked(state: StoreState, kind: number): WordIndex | typeof NIL {
  const policy = state.policies[kind]!;
  // Nothing has been requested yet: a policy that compares requests would keep what came first.
  if (state.keepsNewest) return policy.next(NIL);
  const victim = policy.victim();
  state.arena.lock.commit();
  return victim;
}

/**
 * Evicts pages in the policy's order.
 * @returns pages that have left memory
 */
function evictPagesLocked(state: StoreState, kind: number): number {
  const frames = state.arena.frames;
  const enough = frames.framesFree + ROUND_FRAMES;
  const isWaiting = waitsForSlot(state, kind);
  let evicted = 0;
  while (evicted < ROUND_PAGES && frames.framesFree < enough) {
    // What was sent may be room enough; only the next round drops pages.
    if (evicted > 0 && !isWaiting && waitsForSlot(state, kind)) break;
    const victim = victimLocked(state, kind);
    const gone = victim === NIL ? 0 : evictValueLocked(state, kind, victim);
    if (gone === 0) break;
    evicted += gone;
  }
  return evicted;
}

/**
 * Evicts the pages in the coldest page frame of the pool.
 * @returns pages that have left memory
 */
function evictFramesLocked(state: StoreState, kind: number): number {
  let evicted = 0;
  state.zpools[kind]!.shrink(1, (handle) => {
    const entry = entryOfObject(state, kind, handle);
    if (entry === NIL || !evictLocked(state, entry)) return EBUSY;
    evicted++;
    return 0;
  });
  // The pool has committed its changes; this commit changes the version that readers see.
  state.arena.lock.commit();
  return evicted;
}

/**
 * The entry that an object belongs to, or NIL if the object has no header, as a raw page in a pool
 * that has no room for both.
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
 * Moves a listed page out of memory, or drops it.
 * @param keep never drops the page
 * @returns whether it has left memory
 */
export function evictLocked(state: StoreState, entry: WordIndex, keep = false): boolean {
  const meta = state.words[entry + Entry.META]!;
  const kind = Page.kindOf(meta);
  const key = state.victimKey;
  const pool = state.index.keyOf(entry, key);
  state.victimPool = pool;
  const hash = state.hash(pool, key);
  if (Page.whereOf(meta) === Page.MEMORY && moveOutLocked(state, entry, pool, hash)) return true;
  if (kind === Store.PERSISTENT || keep) return false;
  dropLocked(state, entry, kind, hash);
  return true;
}

/** Removes an ephemeral page, and commits. */
function dropLocked(state: StoreState, entry: WordIndex, kind: number, hash: number): void {
  state.policies[kind]!.evict(entry, hash);
  recordEvictionLocked(state, entry, Reason.EVICTED);
  state.detachLocked(entry);
  state.index.remove(entry);
  state.recordMissReasonLocked(hash, Reason.EVICTED);
  state.commitLocked();
  state.count("evicted_ephemeral_pages");
}

/** Moves a page from the pool to the remote tier or to the file, if one of them takes it. */
function moveOutLocked(state: StoreState, entry: WordIndex, pool: number, hash: number): boolean {
  const isRemoteFirst = state.options.remote?.first === "remote";
  if (isRemoteFirst && sendOutLocked(state, entry, pool, hash)) return true;
  if (writeBackLocked(state, entry, pool, hash)) return true;
  return !isRemoteFirst && sendOutLocked(state, entry, pool, hash);
}

/** Moves a page from the pool to the open segment of the write-back file. */
function writeBackLocked(state: StoreState, entry: WordIndex, pool: number, hash: number): boolean {
  const { backing, options } = state;
  const meta = state.words[entry + Entry.META]!;
  const kind = Page.kindOf(meta);
  if (backing === undefined) return false;
  if (kind === Store.EPHEMERAL && options.writeBack?.ephemeral !== true) return false;
  const source = (state.evicted + state.headerBytes) as Address;
  state.readObject(entry, meta, source);
  const place = backing.appendLocked(pool, state.victimKey, meta, source);
  if (place <= 0) {
    state.arena.lock.rollBack();
    return false;
  }
  state.policies[kind]!.evict(entry, hash);
  state.detachLocked(entry);
  state.attachLocked(entry, place, Page.withWhere(meta, Page.FILE), hash);
  state.commitLocked();
  state.count("written_back_pages");
  state.count("written_back_bytes", Page.sizeOf(meta));
  return true;
}
