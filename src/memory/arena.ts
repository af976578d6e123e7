// The arena: one shared memory that holds everything, and what one thread needs to work in it.
//
// `Arena.create` makes it, `share()` gives a value that `postMessage` and `workerData` carry, and
// `Arena.attach` opens it in another thread. Each thread has its own Arena object with its own
// views, kernels and scratch; nothing else exists per thread, and nothing at all per object stored.
import { type Address, NIL, type Nil, type PageFrame } from "../base/brand.ts";
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import { checkOptionNames } from "../base/option_names.ts";
import { type Threads, UNKNOWN_THREADS } from "../base/threads.ts";
import { GIB, KIB } from "../base/units.ts";
import { ONE_VERSION, VERSION } from "../base/version.ts";
import { instantiateKernels, type Kernels } from "../wasm/kernels.ts";
import { Wasm, type WasmMemory } from "../wasm/platform.ts";
import * as Super from "./arena.layout.ts";
import { ArenaLock, READERS_BYTES } from "./arena_lock.ts";
import { MAX_ORDER, orderOf } from "./frame.layout.ts";
import { FrameAllocator, layoutArena } from "./frames.ts";
import { JOURNAL_BYTES, journalFormat, journalIsKept } from "./journal.ts";
import type { IsDead } from "./mutex.ts";
import { newOwner, ownerMayRun } from "./owner.ts";

/** WebAssembly counts memory in pages of 64 KiB. */
const WASM_PAGE = 64 * KIB;
/**
 * One WebAssembly page less than 4 GiB, so that the address behind the last byte has 32 bits too.
 */
export const ARENA_BYTES_MAX = 4 * GIB - WASM_PAGE;
export const PAGE_SIZES: readonly number[] = [4, 8, 16, 32, 64].map((kib) => kib * KIB);
/** The frame number that owns what belongs to no pool: the arena itself. */
export const ARENA_OWNER = 0;
/**
 * The owner of a thread's scratch is this plus its number, and of what is kept for threads to come,
 * this: far above every frame number, and within
 * the 27 bits that a frame's state has for it.
 */
const THREAD_OWNER = 2 ** 26;

export interface ArenaOptions {
  /** Bytes of the whole arena, header included; rounded down to 64 KiB. At most ARENA_BYTES_MAX. */
  readonly sizeBytes: number;
  /** Bytes of a page frame: 4, 8, 16, 32 or 64 KiB (default 4 KiB). */
  readonly pageSize?: number;
}

/** What travels to another thread. */
export interface ArenaShare {
  readonly zcacheArena: WasmMemory;
  /** The version of zcache that shares it. */
  readonly zcache: string;
}

