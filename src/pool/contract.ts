// The contract of all allocators of compressed pages, after the kernel's zpool.
//
//   contract.ts, registry.ts, driver.ts   the contract; the pools by name
//   base.ts, pool.layout.ts, handle_bits.ts, bounce.ts, object_writer.ts   what all pools share
//   dense/                  one vector per size class: objects move, always dense
//   zbud.ts, z3fold.ts      two or three objects per page frame
//   zblock*.ts              blocks of frames divided into equal slots
//   zsmalloc/               chains of frames; compaction
//
// A pool returns handles for objects of 1 … maxSizeBytes bytes. It knows the room of an object, not
// its length, which the caller records. Refusals are negative error numbers (base/errno.ts),
// because a full pool and a stale handle are expected; nothing here throws for them.
//
// Concurrency: every thread that has attached the pool may call any method. Costs are those under
// one lock: a few list operations, and one copy of one object for `read`, `write` and a moving
// `free`.
import type { Address, Handle, PageFrame } from "../base/brand.ts";
import type { Errno } from "../base/errno.ts";
import type { LockCounts } from "../memory/lock_waits.ts";

/** How an object is mapped. With MAP_WO, the old content may be missing after `map`. */
export const MAP_RW = 0;
export const MAP_RO = 1;
export const MAP_WO = 2;
export type MapMode = typeof MAP_RW | typeof MAP_RO | typeof MAP_WO;

/**
 * Called by `shrink` for each object of the page frame to empty, without any lock: it may read or
 * map the object, and use the pool in any way.
 *
 * If another thread maps the object during the call, the object is not freed, whatever the result.
 * A callback that must know for certain frees the object itself, and refuses on EBUSY.
 * @returns 0 to let the object go: the pool frees it unless the callback has. Any other number
 *   refuses: the object stays, and so does its page frame.
 */
export type Evict = (handle: Handle) => number;

export interface PoolStats {
  /** Objects stored. */
  readonly objects: number;
  /** Page frames that hold objects: the kernel's `zpool_get_total_pages`. */
  readonly pages: number;
  /**
   * Bytes of everything else: descriptor, handles, descriptors of pages, 16 bytes per page frame.
   */
  readonly metadataBytes: number;
  /** Page frames freed by compaction since the pool was created. */
  readonly pagesCompacted: number;
  /** Page frames freed by `shrink` since the pool was created. */
  readonly pagesReclaimed: number;
  /** Objects evicted by `shrink` since the pool was created. */
  readonly objectsEvicted: number;
  /**
   * Waits for the pool's lock, by all threads since the arena was created. The pools of an arena
   * share 16 locks; in a store all zero, because there the arena's lock guards the pool.
   */
  readonly lock: LockCounts;
}

/** A size class, free-space list or block type of a pool. */
export interface ClassStats {
  /** The name of the class: `size 112`, `free chunks 17`, `7 slots in 8 pages`. */
  readonly name: string;
  /** The largest object that fits, in bytes; 0 if the class is not about size. */
  readonly sizeBytes: number;
  readonly objects: number;
  /** Objects that the class's pages could hold; equal to `objects` if that is unknown. */
  readonly capacity: number;
  readonly pages: number;
}

/** The fullness that `describeFrame` returns for a full page frame. */
export const FRAME_FULL = 255;

/** Encodes the result of `describeFrame` for a frame that holds objects. */
export function describedFrame(objectClass: number, share: number): number {
  return objectClass * (FRAME_FULL + 1) + Math.round(share * FRAME_FULL);
}

/** What another thread needs to attach. A plain object, which `postMessage` can carry. */
export interface PoolShare {
  /**
   * The frame of the pool's descriptor, and the pool's generation, which distinguishes it from
   * other pools at the same place.
   */
  readonly zcachePool: number;
  readonly generation: number;
  readonly type: string;
}

export interface Zpool {
  /** The registered name: `zbud-6.12`, `zsmalloc`, … */
  readonly type: string;
  /** The largest object, in bytes. */
  readonly maxSizeBytes: number;
  /**
   * The smallest object that takes as much room as the largest: compressing to this size or more
   * saves nothing. Equal to `maxSizeBytes` in pools without such a class.
   */
  readonly hugeSizeBytes: number;
  /** Whether `compact` can ever free a page frame. */
  readonly canCompact: boolean;
  /** Whether `slackOf` tells anything. */
  readonly tellsSlack: boolean;
  /** How page frames are classified: by the size of their slots, or by the objects in them. */
  readonly frameClasses: "slot" | "buddies";

