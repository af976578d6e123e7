// What all pools have in common: the descriptor, the lock around each operation, the checks of what
// callers pass, the counters. An allocator adds the `…Locked` methods.
import { type Address, type Handle, NIL, type PageFrame } from "../base/brand.ts";
import { EAGAIN, EBUSY, EINVAL, ENOSPC, type Errno } from "../base/errno.ts";
import { assert, ZcacheError } from "../base/errors.ts";
import { POOLS_MADE } from "../memory/arena.layout.ts";
import type { Arena } from "../memory/arena.ts";
import { FRAME_WORDS, MAX_ORDER } from "../memory/frame.layout.ts";
import { add, journalCommit, journalIsKept, journalRollBack, put } from "../memory/journal.ts";
import { Mutex } from "../memory/mutex.ts";
import type { ClassStats, Evict, MapMode, PoolShare, PoolStats, Zpool } from "./contract.ts";
import { ObjectWriter } from "./object_writer.ts";
import * as Pool from "./pool.layout.ts";

/** What an allocator tells the base about itself. */
export interface PoolSpec {
  readonly type: string;
  /** Index in the registry, written into the descriptor. */
  readonly typeIndex: number;
  /** Words of the descriptor that the allocator needs from Pool.OWN on. */
  readonly ownWords: number;
  readonly maxSizeBytes: number;
  /** As `Zpool.hugeSizeBytes` (default: maxSizeBytes). */
  readonly hugeSizeBytes?: number;
  readonly canCompact: boolean;
}

/** Where a pool comes from: made anew (id NIL), or attached by its descriptor's frame. */
export type PoolId = PageFrame | typeof NIL;

/**
 * Units whose objects the callback refuses to give up before `shrink` stops asking: the kernel's
 * zbud and z3fold use 8 too. A refused unit is not asked again in the same pass.
 */
const RECLAIM_RETRIES = 8;

/** Where the handles of two pools that stand in one place begin is so far apart; odd. */
const SERIAL_STEP = 40_503;

/** Where nothing is copied to: reading 0 bytes asks whether an object is there. */
const NO_ADDRESS = 0 as Address;

export abstract class BasePool implements Zpool {
  readonly type: string;
  readonly maxSizeBytes: number;
  readonly hugeSizeBytes: number;
  readonly canCompact: boolean;
  readonly frameClasses: "slot" | "buddies" = "slot";
  /** The descriptor's frame number: the pool's identity, and the owner of its frames. */
  readonly id: PageFrame;
  protected readonly arena: Arena;
  protected readonly words: Int32Array;
  /** Word index of the descriptor. */
  protected readonly at: number;
  /** Word index of the allocator's own part of the descriptor. */
  protected readonly own: number;
  /** Tells the pool from those that were, and will be, made in the same place. */
  protected readonly generation: number;
  /** Word index of the pool's lock. */
  protected readonly lockAt: number;
  protected readonly writer: ObjectWriter;
  readonly #descriptorFrames: number;
  readonly #mutex: Mutex;

  protected constructor(arena: Arena, spec: PoolSpec, id: PoolId) {
    this.arena = arena;
    this.words = arena.words;
    this.type = spec.type;
    this.maxSizeBytes = spec.maxSizeBytes;
    this.hugeSizeBytes = spec.hugeSizeBytes ?? spec.maxSizeBytes;
    this.canCompact = spec.canCompact;
    this.writer = new ObjectWriter(arena);
    const order = descriptorOrder(arena, spec);
    this.#descriptorFrames = 1 << order;
    this.id = id === NIL ? makeDescriptor(arena, spec, order) : id;
    this.at = arena.frames.frameToWord(this.id);
    this.own = this.at + Pool.OWN;
    this.generation = this.words[this.at + Pool.GENERATION]!;
    this.lockAt = Pool.lockOf(this.generation);
    const { kernels, owner, isDeadInside } = arena;
    this.#mutex = new Mutex(this.words, kernels, this.lockAt, owner, isDeadInside);
  }

