// Locks of keys, for threads that read a value and then replace it. Keys share STRIPES_MAX locks,
// by the low half of their hash. A thread holds one of them at a time.
import { assert } from "../base/errors.ts";
import { Mutex } from "../memory/mutex.ts";
import type { StoreState } from "../store/state.ts";
import * as Root from "../store/store.layout.ts";

export class KeyLocks {
  readonly #stripes: Mutex[] = [];
  /** The hash of the key that is locked. */
  #locked = 0;
  /** Whether the key is locked by a caller of `Values`, over several calls. */
  isHeld = false;

  constructor({ arena, root }: StoreState) {
    const { words, kernels, owner, isDead } = arena;
    for (let nth = 0; nth < Root.STRIPES_MAX; nth++) {
      const stripe = new Mutex(words, kernels, root + Root.STRIPES + nth, owner, isDead);
      stripe.waits = arena.lock.waits.key;
      this.#stripes.push(stripe);
    }
  }

  lock(hashLow: number): void {
    assert(!this.isHeld, "a thread has one key locked at a time");
    this.#stripes[hashLow & (Root.STRIPES_MAX - 1)]!.lock();
    this.#locked = hashLow;
  }

  unlock(): void {
    this.#stripes[this.#locked & (Root.STRIPES_MAX - 1)]!.unlock();
  }

  /** Locks a key, unless the caller holds its lock. @returns whether to unlock it */
  lockUnlessHeld(hashLow: number): boolean {
    if (!this.isHeld) {
      this.lock(hashLow);
      return true;
    }
    assert(this.#locked === hashLow, "a thread that has locked a key sets no other");
    return false;
  }
}
