// The arena: one shared memory that holds everything, and what one thread needs to work in it.
//
//   1. arena.ts, arena.layout.ts     creates and attaches arenas; scratch of threads
//   2. frames.ts, frame.layout.ts, free_blocks.ts, bitmap.ts   the page frame allocator;
//      residency.ts               populates free frames ahead of use, and returns their memory
//   3. slab.ts, list.ts              records of one size; intrusive lists
//   4. mutex.ts, arena_lock.ts, reader.layout.ts, lock_waits.ts, lock.as.ts
//                                    locks that survive the death of their owner
//   5. journal.ts                    undoes what a transaction has not committed
//   6. owner.ts, thread_table.ts     names of threads in shared words; which are attached
//
// `Arena.create` makes an arena, `share()` returns a value for `postMessage` or `workerData`, and
// `Arena.attach` opens it in another thread. Each thread has its own Arena object, with views,
// kernels and scratch; there is no object per stored page.
//
// Concurrency: with a journal, the arena's lock guards everything but attaching and detaching;
// without one, each pool has a lock.
//
// Limits: 4 GiB less 64 KiB; 192 threads at once.
import { type Address, NIL, type Nil, type PageFrame } from "../base/brand.ts";
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import { checkOptionNames } from "../base/option_names.ts";
import { type Threads, UNKNOWN_THREADS } from "../base/threads.ts";
import { GIB, KIB } from "../base/units.ts";
import { ONE_VERSION, VERSION } from "../base/version.ts";
import type { KernelSwitch } from "../wasm/kernel_switch.ts";
import { instantiateKernels, type Kernels } from "../wasm/kernels.ts";
import { Wasm, type WasmMemory } from "../wasm/platform.ts";
import * as Super from "./arena.layout.ts";
import { ArenaLock } from "./arena_lock.ts";
import { MAX_ORDER, orderOf } from "./frame.layout.ts";
import { FrameAllocator } from "./frames.ts";
import { usableFrames } from "./free_blocks.ts";
import { JOURNAL_BYTES, journalFormat, journalIsKept } from "./journal.ts";
import { LockWaits } from "./lock_waits.ts";
import type { IsDead } from "./mutex.ts";
import { newOwner, ownerIsAttached, ownerMayRun } from "./owner.ts";
import { READERS_BYTES } from "./reader.layout.ts";
import type { ReleaseArena } from "./thread_table.ts";
import { claimThread, closedError, isClosed, leave, setClosed } from "./thread_table.ts";

/** WebAssembly counts memory in pages of 64 KiB. */
const WASM_PAGE = 64 * KIB;
/**
 * One WebAssembly page less than 4 GiB, so that the address after the last byte fits into 32 bits.
 */
export const ARENA_BYTES_MAX = 4 * GIB - WASM_PAGE;
export const PAGE_SIZES: readonly number[] = [4, 8, 16, 32, 64].map((kib) => kib * KIB);
/** The owner number of frames that belong to no pool, but to the arena. */
export const ARENA_OWNER = 0;
/**
 * The owner number of a thread's scratch is this plus the thread's number; of blocks reserved for
 * threads that attach later, this. Above every frame number, and within the 27 bits for owners in a
 * frame's state.
 */
const THREAD_OWNER = 2 ** 26;

export interface ArenaOptions {
  /** Bytes of the whole arena, header included; rounded down to 64 KiB. At most ARENA_BYTES_MAX. */
  readonly sizeBytes: number;
  /**
   * Bytes up to which the arena can grow, at most ARENA_BYTES_MAX (default: sizeBytes). If the
   * platform refuses so much memory, the arena can't grow.
   */
  readonly sizeBytesMax?: number;
  /** Bytes of a page frame: 4, 8, 16, 32 or 64 KiB (default 4 KiB). */
  readonly pageSize?: number;
}

/** The value that `share` returns for another thread. */
export interface ArenaShare {
  readonly zcacheArena: WasmMemory;
  /** The version of zcache that shares it. */
  readonly zcache: string;
}