  malloc(sizeBytes: number): Handle | Errno {
    // Written so that NaN fails too.
    if (!(sizeBytes >= 1) || sizeBytes !== Math.floor(sizeBytes)) return EINVAL;
    if (sizeBytes > this.maxSizeBytes) return ENOSPC;
    this.lock();
    try {
      const handle = this.mallocLocked(sizeBytes);
      if (handle > 0) add(this.words, this.at + Pool.OBJECTS, 1);
      return handle;
    } finally {
      this.unlock();
    }
  }

  free(handle: Handle): 0 | Errno {
    this.lock();
    try {
      const result = this.freeLocked(handle);
      if (result === 0) add(this.words, this.at + Pool.OBJECTS, -1);
      return result;
    } finally {
      this.unlock();
    }
  }

  read(handle: Handle, target: Address, sizeBytes: number): 0 | Errno {
    this.lock();
    try {
      return this.readLocked(handle, target, sizeBytes);
    } finally {
      this.unlock();
    }
  }

  readShared(handle: Handle, target: Address, sizeBytes: number): 0 | Errno {
    this.assertAlive();
    return this.readLocked(handle, target, sizeBytes);
  }

  writeShared(handle: Handle, source: Address, sizeBytes: number): 0 | Errno {
    this.assertAlive();
    return this.writeLocked(handle, source, sizeBytes);
  }

  write(handle: Handle, source: Address, sizeBytes: number): 0 | Errno {
    this.lock();
    try {
      return this.writeLocked(handle, source, sizeBytes);
    } finally {
      this.unlock();
    }
  }

  overwrite(handle: Handle, source: Address, sizeBytes: number, save: Address): 0 | Errno {
    this.lock();
    this.writer.beginKeeping(save);
    try {
      return this.writeLocked(handle, source, sizeBytes);
    } finally {
      this.writer.endKeeping();
      this.unlock();
    }
  }

  map(handle: Handle, mode: MapMode, sizeBytes: number): Address | Errno {
    this.lock();
    try {
      return this.mapLocked(handle, mode, sizeBytes);
    } finally {
      this.unlock();
    }
  }

  unmap(handle: Handle): 0 | Errno {
    this.lock();
    try {
      return this.unmapLocked(handle);
    } finally {
      this.unlock();
    }
  }

  shrink(pages: number, evict: Evict): number {
    this.lock();
    const pass = add(this.words, this.at + Pool.SHRINK_PASS, 1);
    this.unlock();
    let freed = 0;
    for (let refusals = 0; freed < pages && refusals < RECLAIM_RETRIES; ) {
      const result = this.#reclaimUnit(pass, evict);
      if (result === EAGAIN) break;
      if (result === 0) refusals++;
      freed += result;
    }
    return freed > 0 ? freed : EAGAIN;
  }

  compact(_pagesMax: number): number {
    this.assertAlive();
    return 0;
  }

  totalPages(): number {
    this.assertAlive();
    return this.words[this.at + Pool.PAGES]!;
  }

  stats(): PoolStats {
    const { words, at } = this;
    this.lock();
    try {
      const pages = words[at + Pool.PAGES]!;
      const descriptors = this.#descriptorFrames + this.metadataFramesLocked();
      return {
        objects: words[at + Pool.OBJECTS]!,
        pages,
        metadataBytes: descriptors * this.arena.pageSize + (pages + descriptors) * FRAME_WORDS * 4,
        pagesCompacted: words[at + Pool.PAGES_COMPACTED]!,
        pagesReclaimed: words[at + Pool.PAGES_RECLAIMED]!,
        objectsEvicted: words[at + Pool.OBJECTS_EVICTED]!,
      };
    } finally {
      this.unlock();
    }
  }

  classStats(): ClassStats[] {
    this.lock();
    try {
      return this.classStatsLocked();
    } finally {
      this.unlock();
    }
  }

