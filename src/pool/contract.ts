// The contract over all allocators of compressed pages, after the kernel's zpool.
//
// A pool hands out handles for objects of 1 … maxSizeBytes bytes. It knows the room it gave an
// object, not the object's length: that is the caller's to keep. Refusals are negative error
// numbers (base/errno.ts), because a full pool and a stale handle are expected; nothing here throws
// for them.
//
// All methods may be called from any thread that has the pool attached. Cost is the cost under one
// lock: a few list steps, and for `read`, `write` and a moving `free` one copy of one object.
import type { Address, Handle, PageFrame } from "../base/brand.ts";
import type { Errno } from "../base/errno.ts";

/** How an object is mapped. Under MAP_WO the old content need not be there at `map`. */
export const MAP_RW = 0;
export const MAP_RO = 1;
export const MAP_WO = 2;
export type MapMode = typeof MAP_RW | typeof MAP_RO | typeof MAP_WO;

/**
 * Asked by `shrink` for each object of the page frame that is to be emptied, without any lock held:
 * it may read the object, map it, and use the pool in any way.
 *
 * An object that another thread maps between the question and the answer is not freed, whatever the
 * answer. A callback that must know for certain frees the object itself, and refuses on EBUSY.
 * @returns 0 if the object may go: the pool frees it unless the callback has done so itself.
 *   Anything else refuses: the object stays, and so does its page frame.
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
  /** Page frames that compaction freed since the pool was made. */
  readonly pagesCompacted: number;
  /** Page frames that `shrink` freed since the pool was made. */
  readonly pagesReclaimed: number;
  /** Objects that `shrink` evicted since the pool was made. */
  readonly objectsEvicted: number;
}

/** One size class, free-space list or block type of a pool: what its kind calls it. */
export interface ClassStats {
  /** What the class is: `size 112`, `free chunks 17`, `7 slots in 8 pages`. */
  readonly name: string;
  /** The largest object that fits, in bytes; 0 where the class is not about size. */
  readonly sizeBytes: number;
  readonly objects: number;
  /** Objects that the class's pages could hold; equal to `objects` where nothing is known. */
  readonly capacity: number;
  readonly pages: number;
}

/** The fullest that `describeFrame` says a page frame is: all of what it can hold. */
export const FRAME_FULL = 255;

/** What `describeFrame` says of a frame that holds objects. */
export function describedFrame(objectClass: number, share: number): number {
  return objectClass * (FRAME_FULL + 1) + Math.round(share * FRAME_FULL);
}

/** What another thread needs to attach: plain, goes through `postMessage`. */
export interface PoolShare {
  /** The frame of the pool's descriptor, and what tells the pool from others made in its place. */
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
   * saves nothing. `maxSizeBytes` in pools that have no such class.
   */
  readonly hugeSizeBytes: number;
  /** Whether `compact` can ever free a page frame. */
  readonly canCompact: boolean;
  /** What tells the page frames of a pool apart: bytes of their slots, or objects in them. */
  readonly frameClasses: "slot" | "buddies";

  /**
   * Takes room for an object of `sizeBytes`; its content is undefined.
   * @returns a handle, or EINVAL (size 0, negative or no whole number), ENOSPC (above
   *   maxSizeBytes), ENOMEM (no page frame left)
   */
  malloc(sizeBytes: number): Handle | Errno;

  /** Frees an object. @returns 0, EINVAL (no such object), EBUSY (it is mapped) */
  free(handle: Handle): 0 | Errno;

  /**
   * Copies the object's first `sizeBytes` to `target`, elsewhere in the arena.
   * @returns 0, or EINVAL (no such object, or the object has less room than that)
   */
  read(handle: Handle, target: Address, sizeBytes: number): 0 | Errno;

  /**
   * As `read`, without the pool's lock and for an object that is known to be there: for callers
   * that keep out by themselves all who change anything in this pool. What comes of another handle
   * is undefined.
   */
  readShared(handle: Handle, target: Address, sizeBytes: number): 0 | Errno;

  /**
   * Copies `sizeBytes` from `source`, elsewhere in the arena, into the object. Returns as `read`.
   */
  write(handle: Handle, source: Address, sizeBytes: number): 0 | Errno;

  /** As `write`, under the conditions of `readShared`, and only by who keeps all others out. */
  writeShared(handle: Handle, source: Address, sizeBytes: number): 0 | Errno;

  /**
   * As `write`; where a journal is kept, what the object held comes back if the transaction is
   * undone.
   * @param save room for `sizeBytes`, for what is overwritten, until the transaction ends
   */
  overwrite(handle: Handle, source: Address, sizeBytes: number, save: Address): 0 | Errno;

  /**
   * Gives an address at which the object can be read and written: its own, where the pool has it
   * in one piece and keeps it in place meanwhile, else that of a buffer of this thread into which
   * it is copied (RW, RO) and from which it is copied back at `unmap` (RW, WO). What the caller
   * writes under RO may or may not be kept. While mapped, the object can be neither freed nor
   * evicted. Mappings nest: each wants its own `unmap`.
   * @param sizeBytes how much of the object the caller will touch
   * @returns an address, or EINVAL (as `read`), EBUSY (no buffer of this thread is left)
   */
  map(handle: Handle, mode: MapMode, sizeBytes: number): Address | Errno;

  /** Ends a mapping made by this thread. @returns 0, or EINVAL if the object is not mapped */
  unmap(handle: Handle): 0 | Errno;

  /**
   * Empties page frames, coldest first as far as the pool knows, until `pages` are freed or no more
   * can be. `evict` is called without locks. `pages` ≤ 0 does nothing.
   * @returns page frames really freed, or EAGAIN if none (nothing there, or refused)
   */
  shrink(pages: number, evict: Evict): number;

  /**
   * Moves objects together, where the pool can, until `pagesMax` frames are freed or nothing is
   * left to gain. Bounded steps: the lock is given up between two objects' moves or a few of them.
   * @returns page frames freed; 0 in pools that cannot move objects
   */
  compact(pagesMax: number): number;

  /**
   * What one page frame holds, for a map of the memory: O(1), without the pool's lock and under the
   * conditions of `readShared`.
   * @param frame one of those whose owner is the pool's `share().zcachePool`
   * @returns class × 256 + fullness in 255ths, where the class is as `frameClasses` says; NIL for a
   *   frame that holds no objects but the pool's own records
   */
  describeFrame(frame: PageFrame): number;

  /** Page frames that hold objects. */
  totalPages(): number;
  stats(): PoolStats;
  classStats(): ClassStats[];

  /**
   * Walks everything and checks it: lists, counts, every page frame's ownership.
   * @throws AssertionError naming what does not hold
   */
  verify(): void;

  /** A value from which another thread of the same arena attaches (`attachPool`). */
  share(): PoolShare;

  /**
   * Puts right what a thread left that died in one of these calls. Where a journal is kept, under
   * the arena's lock, after the dead thread's steps were undone (memory/arena_lock.ts).
   */
  recover(): void;

  /**
   * Gives back all page frames, objects or not. Any later use, in any thread, throws
   * ERR_POOL_CLOSED, whatever has been made in the pool's place.
   */
  destroy(): void;
}
