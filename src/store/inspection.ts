// Looking at a store without using it: page frames, sizes, a sample of the content, times. Nothing
// of this counts as a use, and nothing is changed; each step holds the lock for a bounded time.
import { assert } from "../base/errors.ts";
import type { LatencyName } from "./counters.ts";
import { describeFramesLocked, FRAMES_PER_HOLD } from "./frame_map.ts";
import { Sampler, type SampleTaker } from "./sampler.ts";
import { SizeHistogram } from "./size_histogram.ts";
import type { StoreState } from "./state.ts";
import { latenciesOf } from "./statistics.ts";
import * as Root from "./store.layout.ts";
import { transaction } from "./transaction.ts";

export class Inspection {
  readonly #state: StoreState;

  constructor(state: StoreState) {
    this.#state = state;
  }

  /** The histograms of latencies, of which `Store.stats` says some percentiles. */
  latencies(): Record<LatencyName, [upToNs: number, count: number][]> {
    return latenciesOf(this.#state.assertOpen());
  }

  /** Ephemeral pages evicted since the store was made. */
  get evicted(): number {
    return this.#state.counter("evicted_ephemeral_pages");
  }

  /**
   * Compressed bytes of all stored pages: an estimate, which takes pages in the write-back file to
   * be as long as those in memory.
   */
  get storedBytes(): number {
    return this.#storedBytesOf(Root.EPHEMERAL) + this.#storedBytesOf(Root.PERSISTENT);
  }

  #storedBytesOf(kind: number): number {
    const gauge = (what: number) => this.#state.words[this.#state.gaugeAt(kind, what)]!;
    const bytes = gauge(Root.BYTES) >>> 0;
    return bytes * (1 + gauge(Root.IN_FILE) / Math.max(1, gauge(Root.IN_MEMORY)));
  }

  /** What the frames of the pools for ephemeral and for persistent pages are told apart by. */
  get frameClasses(): readonly ("slot" | "buddies")[] {
    return this.#state.zpools.map((zpool) => zpool.frameClasses);
  }

  /**
   * Describes page frames from `first` on, under one hold of the lock: a word for each, which
   * frame_map.ts reads.
   * @param target as many words as frames are wanted, at most FRAMES_PER_HOLD
   * @returns how many there were
   */
  describeFrames(first: number, target: Int32Array): number {
    const state = this.#state.assertOpen();
    assert(target.length <= FRAMES_PER_HOLD, "the lock is held for a bounded time");
    return transaction(state, () => describeFramesLocked(state, first, target));
  }

  /** A walk through the sizes of all that is stored; it stands at the beginning. */
  sizes(): SizeHistogram {
    return new SizeHistogram(this.#state.assertOpen());
  }

  /**
   * A walk that draws a sample of what is in memory; it stands at the beginning.
   * @param wanted pages or values, at most; all, if there are no more
   * @param seed one seed, one sample, as long as nothing changes
   */
  sample(wanted: number, seed: number, taker: SampleTaker): Sampler {
    return new Sampler(this.#state.assertOpen(), wanted, seed, taker);
  }
}
