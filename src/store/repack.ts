// Takes back the room that overwrites in place have left: a page in a slot that is too large for it
// is stored anew (overwrite.ts). Runs in bounded steps, as long as a pool wastes much.
import type { Address, WordIndex } from "../base/brand.ts";
import * as Entry from "../tmem/entry.layout.ts";
import { unchangedMetaLocked } from "./entry_snapshot.ts";
import { slackOf, wastesLocked } from "./overwrite.ts";
import * as Page from "./page.layout.ts";
import { STEP_PAGES } from "./repack_round.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";
import { transaction } from "./transaction.ts";

/** Entries that one step visits, at about. */
const STEP_ENTRIES = 256;
/** A pool is repacked if it wastes this part of its data: 1.6 %. */
const WASTE_PART = 64;
/** The least that a slot is too large to be worth a copy: 32 bytes of a page of 4 KiB. */
const SLACK_SHIFT = 7;
/** Transactions between a round that found nothing and the next. */
const PAUSE_AFTER_VAIN = 4096;

/** Runs one step in the pools that waste much. @returns pages that were stored anew */
export function repackStep(state: StoreState): number {
  const { repacking } = state;
  const since = (state.arena.lock.version - repacking.inVain) | 0;
  if (since >= 0 && since < PAUSE_AFTER_VAIN) return 0;
  const wastes = (kind: number) =>
    state.zpools[kind]!.tellsSlack && wastesLocked(state, kind, WASTE_PART);
  repacking.count = 0;
  const ended = transaction(state, () => {
    const [ephemeral, persistent] = [wastes(Store.EPHEMERAL), wastes(Store.PERSISTENT)];
    if (!ephemeral && !persistent) return undefined;
    const visit = (entry: WordIndex) => pickLocked(state, entry, ephemeral, persistent);
    return state.index.scan(repacking.cursor, STEP_ENTRIES, visit);
  });
  if (ended === undefined) return 0;
  let moved = 0;
  for (let nth = 0; nth < repacking.count; nth++) {
    const entry = repacking.picked[nth * 2]! as WordIndex;
    if (repack(state, entry, repacking.picked[nth * 2 + 1]!)) moved++;
  }
  repacking.moved += moved;
  if (ended) {
    if (repacking.moved === 0) repacking.inVain = state.arena.lock.version;
    repacking.moved = 0;
  }
  return moved;
}

function pickLocked(
  state: StoreState,
  entry: WordIndex,
  ephemeral: boolean,
  persistent: boolean,
): void {
  const { words, repacking } = state;
  const meta = words[entry + Entry.META]!;
  if (Page.whereOf(meta) !== Page.MEMORY || repacking.count === STEP_PAGES) return;
  const kind = Page.kindOf(meta);
  if (!(kind === Store.EPHEMERAL ? ephemeral : persistent) || !isLoose(state, entry, meta)) return;
  repacking.picked[repacking.count * 2] = entry;
  repacking.picked[repacking.count * 2 + 1] = words[entry + Entry.VALUE]!;
  repacking.count++;
}

function isLoose(state: StoreState, entry: WordIndex, meta: number): boolean {
  const slack = slackOf(state, entry, Page.kindOf(meta), Page.sizeOf(meta));
  return slack >= state.pageSize >>> SLACK_SHIFT;
}

/** Stores a page anew, as it is. @returns whether there was room */
function repack(state: StoreState, entry: WordIndex, value: number): boolean {
  return transaction(state, () => {
    const meta = unchangedMetaLocked(state, entry, value);
    if (meta === 0 || !isLoose(state, entry, meta)) return false;
    const source = (state.evicted + state.headerBytes) as Address;
    state.readObject(entry, meta, source);
    const handle = state.remakeObjectLocked(Page.kindOf(meta), entry, source, Page.sizeOf(meta));
    if (handle < 0) {
      state.arena.lock.rollBack();
      return false;
    }
    state.detachLocked(entry);
    state.reattachLocked(entry, handle, meta);
    state.commitLocked();
    return true;
  });
}
