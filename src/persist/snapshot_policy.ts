// When a snapshot is written, how fast, and how large the files may become. Arithmetic only.
import { MIB } from "../base/units.ts";

/** Sizes that decide about a snapshot, in bytes. */
export interface Sizes {
  /** Of the logs and of the snapshot that a restart would read. */
  readonly logBytes: number;
  readonly snapshotBytes: number;
  /** Of the values in the store, compressed. */
  readonly storedBytes: number;
  /** The option `max`. */
  readonly maxBytes: number;
}

/**
 * Parts of `max`: for one log, of which there can be two; above which a snapshot is begun; and for
 * all snapshots.
 */
const LOG_PART = 1 / 8;
const LOG_PART_WANTED = 1 / 16;
const SNAPSHOTS_PART = 1 - 2 * LOG_PART;
/** Logs up to this size need no snapshot: reading them takes no longer. */
const LOG_BYTES_FREE = 4 * MIB;
/** More logs than this are replaced by a snapshot, however small: each start begins one. */
export const LOGS_MAX = 4;
/** `close` writes a snapshot if the logs are this many times larger than the stored values. */
const CLOSE_FACTOR = 1.5;
/** Duration of one step: a fifth of the default interval. */
const STEP_MS = 4;
/** The step becomes up to this many times longer, in proportion to how full the log is. */
const STEP_FACTOR = 10;
/** A snapshot this many times larger than the stored values contains them several times. */
const RUNAWAY_FACTOR = 4;
const RUNAWAY_BYTES = 16 * MIB;

export function logBytesMax(maxBytes: number): number {
  return Math.floor(maxBytes * LOG_PART);
}

/** Bytes of the snapshots of all shards. @param maxBytes of the files of one shard */
export function snapshotBytesOfAll(maxBytes: number, shards: number): number {
  return Math.floor(maxBytes * shards * SNAPSHOTS_PART);
}

/** Bytes of a shard's snapshot, of which one shard at a time has two. */
export function snapshotBytesMax(maxBytes: number, shards: number): number {
  return Math.floor(snapshotBytesOfAll(maxBytes, shards) / (shards + 1));
}

/** Whether the logs have grown so much that a snapshot should replace them. */
export function isDue({ logBytes, snapshotBytes, storedBytes, maxBytes }: Sizes): boolean {
  const live = Math.max(storedBytes, snapshotBytes);
  return logBytes > Math.min(2 * live + LOG_BYTES_FREE, maxBytes * LOG_PART_WANTED);
}

/** Whether a restart would be faster with a snapshot that is written before the end. */
export function paysAtClose({ logBytes, storedBytes }: Sizes): boolean {
  return logBytes > Math.max(MIB, storedBytes * CLOSE_FACTOR);
}

/** ms for which a step goes on: longer when the log is nearly full. @param logBytes of this log */
export function stepMs(logBytes: number, maxBytes: number): number {
  return STEP_MS * (1 + (logBytes / (maxBytes * LOG_PART)) * STEP_FACTOR);
}

/** Whether a snapshot in progress has become so large that it would not end. */
export function isRunaway(snapshotBytes: number, storedBytes: number): boolean {
  return snapshotBytes >= RUNAWAY_FACTOR * Math.max(storedBytes, RUNAWAY_BYTES);
}
