// Bounds the index of values in the remote tier. The cluster may have dropped the record of a value
// that may be forgotten, and then nothing but a request would tell: without a bound, the entries of
// such values would fill the memory. Above the bound, some are removed, whichever come first in a
// walk through the index, which has no order.
import type { RecordName } from "../backing/record_name.ts";
import { NIL, type WordIndex } from "../base/brand.ts";
import * as Entry from "../tmem/entry.layout.ts";
import { TmemKey } from "../tmem/key.ts";
import { ScanCursor } from "../tmem/scan_cursor.ts";
import { Reason } from "./counters.ts";
import * as Page from "./page.layout.ts";
import { recordOfEntry, slotOf } from "./record.ts";
import { entryOfRecordLocked } from "./remote_page.ts";
import type { RemoteTier } from "./remote_tier.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";
import { transaction } from "./transaction.ts";

/** Memory that the entry of a value takes with the way to it. */
const ENTRY_BYTES = 40;
/** Entries in the remote tier take at most this part of the memory. */
const PART = 2;
/** Entries that one step removes and visits, at most, in each shard. */
const STEP_REMOVED = 1024;
const STEP_VISITED = 4096;
/** Entries that are visited under one hold of the lock, at about. */
const STEP_BATCH = 128;

export class RemoteTrim {
  readonly #tier: RemoteTier;
  readonly #cursors: readonly ScanCursor[];

  constructor(tier: RemoteTier) {
    this.#tier = tier;
    this.#cursors = tier.states.map(() => new ScanCursor());
  }

  /** Removes some entries, if there are too many. */
  step(): void {
    const { states, isOver } = this.#tier;
    if (isOver || states[0]!.options.content !== "values") return;
    for (const [nth, state] of states.entries()) trim(state, this.#cursors[nth]!);
  }
}

/** Entries of ephemeral values in the remote tier, at most. */
export function remoteEntriesMax({ words, root, pageSize }: StoreState): number {
  const limitBytes = words[root + Store.LIMIT_FRAMES]! * pageSize;
  return Math.floor(limitBytes / PART / ENTRY_BYTES);
}

function trim(state: StoreState, cursor: ScanCursor): void {
  const { words } = state;
  const excess = words[state.gaugeAt(Store.EPHEMERAL, Store.IN_REMOTE)]! - remoteEntriesMax(state);
  if (excess <= 0) return;
  const names: RecordName[] = [];
  const most = Math.min(excess, STEP_REMOVED);
  const visit = (entry: WordIndex) => {
    const meta = words[entry + Entry.META]!;
    if (names.length >= most || Page.kindOf(meta) !== Store.EPHEMERAL) return;
    if (Page.whereOf(meta) !== Page.REMOTE) return;
    if (slotOf(words[entry + Entry.LINKS]!) !== NIL) return;
    names.push(recordOfEntry(state, entry, new TmemKey()));
  };
  for (let visited = 0; visited < STEP_VISITED && names.length < most; visited += STEP_BATCH) {
    transaction(state, () => state.index.scan(cursor, STEP_BATCH, visit));
  }
  for (const name of names) transaction(state, () => removeLocked(state, name));
}

function removeLocked(state: StoreState, name: RecordName): void {
  const entry = entryOfRecordLocked(state, name);
  if (entry === NIL) return;
  state.removeLocked(entry, state.hash(name.pool, state.recordKey), Reason.EVICTED);
  state.count("evicted_ephemeral_pages");
}
