// The pages of values as they are stored, compressed: for files from which the next process
// recovers them without compressing them again, and for the log of changes.
import { type Address, NIL } from "../base/brand.ts";
import type { Errno } from "../base/errno.ts";
import { ZcacheError } from "../base/errors.ts";
import * as Log from "../store/change_log.layout.ts";
import { ChangeLog, type LogWriter } from "../store/change_log.ts";
import * as Rec from "../store/change_record.layout.ts";
import { makeRoomAfterPut } from "../store/maintainer.ts";
import * as Page from "../store/page.layout.ts";
import { stateOf } from "../store/store.ts";
import { storePacked } from "../store/store_page.ts";
import { transaction } from "../store/transaction.ts";
import { maintain } from "../store/write_back.ts";
import * as Entry from "../tmem/entry.layout.ts";
import type { TmemKey } from "../tmem/key.ts";
import type { ScanCursor } from "../tmem/scan_cursor.ts";
import { scanPages } from "./pages.ts";
import type { Values } from "./values.ts";

/** Page frames of the ring of a log of changes: the largest block that an arena gives. */
const RING_FRAMES = 16;
/** In an arena of less than this, the ring has half of them. */
const SMALL_ARENA_BYTES = 16 * 1024 * 1024;
/** How often a page may move while it is read from the write-back file. */
const READS_MAX = 16;

const anyPage = () => true;

/** Makes a log of changes, which is off. @throws ZcacheError ERR_ARENA_FULL */
export function makeLog({ store, pool }: Values, writer: LogWriter): ChangeLog {
  const state = stateOf(store);
  const { arena, words } = state;
  const frames = arena.sizeBytes < SMALL_ARENA_BYTES ? RING_FRAMES / 2 : RING_FRAMES;
  const allocate = (bytes: number) => transaction(state, () => state.allocateLocked(bytes));
  const at = allocate(Log.WORDS * 4);
  const ring = allocate(frames * arena.pageSize);
  if (at === NIL || ring === NIL) {
    throw new ZcacheError("ERR_ARENA_FULL", "no room in the arena for a log of changes");
  }
  words[at + Log.RING] = ring;
  words[at + Log.RING_UNITS] = (frames * arena.pageSize) / Rec.UNIT_BYTES;
  return new ChangeLog(arena, at, pool, writer);
}

/** From now on, the changes that this thread makes are written to a log. */
export function logTo({ store }: Values, log: ChangeLog): void {
  stateOf(store).changes = log;
}

/**
 * Continues a scan of all pages, chunks included: a page that stays is visited at least once,
 * whatever else comes and goes meanwhile.
 * @param visit called without any lock
 * @returns whether the scan is over
 */
export function scanStored(
  { store, pool }: Values,
  cursor: ScanCursor,
  visit: (key: TmemKey) => void,
): boolean {
  return scanPages(stateOf(store), cursor, pool, anyPage, visit);
}

/**
 * Copies a page as it is stored, its prefix first; does not count as a use.
 * @param target room for a page, in the arena
 * @returns its META (store/page.layout.ts), or 0 if it is not there, or can't be read
 */
export function copyStored({ store, pool }: Values, key: TmemKey, target: Address): number {
  const state = stateOf(store).assertOpen();
  for (let reads = 0; reads < READS_MAX; reads++) {
    let meta = 0;
    let place = NIL as number;
    transaction(state, () => {
      const entry = state.findLocked(pool, key);
      if (entry === NIL) return;
      meta = state.words[entry + Entry.META]!;
      // A page in the remote tier is left to the process that has it.
      if (Page.whereOf(meta) === Page.REMOTE) meta = 0;
      else if (Page.whereOf(meta) === Page.MEMORY) state.readObject(entry, meta, target);
      else {
        const value = state.words[entry + Entry.VALUE]!;
        const isBuffered = state.backing!.readBuffered(value, Page.sizeOf(meta), target);
        if (!isBuffered) place = value;
      }
    });
    if (place === NIL) return meta;
    // The record in the file names its page: a page that this one was when it was found will do.
    const result = state.backing!.read(place, pool, key, Page.sizeOf(meta), target);
    if (result === "ok") return meta;
  }
  return 0;
}

/**
 * Stores a page as `copyStored` gave it; to make room, pages that were stored first are evicted.
 * With a write-back file, also does all maintenance that is due: pages that come in faster than
 * that would be lost.
 * @returns as `Store.put`
 */
export function putStored(
  { store, pool }: Values,
  key: TmemKey,
  codec: number,
  source: Address,
  sizeBytes: number,
): 0 | Errno {
  const state = stateOf(store).assertOpen();
  state.keepsNewest = true;
  try {
    const result = storePacked(state, pool, key, Page.withSize(0, codec, sizeBytes), source);
    makeRoomAfterPut(state);
    if (state.backing !== undefined) while (maintain(state));
    return result;
  } finally {
    state.keepsNewest = false;
  }
}
