// What the entry of a page in the remote tier says: the name of its record.
//
//   VALUE       version, bits 0–31
//   LINKS       version, bits 32–47; in the upper half 1 + slot of the outbox while in transit
//   LINKS + 1   the fencing epoch in the record's key
//
// A record is named by pool, object, index, version and epoch; no two ever have the same name. A
// page in transit is REMOTE already, and is read from its slot.
import type { RecordName, RecordVersion } from "../backing/record_name.ts";
import { NIL, type Nil, type WordIndex } from "../base/brand.ts";
import * as Entry from "../tmem/entry.layout.ts";
import type { TmemKey } from "../tmem/key.ts";
import * as Page from "./page.layout.ts";
import type { StoreContext } from "./parts.ts";

export const SLOT_SHIFT = 16;
/** Of the first word of LINKS: bits of the version. */
export const VERSION_HIGH_MASK = 0xffff;

/** The slot of a page in transit, by the first word of LINKS; NIL if it has arrived. */
export function slotOf(link: number): number | Nil {
  return (link >>> SLOT_SHIFT) - 1;
}

/** Ends the use of the record of an entry, which is about to stand for something else. */
export function releaseRecordLocked(state: StoreContext, entry: WordIndex): void {
  const { words } = state;
  const outbox = state.outbox!;
  const link = words[entry + Entry.LINKS]!;
  const slot = slotOf(link);
  if (slot !== NIL) {
    outbox.cancelLocked(slot);
    return;
  }
  const { pool, key, ...record } = recordOfEntry(state, entry, state.recordKey);
  outbox.removeLocked(pool, key, record);
}

/** The record of an entry whose page is in the remote tier. @param key is set to its key */
export function recordOfEntry(state: StoreContext, entry: WordIndex, key: TmemKey): RecordName {
  const { words } = state;
  return {
    pool: state.index.keyOf(entry, key),
    key,
    meta: words[entry + Entry.META]!,
    versionLow: words[entry + Entry.VALUE]!,
    versionHigh: words[entry + Entry.LINKS]! & VERSION_HIGH_MASK,
    epoch: words[entry + Entry.LINKS + 1]! >>> 0,
  };
}

/** Whether an entry stands for this record. */
export function hasRecord(state: StoreContext, entry: WordIndex, record: RecordVersion): boolean {
  const { words } = state;
  return (
    Page.whereOf(words[entry + Entry.META]!) === Page.REMOTE &&
    words[entry + Entry.VALUE] === record.versionLow &&
    (words[entry + Entry.LINKS]! & VERSION_HIGH_MASK) === record.versionHigh &&
    words[entry + Entry.LINKS + 1] === (record.epoch | 0)
  );
}
