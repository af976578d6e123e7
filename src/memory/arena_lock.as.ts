// The usual way through the lock of the arena: it is free, no reader reads, and no thread waits.
// arena_lock.ts has the protocol, and the rest of it.
import * as Super from "./arena.layout";
import { firstSet, spinForLock } from "./lock.as";
import { word } from "./journal.as";
import * as Reader from "./reader.layout";

// What `takeLock` comes to.
/** Another thread has the lock. */
export const CONTENDED: u32 = 0;
export const TAKEN: u32 = 1;
/** The lock is taken, and what follows is left to `ArenaLock.proceed`. */
export const HALF_TAKEN: u32 = 2;

/**
 * The first steps of `ArenaLock.lock`.
 * @param turns to spin if another thread has the lock
 * @param spun address of a word that counts the locks that were taken so
 */
export function takeLock(owner: u32, turns: u32, spun: usize): u32 {
  const lock = <usize>Super.ARENA_LOCK << 2;
  if (atomic.cmpxchg<u32>(lock, 0, owner) != 0) {
    if (spinForLock(lock, owner, turns) == 0) return CONTENDED;
    store<u32>(spun, load<u32>(spun) + 1);
  }
  atomic.xchg<u32>(Super.WRITING << 2, Super.WRITES);
  atomic.add<u32>(Super.SEQUENCE << 2, 1);
  const top = atomic.load<u32>(Super.READERS_TOP << 2);
  const first = <usize>(word(Super.READERS_AT) + Reader.STATE) << 2;
  if (firstSet(first, 0, top, Reader.READER_WORDS << 2) != top) return HALF_TAKEN;
  return word(Super.REPAIR) == 0 ? TAKEN : HALF_TAKEN;
}

/**
 * `ArenaLock.unlock` after a commit.
 * @returns false if threads wait for the lock: `ArenaLock.unlock` is to follow
 */
export function releaseLock(owner: u32): bool {
  const before = atomic.xchg<u32>(Super.WRITING << 2, 0);
  const isFree = atomic.cmpxchg<u32>(Super.ARENA_LOCK << 2, owner, 0) == owner;
  if (before != Super.WRITES) atomic.notify(Super.WRITING << 2, -1);
  return isFree;
}
