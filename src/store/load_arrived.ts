// Loads pages of a store of values, also those whose records have come from the remote tier
// (remote_arrivals.ts).
import type { WordIndex } from "../base/brand.ts";
import { ZcacheError } from "../base/errors.ts";
import type { TmemKey } from "../tmem/key.ts";
import { FOUND, findPacked, IN_REMOTE } from "./load_page.ts";
import { finishRead } from "./load_remote.ts";
import { recordOfEntry } from "./record.ts";
import { foundRecord, isRemote } from "./remote_page.ts";
import { READS_MAX } from "./remote_reader.ts";
import type { StoreState } from "./state.ts";
import { readTransaction } from "./transaction.ts";

/**
 * As `loadPacked`, of a page without another copy of its record in the packed scratch.
 * @returns whether the page was stored
 * @throws ZcacheError ERR_REMOTE_PAGE: its record is to be read first, and is noted as wanted
 */
export function loadArrived(state: StoreState, pool: number, key: TmemKey): boolean {
  for (let reads = 0; reads < READS_MAX; reads++) {
    const found = findPacked(state, pool, key, false);
    if (found !== IN_REMOTE) return found === FOUND;
    const name = foundRecord(state, pool, key);
    const read = state.arrivals?.of(state, name);
    if (read === undefined) {
      // The request is counted when it is executed anew.
      state.readBuffer.adjustCounts(-1, 0, 0);
      state.arrivals?.want(state, name);
      throw new ZcacheError("ERR_REMOTE_PAGE", "the value is in the remote tier");
    }
    const result = finishRead(state, name, key, read, "get");
    if (result !== undefined) return result;
  }
  throw new ZcacheError("ERR_REMOTE", `a value was replaced ${READS_MAX} times while it was read`);
}

/**
 * Notes the record of a page as wanted, if the page is in the remote tier alone and its record has
 * not come.
 * @returns whether that is so
 */
export function wantIfRemote(state: StoreState, pool: number, key: TmemKey): boolean {
  const { arrivals } = state;
  if (arrivals === undefined) return false;
  const name = readTransaction(state, () => remoteRecordLocked(state, pool, key));
  if (name === undefined || arrivals.of(state, name) !== undefined) return false;
  arrivals.want(state, name);
  return true;
}

function remoteRecordLocked(state: StoreState, pool: number, key: TmemKey) {
  if (!isRemote(state, pool, key)) return undefined;
  const entry = state.findLocked(pool, key) as WordIndex;
  return recordOfEntry(state, entry, state.recordKey);
}
