// The dictionaries of a store of values: numbered byte strings in the arena that never move or
// change.
//
// One thread at a time adds a dictionary, under DICTIONARY_LOCK, because the bytes are copied and
// logged between two transactions. The first transaction records the memory under the next number;
// the second makes the number valid. If a thread dies or fails in between, the next thread that
// adds a dictionary finds the memory there and frees it.
import { type Address, NIL, type Nil, type PageFrame } from "../base/brand.ts";
import { ARENA_OWNER } from "../memory/arena.ts";
import { MAX_ORDER } from "../memory/frame.layout.ts";
import { put } from "../memory/journal.ts";
import { Mutex } from "../memory/mutex.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";
import { transaction } from "./transaction.ts";
import * as Value from "./value.layout.ts";

export class Dictionaries {
  readonly #state: StoreState;
  readonly #mutex: Mutex;

  constructor(state: StoreState) {
    this.#state = state;
    const { words, kernels, owner, isDead, lock } = state.arena;
    this.#mutex = new Mutex(words, kernels, state.root + Store.DICTIONARY_LOCK, owner, isDead);
    this.#mutex.waits = lock.waits.other;
  }

  /** The number of the dictionary for new values, 0 = none. */
  get current(): number {
    return this.#state.words[this.#state.root + Store.DICTIONARY]!;
  }

  /** How many dictionaries there are, numbered from 1 on. */
  get count(): number {
    return this.#state.words[this.#state.root + Store.DICTIONARIES]!;
  }

  /** Where the dictionary of a number, 1 … count, is. */
  at(number: number): { readonly at: Address; readonly sizeBytes: number } {
    const { words, root } = this.#state;
    return {
      at: (words[root + Store.DICTIONARY_AT + number - 1]! * 4) as Address,
      sizeBytes: words[root + Store.DICTIONARY_BYTES + number - 1]!,
    };
  }

  /** Whether the codec of new values, or else the denser one, can use a dictionary. */
  isUsable(isDense: boolean): boolean {
    return this.#state.codecs.takesDictionary(isDense);
  }

  /**
   * Makes a dictionary the one for all new values; stored values keep theirs until they are
   * recompressed.
   * @returns its number; NIL if there is no number or no room left
   * @throws ZcacheError ERR_STORE_CLOSED; ERR_IO: the log of changes can't be written
   */
  add(bytes: Uint8Array): number {
    const { words, root, changes, arena } = this.#state.assertOpen();
    this.#mutex.lock();
    try {
      const number = words[root + Store.DICTIONARIES]! + 1;
      if (number > Value.DICTIONARIES_MAX) return NIL;
      const at = transaction(this.#state, () => this.#reserveLocked(number, bytes.length));
      if (at === NIL) return NIL;
      arena.bytes.set(bytes, at * 4);
      changes?.dictionary(number, (at * 4) as Address, bytes.length);
      transaction(this.#state, () => {
        put(words, root + Store.DICTIONARIES, number);
        put(words, root + Store.DICTIONARY, number);
      });
      return number;
    } finally {
      this.#mutex.unlock();
    }
  }

  /**
   * Allocates memory for the dictionary of that number.
   * @returns its word index, or NIL
   */
  #reserveLocked(number: number, sizeBytes: number): number | Nil {
    const { words, root, arena } = this.#state;
    const { frames, pageSize } = arena;
    const at = root + Store.DICTIONARY_AT + number - 1;
    const left = words[at]!;
    if (left !== 0) {
      put(words, at, 0);
      frames.free((left / frames.wordsPerPage) as PageFrame);
    }
    const order = Math.max(0, Math.ceil(Math.log2(sizeBytes / pageSize)));
    const frame = order > MAX_ORDER ? NIL : frames.alloc(order, ARENA_OWNER);
    if (frame === NIL) return NIL;
    const start = frames.frameToWord(frame);
    put(words, at, start);
    put(words, root + Store.DICTIONARY_BYTES + number - 1, sizeBytes);
    return start;
  }
}
