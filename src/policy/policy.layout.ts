/** The words of one policy (POLICY_WORDS), and its bits in each entry.
 *
 *  ┌──────────────────────────┬──────────────────────────┬──────┬─────────────────┐
 *  │ QUEUE: head, count       │ MAIN: head, count        │ HAND │ GHOSTS, SKETCH  │
 *  └──────────────────────────┴──────────────────────────┴──────┴─────────────────┘
 *
 * All words are guarded by the owner's lock. fifo and lru use QUEUE. sieve also uses HAND. s3-fifo
 * uses all but HAND, with its small queue in QUEUE. tinylfu also uses HAND and SKETCH, with its
 * window in QUEUE.
 *
 *  bits of an entry, from PolicySpace.bit on:   0 … 1  USES    hits, at most 3; `victim` lowers it
 *                                               2      MAIN    the entry is in the main queue
 */
export const QUEUE = 0; // three words (queue.ts)
export const MAIN = 3; // three words (queue.ts)
export const HAND = 6; // word index of the link at which `victim` begins; the head for the oldest
export const GHOSTS = 7; // three words (ghosts.ts)
export const SKETCH = 7; // four words (sketch.ts)

export const USES_MASK = 3;
export const MAIN_BIT = 4;