/** @throws ZcacheError ERR_ARENA_SHARE, naming what was found and what this thread works with */
function checkVersions(layout: number, zcache: string | undefined): void {
  // Shares of before versions were named have none.
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
  readonly frames: FrameAllocator;
  readonly pageSize: number;
  /** This thread's number in the arena, 1 … MAX_THREADS; used again by others once it is free. */
  readonly thread: number;
  /** What locks and tasks in shared words name this thread by: never used again (owner.ts). */
  readonly owner: number;
  /** Whether an owner certainly never runs again. */
  readonly isDead: IsDead = (owner) => !this.ownerMayRun(owner);
  /**
   * As `isDead`, for locks below the arena's: where a journal is kept, a dead owner has changed
   * nothing that is not undone; elsewhere nothing repairs what the dead owner left half done.
   * @throws ZcacheError ERR_ARENA_DAMAGED
   */
  readonly isDeadInside: IsDead;
  /** Where a journal is kept: everything but attaching and detaching is done under this lock. */
  readonly lock: ArenaLock;
  readonly #threads: Threads;
  /** The frames of a kept block that are left, of one that this thread was given. */
  #keptNext = 0;
  #keptEnd = 0;
  #detached = false;

  private constructor(memory: WasmMemory, threads: Threads) {
    this.memory = memory;
    this.words = new Int32Array(memory.buffer);
    this.bytes = new Uint8Array(memory.buffer);
    this.#threads = threads;
    this.kernels = instantiateKernels(memory);
    const { thread, wasDead } = claimThread(this.words, threads);
    this.thread = thread;
    this.owner = newOwner(this.words, thread);
    this.isDeadInside = (owner) => this.isDead(owner) && this.#assertRepairable();
    this.frames = new FrameAllocator(this.words, this.kernels, this.owner, this.isDeadInside);
    this.pageSize = this.frames.pageSize;
    this.lock = new ArenaLock(this, threads);
    if (wasDead) this.#orDetach(() => this.#underLock(() => this.#giveScratchOf(thread)));
  }

  /**
   * Makes an arena. Memory is committed by the system when it is touched, not here.
   * @throws ZcacheError ERR_OPTION for a size or page size that can't be, ERR_ARENA_MEMORY if the
   *   platform refuses the memory
   */
  static create(options: ArenaOptions, threads = UNKNOWN_THREADS): Arena {
    const { sizeBytes, pageSize, framesTotal, firstFrame } = checkOptions(options);
    const pages = sizeBytes / WASM_PAGE;
    let memory: WasmMemory;
    try {
      memory = new Wasm.Memory({ initial: pages, maximum: pages, shared: true });
    } catch (cause) {
      throw new ZcacheError(
        "ERR_ARENA_MEMORY",
        `no shared memory of ${sizeBytes} bytes to be had`,
        {
          cause,
          context: { sizeBytes },
        },
      );
    }
    const words = new Int32Array(memory.buffer);
    words[Super.VERSION] = Super.ARENA_VERSION;
    words[Super.PAGE_SHIFT] = Math.log2(pageSize);
    words[Super.FRAMES_TOTAL] = framesTotal;
    words[Super.FIRST_FRAME] = firstFrame;
    const arena = new Arena(memory, threads);
    arena.frames.format();
    Atomics.store(words, Super.MAGIC, Super.ARENA_MAGIC);
    return arena;
  }

  /**
   * Opens, in the calling thread, an arena that another thread shared.
   * @param threads how to tell which threads are dead; the same in all threads
   * @throws ZcacheError ERR_ARENA_SHARE for anything that is no share, ERR_ARENA_CLOSED after
   *   close(), ERR_ARENA_THREADS when MAX_THREADS are attached
   */
  static attach(share: ArenaShare, threads = UNKNOWN_THREADS): Arena {
    const memory = (share as Partial<ArenaShare> | null | undefined)?.zcacheArena;
    if (!(memory instanceof Wasm.Memory)) {
      throw new ZcacheError("ERR_ARENA_SHARE", "this is not what an arena's share() returned");
    }
    const words = new Int32Array(memory.buffer);
    // A foreign memory may have no bytes at all, where Atomics.load would throw a RangeError.
    if (words.length === 0 || Atomics.load(words, Super.MAGIC) !== Super.ARENA_MAGIC) {
      throw new ZcacheError("ERR_ARENA_SHARE", "the shared memory holds no zcache arena");
    }
    checkVersions(words[Super.VERSION]!, share.zcache);
    if (Atomics.load(words, Super.CLOSED) !== 0) {
      throw new ZcacheError("ERR_ARENA_CLOSED", "the arena has been closed");
    }
    const arena = new Arena(memory, threads);
    if (journalIsKept(words)) {
      arena.lock.openReader();
      // The dead leave their numbers and scratch behind: each thread that attaches clears up.
      arena.#orDetach(() => arena.reapThreads());
    }
    return arena;
  }

  /** A value for `workerData` or `postMessage`, from which another thread attaches. */
  share(): ArenaShare {
    this.#assertOpen();
    return { zcacheArena: this.memory, zcache: VERSION };
  }

  /** Bytes of the whole arena. */
  get sizeBytes(): number {
    return this.bytes.length;
  }

  /**
   * Takes `sizeBytes` contiguous bytes of scratch, page-aligned, that this thread owns until it
   * detaches: for tables and buffers that are made once.
   * @throws ZcacheError ERR_ARENA_FULL; ERR_OPTION above 16 page frames, the largest block there is
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
   * Ends this thread's use: its scratch and its thread number are free again. Whatever its owner
   * still has is taken over as if the thread had died.
   */
  detach(): void {
    if (this.#detached) return;
    try {
      this.#underLock(() => this.#giveScratchOf(this.thread));
    } finally {
      this.#detached = true;
      this.lock.end();
      Atomics.store(this.words, Super.THREADS + this.thread - 1, 0);
    }
  }

  /** Whether an owner is attached and its thread may still run. */
  ownerMayRun(owner: number): boolean {
    return ownerMayRun(this.words, this.#threads, owner);
  }

  /**
   * Gives back the scratch and the numbers of threads that are dead; where a journal is kept.
   * @returns how many there were
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

  /** Detaches, and refuses all later attempts to attach; threads that are attached go on. */
  close(): void {
    Atomics.store(this.words, Super.CLOSED, 1);
    this.detach();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #reap(thread: number): boolean {
    // Looked at again under the lock: another may have been faster, and the number be given out.
    return this.#underLock(() => {
      const name = this.#nameOfDead(thread);
      if (name === 0) return false;
      this.#giveScratchOf(thread);
      this.lock.commit();
      // A thread that found all numbers taken may have this one already (claimThread).
      Atomics.compareExchange(this.words, Super.THREADS + thread - 1, name, 0);
      return true;
    });
  }

  /** The name in the thread table under a number if that thread is dead, else 0. */
  #nameOfDead(thread: number): number {
    const name = Atomics.load(this.words, Super.THREADS + thread - 1);
    return name === 0 || this.#threads.mayRun(name) ? 0 : name;
  }

  /**
   * Keeps so many of the largest blocks for the scratch of threads that attach when nothing else is
   * left; once, by the maker.
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
   * From here on everything but attaching and detaching is done under `lock`: arena_lock.ts. Once,
   * before the arena is shared. Takes 32 KiB.
   * @throws ZcacheError ERR_ARENA_FULL
   */
  keepJournal(): void {
    const order = Math.ceil(Math.log2(JOURNAL_BYTES / this.pageSize));
    const frame = this.frames.alloc(Math.max(0, order), ARENA_OWNER);
    if (frame === NIL)
      throw new ZcacheError("ERR_ARENA_FULL", "no room in the arena for a journal");
    this.words[Super.READERS_AT] = this.reserve(READERS_BYTES) / 4;
    this.words.fill(
      0,
      this.words[Super.READERS_AT]!,
      this.words[Super.READERS_AT]! + READERS_BYTES / 4,
    );
    this.lock.openReader();
    journalFormat(this.words, this.frames.frameToWord(frame));
  }

  /** Takes scratch from what is free, or if that is nothing, from a block kept for the purpose. */
  #takeScratch(order: number): PageFrame | Nil {
    const owner = THREAD_OWNER + this.thread;
    const frame = this.frames.alloc(order, owner);
    if (frame !== NIL) return frame;
    // Only blocks of the size of what is asked for begin where such a block may.
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

  /** Gives a thread's scratch back: first to what is kept for others, as far as that was used. */
  #giveScratchOf(thread: number): void {
    let missing = this.words[Super.SCRATCH_BLOCKS]!;
    if (missing > 0) missing -= this.frames.blocksOf(THREAD_OWNER).length;
    for (const block of this.frames.blocksOf(THREAD_OWNER + thread)) {
      const isLargest = orderOf(this.frames.state(block)) === MAX_ORDER;
      if (isLargest && missing-- > 0) this.frames.handOver(block, THREAD_OWNER);
      else this.frames.free(block);
    }
  }

  /** Runs `work` as a transaction if there are such; frames have a lock of their own besides. */
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

  /** Runs the last step of attaching: if it throws, this thread's number is free again. */
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
  checkOptionNames(options, ["sizeBytes", "pageSize"], "an arena");
  const { sizeBytes, pageSize = 4 * KIB } = options;
  if (!PAGE_SIZES.includes(pageSize)) {
    throw new ZcacheError(
      "ERR_OPTION",
      `page size ${describe(pageSize)}: allowed are ${PAGE_SIZES.join(", ")} bytes`,
    );
  }
  const bytes = typeof sizeBytes === "number" ? sizeBytes : Number.NaN;
  const rounded = Math.floor(bytes / WASM_PAGE) * WASM_PAGE;
  const framesTotal = rounded / pageSize;
  const firstFrame = framesTotal > 0 ? layoutArena(framesTotal, pageSize).firstFrame : 0;
  if (!(rounded <= ARENA_BYTES_MAX) || framesTotal - firstFrame < 1) {
    throw new ZcacheError(
      "ERR_OPTION",
      `arena of ${describe(sizeBytes)} bytes: at least ${Math.max(WASM_PAGE, 2 * pageSize)}, ` +
        `so that there is room for one page frame, at most ${ARENA_BYTES_MAX} bytes`,
    );
  }
  return { sizeBytes: rounded, pageSize, framesTotal, firstFrame };
}

/**
 * Finds a free thread number; numbers of threads that detached are used again. Where all are taken
 * and a journal is kept, the number of a dead thread is taken over, with the scratch it had.
 */
function claimThread(words: Int32Array, threads: Threads): { thread: number; wasDead: boolean } {
  const self = threads.self();
  for (let slot = 0; slot < Super.MAX_THREADS; slot++) {
    if (Atomics.compareExchange(words, Super.THREADS + slot, 0, self) === 0) {
      return { thread: slot + 1, wasDead: false };
    }
  }
  for (let slot = 0; journalIsKept(words) && slot < Super.MAX_THREADS; slot++) {
    const name = Atomics.load(words, Super.THREADS + slot);
    if (name !== 0 && threads.mayRun(name)) continue;
    if (Atomics.compareExchange(words, Super.THREADS + slot, name, self) === name) {
      return { thread: slot + 1, wasDead: true };
    }
  }
  throw new ZcacheError("ERR_ARENA_THREADS", `${Super.MAX_THREADS} threads are attached already`);
}
