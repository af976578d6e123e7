// The chunks of values of more than a page: pages under further indexes of the value's object
// (prefix.layout.ts). Page 0 belongs to `Values`, which calls these methods under the key's lock.
import { NIL } from "../base/brand.ts";
import type { Errno } from "../base/errno.ts";
import { ZcacheError } from "../base/errors.ts";
import { wantIfRemote } from "../store/load_arrived.ts";
import { MISS } from "../store/next_page.ts";
import type { StoreState } from "../store/state.ts";
import { type Store, stateOf } from "../store/store.ts";
import * as Value from "../store/value.layout.ts";
import { TmemKey } from "../tmem/key.ts";
import type { KeyHash } from "./key_hash.ts";
import { fetchValue, fillPlain, peekValue, putValue, restoreValue } from "./pages.ts";
import * as Prefix from "./prefix.layout.ts";
import { chunkVersionAt, isChunkedAt } from "./prefix.ts";

export class Chunks {
  readonly #store: Store;
  readonly #state: StoreState;
  readonly #pool: number;
  /** The hash of the key whose value it is: of `Values`, set before each call. */
  readonly #hash: KeyHash;
  readonly #key = new TmemKey();
  /** Bytes of a chunk that is not the first. */
  readonly #chunkBytes: number;
  #version: number;

  /** @param sizeMax bytes of a page with its prefix  @param random 32 bits */
  constructor(store: Store, pool: number, hash: KeyHash, sizeMax: number, random: number) {
    this.#store = store;
    this.#state = stateOf(store);
    this.#pool = pool;
    this.#hash = hash;
    this.#chunkBytes = sizeMax - Prefix.CHUNK_PREFIX_BYTES;
    this.#version = random | 1;
  }

  /** A version for a value that is to be stored; never 0. */
  nextVersion(): number {
    this.#version = (this.#version + 2) | 0;
    return this.#version;
  }

  /** Stores a value from `first` on: all but what page 0 holds. @returns as `Store.put` */
  put(value: Uint8Array, valueBytes: number, first: number, version: number): 0 | Errno {
    const state = this.#state;
    const step = this.#chunkBytes;
    for (let at = first, nth = 1; at < valueBytes; at += step, nth++) {
      const count = Math.min(step, valueBytes - at);
      fillPlain(state, value, at, count);
      state.arena.bytes[state.packed + Value.FLAGS] = 0;
      this.#setIndex(nth, version);
      const result = putValue(state, this.#pool, this.#key, count, Prefix.CHUNK_PREFIX_BYTES);
      if (result < 0) return result;
    }
    return 0;
  }

  /** Whether all chunks of the bytes behind page 0 are there. */
  hasAll(bytes: number, version: number): boolean {
    const count = Math.ceil(bytes / this.#chunkBytes);
    for (let nth = 1; nth <= count; nth++) {
      this.#setIndex(nth, version);
      if (!this.#store.has(this.#pool, this.#key)) return false;
    }
    return true;
  }

  /**
   * Notes the records of all chunks that are in the remote tier as wanted, so that they are read
   * together. Page 0 was fetched last.
   * @throws ZcacheError ERR_REMOTE_PAGE if there are any
   */
  wantRemote(valueBytes: number, version: number): void {
    const state = this.#state;
    if (state.arrivals === undefined) return;
    const first = Value.sizeOf(state.words[state.packed / 4]!);
    const count = Math.ceil((valueBytes - first) / this.#chunkBytes);
    let isWanted = false;
    for (let nth = 1; nth <= count; nth++) {
      this.#setIndex(nth, version);
      if (wantIfRemote(state, this.#pool, this.#key)) isWanted = true;
    }
    if (!isWanted) return;
    // The request is counted when it is executed anew.
    state.readBuffer.adjustCounts(-1, -1, 0);
    throw new ZcacheError("ERR_REMOTE_PAGE", "chunks of the value are in the remote tier");
  }

  /** Reads the value whose page 0 was fetched last. @returns null if a chunk is missing */
  read(valueBytes: number, version: number): Uint8Array | null {
    const state = this.#state;
    const { plain } = state;
    const value = new Uint8Array(valueBytes);
    let at = 0;
    for (let nth = 0; at < valueBytes; nth++) {
      if (nth > 0) {
        this.#setIndex(nth, version);
        if (!fetchValue(state, this.#pool, this.#key)) return null;
      }
      restoreValue(state, plain);
      const count = Value.sizeOf(state.words[state.packed / 4]!);
      if (at + count > valueBytes) return null;
      value.set(state.arena.bytes.subarray(plain, plain + count), at);
      at += count;
    }
    return value;
  }

  /** Removes the chunks of those versions that `isOf` accepts. */
  drop(isOf: (version: number) => boolean): void {
    const { low, high } = this.#hash;
    this.#drop(low, high, isOf);
  }

  /** Removes chunks that do not belong to the value that an object has, if it has one. */
  dropOrphans(hashLow: number, hashHigh: number): void {
    const key = this.#key.setWords(hashLow, hashHigh, 0, 0);
    const at = peekValue(this.#state, this.#pool, key);
    if (at === NIL) {
      this.#store.flushObject(this.#pool, key);
      return;
    }
    const { bytes } = this.#state.arena;
    const version = isChunkedAt(bytes, at) ? chunkVersionAt(bytes, at) : 0;
    this.#drop(hashLow, hashHigh, (chunk) => chunk !== version);
  }

  #drop(hashLow: number, hashHigh: number, isOf: (version: number) => boolean): void {
    const store = this.#store;
    const key = this.#key.setWords(hashLow, hashHigh, 1, 0);
    while (store.nextPage(this.#pool, key) !== MISS) {
      if (isOf(key.indexHigh)) store.flush(this.#pool, key);
      if (!key.nextIndex()) break;
    }
  }

  #setIndex(nth: number, version: number): void {
    this.#key.setWords(this.#hash.low, this.#hash.high, nth, version);
  }
}
