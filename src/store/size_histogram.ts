// A histogram of the sizes that pages or values have as they are stored, from a walk through the
// index in bounded steps. The walk changes nothing and does not count as a use.
import type { WordIndex } from "../base/brand.ts";
import * as Entry from "../tmem/entry.layout.ts";
import { ScanCursor } from "../tmem/scan_cursor.ts";
import * as Page from "./page.layout.ts";
import type { StoreState } from "./state.ts";
import { transaction } from "./transaction.ts";

/** Entries that one step visits, at about, under one hold of the lock. */
const STEP_ENTRIES = 64;

export const SIZE_BINS = 64;

/** Counts what a walk has visited so far; other threads go on between two steps. */
export class SizeHistogram {
  /** Entries by stored size, in bins of 1/64 page; the last bin includes the size of a page. */
  readonly bins = new Float64Array(SIZE_BINS);
  /** Entries by codec: RAW, FAST, DENSE of page.layout.ts. */
  readonly byCodec = new Float64Array(3);
  /** Entries in the pool, which are those in the bins. */
  looked = 0;
  /** Same-filled pages, which take no room in the pool. */
  sameFilled = 0;
  readonly #states: readonly StoreState[];
  /** The shard that the walk is in. */
  #nth = 0;
  #cursor = new ScanCursor();

  /** @param states the shards of the store */
  constructor(states: readonly StoreState[]) {
    this.#states = states;
  }

  /** Takes the next step of the walk. @returns whether all entries have been visited */
  step(): boolean {
    const state = this.#states[this.#nth]!.assertOpen();
    const { index } = state;
    const visit = (entry: WordIndex) => this.#add(state, entry);
    if (!transaction(state, () => index.scan(this.#cursor, STEP_ENTRIES, visit))) return false;
    if (this.#nth + 1 === this.#states.length) return true;
    this.#nth++;
    this.#cursor = new ScanCursor();
    return false;
  }

  #add(state: StoreState, entry: WordIndex): void {
    const meta = state.words[entry + Entry.META]!;
    const where = Page.whereOf(meta);
    if (where === Page.SAME_FILLED) this.sameFilled++;
    if (where !== Page.MEMORY) return;
    this.looked++;
    const bin = Math.floor((Page.sizeOf(meta) * SIZE_BINS) / state.pageSize);
    this.bins[Math.min(SIZE_BINS - 1, bin)]!++;
    const codec = Page.codecOf(meta);
    this.byCodec[codec === Page.TRIED ? Page.FAST : codec]!++;
  }
}
