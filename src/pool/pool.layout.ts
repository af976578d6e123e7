/** struct zpool: the first words of every pool's descriptor, a block of page frames of the arena.
 *
 *  ┌────────────────────────────┬───────────────────────────────────────┐
 *  │ common words, 0 … 15       │ the allocator's own, from OWN on      │
 *  └────────────────────────────┴───────────────────────────────────────┘
 *
 * The descriptor's frame number is the pool's id: the owner of all its frames.
 */
export const MAGIC = 0; // fixed: POOL_MAGIC while the pool lives
export const TYPE = 1; // fixed: index of the pool's type in the registry
export const LOCK = 2; // atomic
export const OBJECTS = 3; // guarded by LOCK: objects stored
export const PAGES = 4; // guarded by LOCK: page frames that hold objects
export const PAGES_COMPACTED = 5; // guarded by LOCK
export const PAGES_RECLAIMED = 6; // guarded by LOCK
export const OBJECTS_EVICTED = 7; // guarded by LOCK
export const COMPACTING = 8; // guarded by LOCK: 1 while a thread compacts
export const SHRINK_PASS = 9; // atomic: number of the next shrink(), marks the units it has asked
export const SERIAL = 10; // guarded by LOCK: counts mallocs, for the generation in handles
export const RECLAIMING = 11; // guarded by LOCK: 1 while a unit is emptied; only with a journal
export const RECLAIMED_UNIT = 12; // guarded by LOCK: that unit, as its pool names it
export const OWN = 16; // the allocator's own words begin here

/** "zpol" */
export const POOL_MAGIC = 0x7a706f6c;