/** @throws ZcacheError ERR_ARENA_SHARE, naming both versions */
function checkVersions(layout: number, zcache: string | undefined): void {
  // Old versions of the library did not name their version.
  if (layout === Super.ARENA_VERSION && (zcache ?? VERSION) === VERSION) return;
  const found = `layout ${layout} of zcache ${zcache ?? "of unknown version"}`;
  const own = `layout ${Super.ARENA_VERSION} of zcache ${VERSION}`;
  throw new ZcacheError(
    "ERR_ARENA_SHARE",
    `the arena has ${found}, and this thread works with ${own}: ${ONE_VERSION}`,
    { context: { found: layout, wanted: Super.ARENA_VERSION, zcache } },
  );
}

export class Arena {
  readonly memory: WasmMemory;
  /** The arena as 32-bit words. */
  readonly words: Int32Array;
  /** The arena as bytes. */
  readonly bytes: Uint8Array;
  readonly kernels: Kernels;
  /** @internal */
  readonly frames: FrameAllocator;
  readonly pageSize: number;
  /** This thread's number in the arena, 1 … MAX_THREADS; another thread gets it once it is free. */
  readonly thread: number;
  /** This thread's name in locks and shared words; never reused (owner.ts). */
  readonly owner: number;
  /** @internal Whether an owner certainly never runs again. */
  readonly isDead: IsDead = (owner) => !this.ownerMayRun(owner);
  /**
   * As `isDead`, for locks below the arena's. With a journal, all changes of a dead owner are
   * undone; without one, nothing repairs what it has left half done.
   * @throws ZcacheError ERR_ARENA_DAMAGED
   * @internal
   */
  readonly isDeadInside: IsDead;
  /** Processors that the threads of this process may run on. @internal */
  readonly processors: number;
  /**
   * The arena's lock. With a journal, it guards everything but attaching and detaching.
   * @internal
   */
  readonly lock: ArenaLock;
  readonly #threads: Threads;
  readonly #release: ReleaseArena | undefined;
  /** The unused frames of a reserved block that this thread was given. */
  #keptNext = 0;
  #keptEnd = 0;
  #detached = false;

  private constructor(
    memory: WasmMemory,
    threads: Threads,
    kernelSwitch?: KernelSwitch,
    release?: ReleaseArena,
  ) {
    this.memory = memory;
    this.#release = release;
    this.words = new Int32Array(memory.buffer);
    this.bytes = new Uint8Array(memory.buffer);
    this.#threads = threads;
    this.processors = threads.processors;
    const kernels = instantiateKernels(memory);
    this.kernels = kernelSwitch === undefined ? kernels : kernelSwitch.add(kernels);
    const { thread, wasDead } = claimThread(this.words, threads);
    this.thread = thread;
    this.owner = newOwner(this.words, thread);
    this.isDeadInside = (owner) => {
      if (!this.isDead(owner)) return false;
      // A thread that has detached had given up its locks: the waiter has seen an old word.
      return !ownerIsAttached(this.words, owner) || this.#assertRepairable();
    };
    this.frames = new FrameAllocator(
      this.words,
      this.kernels,
      this.owner,
      this.isDeadInside,
      new LockWaits(this.kernels, this.processors),
    );
    this.pageSize = this.frames.pageSize;
    this.lock = new ArenaLock(this, threads);
    if (isClosed(this.words)) {
      this.#leave();
      throw closedError();
    }
    if (wasDead) this.#orDetach(() => this.#underLock(() => this.#giveScratchOf(thread)));
  }

  /**
   * Creates an arena. The system commits memory when it is touched, not here.
   * @param kernelSwitch of the store, if it has several arenas
   * @param release called when the last thread leaves the closed arena, if this thread is the last
   * @throws ZcacheError ERR_OPTION for an impossible size or page size, ERR_ARENA_MEMORY if the
   *   platform refuses the memory
   */
  static create(
    options: ArenaOptions,
    threads = UNKNOWN_THREADS,
    kernelSwitch?: KernelSwitch,
    release?: ReleaseArena,
  ): Arena {
    const { sizeBytes, sizeBytesMax, pageSize } = checkOptions(options);
    const memory = makeMemory(sizeBytes, sizeBytesMax);
    const words = new Int32Array(memory.buffer);
    words[Super.VERSION] = Super.ARENA_VERSION;
    words[Super.PAGE_SHIFT] = Math.log2(pageSize);
    const arena = new Arena(memory, threads, kernelSwitch, release);
    words[Super.FIRST_FRAME] = arena.frames.firstFrame;
    arena.frames.format(sizeBytes / pageSize);
    Atomics.store(words, Super.MAGIC, Super.ARENA_MAGIC);
    return arena;
  }

