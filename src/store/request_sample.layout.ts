/** The ring of sampled requests: SAMPLES_MAX × SAMPLE_WORDS words, in pieces of a page frame each,
 * which SAMPLE_PIECES of the store's root lists.
 *
 *  ┌──────┬──────┬───────┬─────────┬──────┬ ─ ─
 *  │ INFO │ HASH │ PLAIN │ EXPIRES │ INFO │
 *  └──────┴──────┴───────┴─────────┴──────┴ ─ ─
 *
 * A thread claims a place by SAMPLE_NEXT of the store's root, writes the other words, and then
 * INFO. The reader sets INFO to 0 and counts SAMPLE_READ. No lock guards the ring, and nothing is
 * logged: a thread that dies halfway leaves a place without INFO, which the reader skips after a
 * while.
 *
 *  INFO   31           15 14   4 3         1 0
 *        ┌───────────────┬──────┬───────────┬────┐
 *        │ bytes, stored │      │ operation │ 1  │
 *        └───────────────┴──────┴───────────┴────┘
 */
export const INFO = 0; // atomic
export const HASH = 1; // of the page's key, as policies know it
export const PLAIN = 2; // bytes before compression, 0 = not known
export const EXPIRES = 3; // seconds since 1970, 0 = never
export const SAMPLE_WORDS = 4;
/** A power of two; 64 KiB in all: one frame of 64 KiB, or sixteen of 4 KiB. */
export const SAMPLES_MAX = 4096;
export const RING_BYTES = SAMPLES_MAX * SAMPLE_WORDS * 4;
/** log₂ of the bytes of a sample. */
export const SAMPLE_SHIFT = 4;

export const WRITTEN = 1;
export const OPERATION_SHIFT = 1;
export const OPERATION_MASK = 7;
export const STORED_SHIFT = 15;

// Operations.
/** A get that found the page in memory. */
export const HIT = 1;
/** A get that found the page in the write-back file or in the remote tier. */
export const OUTSIDE = 2;
/** A get that found no page. */
export const MISS = 3;
/** The page was stored. */
export const PUT = 4;
/** The page was removed, or was refused. */
export const REMOVE = 5;
/** A new expiry. */
export const RENEW = 6;
/** All pages were removed at once. */
export const CLEAR = 7;
