// A lock in one word of shared memory; threads wait for it with the platform's futex.
//
//   0                free
//   owner            held, no thread waits
//   owner | WAITED   held, and threads may sleep on the word
//
// The word names its owner, so that a debugger, an assertion, or a repair after a thread's death
// can tell which thread holds the lock. After U. Drepper, "Futexes are tricky", mutex 2.
//
// A waiter checks from time to time that the owner's thread still exists, and takes the lock over
// if not, as with a "robust" futex. Owner numbers are never reused (owner.ts), so a word that names
// a dead owner can't be the lock of a living one.
import { assert } from "../base/errors.ts";
import type { Kernels } from "../wasm/kernels.ts";

/** Set in the lock word when a thread may sleep on it. Owners are 1 … 2³⁰ − 1. */
const WAITED = 0x4000_0000;

/**
 * Reads of the word before sleeping, for two or three microseconds: as long as critical sections
 * with cache misses take, and as a futex call takes. On a single processor the loop is wasted, but
 * short.
 */
const SPINS = 1000;

/** Time between two checks that the owner is alive; only long waits ever check. */
const LOOK_AFTER_MS = 20;

/**
 * Whether this owner certainly never runs again. May throw instead of returning true, if nothing
 * can repair what a dead owner left: then the lock can't be taken any more.
 */
export type IsDead = (owner: number) => boolean;

/** One lock as one thread sees it. */
export class Mutex {
  readonly #words: Int32Array;
  readonly #kernels: Kernels;
  readonly #at: number;
  readonly #owner: number;
  readonly #isDead: IsDead;

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
  lock(): number {
    // In WebAssembly the atomic operation is an instruction, in JavaScript a call into the engine:
    // 9 ns instead of 22 for lock and unlock.
    if (this.#kernels.compareExchange(this.#at * 4, 0, this.#owner) === 0) return 0;
    return lockContended(this.#words, this.#at, this.#owner, this.#isDead);
  }

  /** Takes the lock if it is free. @returns whether it was taken */
  tryLock(): boolean {
    return this.#kernels.compareExchange(this.#at * 4, 0, this.#owner) === 0;
  }

  /** Releases the lock, which this thread must hold, and wakes one waiter if there may be one. */
  unlock(): void {
    const before = this.#kernels.exchange(this.#at * 4, 0);
    if (before === this.#owner) return;
    assert(before === (this.#owner | WAITED), "a lock is released by the thread that holds it");
    Atomics.notify(this.#words, this.#at, 1);
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
}

function lockContended(words: Int32Array, at: number, owner: number, isDead: IsDead): number {
  assert((Atomics.load(words, at) & ~WAITED) !== owner, "a thread takes a lock only once");
  for (let spin = 0; spin < SPINS; spin++) {
    if (Atomics.load(words, at) !== 0) continue;
    if (Atomics.compareExchange(words, at, 0, owner) === 0) return 0;
  }
  // From here on, the lock is taken with WAITED set: this thread can't know whether others sleep. A
  // wake-up too many is harmless, one too few is a hang.
  for (;;) {
    const seen = Atomics.load(words, at);
    if (seen === 0) {
      if (Atomics.compareExchange(words, at, 0, owner | WAITED) === 0) return 0;
    } else if (
      (seen & WAITED) !== 0 ||
      Atomics.compareExchange(words, at, seen, seen | WAITED) === seen
    ) {
      if (Atomics.wait(words, at, seen | WAITED, LOOK_AFTER_MS) !== "timed-out") continue;
      const found = seen & ~WAITED;
      if (!isDead(found)) continue;
      // Another thread that found the death at the same time finds another word here.
      if (Atomics.compareExchange(words, at, seen | WAITED, owner | WAITED) === (seen | WAITED)) {
        return found;
      }
    }
  }
}
