/** struct change log: the words of a ring in the arena through which changes go to a file.
 *
 *        TAIL                 HEAD          places count units of 32 bytes since the ring was made,
 *  ┌──────┴─────────────────────┴───────┐   modulo 2³²
 *  │ free │ not yet in the file │ free  │   place p of the ring's file stands at byte
 *  └──────┴─────────────────────┴───────┘   FILE_HEADER_BYTES + (p − START) · 32
 *
 * HEAD is written under the arena's lock, with the change itself: both are done, or neither. All
 * others are written under that lock and DRAIN, and read under either.
 */
export const HEAD = 0;
export const TAIL = 1;
export const START = 2; // HEAD when the file was begun
export const FD = 3; // its descriptor: of the process, so all threads have it
export const GENERATION = 4; // its number
export const SEED = 5; // of its records' checks
export const LIMIT = 6; // units that it may have
export const OLD_FD = 7; // of the file before, for what lies between TAIL and START; −1 = none
export const OLD_START = 8;
export const STATE = 9;
export const ERRORS = 10; // writes that failed
export const DRAIN = 11; // a lock: who has it writes to the file
export const RING = 12; // fixed: word index of the ring
export const RING_UNITS = 13; // fixed: a power of two
export const NOTE = 14; // NOTE_WORDS of them: what the front said last; each file begins with it
export const WORDS = 18;

/** Words that a front may note: what it needs to make sense of its values again. */
export const NOTE_WORDS = 4;

// STATE.
export const OFF = 0;
export const ON = 1;
/** A change could not be kept: what the files say is old. */
export const BROKEN = 2;

/**
 * Units that only removals may take, which have no way to wait: one for each thread of an arena,
 * that has seen room and does not know of the others.
 */
export const RESERVE_UNITS = 192;
