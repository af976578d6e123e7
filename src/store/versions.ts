// Versions and watches: tell a thread whether a value has been set or removed since it looked, for
// threads that keep copies of values, and for threads that load a value while others may set it.
//
// Copies: keys share a table of versions. A version is incremented under the arena's lock before a
// change is committed, and a thread that keeps a copy has read the version before the value. So a
// copy is never older than the value, even if the changing thread is terminated; a good copy may be
// refused, because keys share versions. Evictions and expiry change no version: a copy is still
// what was set last, and a copy knows when it expires.
//
// Loads: a watch is on exactly one key (as WATCH in Redis). A thread that loads a value first
// begins a watch, and stores the value only if the watch is still unchanged (StoreState.condition).
//
//  watch, WATCH_WORDS   │ STATE │ HASH low │ HASH high │ the cache's words │

import { put } from "../memory/journal.ts";
import type { TmemKey } from "../tmem/key.ts";
import * as Store from "./store.layout.ts";

const VERSIONS = Store.VERSIONS_MAX;
export const VERSIONS_BYTES = VERSIONS * 4;

export const WATCHES = 512;
export const WATCH_WORDS = 8;
export const WATCHES_BYTES = WATCHES * WATCH_WORDS * 4;
/** Slots of the table in which a watch on a key may be. */
export const WATCH_PROBES = 8;
// The store's words of a watch: guarded by the arena's lock, also read without it.
export const STATE = 0; // NOT_WATCHED, UNCHANGED or CHANGED
export const HASH_LOW = 1;
export const HASH_HIGH = 2;
/** The words from here on belong to the cache (cache/single_flight.ts). */
export const WATCH_FRONT = 3;

export const NOT_WATCHED = 0;
export const UNCHANGED = 1;
export const CHANGED = 2;

/** Whether a page is the first of its object: a value, or the first chunk of one. */
export function isHead(key: TmemKey): boolean {
  return (key.indexLow | key.indexHigh) === 0;
}

export class Versions {
  readonly #words: Int32Array;
  readonly #root: number;

  /** @param root word index of the store's root, whose VERSIONS and WATCHES may still be 0 */
  constructor(words: Int32Array, root: number) {
    this.#words = words;
    this.#root = root;
  }

  /** The version of a key, by the low half of its hash. */
  of(hashLow: number): number {
    return Atomics.load(this.#words, this.#table + (hashLow & (VERSIONS - 1)));
  }

  /** Word index of the n-th slot, of WATCH_PROBES, for a watch on a key. */
  watchAt(hashLow: number, nth: number): number {
    const at = this.#words[this.#root + Store.WATCHES]!;
    return at + ((hashLow + nth) & (WATCHES - 1)) * WATCH_WORDS;
  }

  /**
   * Called before a page is put or removed: increments the version of its key if it is the first of
   * its object.
   */
  changedLocked(key: TmemKey): void {
    if (isHead(key)) this.objectChangedLocked(key);
  }

  /** Called before an object is removed. */
  objectChangedLocked(key: TmemKey): void {
    const words = this.#words;
    const table = this.#table;
    if (table === 0) return;
    const low = key.id[0]!;
    Atomics.add(words, table + (low & (VERSIONS - 1)), 1);
    if (words[this.#root + Store.WATCHED] !== 0) this.#markLocked(low, key.id[1]!);
  }

  /** Called before and after all values are removed. */
  allChangedLocked(): void {
    const words = this.#words;
    const table = this.#table;
    for (let nth = 0; nth < VERSIONS; nth++) Atomics.add(words, table + nth, 1);
    for (let nth = 0; nth < WATCHES; nth++) {
      const at = this.watchAt(nth, 0) + STATE;
      if (words[at] === UNCHANGED) put(words, at, CHANGED);
    }
  }

  /** Begins a watch in a slot that the caller owns; a watch that is there begins anew. */
  watchLocked(at: number, hashLow: number, hashHigh: number): void {
    const words = this.#words;
    this.#countLocked(words[at + STATE] === NOT_WATCHED ? 1 : 0);
    put(words, at + HASH_LOW, hashLow);
    put(words, at + HASH_HIGH, hashHigh);
    put(words, at + STATE, UNCHANGED);
  }

  unwatchLocked(at: number): void {
    const words = this.#words;
    this.#countLocked(words[at + STATE] === NOT_WATCHED ? 0 : -1);
    put(words, at + STATE, NOT_WATCHED);
  }

  #countLocked(delta: number): void {
    const at = this.#root + Store.WATCHED;
    if (delta !== 0) put(this.#words, at, this.#words[at]! + delta);
  }

  #markLocked(low: number, high: number): void {
    const words = this.#words;
    for (let nth = 0; nth < WATCH_PROBES; nth++) {
      const at = this.watchAt(low, nth);
      if (words[at + STATE] !== UNCHANGED) continue;
      if (words[at + HASH_LOW] !== low || words[at + HASH_HIGH] !== high) continue;
      put(words, at + STATE, CHANGED);
    }
  }

  get #table(): number {
    return this.#words[this.#root + Store.VERSIONS]!;
  }
}
