/** struct reader: what a thread announces to the writers of an arena, and how often it has waited.
 *
 *  word 0   1      2          8          14         20         26         32
 *  ┌───────┬──────┬──────────┬──────────┬──────────┬──────────┬──────────┐
 *  │ STATE │ –    │ EXCLUSIVE│ BESIDE   │ READER   │ KEY      │ OTHER    │   3 × 64 bits each
 *  └───────┴──────┴──────────┴──────────┴──────────┴──────────┴──────────┘
 *
 * There are READERS_MAX of them, two cache lines apart, so that readers do not slow each other
 * down. Threads with higher numbers have no STATE, and add to the counters of the thread whose
 * number is READERS_MAX lower, or twice as much.
 */
export const STATE = 0; // atomic: 0, READING, or READING | AWAITED
export const COUNTERS = 2; // atomic: 64-bit counters, COUNTERS_OF_KIND for each kind of lock

/** In STATE: the thread reads. */
export const READING = 1;
/** In STATE: a writer may sleep until the thread has read. */
export const AWAITED = 2;

/** The kinds of locks whose waits are counted, in the order of their counters. */
export const EXCLUSIVE = 0;
export const BESIDE = 1;
export const READER = 2;
export const KEY = 3;
export const OTHER = 4;
export const KINDS = 5;

/** The counters of a kind. */
export const CONTENDED = 0; // acquisitions that had to wait
export const WAITED_NS = 1; // time that they took
export const SLEPT = 2; // times that the thread slept meanwhile
export const COUNTERS_OF_KIND = 3;
export const COUNTERS_OF_KIND_BYTES = COUNTERS_OF_KIND * 8;

/** Threads that may read beside others; threads with higher numbers take the lock instead. */
export const READERS_MAX = 64;
export const READER_WORDS = 32;
/** Bytes of all of them. */
export const READERS_BYTES = READERS_MAX * READER_WORDS * 4;
