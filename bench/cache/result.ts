// The measurements of one contender in the comparison of caches.
import type { Speed } from "./lane.ts";

export interface MemoryResult {
  readonly rawBytes: number;
  /** Memory beyond that of the same loops without a cache. */
  readonly residentBytes: number;
  readonly peakBytes: number;
  readonly fileBytes: number;
}

export interface HitsResult {
  readonly rate: number;
  readonly peakBytes: number;
  /** The limit that the contender was given to reach this peak. */
  readonly limitBytes: number;
}

export interface CacheRow {
  readonly name: string;
  /** Why a measurement was skipped, by task, or by task and kind. */
  readonly skipped: Readonly<Record<string, string>>;
  readonly documents?: MemoryResult;
  readonly pages?: MemoryResult;
  readonly hits?: HitsResult;
  readonly speed?: Speed;
  /** Mixed operations per second of two threads together, and the memory of the cache then. */
  readonly twoThreads?: { readonly mixedPerSecond: number; readonly residentBytes: number };
  readonly collector?: { readonly share: number; readonly pauseMsMax: number };
}
