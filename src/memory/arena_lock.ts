// The lock of a whole arena. What is done between `lock` and `commit` is done entirely or not at
// all.
//
//   lock();
//   try {
//     …                put, add, list and slab functions, pools
//     commit();        several times, wherever all is well
//   } finally {
//     unlock();        undoes what was not committed
//   }
//
// A thread that is terminated in between leaves its owner number in the lock word and its changes
// in the journal. A waiter finds that the thread is dead, takes the lock over, undoes the changes,
// and runs the repair of the arena's content (`onDeath`) for state that the journal does not cover:
// locks below this one, and work between two transactions.
//
// REPAIR records a death until its repair is complete. A thread that is attaching has no repair
// yet; it only undoes the changes, and REPAIR makes the next owner of the lock run the repair. The
// same holds if a thread dies during a repair, or if the repair throws.
//
// Readers run beside each other. A reader announces itself in a word of its own, which no other
// thread writes; a writer, once it has the lock, waits until no reader is left. As with the
// kernel's "big reader" locks, this is cheap for many readers and dearer for the writer, which has
// to look at each word. Words that readers never look at, such as the order of the policy, may be
// changed beside readers: `lockBeside`.
import { ZcacheError } from "../base/errors.ts";
import type { Threads } from "../base/threads.ts";
import type { Kernels } from "../wasm/kernels.ts";
import * as Super from "./arena.layout.ts";
import type { FrameAllocator } from "./frames.ts";
import { add, journalCommit, journalRollBack } from "./journal.ts";
import { type IsDead, Mutex } from "./mutex.ts";

/** Threads that may read beside others; threads with higher numbers take the lock instead. */
export const READERS_MAX = 64;
/** A cache line per reader, so that readers do not slow each other down. */
const READER_WORDS = 16;
/** Bytes of the readers' words. */
export const READERS_BYTES = READERS_MAX * READER_WORDS * 4;
/** Reads of a reader's word before sleeping: readers are done in a microsecond or two. */
const SPINS = 200;
const WAIT_MS = 0.05;
/** Sleeps after which to check that the reader is alive: 20 ms. */
const LOOK_EVERY = 400;

/** What the lock needs of its arena, as one thread has it open. */
export interface LockedArena {
  readonly words: Int32Array;
  readonly kernels: Kernels;
  readonly frames: FrameAllocator;
  /** The thread's number, 1 … MAX_THREADS. */
  readonly thread: number;
  readonly owner: number;
  readonly isDead: IsDead;
}

export class ArenaLock {
  readonly #arena: LockedArena;
  readonly #words: Int32Array;
  #mutex: Mutex;
  readonly #kernels: Kernels;
  readonly #threads: Threads;
  /** Word index at which this thread announces that it reads; 0 = it has none. */
  #readerAt = 0;
  /** Called with the lock held, after the rollback, before the lock is used. */
  #onDeath: (() => void) | undefined;

  constructor(arena: LockedArena, threads: Threads) {
    this.#arena = arena;
    this.#words = arena.words;
    this.#kernels = arena.kernels;
    this.#threads = threads;
    this.#mutex = this.#mutexOf(arena.owner);
  }