  /**
   * Allocates an object of `sizeBytes`; its content is undefined.
   * @returns a handle, or EINVAL (size 0, negative or not a whole number), ENOSPC (above
   *   maxSizeBytes), ENOMEM (no free page frame)
   */
  malloc(sizeBytes: number): Handle | Errno;

  /** Frees an object. @returns 0, EINVAL (no such object), EBUSY (it is mapped) */
  free(handle: Handle): 0 | Errno;

  /**
   * Copies the object's first `sizeBytes` bytes to `target`, which is outside of the pool.
   * @returns 0, or EINVAL (no such object, or the object has less room)
   */
  read(handle: Handle, target: Address, sizeBytes: number): 0 | Errno;

  /**
   * As `read`, without the pool's lock, for an object that is known to exist: for callers that
   * exclude all changes of the pool by other means. The result for another handle is undefined.
   */
  readShared(handle: Handle, target: Address, sizeBytes: number): 0 | Errno;

  /**
   * Copies `sizeBytes` bytes from `source`, which is outside of the pool, to the object.
   * @returns as `read`
   */
  write(handle: Handle, source: Address, sizeBytes: number): 0 | Errno;

  /** As `write`, under the conditions of `readShared`; the caller excludes all other threads. */
  writeShared(handle: Handle, source: Address, sizeBytes: number): 0 | Errno;

  /**
   * As `write`. With a journal, a rollback of the transaction restores the old content.
   * @param save room for `sizeBytes` bytes of old content, until the transaction ends
   */
  overwrite(handle: Handle, source: Address, sizeBytes: number, save: Address): 0 | Errno;

  /**
   * How much more room an object has than a new one of `sizeBytes` would get, in bytes, under the
   * conditions of `readShared`.
   * @returns NIL if the object has less room than `sizeBytes`, or the pool can't tell
   */
  slackOf(handle: Handle, sizeBytes: number): number;

  /** As `overwrite`, under the conditions of `writeShared`, for an object that has the room. */
  overwriteShared(handle: Handle, source: Address, sizeBytes: number, save: Address): void;

  /**
   * Returns an address at which the object can be read and written: its own, if the pool has it in
   * one piece and does not move it meanwhile, else that of a buffer of this thread, to which it is
   * copied (RW, RO) and from which it is copied back at `unmap` (RW, WO). Changes under RO may be
   * lost. A mapped object can be neither freed nor evicted. Mappings nest; each needs an `unmap` of
   * its own.
   * @param sizeBytes how much of the object the caller accesses
   * @returns an address, or EINVAL (as `read`), EBUSY (no buffer of this thread is left)
   */
  map(handle: Handle, mode: MapMode, sizeBytes: number): Address | Errno;

  /** Ends a mapping made by this thread. @returns 0, or EINVAL if the object is not mapped */
  unmap(handle: Handle): 0 | Errno;

  /**
   * Empties page frames, coldest first as far as the pool knows, until `pages` are freed or no more
   * can be. `evict` is called without locks. `pages` ≤ 0 does nothing.
   * @returns page frames freed, or EAGAIN if none (no objects, or all refused)
   */
  shrink(pages: number, evict: Evict): number;

  /**
   * Compacts the pool, if it can move objects, until `pagesMax` frames are freed or nothing is left
   * to gain. Runs in bounded steps: the lock is released after every few moves.
   * @returns page frames freed; 0 in pools that can't move objects
   */
  compact(pagesMax: number): number;

  /**
   * Describes one page frame, for a map of the memory: O(1), without the pool's lock, under the
   * conditions of `readShared`.
   * @param frame a frame whose owner is the pool's `share().zcachePool`
   * @returns class × 256 + fullness in 255ths, with the class in terms of `frameClasses`; NIL for a
   *   frame that holds only the pool's own records
   */
  describeFrame(frame: PageFrame): number;

  /** Page frames that hold objects. */
  totalPages(): number;
  stats(): PoolStats;
  classStats(): ClassStats[];

  /**
   * Checks lists, counts, and the ownership of every page frame.
   * @throws AssertionError naming what does not hold
   */
  verify(): void;

  /** Returns a value from which another thread of the same arena attaches (`attachPool`). */
  share(): PoolShare;

  /**
   * Repairs the pool after a thread has died in one of these calls. With a journal: under the
   * arena's lock, after the dead thread's changes were undone (memory/arena_lock.ts).
   */
  recover(): void;

  /**
   * Frees all page frames, with or without objects. Any later use, in any thread, throws
   * ERR_POOL_CLOSED, even if another pool has been created at the same place.
   */
  destroy(): void;
}
