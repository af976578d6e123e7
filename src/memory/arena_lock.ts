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
// Readers run beside each other. A reader announces itself in a word of its own; a writer, once it
// has the lock, waits until no reader is left. As with the kernel's "big reader" locks, this is
// cheap for many readers and dearer for the writer, which has to look at each word. A reader that
// meets a writer waits until WRITING is 0 again and enters then, beside all other readers. Words
// that readers never look at, such as the order of the policy, may be changed beside readers:
// `lockBeside`.
//
// Optimistic readers announce nothing, so no writer waits for them. They find out from SEQUENCE,
// which each writer increments before it changes anything, that what they have read is void
// (values/find_value.as.ts).
import { assert, ZcacheError } from "../base/errors.ts";
import type { Threads } from "../base/threads.ts";
import type { Kernels } from "../wasm/kernels.ts";
import * as Super from "./arena.layout.ts";
import type { FrameAllocator } from "./frames.ts";
import { add, journalCommit, journalRollBack } from "./journal.ts";
import { type LockCounts, LockWaits, sumCounts } from "./lock_waits.ts";
import { type IsDead, LOOK_AFTER_MS, Mutex, PATIENCE_NS } from "./mutex.ts";
import * as Reader from "./reader.layout.ts";

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

/** The kinds of locks of an arena, in the order of reader.layout.ts. */
const KINDS = ["exclusive", "beside", "reader", "key", "other"] as const;
export type LockKind = (typeof KINDS)[number];

/** Set in ARENA_LOCK beside the owner (mutex.ts). */
const OWNER_MASK = 0x3fff_ffff;

export class ArenaLock {
  /** How this thread waits for locks of each kind; other locks of the arena share these. */
  readonly waits: Readonly<Record<LockKind, LockWaits>>;
  readonly #arena: LockedArena;
  readonly #words: Int32Array;
  #mutex: Mutex;
  readonly #kernels: Kernels;
  readonly #threads: Threads;
  /** How this thread waits for readers to leave; counted as `exclusive`. */
  readonly #leaving: LockWaits;
  /** Word index at which this thread announces that it reads; 0 = it has none. */
  #readerAt = 0;
  /** Called with the lock held, after the rollback, before the lock is used. */
  #onDeath: (() => void) | undefined;

  constructor(arena: LockedArena, threads: Threads) {
    this.#arena = arena;
    this.#words = arena.words;
    this.#kernels = arena.kernels;
    this.#threads = threads;
    const { words, kernels, owner, isDead } = arena;
    this.#mutex = new Mutex(words, kernels, Super.ARENA_LOCK, owner, isDead);
    this.#mutex.heirAt = Super.LOCK_HEIR;
    const waits = () => new LockWaits(kernels, threads.processors);
    this.waits = {
      ...{ exclusive: waits(), beside: waits(), reader: waits(), key: waits(), other: waits() },
    };
    this.#leaving = waits();
  }