  /**
   * Opens a shared arena in the calling thread.
   * @param threads tells which threads are dead; the same in all threads
   * @param kernelSwitch, @param release as for `create`
   * @throws ZcacheError ERR_ARENA_SHARE if `share` is not a share, ERR_ARENA_CLOSED after close(),
   *   ERR_ARENA_THREADS if MAX_THREADS are attached
   */
  static attach(
    share: ArenaShare,
    threads = UNKNOWN_THREADS,
    kernelSwitch?: KernelSwitch,
    release?: ReleaseArena,
  ): Arena {
    const memory = (share as Partial<ArenaShare> | null | undefined)?.zcacheArena;
    if (!(memory instanceof Wasm.Memory)) {
      throw new ZcacheError("ERR_ARENA_SHARE", "this is not what an arena's share() returned");
    }
    const words = new Int32Array(memory.buffer);
    // Another memory may have no bytes at all, and Atomics.load would throw a RangeError.
    if (words.length === 0 || Atomics.load(words, Super.MAGIC) !== Super.ARENA_MAGIC) {
      throw new ZcacheError("ERR_ARENA_SHARE", "the shared memory holds no zcache arena");
    }
    checkVersions(words[Super.VERSION]!, share.zcache);
    if (isClosed(words)) throw closedError();
    const arena = new Arena(memory, threads, kernelSwitch, release);
    if (journalIsKept(words)) {
      arena.lock.openReader();
      // Dead threads leave their numbers and scratch behind; each thread that attaches reclaims
      // these.
      arena.#orDetach(() => arena.reapThreads());
    }
    return arena;
  }

  /** Returns a value for `workerData` or `postMessage`, from which another thread attaches. */
  share(): ArenaShare {
    this.#assertOpen();
    return { zcacheArena: this.memory, zcache: VERSION };
  }

  /** Bytes of the whole arena, as far as it has grown. */
  get sizeBytes(): number {
    return (this.frames.headerFrames + this.frames.framesUsable) * this.pageSize;
  }

  /**
   * Allocates contiguous, page-aligned scratch that this thread owns until it detaches: for tables
   * and buffers that are allocated once.
   * @throws ZcacheError ERR_ARENA_FULL; ERR_OPTION above 16 page frames, the largest block
   */
  reserve(sizeBytes: number): Address {
    this.#assertOpen();
    const order = Math.max(0, Math.ceil(Math.log2(sizeBytes / this.pageSize)));
    if (!(order <= MAX_ORDER)) {
      const max = this.pageSize << MAX_ORDER;
      throw new ZcacheError("ERR_OPTION", `scratch of ${sizeBytes} bytes; at most ${max} bytes`);
    }
    const frame = this.#underLock(() => this.#takeScratch(order));
    if (frame === NIL) {
      throw new ZcacheError(
        "ERR_ARENA_FULL",
        `no ${sizeBytes} bytes left in the arena for scratch`,
        {
          context: { sizeBytes, framesFree: this.frames.framesFree },
        },
      );
    }
    return this.frames.frameToAddress(frame);
  }

