// Recommends a codec and a pool for what was measured, and says why, in one sentence.
import { formatBytes } from "../base/units.ts";
import type { Analysis, PoolResult } from "./analysis.ts";

/** A faster codec is preferred if its ratio is at least this part of the best one. */
const FAST_ENOUGH_SHARE = 0.85;
/** Below this ratio, compression costs more than it saves. */
const WORTH_IT_RATIO = 1.05;

/** Median time of one put and one get. */
function roundTripNs({ put_ns, get_ns }: PoolResult): number {
  return put_ns.median + get_ns.median;
}

function better(a: PoolResult, b: PoolResult): PoolResult {
  return b.effective_ratio > a.effective_ratio ? b : a;
}

function name({ codec, pool }: PoolResult): string {
  return `${pool} with ${codec}`;
}

function holds(original: number, { held_bytes, effective_ratio }: PoolResult): string {
  const into = `${formatBytes(original)} in ${formatBytes(held_bytes)}`;
  return `${into} (${effective_ratio.toFixed(2)}x)`;
}

function microseconds(ns: number): string {
  return `${(ns / 1000).toFixed(1)} µs`;
}

/** @returns one sentence; for people, so its words may change from version to version */
export function recommend(analysis: Analysis): string {
  const { original_bytes: original, results, pages, same_filled_pages } = analysis;
  if (results.length === 0 || pages === 0)
    return "Nothing was measured, so nothing is recommended.";
  if (same_filled_pages === pages) {
    return "All pages are same-filled: any pool holds them in 8 bytes each, whatever the codec.";
  }
  const best = results.reduce(better);
  if (best.effective_ratio < WORTH_IT_RATIO) {
    const ratio = best.effective_ratio.toFixed(2);
    const gives = `even the best, ${name(best)}, gives only ${ratio}x`;
    return `Leave these pages uncompressed, because ${gives}.`;
  }
  // A codec that saves nothing is no alternative, however fast: `none` is the fastest of all.
  const worthIt = results.filter((one) => one.effective_ratio >= WORTH_IT_RATIO);
  const codecs = [...new Set(worthIt.map((one) => one.codec))];
  const fast = codecs
    .map((codec) => worthIt.filter((one) => one.codec === codec).reduce(better))
    .reduce((a, b) => (roundTripNs(b) < roundTripNs(a) ? b : a));
  if (fast.codec === best.codec) {
    const put = microseconds(best.put_ns.median);
    const get = microseconds(best.get_ns.median);
    const rival = codecs.length > 1 ? " and no codec here is faster" : "";
    const most = `it holds ${holds(original, best)}, the most of all${rival}`;
    return `Take ${name(best)}: ${most} (put ${put}, get ${get}).`;
  }
  const times = (best.get_ns.median / fast.get_ns.median).toFixed(1);
  if (fast.effective_ratio >= FAST_ENOUGH_SHARE * best.effective_ratio) {
    return (
      `Take ${name(fast)}: it holds ${holds(original, fast)} and reads a page ${times} times as ` +
      `fast as ${name(best)}, which saves little more (${best.effective_ratio.toFixed(2)}x).`
    );
  }
  return (
    `Take ${name(best)}: it holds ${holds(original, best)}, the most of all; ${name(fast)} reads ` +
    `a page ${times} times as fast but needs ${formatBytes(fast.held_bytes)} ` +
    `(${fast.effective_ratio.toFixed(2)}x).`
  );
}