  verify(): void {
    this.lock();
    try {
      const found = this.verifyLocked();
      assert(found.objects === this.words[this.at + Pool.OBJECTS], "every object is counted");
      assert(found.pages === this.words[this.at + Pool.PAGES], "every page frame is counted");
    } finally {
      this.unlock();
    }
  }

  share(): PoolShare {
    this.assertAlive();
    return { zcachePool: this.id, generation: this.generation, type: this.type };
  }

  /**
   * Puts right what a thread left that died inside, its steps having been undone: under the arena's
   * lock, where a journal is kept (memory/arena_lock.ts).
   */
  recover(): void {
    this.assertAlive();
    this.#mutex.reset();
    this.lock();
    try {
      put(this.words, this.at + Pool.COMPACTING, 0);
      this.#endReclaimLocked();
    } finally {
      this.unlock();
    }
  }

  destroy(): void {
    this.lock();
    try {
      put(this.words, this.at + Pool.MAGIC, 0);
      this.destroyLocked();
      this.arena.frames.free(this.id);
    } finally {
      this.unlock();
    }
  }

  abstract describeFrame(frame: PageFrame): number;
  /** As `malloc`; the size is in range. */
  protected abstract mallocLocked(sizeBytes: number): Handle | Errno;
  protected abstract freeLocked(handle: Handle): 0 | Errno;
  protected abstract readLocked(handle: Handle, target: Address, sizeBytes: number): 0 | Errno;
  protected abstract writeLocked(handle: Handle, source: Address, sizeBytes: number): 0 | Errno;
  protected abstract mapLocked(handle: Handle, mode: MapMode, sizeBytes: number): Address | Errno;
  protected abstract unmapLocked(handle: Handle): 0 | Errno;
  protected abstract classStatsLocked(): ClassStats[];
  /** Walks and checks. @returns what it found, to compare with the counters */
  protected abstract verifyLocked(): { objects: number; pages: number };
  /** Gives back every frame but the descriptor's. */
  protected abstract destroyLocked(): void;
  /** Frames that hold metadata, besides the descriptor. */
  protected abstract metadataFramesLocked(): number;

  /**
   * Chooses the coldest unit (page, block, zspage) that is neither mapped nor under reclaim nor
   * marked with this `pass`; marks it with the pass and as under reclaim, so that no object is
   * placed in it and a free leaves it where it is; adds the handles of its objects to `handles`.
   * @returns what names the unit for `endReclaimLocked`, or NIL if there is none to try
   */
  protected abstract beginReclaimLocked(pass: number, handles: Handle[]): number;

  /**
   * Ends the reclaim of a unit: frees it if it is empty, else puts it back into its lists, at the
   * cold end where it was.
   * @returns page frames freed
   */
  protected abstract endReclaimLocked(unit: number): number;

  /** @returns page frames freed, 0 if the callback refused, EAGAIN if there was nothing to try */
  #reclaimUnit(pass: number, evict: Evict): number {
    const handles: Handle[] = [];
    this.lock();
    const unit = this.beginReclaimLocked(pass, handles);
    if (unit !== NIL && journalIsKept(this.words)) {
      put(this.words, this.at + Pool.RECLAIMING, 1);
      put(this.words, this.at + Pool.RECLAIMED_UNIT, unit);
    }
    // The callback may undo what it has begun itself: the unit that it is asked about stays off its
    // lists then, and a thread that dies in the callback leaves a unit that `recover` puts back.
    journalCommit(this.words);
    this.unlock();
    if (unit === NIL) return EAGAIN;
    let freed = 0;
    let isDone = false;
    try {
      for (const handle of handles) {
        // Its owner may have freed it since; nobody must be asked about an object that is gone.
        if (this.read(handle, NO_ADDRESS, 0) !== 0) continue;
        if (evict(handle) !== 0 || !this.#evicted(handle)) break;
      }
      isDone = true;
    } finally {
      // Also when the callback throws: the unit must not stay under reclaim for ever, and what the
      // callback has left half done must not be committed with it.
      if (!isDone) journalRollBack(this.words, this.arena.kernels);
      this.lock();
      freed = this.endReclaimLocked(unit);
      add(this.words, this.at + Pool.PAGES_RECLAIMED, freed);
      if (journalIsKept(this.words)) put(this.words, this.at + Pool.RECLAIMING, 0);
      journalCommit(this.words);
      this.unlock();
    }
    return freed;
  }

