// Pages whose records an earlier process has left in the remote tier, and a file names: the store
// adopts them, and has what that file says.
import type { RecordName } from "../backing/record_name.ts";
import { NIL, type Nil, type WordIndex } from "../base/brand.ts";
import { put } from "../memory/journal.ts";
import * as Entry from "../tmem/entry.layout.ts";
import type { TmemKey } from "../tmem/key.ts";
import { makeRoomLocked } from "./evict.ts";
import * as Page from "./page.layout.ts";
import { recordOfEntry, slotOf, VERSION_HIGH_MASK } from "./record.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";
import { readTransaction, transaction } from "./transaction.ts";

/** Rounds of eviction to make room for one entry. */
const ROUNDS = 8;

/** The record of a page that is in the remote tier alone; undefined for any other page. */
export function arrivedRecord(
  state: StoreState,
  pool: number,
  key: TmemKey,
): RecordName | undefined {
  return readTransaction(state, () => {
    const entry = state.findLocked(pool, key);
    if (entry === NIL) return undefined;
    const isRemote = Page.whereOf(state.words[entry + Entry.META]!) === Page.REMOTE;
    if (!isRemote || slotOf(state.words[entry + Entry.LINKS]!) !== NIL) return undefined;
    return recordOfEntry(state, entry, key);
  });
}

/** Whether a name that was read from a file can be that of a record of an earlier owner. */
export function canAdopt(state: StoreState, { meta, versionHigh, epoch }: RecordName): boolean {
  const codec = Page.codecOf(meta);
  const size = Page.sizeOf(meta);
  const isSized = codec === Page.RAW ? size === state.pageSize : size > 0 && size < state.pageSize;
  const isOld = epoch > 0 && epoch < state.outbox!.epoch >>> 0;
  return isSized && isOld && (versionHigh & ~VERSION_HIGH_MASK) === 0;
}

/**
 * Makes a page of a persistent pool stand for its record in the remote tier.
 * @param name that `canAdopt` has checked; of META, the codec and the size count
 * @returns false without room for its entry
 */
export function adoptRecord(state: StoreState, key: TmemKey, name: RecordName): boolean {
  return transaction(state, () => {
    const entry = insertLocked(state, name.pool, key);
    if (entry === NIL) return false;
    const hash = state.hash(name.pool, key);
    const before = state.words[entry + Entry.META]!;
    if (before !== 0) {
      if (Page.isListed(before)) state.policies[Store.PERSISTENT]!.remove(entry);
      state.detachLocked(entry);
    }
    const tick = state.words[state.root + Store.TICK]!;
    const place = Page.makeMeta(Store.PERSISTENT, Page.REMOTE, tick);
    const meta = Page.withSize(place, Page.codecOf(name.meta), Page.sizeOf(name.meta));
    state.attachLocked(entry, name.versionLow, meta, hash);
    put(state.words, entry + Entry.LINKS, name.versionHigh);
    put(state.words, entry + Entry.LINKS + 1, name.epoch | 0);
    state.commitLocked();
    return true;
  });
}

/** An entry for a page, within the limit; for want of memory, other pages are evicted. */
function insertLocked(state: StoreState, pool: number, key: TmemKey): WordIndex | Nil {
  const { frames, lock } = state.arena;
  for (let round = 0; ; round++) {
    frames.keepFree = state.framesAboveLimit;
    const entry = state.insertLocked(pool, key);
    frames.keepFree = 0;
    if (entry !== NIL) return entry;
    lock.rollBack();
    if (round === ROUNDS || !makeRoomLocked(state, Store.PERSISTENT)) return NIL;
  }
}
