/** struct zpool: the first words of every pool's descriptor, a block of page frames of the arena.
 *
 *  ┌────────────────────────────┬───────────────────────────────────────┐
 *  │ common words, 0 … 15       │ the allocator's own, from OWN on      │
 *  └────────────────────────────┴───────────────────────────────────────┘
 *
 * The descriptor's frame number is the pool's id, and the owner of all its frames. Its lock is in
 * the arena's superblock (POOL_LOCKS), at an index given by the generation.
 */
import { POOL_LOCK_WORDS, POOL_LOCKS, POOL_LOCKS_MAX } from "../memory/arena.layout.ts";

export const MAGIC = 0; // fixed: POOL_MAGIC while the pool lives
export const TYPE = 1; // fixed: index of the pool's type in the registry
export const OBJECTS = 3; // guarded by the lock: objects stored
export const PAGES = 4; // guarded by the lock: page frames that hold objects
export const PAGES_COMPACTED = 5; // guarded by the lock
export const PAGES_RECLAIMED = 6; // guarded by the lock
export const OBJECTS_EVICTED = 7; // guarded by the lock
export const COMPACTING = 8; // guarded by the lock: the owner that compacts, 0 = none
export const SHRINK_PASS = 9; // guarded by the lock: number of the next shrink(), marks its units
export const SERIAL = 10; // guarded by the lock: counts mallocs, for the generation in handles
export const RECLAIMING = 11; // guarded by the lock: 1 while a unit is emptied; only with a journal
export const RECLAIMED_UNIT = 12; // guarded by the lock: the name of that unit
export const GENERATION = 13; // fixed: distinguishes the pool from all others of the arena
export const OWN = 16; // the allocator's words begin here

/** "zpol" */
export const POOL_MAGIC = 0x7a706f6c;

/** Word index of the lock of a pool of this generation. */
export function lockOf(generation: number): number {
  return POOL_LOCKS + (generation & (POOL_LOCKS_MAX - 1)) * POOL_LOCK_WORDS;
}
