// A lock that is one word of shared memory, with the futex of the platform for waiting.
//
//   0                free
//   owner            held, nobody waits
//   owner | WAITED   held, and others may be asleep on the word
//
// The word names its owner, so that a debugger, an assertion, or a repair after the death of a
// thread can tell who is inside. After U. Drepper, "Futexes are tricky", mutex 2.
import { assert } from "../base/errors.ts";

/** Set in the lock word when a thread may sleep on it. Owners are 1 … 2³⁰ − 1. */
const WAITED = 0x4000_0000;

/**
 * Looks at the word before sleeping on it: sections are some hundred nanoseconds long, a futex call
 * costs two microseconds. On a machine with one processor the loop is wasted, but it is short.
 */
const SPINS = 100;

/** Takes the lock at word `at` for `owner`; waits as long as another has it. Not recursive. */
export function lock(words: Int32Array, at: number, owner: number): void {
  if (Atomics.compareExchange(words, at, 0, owner) !== 0) lockContended(words, at, owner);
}

/** Takes the lock if it is free. @returns whether it was taken */
export function tryLock(words: Int32Array, at: number, owner: number): boolean {
  return Atomics.compareExchange(words, at, 0, owner) === 0;
}

/** Releases the lock, which `owner` must hold, and wakes one waiter if there may be one. */
export function unlock(words: Int32Array, at: number, owner: number): void {
  const before = Atomics.exchange(words, at, 0);
  if (before === owner) return;
  assert(before === (owner | WAITED), "a lock is released by the thread that holds it");
  Atomics.notify(words, at, 1);
}

/**
 * Asserts that `owner` holds the lock: the first line of every `…Locked` method. A plain read,
 * which spares 9 ns and is exact here: only `owner` itself writes its number into the word or takes
 * it out.
 */
export function assertLocked(words: Int32Array, at: number, owner: number): void {
  assert((words[at]! & ~WAITED) === owner, "the caller holds the lock");
}

function lockContended(words: Int32Array, at: number, owner: number): void {
  assert((Atomics.load(words, at) & ~WAITED) !== owner, "a thread takes a lock only once");
  for (let spin = 0; spin < SPINS; spin++) {
    if (Atomics.load(words, at) === 0 && tryLock(words, at, owner)) return;
  }
  // From here on the lock is taken with WAITED set: this thread cannot know whether others sleep,
  // and a wake-up too many is harmless where one too few is a hang.
  for (;;) {
    const seen = Atomics.load(words, at);
    if (seen === 0) {
      if (Atomics.compareExchange(words, at, 0, owner | WAITED) === 0) return;
    } else if (
      (seen & WAITED) !== 0 ||
      Atomics.compareExchange(words, at, seen, seen | WAITED) === seen
    ) {
      Atomics.wait(words, at, seen | WAITED);
    }
  }
}
