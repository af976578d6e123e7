// How long requests take, as a server's threads see it: one of sixty-four is timed, into histograms
// that all threads share, so that what is not timed pays for a count and a comparison.
import { LATENCY_WORDS, latencyBuckets, latencyRecord } from "./latency.ts";

/** A power of two, so that a mask tells whose turn it is. */
const EVERY = 64;

export class SampledTimes {
  readonly #words: Int32Array;
  #turn = 0;

  /** @param memory what `memory` gave, in whatever thread */
  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory);
  }

  /** Memory for so many kinds of request, for all threads. */
  static memory(kinds: number): SharedArrayBuffer {
    return new SharedArrayBuffer(kinds * LATENCY_WORDS * Int32Array.BYTES_PER_ELEMENT);
  }

  /** @returns when the request has begun, in ms, if it is one to be timed; else 0 */
  begin(): number {
    return (++this.#turn & (EVERY - 1)) === 0 ? performance.now() : 0;
  }

  /** Notes the time of a request for which `begin` did not say 0. */
  end(kind: number, begunMs: number): void {
    latencyRecord(this.#words, kind * LATENCY_WORDS, (performance.now() - begunMs) * 1e6);
  }

  /** The buckets of one kind that hold anything. */
  buckets(kind: number): [upToNs: number, count: number][] {
    return latencyBuckets(this.#words, kind * LATENCY_WORDS);
  }
}
