// Loads pages that may be in the remote tier. The thread goes on meanwhile; when the answer is
// there, the page may have changed: under the lock, its entry must still stand for the record that
// was read, else the search starts anew.
import type { RecordName } from "../backing/record_name.ts";
import { NIL } from "../base/brand.ts";
import { ZcacheError } from "../base/errors.ts";
import { markFrames } from "../policy/watermarks.ts";
import { TmemKey } from "../tmem/key.ts";
import { Latency, Reason } from "./counters.ts";
import { makeRoomLocked } from "./evict.ts";
import {
  FOUND,
  findPacked,
  IN_REMOTE,
  packedOf,
  restoreFound,
  unpack,
  usedLocked,
} from "./load_page.ts";
import * as Page from "./page.layout.ts";
import { bringBackLocked, entryOfRecordLocked, foundRecord } from "./remote_page.ts";
import { READS_MAX, type RemoteRead } from "./remote_reader.ts";
import type { StoreState } from "./state.ts";
import { recordSince } from "./statistics.ts";
import * as Store from "./store.layout.ts";
import { transaction } from "./transaction.ts";

/** Rounds of eviction to bring one page back. */
const ROUNDS = 8;

/** What to do with a page that was read. */
export type Use =
  /** Leave it in the remote tier, unless there is room for it. */
  | "get"
  /** Remove it from the store. */
  | "take"
  /** Bring it back to memory, and make room for it. */
  | "return";

/**
 * Loads a page.
 * @param target room for a page
 * @returns whether the page was stored
 * @throws ZcacheError ERR_REMOTE: no answer in time; ERR_CORRUPT: a persistent page is lost; as
 *   `loadPage`
 */
export async function loadPageAsync(
  state: StoreState,
  pool: number,
  key: TmemKey,
  target: Uint8Array,
  use: Use,
): Promise<boolean> {
  const own = new TmemKey().copy(key);
  const begin = state.platform.clock.nowNs();
  for (let reads = 0; reads < READS_MAX; reads++) {
    const found = findPacked(state.assertOpen(), pool, own, use === "take");
    if (found === FOUND) {
      restoreFound(state, state.plain);
      target.set(state.arena.bytes.subarray(state.plain, state.plain + state.pageSize));
      return true;
    }
    if (found !== IN_REMOTE) return false;
    const name = foundRecord(state, pool, own);
    const read = await readerOf(state)(name);
    state.assertOpen();
    const result = finishRead(state, name, own, read, use);
    if (result === undefined) continue;
    if (result) {
      unpack(state, name.meta, state.pageSize, packedOf(state), state.plain);
      target.set(state.arena.bytes.subarray(state.plain, state.plain + state.pageSize));
    }
    recordSince(state, Latency.REMOTE, begin);
    return result;
  }
  throw new ZcacheError("ERR_REMOTE", `a page was replaced ${READS_MAX} times while it was read`);
}

function readerOf(state: StoreState) {
  if (state.remoteReader !== undefined) return state.remoteReader;
  throw new ZcacheError("ERR_REMOTE", "this thread has no way to the remote tier");
}

/**
 * Ends a read. The bytes of the page are in the packed scratch afterwards.
 * @returns whether the page is stored; undefined: it has changed, search again
 */
export function finishRead(
  state: StoreState,
  name: RecordName,
  key: TmemKey,
  read: RemoteRead,
  use: Use,
): boolean | undefined {
  const kind = Page.kindOf(name.meta);
  if (read instanceof ZcacheError) {
    countRead(state, kind, false);
    // An ephemeral page may be missing at any time, and may be there again later.
    if (kind === Store.EPHEMERAL && use !== "return") return false;
    throw read;
  }
  if (typeof read === "string") return failRead(state, name, key, read);
  state.arena.bytes.set(read, packedOf(state));
  return transaction(state, () => {
    const entry = entryOfRecordLocked(state, name);
    if (entry === NIL) return undefined;
    countRead(state, kind, true);
    state.count("hits");
    if (use === "take") usedLocked(state, name.pool, key, entry, true);
    else if (use === "return" || hasSpareRoom(state)) returnLocked(state, name, use);
    return true;
  });
}

/** Whether there is room above the high watermark. */
function hasSpareRoom(state: StoreState): boolean {
  const limit = state.words[state.root + Store.LIMIT_FRAMES]!;
  return state.framesFree >= markFrames(limit, state.options.highPercent) + 1;
}

/** Brings a page back, if there is room, or if room can be made for a use that needs it. */
function returnLocked(state: StoreState, name: RecordName, use: Use): void {
  for (let round = 0; round <= ROUNDS; round++) {
    // Making room may move entries.
    const entry = entryOfRecordLocked(state, name);
    if (entry === NIL) return;
    if (bringBackLocked(state, entry, packedOf(state))) {
      state.count("promoted_pages");
      return;
    }
    if (use !== "return" || !makeRoomLocked(state, Page.kindOf(name.meta))) return;
  }
}

/**
 * Handles a record that is not there, or is not what it should be. An ephemeral page is removed. A
 * persistent page is lost, and stays as an error until it is replaced or flushed.
 * @returns false: a miss; undefined: the page has changed, search again
 */
function failRead(
  state: StoreState,
  name: RecordName,
  key: TmemKey,
  read: "missing" | "corrupt",
): false | undefined {
  const kind = Page.kindOf(name.meta);
  const isThere = transaction(state, () => {
    const entry = entryOfRecordLocked(state, name);
    if (entry === NIL) return false;
    countRead(state, kind, false);
    if (kind === Store.EPHEMERAL) {
      state.removeLocked(entry, state.hash(name.pool, key), Reason.LOST_REMOTELY);
    } else state.count("lost_pages");
    return true;
  });
  if (!isThere) return undefined;
  if (kind === Store.EPHEMERAL) return false;
  const what = read === "missing" ? "has no record" : "has a damaged record";
  throw new ZcacheError("ERR_CORRUPT", `the remote tier ${what} of a page that it had stored`, {
    context: { object: key.object, index: key.index },
  });
}

function countRead(state: StoreState, kind: number, isFound: boolean): void {
  if (kind === Store.EPHEMERAL) {
    state.count(isFound ? "remote_eph_pages_succ_get" : "remote_eph_pages_unsucc_get");
  } else {
    state.count(isFound ? "remote_pers_pages_succ_get" : "remote_pers_pages_unsucc_get");
  }
}
