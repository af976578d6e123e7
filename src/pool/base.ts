// The common part of all pools: the descriptor, the lock around each operation, the checks of
// arguments, the counters. An allocator adds the `…Locked` methods.
import { type Address, type Handle, NIL, type PageFrame } from "../base/brand.ts";
import { EAGAIN, EBUSY, EINVAL, ENOSPC, type Errno } from "../base/errno.ts";
import { assert, ZcacheError } from "../base/errors.ts";
import { POOL_LOCK_COUNTERS, POOLS_MADE } from "../memory/arena.layout.ts";
import type { Arena } from "../memory/arena.ts";
import { FRAME_WORDS, MAX_ORDER } from "../memory/frame.layout.ts";
import { add, journalCommit, journalIsKept, journalRollBack, put } from "../memory/journal.ts";
import { LockWaits, sumCounts } from "../memory/lock_waits.ts";
import { Mutex } from "../memory/mutex.ts";
import type { ClassStats, Evict, MapMode, PoolShare, PoolStats, Zpool } from "./contract.ts";
import { ObjectWriter } from "./object_writer.ts";
import * as Pool from "./pool.layout.ts";

/** The properties of an allocator. */
export interface PoolSpec {
  readonly type: string;
  /** Index in the registry, which the descriptor records. */
  readonly typeIndex: number;
  /** Words of the allocator in the descriptor, from Pool.OWN on. */
  readonly ownWords: number;
  readonly maxSizeBytes: number;
  /** As `Zpool.hugeSizeBytes` (default: maxSizeBytes). */
  readonly hugeSizeBytes?: number;
  readonly canCompact: boolean;
}

/** Where a pool is: a new one (id NIL), or an existing one by its descriptor's frame. */
export type PoolId = PageFrame | typeof NIL;

/**
 * Refused units after which `shrink` stops: the kernel's zbud and z3fold use 8 too. A refused unit
 * is not tried again in the same pass.
 */
const RECLAIM_RETRIES = 8;

/** Distance between the first handle generations of two pools at the same place; odd. */
const SERIAL_STEP = 40_503;

/** A target for reads of 0 bytes, which only check that an object exists. */
const NO_ADDRESS = 0 as Address;

