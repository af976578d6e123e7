// Looks at a store without using it: page frames, sizes, a sample of the content, latencies.
// Nothing here counts as a hit or changes the store; each step holds the lock for a bounded time.
import { assert } from "../base/errors.ts";
import type { LatencyName } from "./counters.ts";
import { describeFramesLocked, FRAMES_PER_HOLD, framesDescribed } from "./frame_map.ts";
import { RequestSampling } from "./request_sampling.ts";
import { Sampler, type SampleTaker } from "./sampler.ts";
import { SizeHistogram } from "./size_histogram.ts";
import type { StoreState } from "./state.ts";
import { latenciesOf } from "./statistics.ts";
import * as Root from "./store.layout.ts";
import { transaction } from "./transaction.ts";

export class Inspection {
  readonly #states: readonly StoreState[];

  /** @param states the shards of the store; one for a store of one arena */
  constructor(states: readonly StoreState[]) {
    this.#states = states;
  }

  /** Latency histograms, of which `Store.stats` has some percentiles. */
  latencies(): Record<LatencyName, [upToNs: number, count: number][]> {
    return latenciesOf(this.#open());
  }

  /** Ephemeral pages evicted since the store was made. */
  get evicted(): number {
    return this.#sum((state) => state.counter("evicted_ephemeral_pages"));
  }

  /**
   * Compressed bytes of all stored pages: an estimate, which takes pages in the write-back file to
   * be as long as those in memory.
   */
  get storedBytes(): number {
    return this.#sum(
      (state) => storedBytesOf(state, Root.EPHEMERAL) + storedBytesOf(state, Root.PERSISTENT),
    );
  }

  /** How the page frames of each kind's pool are classified. */
  get frameClasses(): readonly ("slot" | "buddies")[] {
    return this.#states[0]!.zpools.map((zpool) => zpool.frameClasses);
  }

  /** Page frames of all shards; those of a shard follow those of the shard before. */
  get framesTotal(): number {
    return this.#sum(framesDescribed);
  }

  /**
   * Describes page frames from `first` on, one word each, which frame_map.ts decodes; holds the
   * lock once.
   * @param target as many words as frames are wanted, at most FRAMES_PER_HOLD
   * @returns how many frames were described
   */
  describeFrames(first: number, target: Int32Array): number {
    assert(target.length <= FRAMES_PER_HOLD, "the lock is held for a bounded time");
    let begin = 0;
    for (const state of this.#open()) {
      const end = begin + framesDescribed(state);
      if (first < end) {
        const from = first - begin;
        return transaction(state, () => describeFramesLocked(state, from, target));
      }
      begin = end;
    }
    return 0;
  }

  /** Begins a histogram of the sizes of all stored pages or values. */
  sizes(): SizeHistogram {
    return new SizeHistogram(this.#open());
  }

  /**
   * Begins to draw a sample of the pages or values in memory.
   * @param wanted how many, at most
   * @param seed the same seed draws the same sample, as long as the store does not change
   */
  sample(wanted: number, seed: number, taker: SampleTaker): Sampler {
    return new Sampler(this.#open(), wanted, seed, taker);
  }

  /**
   * Prepares the recording of requests for a sample of the keys.
   * @param share of the keys, above 0, at most 1
   * @throws ZcacheError ERR_ARENA_FULL
   */
  sampleRequests(share: number): RequestSampling {
    return new RequestSampling(this.#open(), share);
  }

  #open(): readonly StoreState[] {
    for (const state of this.#states) state.assertOpen();
    return this.#states;
  }

  #sum(of: (state: StoreState) => number): number {
    return this.#states.reduce((sum, state) => sum + of(state), 0);
  }
}

function storedBytesOf(state: StoreState, kind: number): number {
  const gauge = (what: number) => state.words[state.gaugeAt(kind, what)]!;
  const bytes = gauge(Root.BYTES) >>> 0;
  return bytes * (1 + gauge(Root.IN_FILE) / Math.max(1, gauge(Root.IN_MEMORY)));
}
