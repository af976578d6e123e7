// The lock of a whole arena, for those who keep everything in it under one lock: what is done
// between `lock` and `commit` is done entirely or not at all.
//
//   lock();
//   try {
//     …                put, add, list and slab functions, pools
//     commit();        several times, wherever all is well
//   } finally {
//     unlock();        undoes what was not committed
//   }
//
// A thread that is terminated in between leaves its number in the lock word and its steps in the
// journal. Who waits finds that the thread is dead, takes the lock over, undoes the steps, and lets
// the owner of the arena's content put right what no journal holds (`onDeath`): locks below this
// one, work that was begun and lies between two transactions.
import type { Threads } from "../base/threads.ts";
import * as Super from "./arena.layout.ts";
import type { Arena } from "./arena.ts";
import { add, journalCommit, journalRollBack } from "./journal.ts";
import { Mutex } from "./mutex.ts";

export class ArenaLock {
  readonly #arena: Arena;
  readonly #words: Int32Array;
  readonly #mutex: Mutex;
  /** Called with the lock held and all undone, before the lock is used. */
  #onDeath: () => void = () => {};

  constructor(arena: Arena, threads: Threads) {
    this.#arena = arena;
    this.#words = arena.words;
    // Thread numbers are given out again only under this lock, so the name is still the owner's.
    const isDead = (owner: number) =>
      !threads.mayRun(Atomics.load(this.#words, Super.THREADS + owner - 1));
    this.#mutex = new Mutex(arena.words, arena.kernels, Super.ARENA_LOCK, arena.thread, isDead);
  }

  /** What is to be done when a thread has died inside, by whoever finds out. */
  set onDeath(repair: () => void) {
    this.#onDeath = repair;
  }

  lock(): void {
    if (this.#mutex.lock() !== 0) this.#recover();
  }

  /** All that was done since `lock` or the last `commit` stays. */
  commit(): void {
    this.#words[Super.TRANSACTIONS]!++;
    journalCommit(this.#words);
  }

  /** Undoes what was done since `lock` or the last `commit`. */
  rollBack(): void {
    if (this.#words[Super.JOURNAL_NEXT]! > 1) journalRollBack(this.#words, this.#arena.kernels);
  }

  /** Undoes what was not committed, and gives the lock up. */
  unlock(): void {
    this.rollBack();
    this.#mutex.unlock();
  }

  assertLocked(): void {
    this.#mutex.assertLocked();
  }

  /** Whoever is terminated in here has it done again by the next, from the start. */
  #recover(): void {
    journalRollBack(this.#words, this.#arena.kernels);
    // Locks below this one are taken only under it: whoever has one now is dead.
    this.#arena.frames.resetLock();
    add(this.#words, Super.RECOVERIES, 1);
    this.#onDeath();
    this.commit();
  }
}
