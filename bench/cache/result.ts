// What the comparison of caches finds out about one contender.
import type { Speed } from "./lane.ts";

export interface MemoryResult {
  readonly rawBytes: number;
  /** Beyond what the loops take without a cache. */
  readonly residentBytes: number;
  readonly peakBytes: number;
  readonly fileBytes: number;
}

export interface HitsResult {
  readonly rate: number;
  readonly peakBytes: number;
  /** What the contender was told to keep to, so that its peak is what it is. */
  readonly toldBytes: number;
}

export interface CacheRow {
  readonly name: string;
  /** By task, or by task and kind: why not. */
  readonly skipped: Readonly<Record<string, string>>;
  readonly documents?: MemoryResult;
  readonly pages?: MemoryResult;
  readonly hits?: HitsResult;
  readonly speed?: Speed;
  /** Mixed operations a second of two threads together, and what the cache takes then. */
  readonly twoThreads?: { readonly mixedPerSecond: number; readonly residentBytes: number };
  readonly collector?: { readonly share: number; readonly pauseMsMax: number };
}