  /** Gives this thread a word to announce that it reads; called once, when there is a journal. */
  openReader(): void {
    const { thread } = this.#arena;
    if (thread > READERS_MAX) return;
    this.#readerAt = this.#words[Super.READERS_AT]! + (thread - 1) * READER_WORDS;
    Atomics.store(this.#words, this.#readerAt, 0);
    for (let top = Atomics.load(this.#words, Super.READERS_TOP); top < thread; ) {
      top = Atomics.compareExchange(this.#words, Super.READERS_TOP, top, thread);
    }
  }

  /** The word index at which this thread announces that it reads; 0 = it has none. */
  get readerAt(): number {
    return this.#readerAt;
  }

  /**
   * Sets the repair after the death of a thread: it runs under the lock, in the thread that finds
   * the death, and must be repeatable from the start.
   */
  set onDeath(repair: () => void) {
    this.#onDeath = repair;
  }

  /**
   * Takes the lock, for changes of any kind.
   * @throws ZcacheError ERR_ARENA_CLOSED if this thread has detached; what the repair after a death
   *   throws: then the lock is free, and the repair still due
   */
  lock(): void {
    const dead = this.#mutex.lock();
    this.#kernels.exchange(Super.WRITING * 4, 1);
    this.#waitForReaders();
    if (dead !== 0 || this.#words[Super.REPAIR] !== 0) this.#recover(dead);
  }

  /**
   * Takes the lock, to change words that no reader looks at.
   * @throws as `lock`
   */
  lockBeside(): void {
    const dead = this.#mutex.lock();
    if (dead !== 0 || this.#words[Super.REPAIR] !== 0) this.#recoverBeside(dead);
  }

  /**
   * As `lockBeside`, if the lock is free.
   * @returns whether it was taken
   * @throws as `lock`
   */
  tryLockBeside(): boolean {
    if (!this.#mutex.tryLock()) return false;
    if (this.#words[Super.REPAIR] !== 0) this.#recoverBeside(0);
    return true;
  }

  /** Called when the thread detaches: it can't take the lock any more. */
  end(): void {
    this.#readerAt = 0;
    this.#mutex = new EndedMutex(this.#words, this.#kernels, Super.ARENA_LOCK, 0, () => false);
  }

  /**
   * Begins to read beside other readers; must not be called while this thread has the lock.
   * @returns false if a thread is writing, or this thread has no word to announce that it reads:
   *   the caller then uses `lock`
   */
  enterReader(): boolean {
    if (this.#readerAt === 0) return false;
    return this.#kernels.enterReader(this.#readerAt * 4, Super.WRITING * 4) !== 0;
  }

  leaveReader(): void {
    this.#kernels.exchange(this.#readerAt * 4, 0);
  }

  /** Makes all changes since `lock` or the last `commit` permanent. */
  commit(): void {
    this.#words[Super.TRANSACTIONS]!++;
    journalCommit(this.#words);
  }

  /** As `commit`, for words that no reader looks at. */
  commitBeside(): void {
    journalCommit(this.#words);
  }

  /** A number that changes with every commit of words that readers look at. */
  get version(): number {
    return this.#words[Super.TRANSACTIONS]!;
  }

  /** Undoes all changes since `lock` or the last `commit`. */
  rollBack(): void {
    if (this.#words[Super.JOURNAL_NEXT]! > 1) journalRollBack(this.#words, this.#arena.kernels);
  }

  /** Undoes what was not committed, and releases the lock. */
  unlock(): void {
    this.rollBack();
    this.#kernels.exchange(Super.WRITING * 4, 0);
    this.#mutex.unlock();
  }

  assertLocked(): void {
    this.#mutex.assertLocked();
  }

  #waitForReaders(): void {
    const top = Atomics.load(this.#words, Super.READERS_TOP);
    const first = this.#words[Super.READERS_AT]!;
    for (let nth = 0; ; nth++) {
      nth = this.#kernels.firstSet(first * 4, nth, top, READER_WORDS * 4);
      if (nth === top) return;
      this.#waitForReader(nth + 1, first + nth * READER_WORDS);
    }
  }

  /** A reader copies a page at most. A reader that takes long may be dead. */
  #waitForReader(thread: number, at: number): void {
    for (let spin = 0; spin < SPINS; spin++) if (Atomics.load(this.#words, at) === 0) return;
    for (let waits = 1; Atomics.load(this.#words, at) !== 0; waits++) {
      Atomics.wait(this.#words, at, 1, WAIT_MS);
      if (waits % LOOK_EVERY !== 0) continue;
      const name = Atomics.load(this.#words, Super.THREADS + thread - 1);
      if (name === 0 || !this.#threads.mayRun(name)) Atomics.store(this.#words, at, 0);
    }
  }

  #mutexOf(owner: number): Mutex {
    const { words, kernels, isDead } = this.#arena;
    return new Mutex(words, kernels, Super.ARENA_LOCK, owner, isDead);
  }

  #recoverBeside(dead: number): void {
    this.#kernels.exchange(Super.WRITING * 4, 1);
    this.#waitForReaders();
    this.#recover(dead);
  }

  /** @param dead the dead owner; 0 for a repair due from before */
  #recover(dead: number): void {
    const words = this.#words;
    if (dead === 0 && this.#onDeath === undefined) return;
    try {
      // Written without the journal, so that the rollback does not undo it.
      words[Super.REPAIR] = 1;
      journalRollBack(words, this.#arena.kernels);
      // Locks below this one are taken only under it, so their holder is dead.
      this.#arena.frames.resetLock();
      if (dead !== 0) add(words, Super.RECOVERIES, 1);
      this.#onDeath?.();
      this.commit();
      if (this.#onDeath !== undefined) words[Super.REPAIR] = 0;
    } catch (error) {
      this.unlock();
      throw error;
    }
  }
}

/** The lock of a thread that has detached. */
class EndedMutex extends Mutex {
  override lock(): number {
    throw new ZcacheError("ERR_ARENA_CLOSED", "this thread has detached from the arena");
  }

  override tryLock(): boolean {
    return this.lock() !== 0;
  }
}
