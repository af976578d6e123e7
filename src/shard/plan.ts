// How many arenas a store consists of, and how large they are.
import { ZcacheError } from "../base/errors.ts";
import { GIB, KIB, MIB, parseSize } from "../base/units.ts";
import { ARENA_BYTES_MAX } from "../memory/arena.ts";
import { FILE_BYTES, SHARDS_MAX, type StoreOptions } from "../store/options.ts";
import type { StorePlatform } from "../store/platform.ts";

export interface ShardPlan {
  readonly shards: number;
  /** Bytes of each arena: more than an equal part, so that limits can move between shards. */
  readonly arenaBytes: number;
}

/**
 * Up to this part a store has one shard. Beyond it, an arena of 4 GiB has a third more than its
 * part.
 */
const PART_MAX = 3 * GIB;
/** An arena is larger than its part by this fraction. */
const SPARE_PART = 0.5;
/** Two shards of less would be mostly tables. */
const PART_MIN = MIB;
/** A shard that is made for threads, and not for memory, has at least so much. */
const THREAD_PART_MIN = 64 * MIB;
/** More shards than this are not made for threads. */
const THREAD_SHARDS_MAX = 8;
const ARENA_UNIT = 64 * KIB;

/**
 * @param memoryMax bytes of the whole store
 * @param shards as the option of this name says
 * @param threads that will write at the same time
 * @param limitMax bytes to which the store can grow
 * @throws ZcacheError ERR_OPTION if so many shards can't have so much memory
 */
export function planShards(
  memoryMax: number,
  shards: "auto" | number,
  threads = 1,
  limitMax = memoryMax,
): ShardPlan {
  if (shards === "auto") {
    return planOf(memoryMax, Math.max(fewestShards(limitMax), shardsFor(threads, memoryMax)));
  }
  if (isPossible(memoryMax, shards, limitMax)) return planOf(memoryMax, shards);
  const [fewest, most] = rangeOf(memoryMax, limitMax);
  const growth = limitMax > memoryMax ? ` and limitMax ${limitMax}` : "";
  throw new ZcacheError(
    "ERR_OPTION",
    `shards ${shards}: must be from ${fewest} to ${most} for memoryMax ${memoryMax}${growth}`,
    { context: { shards, memoryMax, limitMax, fewest, most } },
  );
}

/** Whether so many shards can have so much memory. */
export function isPossible(memoryMax: number, shards: number, limitMax: number): boolean {
  const [fewest, most] = rangeOf(memoryMax, limitMax);
  return shards >= fewest && shards <= most;
}

function rangeOf(memoryMax: number, limitMax: number): [fewest: number, most: number] {
  const most = Math.max(1, Math.min(SHARDS_MAX, Math.floor(memoryMax / PART_MIN)));
  return [Math.ceil(limitMax / ARENA_BYTES_MAX), most];
}

function fewestShards(limitMax: number): number {
  // A single arena has no other to lend memory to, so it may be full size.
  if (limitMax <= ARENA_BYTES_MAX) return 1;
  return Math.min(SHARDS_MAX, Math.ceil(limitMax / PART_MAX));
}

/** Shards that threads need so as not to wait for each other: docs/decisions/0019-shards.md. */
function shardsFor(threads: number, memoryMax: number): number {
  const most = Math.min(THREAD_SHARDS_MAX, Math.floor(memoryMax / THREAD_PART_MIN));
  return threads === 1 ? 1 : Math.max(1, Math.min(2 * threads, most));
}

function planOf(memoryMax: number, shards: number): ShardPlan {
  if (shards === 1) return { shards, arenaBytes: memoryMax };
  const wanted = (memoryMax / shards) * (1 + SPARE_PART);
  const arenaBytes = Math.ceil(wanted / ARENA_UNIT) * ARENA_UNIT;
  return { shards, arenaBytes: Math.min(ARENA_BYTES_MAX, Math.max(PART_MIN, arenaBytes)) };
}

/** Removes the write-back files that a store of more shards has left. */
export function removeLeftFiles(
  { writeBack }: StoreOptions,
  shards: number,
  platform: StorePlatform,
): void {
  if (writeBack === undefined || writeBack.existing === "refuse") return;
  platform.removeDevices(writeBack.path, shards);
}

/** The options of one shard: a file of its own, and an equal part of what is limited. */
export function optionsOfShard(given: StoreOptions, plan: ShardPlan, nth: number): StoreOptions {
  const { limitMax: _, ...options } = given;
  const { writeBack } = options;
  const { shards, arenaBytes: memoryMax } = plan;
  if (writeBack === undefined) return { ...options, memoryMax, shards: 1 };
  const { path, max = FILE_BYTES } = writeBack;
  const part = Math.floor(parseSize(max, "writeBack.max") / shards);
  const own = { ...writeBack, path: nth === 0 ? path : `${path}.${nth}`, max: part };
  return { ...options, memoryMax, shards: 1, writeBack: own };
}