  /**
   * Ends this thread's use of the arena, and frees its scratch and its thread number. Locks that it
   * still holds are taken over as if it had died.
   */
  detach(): void {
    if (this.#detached) return;
    try {
      this.#underLock(() => this.#giveScratchOf(this.thread));
    } finally {
      this.#detached = true;
      this.lock.end();
      this.#leave();
    }
  }

  /** Whether an owner is attached and its thread may still run. */
  ownerMayRun(owner: number): boolean {
    return ownerMayRun(this.words, this.#threads, owner);
  }

  /**
   * Frees scratch and numbers of dead threads; requires a journal.
   * @returns how many threads there were
   */
  reapThreads(): number {
    const dead: number[] = [];
    for (let thread = 1; thread <= Super.MAX_THREADS; thread++) {
      if (this.#nameOfDead(thread) !== 0) dead.push(thread);
    }
    let reaped = 0;
    for (const thread of dead) if (this.#reap(thread)) reaped++;
    return reaped;
  }

  /**
   * Detaches, and makes all later attempts to attach fail; attached threads go on. The memory goes
   * back to the system when the last of them has detached, if the platform can do that.
   */
  close(): void {
    setClosed(this.words);
    this.detach();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Gives up the thread's number, and the memory if no thread needs it any more. */
  #leave(): void {
    const { bytes, frames } = this;
    if (!leave(this.words, this.thread, this.#threads)) return;
    const populated = frames.framesUsable - frames.framesUnpopulated;
    this.#release?.(bytes, Super.SUPERBLOCK_WORDS * 4, populated * frames.pageSize);
  }

  #reap(thread: number): boolean {
    // Checked again under the lock: another thread may have freed the number, and a third one taken
    // it.
    return this.#underLock(() => {
      const name = this.#nameOfDead(thread);
      if (name === 0) return false;
      this.#giveScratchOf(thread);
      this.frames.endDeadReturn();
      this.lock.commit();
      // A thread that has found all numbers taken may have claimed this one already (claimThread).
      Atomics.compareExchange(this.words, Super.THREADS + thread - 1, name, 0);
      return true;
    });
  }

  /** The name in the thread table under a number, if that thread is dead, else 0. */
  #nameOfDead(thread: number): number {
    const name = Atomics.load(this.words, Super.THREADS + thread - 1);
    return name === 0 || this.#threads.mayRun(name) ? 0 : name;
  }

  /**
   * Reserves so many of the largest blocks for the scratch of threads that attach when nothing else
   * is free; called once, by the creator.
   * @throws ZcacheError ERR_ARENA_FULL
   */
  keepScratch(blocks: number): void {
    this.words[Super.SCRATCH_BLOCKS] = blocks;
    for (let nth = 0; nth < blocks; nth++) {
      if (this.frames.alloc(MAX_ORDER, THREAD_OWNER) !== NIL) continue;
      throw new ZcacheError("ERR_ARENA_FULL", "no room in the arena for the scratch of threads");
    }
  }

  /**
   * Creates the journal: from here on, everything but attaching and detaching runs under `lock`
   * (arena_lock.ts). Called once, before the arena is shared. Takes 40 KiB.
   * @throws ZcacheError ERR_ARENA_FULL
   */
  keepJournal(): void {
    const journalAt = this.#allocShared(JOURNAL_BYTES);
    const readersAt = this.#allocShared(READERS_BYTES);
    this.words.fill(0, readersAt, readersAt + READERS_BYTES / 4);
    this.words[Super.READERS_AT] = readersAt;
    this.lock.openReader();
    journalFormat(this.words, journalAt);
  }

  /**
   * Allocates memory of the arena itself, which outlasts the thread that created it.
   * @returns its word index
   */
  #allocShared(sizeBytes: number): number {
    const order = Math.max(0, Math.ceil(Math.log2(sizeBytes / this.pageSize)));
    const frame = this.frames.alloc(order, ARENA_OWNER);
    if (frame === NIL) {
      throw new ZcacheError("ERR_ARENA_FULL", "no room in the arena for a journal");
    }
    return this.frames.frameToWord(frame);
  }

  /** Allocates scratch from free frames, or, if there are none, from a reserved block. */
  #takeScratch(order: number): PageFrame | Nil {
    const owner = THREAD_OWNER + this.thread;
    const frame = this.frames.alloc(order, owner);
    if (frame !== NIL) return frame;
    // An aligned block begins at a multiple of its size.
    const size = 1 << order;
    let start = Math.ceil(this.#keptNext / size) * size;
    if (start + size > this.#keptEnd) {
      const [kept] = this.frames.blocksOf(THREAD_OWNER);
      if (kept === undefined) return NIL;
      this.frames.handOver(kept, owner);
      start = kept;
      this.#keptEnd = kept + (1 << MAX_ORDER);
    }
    this.#keptNext = start + size;
    return start as PageFrame;
  }

  /** Frees a thread's scratch: first refills the reserve, as far as it was used. */
  #giveScratchOf(thread: number): void {
    let missing = this.words[Super.SCRATCH_BLOCKS]!;
    if (missing > 0) missing -= this.frames.blocksOf(THREAD_OWNER).length;
    for (const block of this.frames.blocksOf(THREAD_OWNER + thread)) {
      const isLargest = orderOf(this.frames.state(block)) === MAX_ORDER;
      if (isLargest && missing-- > 0) this.frames.handOver(block, THREAD_OWNER);
      else this.frames.free(block);
    }
  }

