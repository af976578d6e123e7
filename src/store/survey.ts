// Looking at what is stored without using it: sizes of all of it, and a sample of its content, for
// who wants to know what other settings would make of it. As store/idle_scan.ts does, a walk through the
// index notes entries under the lock, and each is copied under a hold of its own; nothing of this
// counts as a use, and nothing is changed.
import type { WordIndex } from "../base/brand.ts";
import { Xorshift32 } from "../base/random.ts";
import * as Entry from "../tmem/entry.layout.ts";
import { ScanCursor } from "../tmem/scan_cursor.ts";
import { snapshotEntry } from "./entry_snapshot.ts";
import * as Page from "./page.layout.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";
import { transaction } from "./transaction.ts";

/** Entries that are looked at under one hold of the lock. */
const LOOKED = 64;
/** A walk may visit some more than it is asked for. */
const NOTED_MAX = LOOKED * 2;
export const SIZE_BINS = 64;

/** Sizes as they are stored. */
export class SizeSurvey {
  /** Bins of 1/64 page; in the last what is stored as large as a page. */
  readonly bins = new Float64Array(SIZE_BINS);
  /** Entries in the pool by what they are compressed with: RAW, FAST, DENSE of page.layout.ts. */
  readonly byCodec = new Float64Array(3);
  looked = 0;
  sameFilled = 0;
  readonly #state: StoreState;
  readonly #cursor = new ScanCursor();

  constructor(state: StoreState) {
    this.#state = state;
  }

  /** Walks on, a bounded step. @returns whether all has been looked at */
  step(): boolean {
    const { index } = this.#state.assertOpen();
    const visit = (entry: WordIndex) => this.#look(entry);
    return transaction(this.#state, () => index.scan(this.#cursor, LOOKED, visit));
  }

  #look(entry: WordIndex): void {
    const meta = this.#state.words[entry + Entry.META]!;
    const where = Page.whereOf(meta);
    if (where === Page.SAME_FILLED) this.sameFilled++;
    if (where !== Page.MEMORY) return;
    this.looked++;
    const bin = Math.floor((Page.sizeOf(meta) * SIZE_BINS) / this.#state.pageSize);
    this.bins[Math.min(SIZE_BINS - 1, bin)]!++;
    const codec = Page.codecOf(meta);
    this.byCodec[codec === Page.TRIED ? Page.FAST : codec]!++;
  }
}

/** Takes what a sample has drawn, one after the other. */
export interface SampleTaker {
  /**
   * @param content a page or value as it came in; valid for the call
   * @param prefixBytes what stands before a value as it is stored, uncompressed
   * @param storedBytes what it takes as it is stored, the prefix included
   */
  take(content: Uint8Array, prefixBytes: number, storedBytes: number): void;
  sameFilled(): void;
}

/** Draws a sample of what is in memory, every page or value with the same chance. */
export class Sampler {
  /** What is in memory, when the walk began. */
  readonly population: number;
  drawn = 0;
  readonly #state: StoreState;
  readonly #taker: SampleTaker;
  readonly #wanted: number;
  readonly #random: Xorshift32;
  readonly #cursor = new ScanCursor();
  /** Entry and VALUE of those noted. */
  readonly #noted = new Int32Array(NOTED_MAX * 2);
  #count = 0;
  /** Out of 2³² entries, so many are drawn. */
  readonly #chance: number;

  constructor(state: StoreState, wanted: number, seed: number, taker: SampleTaker) {
    this.#state = state;
    this.#wanted = wanted;
    this.#taker = taker;
    this.#random = new Xorshift32(seed);
    let population = 0;
    for (let kind = 0; kind < Store.KINDS; kind++) {
      for (const what of [Store.IN_MEMORY, Store.SAME]) {
        population += state.words[state.gaugeAt(kind, what)]!;
      }
    }
    this.population = population;
    this.#chance = population <= wanted ? 2 ** 32 : Math.floor((wanted / population) * 2 ** 32);
  }

  /** Walks on, a bounded step. @returns whether the sample is complete */
  step(): boolean {
    const { index } = this.#state.assertOpen();
    this.#count = 0;
    const visit = (entry: WordIndex) => this.#note(entry);
    const ended = transaction(this.#state, () => index.scan(this.#cursor, LOOKED, visit));
    for (let nth = 0; nth < this.#count && this.drawn < this.#wanted; nth++) {
      const entry = this.#noted[nth * 2]! as WordIndex;
      if (this.#draw(entry, this.#noted[nth * 2 + 1]!)) this.drawn++;
    }
    return ended || this.drawn >= this.#wanted;
  }

  #note(entry: WordIndex): void {
    const where = Page.whereOf(this.#state.words[entry + Entry.META]!);
    if (where === Page.FILE || this.#count === NOTED_MAX) return;
    if (this.#random.next() >= this.#chance) return;
    if (where === Page.SAME_FILLED) {
      if (this.drawn < this.#wanted) this.#taker.sameFilled();
      this.drawn++;
      return;
    }
    this.#noted[this.#count * 2] = entry;
    this.#noted[this.#count * 2 + 1] = this.#state.words[entry + Entry.VALUE]!;
    this.#count++;
  }

  /** @returns whether it was still there */
  #draw(entry: WordIndex, value: number): boolean {
    const state = this.#state;
    const noted = snapshotEntry(state, entry, value);
    if (noted === undefined) return false;
    const content = state.arena.bytes.subarray(state.plain, state.plain + noted.plainBytes);
    this.#taker.take(content, noted.prefix, Page.sizeOf(noted.meta));
    return true;
  }
}
