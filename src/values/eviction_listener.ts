// Reads eviction events (store/eviction_events.ts): which values the store has removed by itself.
import { NIL } from "../base/brand.ts";
import { assert } from "../base/errors.ts";
import { MAX_THREADS } from "../memory/arena.layout.ts";
import { ARENA_OWNER } from "../memory/arena.ts";
import { put } from "../memory/journal.ts";
import { RECORD_HEAD_BYTES, RING_BYTES } from "../store/eviction_events.ts";
import type { StoreState } from "../store/state.ts";
import * as Root from "../store/store.layout.ts";
import { transaction } from "../store/transaction.ts";
import * as Value from "../store/value.layout.ts";

// The words that listeners share.
/** What EVICTION_BYTES was when a listener last read the ring. */
const HEARD = 0;
/** The ring while nobody listens, 0 = none: kept because there might be no room for one later. */
const IDLE_RING = 1;
/** MAX_THREADS owners, by thread number: those that have begun and not ended; 0 = none. */
const LISTENERS = 2;
const SHARED_WORDS = LISTENERS + MAX_THREADS;

/**
 * Reads eviction events between `begin` and `end`. Listeners that are given the same `shared` words
 * take turns: an event that one of them has read, no other reads. These words are not in the arena
 * and are not rolled back with a transaction; each is right whether its transaction commits or not.
 */
export class EvictionListener {
  readonly #state: StoreState;
  /** Guarded by the store's lock. */
  readonly #shared: Int32Array;

  /** @param shared SHARED_WORDS words of shared memory, zeros at first */
  constructor(state: StoreState, shared: Int32Array = new Int32Array(SHARED_WORDS)) {
    assert(shared.length === SHARED_WORDS, "listeners share as many words as they use");
    this.#state = state;
    this.#shared = shared;
  }

  /** Begins to listen. @returns whether there is room for the ring; if not, there are no events */
  begin(): boolean {
    return transaction(this.#state, () => this.#beginLocked());
  }

  #beginLocked(): boolean {
    const { words, root } = this.#state;
    if (words[root + Root.EVICTION_RING] === 0) {
      put(words, root + Root.EVICTION_RING, this.#shared[IDLE_RING]! || makeRing(this.#state));
    }
    if (words[root + Root.EVICTION_RING] === 0) return false;
    if (!this.#othersListen()) this.#shared[HEARD] = words[root + Root.EVICTION_BYTES]!;
    this.#shared[this.#listenerAt] = this.#state.arena.owner;
    return true;
  }

  /**
   * Ends listening; after the last listener, the store records no events. Only where all listeners
   * of the store share the same words.
   */
  end(): void {
    transaction(this.#state, () => this.#endLocked());
  }

  #endLocked(): void {
    const { words, root } = this.#state;
    this.#shared[this.#listenerAt] = 0;
    const ring = words[root + Root.EVICTION_RING]!;
    if (ring === 0 || this.#othersListen()) return;
    this.#shared[IDLE_RING] = ring;
    put(words, root + Root.EVICTION_RING, 0);
  }

  get #listenerAt(): number {
    return LISTENERS + this.#state.arena.thread - 1;
  }

  /** Whether another living thread listens: a dead one has not ended what it began. */
  #othersListen(): boolean {
    const { arena } = this.#state;
    for (let at = LISTENERS; at < SHARED_WORDS; at++) {
      const owner = this.#shared[at]!;
      if (owner !== 0 && owner !== arena.owner && arena.ownerMayRun(owner)) return true;
    }
    return false;
  }

  /**
   * Calls `visit`, under the store's lock, for each value removed since the last call.
   * @param visit with the reason (store/counters.ts), and with the address of FLAGS in a copy of
   *   the value's prefix
   * @returns false if there were more events than the ring holds: some are lost
   */
  hear(visit: (reason: number, flagsAt: number) => void): boolean {
    return transaction(this.#state, () => this.#hearLocked(visit));
  }

  #hearLocked(visit: (reason: number, flagsAt: number) => void): boolean {
    const { words, root } = this.#state;
    const ring = words[root + Root.EVICTION_RING]!;
    if (ring === 0) return true;
    const head = words[root + Root.EVICTION_BYTES]! >>> 0;
    let at = this.#shared[HEARD]! >>> 0;
    const behind = (head - at) >>> 0;
    this.#shared[HEARD] = head;
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
