/** struct change log: the words of a ring in the arena through which changes go to a file.
 *
 *        TAIL                 HEAD          places count units of 32 bytes since the ring was made,
 *  ┌──────┴─────────────────────┴───────┐   modulo 2³²
 *  │ free │ not yet in the file │ free  │   place p of the ring's file stands at byte
 *  └──────┴─────────────────────┴───────┘   FILE_HEADER_BYTES + (p − START) · 32
 *
 * HEAD is written under the arena's lock, in the transaction of the change: both are committed, or
 * neither. All other words are written under that lock and DRAIN, and read under either.
 */
export const HEAD = 0;
export const TAIL = 1;
export const START = 2; // HEAD when the current file was begun
export const FD = 3; // its descriptor, which all threads of the process can use
export const GENERATION = 4; // its number
export const SEED = 5; // seed of its records' checksums
export const LIMIT = 6; // units that it may hold
export const OLD_FD = 7; // descriptor of the preceding file, for TAIL … START; −1 = none
export const OLD_START = 8;
export const STATE = 9;
export const ERRORS = 10; // failed writes
export const DRAIN = 11; // a lock: its holder writes to the file
export const RING = 12; // fixed: word index of the ring
export const RING_UNITS = 13; // fixed: a power of two
export const NOTE = 14; // NOTE_WORDS words of the cache's; each file begins with them
export const WORDS = 18;

/** Words that the cache may log to restore its values (`ChangeLog.note`). */
export const NOTE_WORDS = 4;

// STATE.
export const OFF = 0;
export const ON = 1;
/** A change could not be logged: the files are out of date. */
export const BROKEN = 2;

/**
 * Units reserved for removals, which can't wait: one for each thread of an arena that has seen room
 * without knowing of the other threads.
 */
export const RESERVE_UNITS = 192;