  /**
   * Gives this thread a struct reader, to announce that it reads and to count its waits; called
   * once, when there is a journal.
   */
  openReader(): void {
    const { thread } = this.#arena;
    const nth = (thread - 1) % Reader.READERS_MAX;
    const at = this.#words[Super.READERS_AT]! + nth * Reader.READER_WORDS;
    const counters = (at + Reader.COUNTERS) * 4;
    this.#leaving.countAt(counters + Reader.EXCLUSIVE * Reader.COUNTERS_OF_KIND_BYTES);
    for (const [kind, name] of KINDS.entries()) {
      this.waits[name].countAt(counters + kind * Reader.COUNTERS_OF_KIND_BYTES);
    }
    if (thread > Reader.READERS_MAX) return;
    this.#readerAt = at + Reader.STATE;
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
    const dead = this.#mutex.lock(this.waits.exclusive);
    this.#keepReadersOut();
    if (dead !== 0 || this.#words[Super.REPAIR] !== 0) this.#recover(dead);
  }

  /**
   * Completes `lock` where a kernel has taken the lock's word and no more (arena_lock.as.ts).
   * @throws as `lock`
   */
  proceed(): void {
    this.#keepReadersOut();
    if (this.#words[Super.REPAIR] !== 0) this.#recover(0);
  }

  /**
   * Takes the lock, to change words that no reader looks at.
   * @throws as `lock`
   */
  lockBeside(): void {
    const dead = this.#mutex.lock(this.waits.beside);
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
   * Begins to read beside other readers; waits while a thread writes. Must not be called while this
   * thread has the lock.
   * @returns false if this thread has no word to announce that it reads, if the thread that writes
   *   is dead, or if this thread has waited for long: the caller then uses `lockBeside`
   */
  enterReader(): boolean {
    if (this.#readerAt === 0) return false;
    if (this.#kernels.enterReader(this.#readerAt * 4, Super.WRITING * 4) !== 0) return true;
    return this.#waitAsReader(true);
  }

  /**
   * Waits, without being a reader, while a thread writes.
   * @returns as `enterReader`
   */
  waitForWriter(): boolean {
    return this.#words[Super.WRITING] === 0 || this.#waitAsReader(false);
  }

  leaveReader(): void {
    this.#kernels.leaveReader(this.#readerAt * 4);
  }

  /** The waits of all threads for locks of each kind; requires a journal. */
  counts(): Readonly<Record<LockKind, LockCounts>> {
    const counters = (this.#words[Super.READERS_AT]! + Reader.COUNTERS) * 4;
    // Threads with higher numbers than readers have use the counters of these.
    const readers = Atomics.load(this.#words, Super.READERS_TOP);
    const of = (kind: number) => {
      const first = counters + kind * Reader.COUNTERS_OF_KIND_BYTES;
      return sumCounts(this.#kernels, first, readers, Reader.READER_WORDS * 4);
    };
    const all = KINDS.map((name, kind) => [name, of(kind)] as const);
    return Object.fromEntries(all) as Record<LockKind, LockCounts>;
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

  /**
   * Undoes what was not committed, and releases the lock. A thread that is woken may take the
   * processor of the one that wakes it, so all is released before any is woken.
   */
  unlock(): void {
    this.rollBack();
    // Only the owner of the lock sets this word, which it has not if it has worked beside readers.
    const isWriting = this.#words[Super.WRITING] !== 0;
    const before = isWriting ? this.#kernels.exchange(Super.WRITING * 4, 0) : Super.WRITES;
    this.#mutex.unlock();
    if (before !== Super.WRITES) Atomics.notify(this.#words, Super.WRITING);
  }

  assertLocked(): void {
    this.#mutex.assertLocked();
  }

  /** @param enters whether to be a reader afterwards */
  #waitAsReader(enters: boolean): boolean {
    const waits = this.waits.reader;
    const kernels = this.#kernels;
    const [reader, writing] = [this.#readerAt * 4, Super.WRITING * 4];
    const spin = () =>
      enters
        ? kernels.spinAsReader(reader, writing, waits.turns)
        : kernels.spinWhileSet(writing, Super.WRITES, waits.turns);
    const attempt = () =>
      enters
        ? kernels.enterReader(reader, writing) !== 0
        : Atomics.load(this.#words, Super.WRITING) === 0;
    assert(this.#owner() !== this.#arena.owner, "a thread that has the lock reads under it");
    const beginNs = waits.begin();
    let turns = spin();
    let sleeps = 0;
    let isIn = turns !== 0;
    while (!isIn) {
      sleeps++;
      if (!this.#sleepUntilWritten() || waits.since(beginNs) > PATIENCE_NS) break;
      turns = spin();
      isIn = turns !== 0 || attempt();
    }
    waits.ended(beginNs, sleeps);
    return isIn;
  }

  /** @returns false if the thread that writes is dead */
  #sleepUntilWritten(): boolean {
    const words = this.#words;
    const before = Atomics.compareExchange(
      words,
      Super.WRITING,
      Super.WRITES,
      Super.WRITES_AWAITED,
    );
    if (before === 0) return true;
    const woken = Atomics.wait(words, Super.WRITING, Super.WRITES_AWAITED, LOOK_AFTER_MS);
    return woken !== "timed-out" || !this.#arena.isDead(this.#owner());
  }

  /** The owner of the lock. */
  #owner(): number {
    return Atomics.load(this.#words, Super.ARENA_LOCK) & OWNER_MASK;
  }

  /** The order of the steps is what readers rely on (docs/locks.md). */
  #keepReadersOut(): void {
    this.#kernels.exchange(Super.WRITING * 4, Super.WRITES);
    this.#kernels.increment(Super.SEQUENCE * 4);
    this.#waitForReaders();
  }

  #waitForReaders(): void {
    const top = Atomics.load(this.#words, Super.READERS_TOP);
    const first = this.#words[Super.READERS_AT]! + Reader.STATE;
    const stride = Reader.READER_WORDS;
    for (let nth = 0; ; nth++) {
      nth = this.#kernels.firstSet(first * 4, nth, top, stride * 4);
      if (nth === top) return;
      this.#waitForReader(nth + 1, first + nth * stride);
    }
  }

  /** A reader copies a page at most. A reader that takes long may be dead. */
  #waitForReader(thread: number, at: number): void {
    const waits = this.#leaving;
    const beginNs = waits.begin();
    const turns = this.#kernels.spinWhileSet(at * 4, Reader.READING, waits.turns);
    let sleeps = 0;
    for (let isOut = turns !== 0; !isOut; ) {
      sleeps++;
      isOut = this.#sleepUntilLeft(thread, at);
    }
    waits.ended(beginNs, sleeps);
  }

  /** @returns whether the reader has left, or is dead */
  #sleepUntilLeft(thread: number, at: number): boolean {
    const words = this.#words;
    const awaited = Reader.READING | Reader.AWAITED;
    if (Atomics.compareExchange(words, at, Reader.READING, awaited) === 0) return true;
    if (Atomics.wait(words, at, awaited, LOOK_AFTER_MS) === "timed-out") {
      const name = Atomics.load(words, Super.THREADS + thread - 1);
      if (name === 0 || !this.#threads.mayRun(name)) Atomics.store(words, at, 0);
    }
    return Atomics.load(words, at) === 0;
  }

  #recoverBeside(dead: number): void {
    this.#keepReadersOut();
    this.#recover(dead);
  }

  /** @param dead the dead owner; 0 for a repair due from before */
  #recover(dead: number): void {
    const words = this.#words;
    if (dead === 0 && this.#onDeath === undefined) return;
    // The dead thread's WRITING may have said that readers sleep.
    if (dead !== 0) Atomics.notify(words, Super.WRITING);
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