  /** Ends the reclaim that a dead thread has begun, so that its unit takes objects again. */
  #endReclaimLocked(): void {
    if (this.words[this.at + Pool.RECLAIMING] === 0) return;
    const freed = this.endReclaimLocked(this.words[this.at + Pool.RECLAIMED_UNIT]!);
    add(this.words, this.at + Pool.PAGES_RECLAIMED, freed);
    put(this.words, this.at + Pool.RECLAIMING, 0);
  }

  /**
   * Frees an object whose eviction was agreed to, unless that has happened. @returns whether it is
   * gone
   */
  #evicted(handle: Handle): boolean {
    this.lock();
    try {
      const result = this.freeLocked(handle);
      if (result === EBUSY) return false;
      if (result === 0) add(this.words, this.at + Pool.OBJECTS, -1);
      add(this.words, this.at + Pool.OBJECTS_EVICTED, 1);
      return true;
    } finally {
      this.unlock();
    }
  }

  /** Takes the pool's lock. @throws ZcacheError ERR_POOL_CLOSED after destroy() */
  protected lock(): void {
    this.#mutex.lock();
    if (this.#isAlive()) return;
    this.#mutex.unlock();
    throw this.#closed();
  }

  protected unlock(): void {
    this.#mutex.unlock();
  }

  protected assertLocked(): void {
    this.#mutex.assertLocked();
  }

  /** Adds to one of the common counters (pool.layout.ts), under the lock. */
  protected count(counter: number, by: number): void {
    add(this.words, this.at + counter, by);
  }

  /** @throws ZcacheError ERR_POOL_CLOSED after destroy() */
  protected assertAlive(): void {
    if (!this.#isAlive()) throw this.#closed();
  }

  /** Whether the descriptor is still this pool's: the lock holder knows for certain. */
  #isAlive(): boolean {
    const { words, at } = this;
    return (
      words[at + Pool.MAGIC] === Pool.POOL_MAGIC && words[at + Pool.GENERATION] === this.generation
    );
  }

  #closed(): ZcacheError {
    return new ZcacheError("ERR_POOL_CLOSED", `this ${this.type} pool has been destroyed`);
  }
}

function descriptorOrder(arena: Arena, spec: PoolSpec): number {
  const frames = Math.ceil((Pool.OWN + spec.ownWords) / arena.frames.wordsPerPage);
  const order = Math.ceil(Math.log2(frames));
  assert(order <= MAX_ORDER, "a pool's descriptor fits into the largest block");
  return order;
}

function makeDescriptor(arena: Arena, spec: PoolSpec, order: number): PageFrame {
  const id = arena.frames.alloc(order, 0);
  if (id === NIL) {
    throw new ZcacheError("ERR_ARENA_FULL", `no room in the arena for a ${spec.type} pool`);
  }
  const at = arena.frames.frameToWord(id);
  arena.words.fill(0, at, at + (arena.frames.wordsPerPage << order));
  const generation = (Atomics.add(arena.words, POOLS_MADE, 1) + 1) | 0;
  arena.words[at + Pool.TYPE] = spec.typeIndex;
  arena.words[at + Pool.GENERATION] = generation;
  // Handles of the pool that stood here before are, as a rule, no handles of this one.
  arena.words[at + Pool.SERIAL] = Math.imul(generation, SERIAL_STEP) & 0x3fff_ffff;
  arena.words[at + Pool.MAGIC] = Pool.POOL_MAGIC;
  return id;
}
