// Latency histograms in shared memory, to which all threads add without a lock.
//
// Eight buckets per power of two, from 64 ns on, so that a percentile is off by at most 1/16 of its
// value. A bucket is one word, added to atomically.

import { FIRST_LOG2, LAST_LOG2, LATENCY_WORDS, SUB_BITS } from "./latency.layout.ts";

const SUB = 1 << SUB_BITS;

/** Summary of a histogram at one moment; times in ns. */
export interface LatencySummary {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
}

/** Adds one time, in ns. */
export function latencyRecord(words: Int32Array, at: number, ns: number): void {
  Atomics.add(words, at + bucketOf(ns), 1);
}

/**
 * The buckets that are not empty, in order: upper bound in ns, and count. Differences between two
 * moments give an interval; sums give several threads or services.
 */
export function latencyBuckets(words: Int32Array, at: number): [upToNs: number, count: number][] {
  const buckets: [number, number][] = [];
  for (let bucket = 0; bucket < LATENCY_WORDS; bucket++) {
    const count = Atomics.load(words, at + bucket);
    if (count > 0) buckets.push([bucketEnd(bucket), count]);
  }
  return buckets;
}

/** Adds the buckets of a histogram to those at the beginning of `target`. */
export function latencyAdd(target: Int32Array, words: Int32Array, at: number): void {
  for (let bucket = 0; bucket < LATENCY_WORDS; bucket++) {
    target[bucket]! += Atomics.load(words, at + bucket);
  }
}

export function latencySummary(words: Int32Array, at: number): LatencySummary {
  const counts = Array.from({ length: LATENCY_WORDS }, (_, i) => Atomics.load(words, at + i));
  const count = counts.reduce((sum, n) => sum + n, 0);
  const [p50, p99, p999] = [0.5, 0.99, 0.999].map((share) => percentile(counts, count, share));
  return { count, p50: p50!, p99: p99!, p999: p999! };
}

function percentile(counts: readonly number[], count: number, share: number): number {
  if (count === 0) return 0;
  const rank = Math.max(1, Math.ceil(share * count));
  let seen = 0;
  for (let bucket = 0; bucket < LATENCY_WORDS; bucket++) {
    seen += counts[bucket]!;
    if (seen >= rank) return bucketMiddle(bucket);
  }
  return bucketMiddle(LATENCY_WORDS - 1);
}

function bucketOf(ns: number): number {
  if (ns < 1 << FIRST_LOG2) return 0;
  const log2 = Math.floor(Math.log2(ns));
  if (log2 > LAST_LOG2) return LATENCY_WORDS - 1;
  const sub = Math.floor(ns / 2 ** (log2 - SUB_BITS)) - SUB;
  return 1 + (log2 - FIRST_LOG2) * SUB + Math.min(SUB - 1, Math.max(0, sub));
}

function bucketEnd(bucket: number): number {
  if (bucket === 0) return 1 << FIRST_LOG2;
  const log2 = FIRST_LOG2 + Math.floor((bucket - 1) / SUB);
  return (SUB + ((bucket - 1) % SUB) + 1) * 2 ** (log2 - SUB_BITS);
}

function bucketMiddle(bucket: number): number {
  if (bucket === 0) return 1 << (FIRST_LOG2 - 1);
  const log2 = FIRST_LOG2 + Math.floor((bucket - 1) / SUB);
  const width = 2 ** (log2 - SUB_BITS);
  return (SUB + ((bucket - 1) % SUB)) * width + width / 2;
}