  /**
   * Runs `work` as a transaction, if there is a journal; frames have a lock of their own as well.
   */
  #underLock<T>(work: () => T): T {
    if (!journalIsKept(this.words)) return work();
    this.lock.lock();
    try {
      const result = work();
      this.lock.commit();
      return result;
    } finally {
      this.lock.unlock();
    }
  }

  /** Runs the last step of attaching; if it throws, detaches. */
  #orDetach(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.detach();
      throw error;
    }
  }

  /** @returns true  @throws ZcacheError ERR_ARENA_DAMAGED */
  #assertRepairable(): true {
    if (journalIsKept(this.words)) return true;
    throw new ZcacheError(
      "ERR_ARENA_DAMAGED",
      "a thread was terminated while it changed this arena, and pools without a store can't be " +
        "repaired: make a new arena, and detach threads before they are terminated",
    );
  }

  #assertOpen(): void {
    if (this.#detached) {
      throw new ZcacheError("ERR_ARENA_CLOSED", "this thread has detached from the arena");
    }
  }
}

function checkOptions(options: ArenaOptions) {
  checkOptionNames(options, ["sizeBytes", "sizeBytesMax", "pageSize"], "an arena");
  const { sizeBytes, pageSize = 4 * KIB } = options;
  if (!PAGE_SIZES.includes(pageSize)) {
    throw new ZcacheError(
      "ERR_OPTION",
      `page size ${describe(pageSize)}: must be one of ${PAGE_SIZES.join(", ")}`,
    );
  }
  const bytes = typeof sizeBytes === "number" ? sizeBytes : Number.NaN;
  const rounded = Math.floor(bytes / WASM_PAGE) * WASM_PAGE;
  if (!(rounded <= ARENA_BYTES_MAX) || usableFrames(rounded / pageSize, pageSize) < 1) {
    throw new ZcacheError(
      "ERR_OPTION",
      `arena of ${describe(sizeBytes)} bytes: at least ${Math.max(WASM_PAGE, 2 * pageSize)}, ` +
        `so that there is room for one page frame, at most ${ARENA_BYTES_MAX} bytes`,
    );
  }
  const { sizeBytesMax = rounded } = options;
  if (!(sizeBytesMax >= rounded && sizeBytesMax <= ARENA_BYTES_MAX)) {
    throw new ZcacheError(
      "ERR_OPTION",
      `arena that grows to ${describe(sizeBytesMax)} bytes: from ${rounded} to ${ARENA_BYTES_MAX}`,
    );
  }
  const roundedMax = Math.floor(sizeBytesMax / WASM_PAGE) * WASM_PAGE;
  return { sizeBytes: rounded, sizeBytesMax: roundedMax, pageSize };
}

/** @throws ZcacheError ERR_ARENA_MEMORY */
function makeMemory(sizeBytes: number, sizeBytesMax: number): WasmMemory {
  try {
    return tryMemory(sizeBytesMax);
  } catch (cause) {
    if (sizeBytesMax > sizeBytes) return makeMemory(sizeBytes, sizeBytes);
    const message = `no shared memory of ${sizeBytes} bytes is available`;
    throw new ZcacheError("ERR_ARENA_MEMORY", message, { cause, context: { sizeBytes } });
  }
}

/** The initial size is the largest: a memory that grows has another buffer in each thread. */
function tryMemory(sizeBytes: number): WasmMemory {
  const pages = sizeBytes / WASM_PAGE;
  return new Wasm.Memory({ initial: pages, maximum: pages, shared: true });
}
