// Statistics of persistence, of one shard and of all.
import type { Recovered } from "./recovery.ts";

/** Statistics of persistence, since the start of the process. */
export interface PersistStats {
  /** Path of the files, without their endings. */
  readonly path: string;
  /** Bytes of the logs that a restart would read. */
  readonly logBytes: number;
  /** Bytes of the snapshot that a restart would read. */
  readonly snapshotBytes: number;
  /** Bytes of changes that are not written to the log yet. */
  readonly waitingBytes: number;
  /** Snapshots written. */
  readonly snapshots: number;
  /** Values for which the last snapshot had no space: they are lost in a restart. */
  readonly unsaved: number;
  /** Writes that failed. */
  readonly errors: number;
  /** Whether a failure has suspended persistence: a restart would find no values. */
  readonly isSuspended: boolean;
  /** What was recovered at the start. */
  readonly recovered: Recovered;
}

/**
 * Statistics of all shards together.
 * @param path of the whole store
 * @param taken what was recovered from files of another number of shards
 */
export function sumOfShards(
  path: string,
  shards: readonly PersistStats[],
  taken: readonly Recovered[],
): PersistStats {
  const sum = sumOf(shards);
  return {
    ...(sum as unknown as PersistStats),
    path,
    isSuspended: shards.some((one) => one.isSuspended),
    recovered: {
      ...sumOfRecovered([...shards.map((one) => one.recovered), ...taken]),
      entries: sumOf(shards.map((one) => one.recovered))["entries"]!,
    },
  };
}

function sumOfRecovered(all: readonly Recovered[]): Recovered {
  const sum = sumOf(all) as unknown as Recovered;
  return { ...sum, wasClosed: all.every(({ wasClosed }) => wasClosed) };
}

/** The numbers among the properties, added. */
function sumOf(all: readonly object[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const [name, value] of all.flatMap((one) => Object.entries(one))) {
    if (typeof value === "number") sums[name] = (sums[name] ?? 0) + value;
  }
  return sums;
}
