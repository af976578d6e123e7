// Overwrites the object of a page in place of making a new one and freeing the old. A rollback
// restores the old bytes, which are saved in this thread's scratch `evicted` until the commit.
//
// In place costs one copy where a dense pool otherwise makes two, the second of which fills the
// hole with bytes that are in no cache. But the slot may be larger than a new one: by a sixteenth
// of a page at most, and only while the pool wastes little. repack.ts takes that room back.
//
// VALUE of the entry stays the same, unlike after any other change of a page: whoever wants to
// replace a page that was read before has to compare its bytes.
import { type Address, type Handle, NIL, type WordIndex } from "../base/brand.ts";
import * as Entry from "../tmem/entry.layout.ts";
import * as Page from "./page.layout.ts";
import type { PutRequest } from "./put_request.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";

/** Whether a pool has so many bytes without data in its page frames: 1/part of its data. */
export function wastesLocked(state: StoreState, kind: number, part: number): boolean {
  const bytes = state.words[state.gaugeAt(kind, Store.BYTES)]! >>> 0;
  const waste = state.zpools[kind]!.totalPages() * state.pageSize - bytes;
  return waste * part > bytes;
}

/** As `Zpool.slackOf`, of the object of an entry, for a page of `sizeBytes`. */
export function slackOf(
  state: StoreState,
  entry: WordIndex,
  kind: number,
  sizeBytes: number,
): number {
  const handle = state.words[entry + Entry.VALUE]! as Handle;
  return state.zpools[kind]!.slackOf(handle, sizeBytes + state.headerOf(kind, sizeBytes));
}

/** Writes the header before the source, if objects have one. @returns its bytes */
function headerLocked(state: StoreState, request: PutRequest, entry: WordIndex): number {
  const { kind, source, sizeBytes } = request;
  const header = state.headerOf(kind, sizeBytes);
  if (header !== 0) state.words[(source - header) / 4] = entry;
  return header;
}

/** How much too large a slot may be for a page that is overwritten. */
function slackMax(state: StoreState, kind: number, isFull: boolean): number {
  return isFull || wastesLocked(state, kind, Page.WASTE_PART)
    ? 0
    : state.pageSize >>> Page.SLACK_SHIFT;
}

/**
 * Overwrites the object of an entry in memory, if its slot suits the new page, and commits.
 * @param isFull slots must be as small as new ones
 */
export function overwriteInPlaceLocked(
  state: StoreState,
  request: PutRequest,
  entry: WordIndex,
  isFull: boolean,
): boolean {
  const { kind, sizeBytes } = request;
  const before = state.words[entry + Entry.META]!;
  if (Page.whereOf(before) !== Page.MEMORY) return false;
  const slack = slackOf(state, entry, kind, sizeBytes);
  if (slack === NIL || (slack > 0 && slack > slackMax(state, kind, isFull))) return false;
  state.beginOverwriteLocked(entry);
  const zpool = state.zpools[kind]!;
  const header = headerLocked(state, request, entry);
  const start = (request.source - header) as Address;
  const handle = state.words[entry + Entry.VALUE]! as Handle;
  zpool.overwriteShared(handle, start, sizeBytes + header, state.evicted);
  attachLocked(state, request, entry, before);
  return true;
}

/**
 * Overwrites the page's object if the new one fits into it at all, which needs no room, and
 * commits.
 */
export function overwriteLocked(state: StoreState, request: PutRequest): boolean {
  const { kind, source, sizeBytes } = request;
  const entry = state.findLocked(request.pool, request.key);
  if (entry === NIL) return false;
  const before = state.words[entry + Entry.META]!;
  if (Page.whereOf(before) !== Page.MEMORY) return false;
  state.beginOverwriteLocked(entry);
  const header = headerLocked(state, request, entry);
  const start = (source - header) as Address;
  const handle = state.words[entry + Entry.VALUE]! as Handle;
  if (state.zpools[kind]!.overwrite(handle, start, sizeBytes + header, state.evicted) !== 0) {
    state.arena.lock.rollBack();
    return false;
  }
  attachLocked(state, request, entry, before);
  return true;
}

/**
 * Attaches the new page to the entry, whose object has its bytes already, and commits.
 * @param before META of the old page
 */
function attachLocked(
  state: StoreState,
  request: PutRequest,
  entry: WordIndex,
  before: number,
): void {
  const { pool, key, kind, packed, sizeBytes, source } = request;
  const { words } = state;
  const codec = Page.codecOf(packed);
  state.count("duplicate_puts");
  if (codec === Page.RAW) state.count("huge_pages_since");
  state.hasOthers = !state.index.isInline(entry);
  state.changes?.putLocked(pool, key, codec, source, sizeBytes);
  state.versions?.changedLocked(key);
  const tick = words[state.root + Store.TICK]!;
  if (state.isOrdered(kind)) {
    const policy = state.policies[kind]!;
    policy.remove(entry);
    state.endOverwriteLocked(entry, Page.makeMeta(kind, Page.MEMORY, tick) | packed);
    policy.push(entry, request.hash);
  } else state.endOverwriteLocked(entry, Page.replaced(before, packed, tick));
  state.commitLocked();
}
