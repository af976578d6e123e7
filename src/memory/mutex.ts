// A lock in one word of shared memory; threads wait for it with the platform's futex.
//
//   0                free
//   owner            held, no thread waits
//   owner | WAITED   held, and threads may sleep on the word
//
// The word names its owner, so that a debugger, an assertion, or a repair after a thread's death
// can tell which thread holds the lock. After U. Drepper, "Futexes are tricky", mutex 2.
//
// A free lock belongs to the thread that takes it first: if it were handed to a sleeping thread,
// all others would wait until that thread has been woken. But a thread that has waited for long
// becomes the heir, if the lock has a word for that. The owner then hands the lock over to it
// instead of freeing it, so that no thread waits for ever while others come and go.
//
// A waiter checks from time to time that the owner's thread still exists, and takes the lock over
// if not, as with a "robust" futex. Owner numbers are never reused (owner.ts), so a word that names
// a dead owner can't be the lock of a living one.
import { assert } from "../base/errors.ts";
import type { Kernels } from "../wasm/kernels.ts";
import { LockWaits } from "./lock_waits.ts";

/** Set in the lock word when a thread may sleep on it. Owners are 1 … 2³⁰ − 1. */
const WAITED = 0x4000_0000;

/** Time between two checks that the owner is alive; only long waits ever check. */
export const LOOK_AFTER_MS = 20;

/** After this time a waiter becomes the heir: some turns of the system's scheduler. */
export const PATIENCE_NS = 50e6;

/**
 * Whether this owner certainly never runs again. May throw instead of returning true, if nothing
 * can repair what a dead owner left: then the lock can't be taken any more.
 */
export type IsDead = (owner: number) => boolean;

/** The owner that holds the lock in a word, or 0; it may be dead. */
export function holderOf(words: Int32Array, at: number): number {
  return Atomics.load(words, at) & ~WAITED;
}

/** One lock as one thread sees it. */
export class Mutex {
  readonly #words: Int32Array;
  readonly #kernels: Kernels;
  readonly #at: number;
  readonly #owner: number;
  readonly #isDead: IsDead;
  /** How this thread waits, if `lock` is not told. */
  waits: LockWaits | undefined;
  /** Word index at which a waiter becomes the heir, 0 = no waiter does. */
  heirAt = 0;

  /**
   * @param at word index of the lock word
   * @param owner the calling thread (owner.ts), 1 … 2³⁰ − 1
   * @param isDead called for an owner that has held the lock for long
   */
  constructor(words: Int32Array, kernels: Kernels, at: number, owner: number, isDead: IsDead) {
    this.#words = words;
    this.#kernels = kernels;
    this.#at = at;
    this.#owner = owner;
    this.#isDead = isDead;
  }

  /**
   * Takes the lock; waits while a living thread has it. Not recursive.
   * @returns 0, or the dead owner from which the lock was taken
   */
  lock(waits?: LockWaits): number {
    // In WebAssembly the atomic operation is an instruction, in JavaScript a call into the engine:
    // 9 ns instead of 22 for lock and unlock.
    if (this.#kernels.compareExchange(this.#at * 4, 0, this.#owner) === 0) return 0;
    return this.#lockContended(waits ?? this.waits ?? new LockWaits(this.#kernels, 1));
  }

  /** Takes the lock if it is free. @returns whether it was taken */
  tryLock(): boolean {
    return this.#kernels.compareExchange(this.#at * 4, 0, this.#owner) === 0;
  }

  /** Releases the lock, which this thread must hold, and wakes one waiter if there may be one. */
  unlock(): void {
    const before = this.#kernels.compareExchange(this.#at * 4, this.#owner, 0);
    if (before === this.#owner) return;
    assert(before === (this.#owner | WAITED), "a lock is released by the thread that holds it");
    this.#unlockWaited();
  }

  /** Frees the lock, whose owner is known to be dead. */
  reset(): void {
    Atomics.store(this.#words, this.#at, 0);
    Atomics.notify(this.#words, this.#at);
  }

  /**
   * Asserts that this thread holds the lock: the first line of every `…Locked` method. A plain
   * read, which saves 9 ns, is exact here: only the owner itself writes its number to the word or
   * removes it.
   */
  assertLocked(): void {
    assert((this.#words[this.#at]! & ~WAITED) === this.#owner, "the caller holds the lock");
  }

  /** Whether a thread waits for the lock, which this thread has. */
  get isAwaited(): boolean {
    return Atomics.load(this.#words, this.#at) !== this.#owner;
  }

  #lockContended(waits: LockWaits): number {
    const [words, at, owner] = [this.#words, this.#at, this.#owner];
    assert((Atomics.load(words, at) & ~WAITED) !== owner, "a thread takes a lock only once");
    const beginNs = waits.begin();
    let turns = this.#kernels.spinForLock(at * 4, owner, waits.turns);
    let sleeps = 0;
    let dead = 0;
    // From here on, the lock is taken with WAITED set: this thread can't know whether others sleep.
    // A wake-up too many is harmless, one too few is a hang.
    while (turns === 0) {
      const seen = Atomics.load(words, at);
      if (seen === 0) {
        if (Atomics.compareExchange(words, at, 0, owner | WAITED) === 0) break;
      } else if ((seen & ~WAITED) === owner) {
        break; // The last owner has handed it over.
      } else if (
        (seen & WAITED) !== 0 ||
        Atomics.compareExchange(words, at, seen, seen | WAITED) === seen
      ) {
        sleeps++;
        dead = this.#sleep(seen | WAITED);
        if (dead !== 0) break;
        if (this.heirAt !== 0 && waits.since(beginNs) > PATIENCE_NS) this.#becomeHeir();
        turns = this.#kernels.spinForLock(at * 4, owner | WAITED, waits.turns);
      }
    }
    if (this.heirAt !== 0 && sleeps !== 0) this.#endHeir();
    waits.ended(beginNs, sleeps);
    return dead;
  }

  /** Sleeps while the word is `seen`. @returns 0, or the dead owner that the lock was taken from */
  #sleep(seen: number): number {
    if (Atomics.wait(this.#words, this.#at, seen, LOOK_AFTER_MS) !== "timed-out") return 0;
    const found = seen & ~WAITED;
    if (!this.#isDead(found)) return 0;
    // Another thread that found the death at the same time finds another word here.
    const next = this.#owner | WAITED;
    return Atomics.compareExchange(this.#words, this.#at, seen, next) === seen ? found : 0;
  }

  #becomeHeir(): void {
    Atomics.compareExchange(this.#words, this.heirAt, 0, this.#owner);
  }

  /** Under the lock. */
  #endHeir(): void {
    Atomics.compareExchange(this.#words, this.heirAt, this.#owner, 0);
  }

  #unlockWaited(): void {
    const [words, at] = [this.#words, this.#at];
    const heir = this.heirAt === 0 ? 0 : Atomics.exchange(words, this.heirAt, 0);
    if (heir !== 0 && !this.#isDead(heir)) {
      Atomics.store(words, at, heir | WAITED);
      Atomics.notify(words, at);
    } else {
      Atomics.store(words, at, 0);
      Atomics.notify(words, at, 1);
    }
  }
}
