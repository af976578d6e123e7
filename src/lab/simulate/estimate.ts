// Estimates the hit rate of a whole store from tallies of a sample of its keys (sampled.ts).
//
// A few keys have many of the requests, and whether they are in the sample changes its hit rate
// more than anything else. So the sample only tells the difference between a variant and the store
// as it is, simulated with the same keys; that difference is added to the hit rate that the store
// has counted for all keys. Popular keys are hits in both and drop out of the difference. (SHARDS
// corrects for the same error by the number of requests that the sample should have had.) For the
// hit rate in bytes, the sample also tells the mean size of hits and of misses.
//
// The interval is three standard errors, from how far groups of keys differ (a jackknife: the
// estimate is repeated without each group), plus the distance between simulation and store: between
// the hits of the store for the sample and those of its simulation. Hits of a larger cache that the
// time watched was too short to tell widen it upward.
import type { Figure } from "../../dashboard/api.ts";
import { GROUPS, type SampledTallies, type VariantHits } from "./sampled.ts";

/** Fewer requests or keys in the sample say nothing. */
export const REQUESTS_MIN = 1000;
export const KEYS_MIN = 200;
/** If more of the sampled requests were dropped, the rest says nothing. */
export const DROPPED_MAX = 0.1;
/**
 * From so many requests on, their number is known well enough: threads add to the counters of a
 * store a thousand requests at a time.
 */
const TOTAL_MIN = 100_000;
const STANDARD_ERRORS = 3;

export interface VariantEstimate {
  readonly hitRate: Figure;
  readonly byteHitRate: Figure;
}

/** What is known of all requests, and of how the sample was taken. */
export interface StreamTotals {
  /** Gets that the store has counted, and those that it answered from memory. */
  readonly requests: number;
  readonly hits: number;
  /** The share of the keys that is sampled. */
  readonly share: number;
  /** Sampled requests that were not recorded. */
  readonly dropped: number;
}

/** Why there is no estimate; undefined: there is one. */
export function whyNone(tallies: SampledTallies, { dropped }: StreamTotals): string | undefined {
  const requests = sum(tallies.requests);
  const share = dropped / Math.max(1, dropped + requests);
  if (share > DROPPED_MAX) {
    return `${(share * 100).toFixed(0)} % of the sampled requests came too fast to be recorded`;
  }
  if (requests < REQUESTS_MIN) {
    return `only ${requests} requests were sampled; at least ${REQUESTS_MIN} are needed`;
  }
  if (tallies.keys < KEYS_MIN) {
    return `only ${tallies.keys} keys were sampled; at least ${KEYS_MIN} are needed`;
  }
  return undefined;
}

/** @returns an estimate for each variant; the first one, the store as it is, was measured */
export function estimates(tallies: SampledTallies, totals: StreamTotals): VariantEstimate[] {
  return tallies.variants.map((variant) => estimateOf(tallies, totals, variant));
}

/** Sums over some of the groups. */
interface Sums {
  readonly requests: number;
  readonly bytes: number;
  /** Hits of the real store, of its simulation and of the variant, and their bytes. */
  readonly measured: number;
  readonly measuredBytes: number;
  readonly base: number;
  readonly baseBytes: number;
  readonly hits: number;
  readonly hitBytes: number;
}

/** @param without a group that is left out; −1 for none */
function sumsOf(
  { requests, bytes, measured }: SampledTallies,
  variant: VariantHits,
  base: VariantHits,
  without: number,
): Sums {
  const of = (parts: Float64Array) => sum(parts) - (parts[without] ?? 0);
  return {
    requests: of(requests),
    bytes: of(bytes),
    measured: of(measured.hits),
    measuredBytes: of(measured.hitBytes),
    base: of(base.hits),
    baseBytes: of(base.hitBytes),
    hits: of(variant.hits),
    hitBytes: of(variant.hitBytes),
  };
}

function hitRate(sums: Sums, { requests, hits }: StreamTotals, expected: number): number {
  return hits / Math.max(1, requests) + (sums.hits - sums.base) / expected;
}

function byteHitRate(sums: Sums, totals: StreamTotals, expected: number): number {
  const { measured, measuredBytes } = sums;
  const misses = sums.requests - measured;
  const missBytes = sums.bytes - measuredBytes;
  const rate = totals.hits / Math.max(1, totals.requests);
  // Bytes per request, of hits and of all.
  const hitShare = (rate * measuredBytes) / Math.max(1, measured);
  const all = Math.max(1e-9, hitShare + ((1 - rate) * missBytes) / Math.max(1, misses));
  return (hitShare + (sums.hitBytes - sums.baseBytes) / expected) / all;
}

function estimateOf(
  tallies: SampledTallies,
  totals: StreamTotals,
  variant: VariantHits,
): VariantEstimate {
  const base = tallies.variants[0]!;
  const sums = sumsOf(tallies, variant, base, -1);
  const recorded = sums.requests / Math.max(1, sums.requests + totals.dropped);
  const isKnown = totals.requests >= TOTAL_MIN;
  /** Requests that a sample of some groups should have. */
  const expectedOf = (some: Sums, groups: number) =>
    isKnown ? (totals.requests * totals.share * recorded * groups) / GROUPS : some.requests;
  const unknown = variant.unknown / expectedOf(sums, GROUPS);
  const figureOf = (rate: typeof hitRate, distance: number): Figure => {
    const parts = Array.from({ length: GROUPS }, (_, group) => {
      const some = sumsOf(tallies, variant, base, group);
      return rate(some, totals, expectedOf(some, GROUPS - 1));
    });
    const estimate = rate(sums, totals, expectedOf(sums, GROUPS));
    const half = STANDARD_ERRORS * jackknife(parts) + (variant === base ? 0 : distance);
    return {
      estimate: within(estimate),
      low: within(estimate - half),
      high: within(estimate + half + unknown),
    };
  };
  const measured = totals.hits / Math.max(1, totals.requests);
  return {
    hitRate:
      variant === base
        ? { estimate: measured, low: measured, high: measured }
        : figureOf(hitRate, Math.abs(sums.base - sums.measured) / sums.requests),
    byteHitRate: figureOf(
      byteHitRate,
      Math.abs(sums.baseBytes - sums.measuredBytes) / Math.max(1, sums.bytes),
    ),
  };
}

/** The standard error of an estimate. @param parts the estimates without each group */
function jackknife(parts: readonly number[]): number {
  const mean = parts.reduce((all, part) => all + part, 0) / parts.length;
  const squares = parts.reduce((all, part) => all + (part - mean) ** 2, 0);
  return Math.sqrt((squares * (parts.length - 1)) / parts.length);
}

function within(share: number): number {
  return Math.min(1, Math.max(0, share));
}

function sum(parts: Float64Array): number {
  return parts.reduce((all, part) => all + part, 0);
}
