// The two ways to work under the arena's lock: as a transaction, or as one of several readers.
import type { StoreState } from "./state.ts";

/**
 * Runs `work` as one transaction: it is committed when `work` returns, and rolled back if it
 * throws.
 */
export function transaction<T>(state: StoreState, work: () => T): T {
  const { lock } = state.arena;
  lock.lock();
  try {
    const result = work();
    lock.commit();
    return result;
  } finally {
    lock.unlock();
  }
}

/** Runs `work`, which changes nothing, beside other readers; waits while a thread writes. */
export function readTransaction<T>(state: StoreState, work: () => T): T {
  const { lock } = state.arena;
  if (lock.enterReader()) {
    try {
      return work();
    } finally {
      lock.leaveReader();
    }
  }
  lock.lockBeside();
  try {
    return work();
  } finally {
    lock.unlock();
  }
}