export abstract class BasePool implements Zpool {
  readonly type: string;
  readonly maxSizeBytes: number;
  readonly hugeSizeBytes: number;
  readonly canCompact: boolean;
  readonly frameClasses: "slot" | "buddies" = "slot";
  readonly tellsSlack: boolean = false;
  /** The descriptor's frame number: the pool's identity, and the owner of its frames. */
  readonly id: PageFrame;
  protected readonly arena: Arena;
  protected readonly words: Int32Array;
  /** Word index of the descriptor. */
  protected readonly at: number;
  /** Word index of the allocator's own part of the descriptor. */
  protected readonly own: number;
  /**
   * The pool's generation, which distinguishes it from earlier and later pools at the same place.
   */
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
    this.#mutex.waits = new LockWaits(kernels, arena.processors);
    this.#mutex.waits.countAt(this.#countersAt);
  }

  malloc(sizeBytes: number): Handle | Errno {
    // Written so that NaN fails, too.
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

  slackOf(_handle: Handle, _sizeBytes: number): number {
    return NIL;
  }

  overwriteShared(handle: Handle, source: Address, sizeBytes: number, save: Address): void {
    this.writer.beginKeeping(save);
    try {
      const result = this.writeShared(handle, source, sizeBytes);
      assert(result === 0, "the caller has checked that the object has room");
    } finally {
      this.writer.endKeeping();
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
        lock: sumCounts(this.arena.kernels, this.#countersAt, 1, 0),
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
   * Repairs the pool after a thread has died inside it and its changes were undone: under the
   * arena's lock, if there is a journal (memory/arena_lock.ts).
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
  /** As `malloc`, with a size in range. */
  protected abstract mallocLocked(sizeBytes: number): Handle | Errno;
  protected abstract freeLocked(handle: Handle): 0 | Errno;
  protected abstract readLocked(handle: Handle, target: Address, sizeBytes: number): 0 | Errno;
  protected abstract writeLocked(handle: Handle, source: Address, sizeBytes: number): 0 | Errno;
  protected abstract mapLocked(handle: Handle, mode: MapMode, sizeBytes: number): Address | Errno;
  protected abstract unmapLocked(handle: Handle): 0 | Errno;
  protected abstract classStatsLocked(): ClassStats[];
  /**
   * Checks the allocator's structures.
   * @returns what it has counted, to compare with the counters
   */
  protected abstract verifyLocked(): { objects: number; pages: number };
  /** Frees all frames but the descriptor's. */
  protected abstract destroyLocked(): void;
  /** Page frames of metadata, without the descriptor. */
  protected abstract metadataFramesLocked(): number;

  /**
   * Chooses the coldest unit (page, block, zspage) that is neither mapped nor under reclaim nor
   * marked with this `pass`. Marks it with the pass and as under reclaim, so that malloc does not
   * use it and a free leaves it in place; appends the handles of its objects to `handles`.
   * @returns the unit's name for `endReclaimLocked`, or NIL if there is none
   */
  protected abstract beginReclaimLocked(pass: number, handles: Handle[]): number;

  /**
   * Ends the reclaim of a unit: frees it if it is empty, else returns it to its lists, at the cold
   * end.
   * @returns page frames freed
   */
  protected abstract endReclaimLocked(unit: number): number;

  /** @returns page frames freed, 0 if the callback refused, EAGAIN if there was no unit to try */
  #reclaimUnit(pass: number, evict: Evict): number {
    const handles: Handle[] = [];
    this.lock();
    const unit = this.beginReclaimLocked(pass, handles);
    if (unit !== NIL && journalIsKept(this.words)) {
      put(this.words, this.at + Pool.RECLAIMING, 1);
      put(this.words, this.at + Pool.RECLAIMED_UNIT, unit);
    }
    // Commits first: a rollback by the callback must not put the unit back into its lists, and if a
    // thread dies in the callback, `recover` returns the unit.
    journalCommit(this.words);
    this.unlock();
    if (unit === NIL) return EAGAIN;
    let freed = 0;
    let isDone = false;
    try {
      for (const handle of handles) {
        // Its owner may have freed it since; the callback must not see an object that is gone.
        if (this.read(handle, NO_ADDRESS, 0) !== 0) continue;
        if (evict(handle) !== 0 || !this.#evicted(handle)) break;
      }
      isDone = true;
    } finally {
      // Runs even if the callback throws: the unit must not stay under reclaim forever, and what
      // the callback has left half done must not be committed with it.
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

  /** Ends the reclaim of a dead thread, so that its unit takes objects again. */
  #endReclaimLocked(): void {
    if (this.words[this.at + Pool.RECLAIMING] === 0) return;
    const freed = this.endReclaimLocked(this.words[this.at + Pool.RECLAIMED_UNIT]!);
    add(this.words, this.at + Pool.PAGES_RECLAIMED, freed);
    put(this.words, this.at + Pool.RECLAIMING, 0);
  }

  /**
   * Frees an object that the callback let go, unless the callback has freed it.
   * @returns whether it is gone
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

  /** Address of the counters of the pool's lock. */
  get #countersAt(): number {
    return (this.lockAt + POOL_LOCK_COUNTERS) * 4;
  }

  /**
   * Takes the pool's lock, unless there is a journal: then the arena's lock, which its only writer
   * holds, guards the pool too.
   * @throws ZcacheError ERR_POOL_CLOSED after destroy()
   */
  protected lock(): void {
    if (journalIsKept(this.words)) {
      this.assertAlive();
      return;
    }
    this.#mutex.lock();
    if (this.#isAlive()) return;
    this.#mutex.unlock();
    throw this.#closed();
  }

  protected unlock(): void {
    if (!journalIsKept(this.words)) this.#mutex.unlock();
  }

  /**
   * Whether another thread waits for the pool's lock, which this thread has. Where the arena's lock
   * guards the pool, its holder does not step aside in the middle of its work.
   */
  protected get isAwaited(): boolean {
    return !journalIsKept(this.words) && this.#mutex.isAwaited;
  }

  /** Adds to a common counter (pool.layout.ts), under the lock. */
  protected count(counter: number, by: number): void {
    add(this.words, this.at + counter, by);
  }

  /** @throws ZcacheError ERR_POOL_CLOSED after destroy() */
  protected assertAlive(): void {
    if (!this.#isAlive()) throw this.#closed();
  }

  /** Whether the descriptor is still this pool's; exact while the lock is held. */
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
  // Handles of an earlier pool at this place are, as a rule, invalid in this one.
  arena.words[at + Pool.SERIAL] = Math.imul(generation, SERIAL_STEP) & 0x3fff_ffff;
  arena.words[at + Pool.MAGIC] = Pool.POOL_MAGIC;
  return id;
}
