/** The arena: one shared WebAssembly memory, from its first byte to its last.
 *
 *  frame 0                                            FIRST_FRAME   FRAMES_TOTAL
 *  ┌────────────┬──────────────┬─────────────────────┬─────────────┬───────────────────┐
 *  │ superblock │ free bitmaps │ frame table         │ frame       │ frame …           │
 *  │ 768 words  │ orders 0 … 4 │ 4 words per frame   │             │ not used yet ┄┄┄  │
 *  └────────────┴──────────────┴─────────────────────┴─────────────┴───────────────────┘
 *
 * Frame numbers count from the start of the memory, so that frame × page size is an address; the
 * frames of the first three parts are never allocated. The memory is created at its full size, and
 * the system populates a page when it is first touched. The first three parts have room for all
 * frames of the memory; an arena may begin with fewer, and grows by raising FRAMES_TOTAL.
 *
 * Words marked "fixed" are written before the arena is shared, and never again.
 */
export const MAGIC = 0; // fixed: ARENA_MAGIC, written last
export const VERSION = 1; // fixed: ARENA_VERSION
export const PAGE_SHIFT = 2; // fixed: 12 … 16
export const FRAMES_TOTAL = 3; // guarded by FRAMES_LOCK: the end of the frames, never lowered
export const FIRST_FRAME = 4; // fixed: the first frame that can be allocated
export const CLOSED = 5; // atomic: 1 after close()
export const FRAMES_LOCK = 6; // atomic: the lock of the frame allocator
export const FRAMES_FREE = 7; // guarded by FRAMES_LOCK: free frames of all orders
export const FRAMES_PEAK = 8; // guarded by FRAMES_LOCK: most frames in use since `resetPeak`
export const UNPOPULATED_BLOCKS = 9; // guarded by FRAMES_LOCK: whole free blocks without memory
export const ALLOC_FAILURES = 10; // guarded by FRAMES_LOCK: requests that found no block
export const POOLS_MADE = 11; // atomic: pools created in this arena, modulo 2³²: their generations
export const RETURNER = 12; // atomic: the owner that returns the memory of the run, 0 = done
export const RETURN_FROM = 13; // guarded by FRAMES_LOCK: the first block of that run
export const RETURN_BLOCKS = 14; // guarded by FRAMES_LOCK: its blocks, 0 = there is none
export const RETURN_MASK = 15; // guarded by FRAMES_LOCK: the frames of each of its blocks, as bits
export const FREE_BLOCKS = 16; // guarded by FRAMES_LOCK: five words, populated free blocks by order
export const ARENA_LOCK = 21; // atomic: the lock of transactions, if there is a journal
export const JOURNAL_NEXT = 22; // guarded by ARENA_LOCK: 0 = no journal, else 1 + entries in it
export const JOURNAL_AT = 23; // fixed: word index of the journal's log
export const READERS_AT = 29; // fixed: word index of the readers' structs (reader.layout.ts)
export const READERS_TOP = 30; // atomic: the highest thread number of any reader so far
export const JOURNAL_LIMIT = 27; // fixed: maximum of entries in the log
export const REPAIR = 25; // guarded by ARENA_LOCK: 1 from a dead owner until its repair is complete
export const RECOVERIES = 26; // guarded by ARENA_LOCK: owners of the lock found dead so far
export const SCRATCH_BLOCKS = 31; // fixed: largest blocks reserved for threads that attach later
export const THREADS = 32; // atomic: MAX_THREADS words: Threads.self() of each thread, 0 = free
export const ATTACHMENTS = 224; // atomic: MAX_THREADS words: how often each number was assigned
export const HUGE_PAGES = 422; // atomic: 1 if the system was asked for huge pages
export const BARE_FRAMES = 420; // guarded by FRAMES_LOCK: bare frames (free_blocks.ts)
export const RETURNED_FRAMES = 416; // atomic: frames whose memory was returned, modulo 2³²
export const RETURN_CALLS = 417; // atomic: calls of the system for that
export const RETURN_US = 418; // atomic: time spent in them, µs modulo 2³²
export const RETURNED_BY = 419; // atomic: what calls the system (store/resident_memory.ts)
export const LOCK_HEIR = 421; // atomic: the owner that is handed ARENA_LOCK, 0 = the first to come
export const HEADER_FRAMES = 423; // guarded by FRAMES_LOCK: what the header counts as (frames.ts)
// What each reader reads: a cache line of its own, which only those write that keep readers out.
export const WRITING = 432; // atomic: WRITES while a thread changes words that readers look at
export const SEQUENCE = 433; // atomic: how often WRITING was set, modulo 2³²
export const TRANSACTIONS = 434; // guarded by ARENA_LOCK: commits so far, modulo 2³²
export const POOL_LOCKS = 512; // atomic: POOL_LOCKS_MAX locks of pools, each a cache line

/** In WRITING: a thread writes; readers may sleep until it has written. */
export const WRITES = 1;
export const WRITES_AWAITED = 3;

/**
 * Locks of pools, by generation. They are here and not in the pools' descriptors, because a thread
 * may still reach for the lock of a pool whose memory has been reused.
 */
export const POOL_LOCKS_MAX = 16;
export const POOL_LOCK_WORDS = 16;
/** Word of such a line at which the counters of the lock begin (reader.layout.ts). */
export const POOL_LOCK_COUNTERS = 2;

/** Threads that can be attached at once; each has one word in the superblock. */
export const MAX_THREADS = 192;
export const SUPERBLOCK_WORDS = 768;

/** "zcA1" */
export const ARENA_MAGIC = 0x7a634131;
export const ARENA_VERSION = 4;
