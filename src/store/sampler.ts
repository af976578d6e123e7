// Draws a random sample of the pages or values in memory. A walk through the index picks entries
// under the lock, a bounded number at a time; each picked entry is then copied in a transaction of
// its own. The walk changes nothing and does not count as a use.
import type { WordIndex } from "../base/brand.ts";
import { Xorshift32 } from "../base/random.ts";
import * as Entry from "../tmem/entry.layout.ts";
import { ScanCursor } from "../tmem/scan_cursor.ts";
import { snapshotEntry } from "./entry_snapshot.ts";
import * as Page from "./page.layout.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";
import { transaction } from "./transaction.ts";

/** Entries that one step visits, at about, under one hold of the lock. */
const STEP_ENTRIES = 64;
/** Entries that one step may pick: a scan may visit some more than it is asked for. */
const PICKED_MAX = STEP_ENTRIES * 2;

/** Receives the pages or values of a sample, one call for each. */
export interface SampleTaker {
  /**
   * @param content the page or value, uncompressed; valid until the call returns
   * @param prefixBytes bytes of the uncompressed prefix with which a value is stored
   * @param storedBytes bytes that it takes as stored, the prefix included
   */
  take(content: Uint8Array, prefixBytes: number, storedBytes: number): void;
  /** A same-filled page is in the sample. */
  sameFilled(): void;
}

/** A walk that draws every page or value in memory with the same probability. */
export class Sampler {
  /** Pages or values in memory when the walk began. */
  readonly population: number;
  /** Pages or values drawn so far. */
  drawn = 0;
  readonly #states: readonly StoreState[];
  /** The shard that the walk is in. */
  #nth = 0;
  readonly #taker: SampleTaker;
  readonly #wanted: number;
  readonly #random: Xorshift32;
  #cursor = new ScanCursor();
  /** The entry and its VALUE, for each entry that the current step has picked. */
  readonly #picked = new Int32Array(PICKED_MAX * 2);
  #count = 0;
  /** The probability of an entry to be drawn, times 2³². */
  readonly #chance: number;

  /** @param states the shards of the store */
  constructor(states: readonly StoreState[], wanted: number, seed: number, taker: SampleTaker) {
    this.#states = states;
    this.#wanted = wanted;
    this.#taker = taker;
    this.#random = new Xorshift32(seed);
    const population = states.reduce((sum, state) => sum + inMemory(state), 0);
    this.population = population;
    this.#chance = population <= wanted ? 2 ** 32 : Math.floor((wanted / population) * 2 ** 32);
  }

  /** Takes the next step of the walk. @returns whether the sample is complete */
  step(): boolean {
    const state = this.#states[this.#nth]!.assertOpen();
    const { index } = state;
    this.#count = 0;
    const visit = (entry: WordIndex) => this.#pick(state, entry);
    const ended = transaction(state, () => index.scan(this.#cursor, STEP_ENTRIES, visit));
    for (let nth = 0; nth < this.#count && this.drawn < this.#wanted; nth++) {
      const entry = this.#picked[nth * 2]! as WordIndex;
      if (this.#draw(state, entry, this.#picked[nth * 2 + 1]!)) this.drawn++;
    }
    if (this.drawn >= this.#wanted) return true;
    if (!ended || this.#nth + 1 === this.#states.length) return ended;
    this.#nth++;
    this.#cursor = new ScanCursor();
    return false;
  }

  #pick(state: StoreState, entry: WordIndex): void {
    const where = Page.whereOf(state.words[entry + Entry.META]!);
    if (where === Page.FILE || where === Page.REMOTE || this.#count === PICKED_MAX) return;
    if (this.#random.next() >= this.#chance) return;
    if (where === Page.SAME_FILLED) {
      if (this.drawn < this.#wanted) this.#taker.sameFilled();
      this.drawn++;
      return;
    }
    this.#picked[this.#count * 2] = entry;
    this.#picked[this.#count * 2 + 1] = state.words[entry + Entry.VALUE]!;
    this.#count++;
  }

  /** @returns whether the entry still stands for the same page */
  #draw(state: StoreState, entry: WordIndex, value: number): boolean {
    const snapshot = snapshotEntry(state, entry, value);
    if (snapshot === undefined) return false;
    const content = state.arena.bytes.subarray(state.plain, state.plain + snapshot.plainBytes);
    this.#taker.take(content, snapshot.prefix, Page.sizeOf(snapshot.meta));
    return true;
  }
}

/** Pages or values in memory. */
function inMemory(state: StoreState): number {
  let count = 0;
  for (let kind = 0; kind < Store.KINDS; kind++) {
    for (const what of [Store.IN_MEMORY, Store.SAME]) {
      count += state.words[state.gaugeAt(kind, what)]!;
    }
  }
  return count;
}
