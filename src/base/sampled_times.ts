// Latency of a server's requests: one request in sixty-four is timed, into histograms that all
// threads share, so that the others cost a count and a comparison.
import { LATENCY_WORDS } from "./latency.layout.ts";
import { latencyBuckets, latencyRecord } from "./latency.ts";

/** A power of two, so that a mask can choose the timed requests. */
const EVERY = 64;

export class SampledTimes {
  readonly #words: Int32Array;
  #turn = 0;

  /** @param memory the result of `memory`, in any thread */
  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory);
  }

  /** Allocates shared histograms for so many kinds of request. */
  static memory(kinds: number): SharedArrayBuffer {
    return new SharedArrayBuffer(kinds * LATENCY_WORDS * Int32Array.BYTES_PER_ELEMENT);
  }

  /** @returns when the request began, in ms, if it is to be timed; else 0 */
  begin(): number {
    return (++this.#turn & (EVERY - 1)) === 0 ? performance.now() : 0;
  }

  /** Records the time of a request for which `begin` did not return 0. */
  end(kind: number, begunMs: number): void {
    latencyRecord(this.#words, kind * LATENCY_WORDS, (performance.now() - begunMs) * 1e6);
  }

  /** The buckets of one kind that are not empty. */
  buckets(kind: number): [upToNs: number, count: number][] {
    return latencyBuckets(this.#words, kind * LATENCY_WORDS);
  }
}
