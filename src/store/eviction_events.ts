// Ring buffer of eviction events: values that the store removed, because they were evicted or had
// expired, rather than a caller. Any thread can read it. The store does not wait for readers: a
// reader that falls behind misses events, and learns that it did.
//
//  record: bytes of the rest × 256 + reason (counters.ts) │ HEADER and the prefix, as they were
//  stored, up to a multiple of four bytes
//
// The root's word EVICTION_BYTES counts their bytes since the ring was made, modulo 2³²; one that
// would stand across the end stands at the beginning, behind a word 0.
import { type Handle, NIL, type WordIndex } from "../base/brand.ts";
import { assert } from "../base/errors.ts";
import { MAX_THREADS } from "../memory/arena.layout.ts";
import { ARENA_OWNER } from "../memory/arena.ts";
import { put } from "../memory/journal.ts";
import * as Entry from "../tmem/entry.layout.ts";
import * as Page from "./page.layout.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";
import * as Value from "./value.layout.ts";

const RING_BYTES = 64 * 1024;
const RECORD_HEAD_BYTES = 4;

/** Notes that a value goes. Called before its entry lets go of it, under the lock. */
export function recordEvictionLocked(
  state: StoreState,
  entry: WordIndex,
  reason: number,
  address?: number,
): void {
  const { words, root } = state;
  const ring = words[root + Store.EVICTION_RING]!;
  const meta = words[entry + Entry.META]!;
  if (ring === 0) return;
  let from = address;
  if (from === undefined) {
    if (Page.whereOf(meta) !== Page.MEMORY) return;
    const bytes = Math.min(Page.sizeOf(meta), Value.PREFIX_MAX);
    const handle = words[entry + Entry.VALUE]! as Handle;
    state.zpools[Page.kindOf(meta)]!.readShared(handle, state.evicted, bytes);
    from = state.evicted;
  }
  // Of a value that has parts, the first speaks for all.
  const prefix = Value.prefixOf(words[from / 4]!);
  if (prefix <= Value.FIXED_BYTES) return;
  const bytes = RECORD_HEAD_BYTES + Math.ceil(prefix / 4) * 4;
  let head = words[root + Store.EVICTION_BYTES]! >>> 0;
  if ((head % RING_BYTES) + bytes > RING_BYTES) {
    words[ring + (head % RING_BYTES) / 4] = 0;
    head += RING_BYTES - (head % RING_BYTES);
  }
  const at = ring + (head % RING_BYTES) / 4;
  words[at] = prefix * 256 + reason;
  state.arena.kernels.copy((at + 1) * 4, from, prefix);
  put(words, root + Store.EVICTION_BYTES, (head + bytes) | 0);
}

/** Of a turns' words: what EVICTION_BYTES was when it was last listened to. */
const HEARD = 0;
/** And the ring that lies idle while nobody does, 0 = none: later there might be no room for it. */
const IDLE_RING = 1;
/** And MAX_THREADS owners, by thread number: those that have begun and not ended; 0 = none. */
const LISTENERS = 2;
const TURNS_WORDS = LISTENERS + MAX_THREADS;

/**
 * Hears of what goes, between `beginLocked` and `endLocked`. Threads that are given the same words
 * of `turns` hear in turns: what one was told, no other is. The words are not the arena's and are
 * not undone with a transaction; each of them is right whether its transaction is committed or not.
 */
export class Departures {
  readonly #state: StoreState;
  /** Guarded by the store's lock. */
  readonly #turns: Int32Array;

  /** @param turns TURNS_WORDS words of shared memory, zeros at first */
  constructor(state: StoreState, turns: Int32Array = new Int32Array(TURNS_WORDS)) {
    assert(turns.length === TURNS_WORDS, "the words of turns are as many as are used");
    this.#state = state;
    this.#turns = turns;
  }

  /** From now on. @returns whether there was room for a ring; if not, nothing is heard */
  beginLocked(): boolean {
    const { words, root } = this.#state;
    if (words[root + Store.EVICTION_RING] === 0) {
      put(words, root + Store.EVICTION_RING, this.#turns[IDLE_RING] || makeRing(this.#state));
    }
    if (words[root + Store.EVICTION_RING] === 0) return false;
    if (!this.#othersListen()) this.#turns[HEARD] = words[root + Store.EVICTION_BYTES]!;
    this.#turns[this.#listenerAt] = this.#state.arena.owner;
    return true;
  }

  /**
   * One listens less; after the last, nothing is noted. Only where all who listen to the store take
   * turns.
   */
  endLocked(): void {
    const { words, root } = this.#state;
    this.#turns[this.#listenerAt] = 0;
    const ring = words[root + Store.EVICTION_RING]!;
    if (ring === 0 || this.#othersListen()) return;
    this.#turns[IDLE_RING] = ring;
    put(words, root + Store.EVICTION_RING, 0);
  }

  get #listenerAt(): number {
    return LISTENERS + this.#state.arena.thread - 1;
  }

  /** Whether a living thread listens, besides this one: a dead one has not ended what it began. */
  #othersListen(): boolean {
    const { arena } = this.#state;
    for (let at = LISTENERS; at < TURNS_WORDS; at++) {
      const owner = this.#turns[at]!;
      if (owner !== 0 && owner !== arena.owner && arena.ownerMayRun(owner)) return true;
    }
    return false;
  }

  /**
   * Calls `visit` for each value that went since the last call.
   * @param visit with the reason, and where FLAGS stands of what was its prefix, behind its HEADER
   * @returns false if there were more than the ring holds: some were not heard of
   */
  hearLocked(visit: (reason: number, at: number) => void): boolean {
    const { words, root } = this.#state;
    const ring = words[root + Store.EVICTION_RING]!;
    if (ring === 0) return true;
    const head = words[root + Store.EVICTION_BYTES]! >>> 0;
    let at = this.#turns[HEARD]! >>> 0;
    const behind = (head - at) >>> 0;
    this.#turns[HEARD] = head;
    if (behind > RING_BYTES - Value.PREFIX_MAX) return false;
    while (at !== head) {
      const word = ring + (at % RING_BYTES) / 4;
      const record = words[word]!;
      if (record === 0) at += RING_BYTES - (at % RING_BYTES);
      else {
        visit(record & 0xff, (word + 1) * 4 + Value.FLAGS);
        at += RECORD_HEAD_BYTES + Math.ceil((record >>> 8) / 4) * 4;
      }
      at = at >>> 0;
    }
    return true;
  }
}

/** @returns the word index of a new ring, or 0 if there is no room */
function makeRing(state: StoreState): number {
  const { frames, pageSize } = state.arena;
  const order = Math.max(0, Math.log2(RING_BYTES / pageSize));
  const frame = frames.alloc(order, ARENA_OWNER);
  if (frame === NIL) return 0;
  return frames.frameToWord(frame);
}
