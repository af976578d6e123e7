// Repatriation, as RAMster has it: while much memory is free, pages come back from the remote tier
// in the background, within a budget of pages per second.

import type { RecordName } from "../backing/record_name.ts";
import { type Address, NIL, type WordIndex } from "../base/brand.ts";
import { markFrames } from "../policy/watermarks.ts";
import * as Entry from "../tmem/entry.layout.ts";
import { TmemKey } from "../tmem/key.ts";
import { ScanCursor } from "../tmem/scan_cursor.ts";
import * as Page from "./page.layout.ts";
import { recordOfEntry, slotOf } from "./record.ts";
import { bringBackLocked, entryOfRecordLocked } from "./remote_page.ts";
import type { RemoteTier } from "./remote_tier.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";
import { transaction } from "./transaction.ts";

/** Entries of the index that one step looks at, at about. */
const STEP_ENTRIES = 256;
/** Pages that one step asks for, at most. */
const STEP_PAGES = 64;
/** A budget that was not used grows to what so many seconds give. */
const BURST_SECONDS = 0.25;
const MS_PER_SECOND = 1000;
/** After a failure, nothing comes back for so long. */
const PAUSE_MS = 1000;

export class Repatriation {
  readonly #tier: RemoteTier;
  readonly #cursors: readonly ScanCursor[];
  #nth = 0;
  #budget = 0;
  #lastMs: number | undefined;
  #pausedUntilMs = 0;
  #isRunning = false;

  constructor(tier: RemoteTier) {
    this.#tier = tier;
    this.#cursors = tier.states.map(() => new ScanCursor());
  }

  /** Brings some pages of one shard back, if there is room and budget. @returns at once */
  step(): void {
    const { states, nowMs, hasLease, isOver, isHeld } = this.#tier;
    const { repatriatePages } = states[0]!.options.remote!;
    const seconds = (nowMs - (this.#lastMs ?? nowMs)) / MS_PER_SECOND;
    this.#lastMs = nowMs;
    const most = Math.max(1, repatriatePages * BURST_SECONDS);
    this.#budget = Math.min(most, this.#budget + seconds * repatriatePages);
    if (this.#isRunning || !hasLease || isOver || isHeld || nowMs < this.#pausedUntilMs) return;
    if (this.#budget < 1) return;
    this.#nth = (this.#nth + 1) % states.length;
    const state = states[this.#nth]!;
    if (!hasMuchRoom(state) || remotePages(state) === 0) return;
    const names = this.#pick(state, this.#cursors[this.#nth]!);
    this.#budget -= names.length;
    if (names.length === 0) return;
    this.#isRunning = true;
    this.#bringBack(state, names).then((isDone) => {
      this.#isRunning = false;
      if (!isDone) this.#pausedUntilMs = this.#tier.nowMs + PAUSE_MS;
    });
  }

  #pick(state: StoreState, cursor: ScanCursor): RecordName[] {
    const names: RecordName[] = [];
    const most = Math.min(STEP_PAGES, Math.floor(this.#budget));
    const visit = (entry: WordIndex) => {
      const meta = state.words[entry + Entry.META]!;
      if (names.length >= most || Page.whereOf(meta) !== Page.REMOTE) return;
      if (slotOf(state.words[entry + Entry.LINKS]!) !== NIL) return;
      names.push(recordOfEntry(state, entry, new TmemKey()));
    };
    transaction(state, () => state.index.scan(cursor, STEP_ENTRIES, visit));
    return names;
  }

  /** @returns whether all of them were read */
  async #bringBack(state: StoreState, names: readonly RecordName[]): Promise<boolean> {
    const reads = await Promise.all(names.map((name) => this.#tier.read(state, name)));
    if (this.#tier.isOver || this.#tier.isHeld) return false;
    let isDone = true;
    for (const [nth, name] of names.entries()) {
      const read = reads[nth]!;
      // A failure is for those who want the page.
      if (!(read instanceof Uint8Array)) isDone = false;
      else transaction(state, () => returnLocked(state, name, read));
    }
    return isDone;
  }
}

function returnLocked(state: StoreState, name: RecordName, bytes: Uint8Array): void {
  const entry = entryOfRecordLocked(state, name);
  if (entry === NIL || !hasMuchRoom(state)) return;
  const source = (state.evicted + state.headerBytes) as Address;
  state.arena.bytes.set(bytes, source);
  if (bringBackLocked(state, entry, source)) state.count("repatriated_pages");
}

/** Whether so much memory is free that pages come back. */
function hasMuchRoom(state: StoreState): boolean {
  const limit = state.words[state.root + Store.LIMIT_FRAMES]!;
  return state.framesFree > markFrames(limit, state.options.remote!.repatriateAbove);
}

function remotePages(state: StoreState): number {
  const pagesOf = (kind: number) => state.words[state.gaugeAt(kind, Store.IN_REMOTE)]!;
  return pagesOf(Store.EPHEMERAL) + pagesOf(Store.PERSISTENT);
}
