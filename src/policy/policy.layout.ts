/** The words of one policy (POLICY_WORDS), and its bits in each entry.
 *
 *  ┌────────────────────┬───────────────────┬──────┬────────────────┬────────────┬───────────────┐
 *  │ QUEUE: head, count │ MAIN: head, count │ HAND │ GHOSTS, SKETCH │ MINIATURES │ CAPACITY, …   │
 *  └────────────────────┴───────────────────┴──────┴────────────────┴────────────┴───────────────┘
 *
 * All words are guarded by the owner's lock. fifo and lru use QUEUE. sieve also uses HAND. s3-fifo
 * uses QUEUE, for its small queue, MAIN and GHOSTS. tinylfu uses QUEUE, for its window, MAIN, HAND
 * and SKETCH. adaptive uses all but GHOSTS, with its window in QUEUE.
 *
 * Kernels list entries for both tinylfu and adaptive (window.as.ts). So the words of tinylfu say
 * that there are no miniatures, that the store has been full, and that the last round has ended.
 *
 *  bits of an entry, from PolicySpace.bit on:   0 … 1  USES    hits, at most 3; `victim` lowers it
 *                                               2      MAIN    the entry is in the main queue
 */
export const QUEUE = 0; // three words (queue.ts)
export const MAIN = 3; // three words (queue.ts)
export const HAND = 6; // word index of the link at which `victim` begins; the head for the oldest
export const GHOSTS = 7; // three words (ghosts.ts)
export const SKETCH = 7; // four words (sketch.ts)
export const MINIATURES = 11; // two words (miniatures.ts); the first is 0: none
export const CAPACITY = 13; // entries when the last round of evictions began, 0 = none has begun
export const LOWEST = 14; // entries when it ended, 0 = it has not ended
export const ROUND = 15; // entries that a round evicts

/** From the head of a queue to its count (queue.ts). */
export const COUNT = 2;

export const USES_MASK = 3;
export const MAIN_BIT = 4;
