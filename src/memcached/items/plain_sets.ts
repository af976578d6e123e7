// Has a kernel do plain sets (memcached/plain_sets.as.ts), in a store of one shard: fills in what
// the kernel needs to know, and completes what it leaves.

import { assert } from "../../base/errors.ts";
import type { Sampler } from "../../cache/engine.ts";
import { Mutex } from "../../memory/mutex.ts";
import { Latency } from "../../store/counters.ts";
import { makeRoomAfterPut } from "../../store/maintainer.ts";
import { PUT_CONTEXT_BYTES, type StoreState } from "../../store/state.ts";
import { recordSince } from "../../store/statistics.ts";
import { stateOf } from "../../store/store.ts";
import { lowFrames } from "../../store/write_back.ts";
import * as Find from "../../values/find.layout.ts";
import { seedsOf } from "../../values/format.ts";
import type { PagePutter } from "../../values/page_putter.ts";
import type { Values } from "../../values/values.ts";
import * as Sets from "../plain_sets.layout.ts";
import type { ItemsShared } from "./shared.ts";

/** What decides how items are stored. */
export interface SetFacts {
  readonly items: {
    readonly shared: ItemsShared;
    readonly itemBytesMax: number;
    /** Seconds since 1970. */
    readonly now: number;
  };
  readonly casEnabled: boolean;
}

/** Sets that one call does, at most. */
const SETS_MAX = 64;

export class PlainSets {
  readonly #state: StoreState;
  readonly #putter: PagePutter;
  /** Word index of the kernel's context. */
  readonly #at: number;
  readonly #sizeMax: number;

  /** @returns undefined where the kernel can't store items */
  static of(values: Values): PlainSets | undefined {
    return values.putter.hasKernel ? new PlainSets(values) : undefined;
  }

  private constructor(values: Values) {
    const state = stateOf(values.store);
    assert(Sets.SETS_WORDS * 4 <= PUT_CONTEXT_BYTES, "there is room for the context");
    this.#state = state;
    this.#putter = values.putter;
    this.#at = state.putContext / 4;
    this.#sizeMax = values.sizeMax;
    const [low, high] = seedsOf(state);
    const find = state.findContext / 4;
    state.words[find + Find.SEED_LOW] = low;
    state.words[find + Find.SEED_HIGH] = high;
  }

  // What `store` is asked: addresses.
  /** Where the lines begin; afterwards, the address behind those that were done. */
  from = 0;
  /** The end of what has been received. */
  to = 0;
  /** Where replies begin; afterwards, the address behind the last one. */
  out = 0;
  outEnd = 0;
  /** Items stored by the last call, and the bytes of their values. */
  sets = 0;
  valueBytes = 0;

  /**
   * Does lines as far as the kernel can.
   * @param facts what decides how items are stored
   * @param sampler of the values; it sees none of them
   */
  store({ items, casEnabled }: SetFacts, sampler: Sampler | undefined): void {
    this.sets = 0;
    this.valueBytes = 0;
    if (sampler?.isIdle(SETS_MAX) === false || !this.#putter.prepare()) return;
    const state = this.#state;
    const { words } = state;
    const at = this.#at;
    const { shared } = items;
    if (casEnabled) this.#offerCas(shared);
    words[at + Sets.HAS_CAS] = casEnabled ? 1 : 0;
    words[at + Sets.ITEM_BYTES_MAX] = items.itemBytesMax;
    words[at + Sets.PAGE_BYTES_MAX] = this.#sizeMax;
    words[at + Sets.DICTIONARY_NUMBER] = this.#putter.dictionary;
    words[at + Sets.FRAMES_LOW] = lowFrames(state);
    words[at + Sets.NOW] = items.now;
    words[at + Sets.FLUSHES] = shared.flushes();
    const begin = state.isTimed() ? state.platform.clock.nowNs() : 0;
    const { from, to, out, outEnd } = this;
    this.from = state.arena.kernels.storeLines(at * 4, from, to, out, outEnd) >>> 0;
    this.out = words[at + Sets.OUT]! >>> 0;
    const sets = words[at + Sets.SETS]!;
    this.#complete();
    if (sets === 0) return;
    this.sets = sets;
    this.valueBytes = words[at + Sets.VALUE_BYTES]!;
    if (casEnabled) shared.useCas(sets);
    sampler?.skip(sets);
    makeRoomAfterPut(state);
    if (begin === 0) return;
    const now = state.platform.clock.nowNs();
    recordSince(state, Latency.PUT, now - (now - begin) / sets);
  }

  #offerCas(shared: ItemsShared): void {
    const { words } = this.#state;
    const next = shared.casNext;
    words[this.#at + Sets.CAS_LOW] = next;
    words[this.#at + Sets.CAS_HIGH] = Math.floor(next / 2 ** 32);
    words[this.#at + Sets.CAS_LEFT] = shared.casLeft;
  }

  /** Completes what the kernel has left of its last set, and releases the lock of its key. */
  #complete(): void {
    const { arena, words } = this.#state;
    const lock = words[this.#at + Sets.KEY_LOCK]!;
    try {
      this.#putter.complete(words[this.#at + Sets.OUTCOME]!);
    } finally {
      if (lock !== 0) {
        new Mutex(words, arena.kernels, lock, arena.owner, arena.isDead).unlock();
      }
    }
  }
}
