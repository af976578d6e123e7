// Pages in the remote tier: how a page goes out, and how it comes back.
import * as Box from "../backing/outbox.layout.ts";
import type { RecordName } from "../backing/record_name.ts";
import { type Address, NIL, type Nil, type WordIndex } from "../base/brand.ts";
import { assert, ZcacheError } from "../base/errors.ts";
import { put } from "../memory/journal.ts";
import * as Entry from "../tmem/entry.layout.ts";
import type { TmemKey } from "../tmem/key.ts";
import * as Page from "./page.layout.ts";
import { hasRecord, SLOT_SHIFT, slotOf, VERSION_HIGH_MASK } from "./record.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";
import { transaction } from "./transaction.ts";

/**
 * Sends a page in memory out: moves it to a slot of the outbox, if one is free.
 * @param pool of the page, whose key is `state.victimKey`
 * @returns whether it has left the pool
 */
export function sendOutLocked(
  state: StoreState,
  entry: WordIndex,
  pool: number,
  hash: number,
): boolean {
  const { outbox, words } = state;
  const meta = words[entry + Entry.META]!;
  const kind = Page.kindOf(meta);
  if (outbox === undefined || !outbox.accepts(kind)) return false;
  const source = (state.evicted + state.headerBytes) as Address;
  state.readObject(entry, meta, source);
  const slot = outbox.appendLocked(pool, state.victimKey, meta, source);
  if (slot === NIL) return false;
  assert(slot < Box.SLOTS_LIMIT, "an entry has room for the number of a slot");
  state.policies[kind]!.evict(entry, hash);
  state.detachLocked(entry);
  state.attachLocked(entry, outbox.versionLow, Page.withWhere(meta, Page.REMOTE), hash);
  put(words, entry + Entry.LINKS, outbox.versionHigh | ((slot + 1) << SLOT_SHIFT));
  put(words, entry + Entry.LINKS + 1, outbox.epoch);
  state.commitLocked();
  outbox.call();
  return true;
}

/** The record of the page that a search has found (state.foundMeta and so on). */
export function foundRecord(state: StoreState, pool: number, key: TmemKey): RecordName {
  return {
    pool,
    key,
    meta: state.foundMeta,
    versionLow: state.foundValue,
    versionHigh: state.foundHigh & VERSION_HIGH_MASK,
    epoch: state.foundEpoch >>> 0,
  };
}

/** The entry of a record, NIL if its page has another one by now, or none. */
export function entryOfRecordLocked(state: StoreState, name: RecordName): WordIndex | Nil {
  const entry = state.findLocked(name.pool, state.recordKey.copy(name.key));
  return entry !== NIL && hasRecord(state, entry, name) ? entry : NIL;
}

/** Records that the page of a slot has arrived: the entry forgets the slot. */
export function arrivedLocked(state: StoreState, entry: WordIndex): void {
  const link = state.words[entry + Entry.LINKS]!;
  put(state.words, entry + Entry.LINKS, link & VERSION_HIGH_MASK);
}

/**
 * Moves a page back to memory, still compressed, if there is room within the limit.
 * @param entry of a page in the remote tier  @param source its bytes as stored
 */
export function bringBackLocked(state: StoreState, entry: WordIndex, source: Address): boolean {
  const { words } = state;
  const meta = words[entry + Entry.META]!;
  const kind = Page.kindOf(meta);
  const handle = state.remakeObjectLocked(kind, entry, source, Page.sizeOf(meta));
  if (handle < 0) {
    state.arena.lock.rollBack();
    return false;
  }
  const pool = state.index.keyOf(entry, state.recordKey);
  const hash = state.hash(pool, state.recordKey);
  state.detachLocked(entry);
  const tick = words[state.root + Store.TICK]!;
  const next = Page.withTick(Page.withWhere(meta, Page.MEMORY), tick);
  state.attachLocked(entry, handle, next, hash);
  state.commitLocked();
  return true;
}

/** Whether a page is in the remote tier alone: tmem's `is_remote`. Locked, or as a reader. */
export function isRemote(state: StoreState, pool: number, key: TmemKey): boolean {
  const entry = state.findLocked(pool, key);
  if (entry === NIL || Page.whereOf(state.words[entry + Entry.META]!) !== Page.REMOTE) return false;
  return slotOf(state.words[entry + Entry.LINKS]!) === NIL;
}

/**
 * Sets which pages may go out: `eph_remotify_enable`, `pers_remotify_enable`; undefined: as before.
 */
export function enableRemote(
  state: StoreState,
  ephemeral: boolean | undefined,
  persistent: boolean | undefined,
): void {
  const { outbox } = state;
  if (outbox === undefined) {
    throw new ZcacheError("ERR_OPTION", "remotify: the store has no remote tier");
  }
  transaction(state, () => {
    for (const [kind, isEnabled] of [ephemeral, persistent].entries()) {
      if (isEnabled === undefined) continue;
      const others = outbox.get(Box.ENABLED) & ~(1 << kind);
      outbox.setLocked(Box.ENABLED, others | (isEnabled ? 1 << kind : 0));
    }
  });
}

/** Whether pages are leaving memory for the remote tier, or may. Needs no lock. */
export function isSendingOut({ outbox }: StoreState): boolean {
  if (outbox === undefined) return false;
  return outbox.accepts(Store.PERSISTENT) || outbox.get(Box.IN_TRANSIT) > 0;
}
