// The timer of the codec benchmarks.
import { Histogram } from "../../src/base/histogram.ts";

/** Nanoseconds per page. The percentiles contain the clock's own 30 to 60 ns, the mean does not. */
export interface Timing {
  readonly meanNs: number;
  readonly p50Ns: number;
  readonly p99Ns: number;
}

/** ns per page of one pass, timed as a whole. */
export function timePass(pages: number, work: (page: number) => void): number {
  const start = performance.now();
  for (let page = 0; page < pages; page++) work(page);
  return ((performance.now() - start) * 1e6) / pages;
}

/** One more pass, with a clock around every page. */
export function timeEach(pages: number, work: (page: number) => void): Histogram {
  const histogram = new Histogram();
  for (let page = 0; page < pages; page++) {
    const start = performance.now();
    work(page);
    histogram.record((performance.now() - start) * 1e6);
  }
  return histogram;
}

/** The median; NaN of no numbers. */
export function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
