/** Miniature caches, one per expert: a table of words in page frames (frame_table.ts).
 *
 *  ┌────────────┬────────────────┬───────────────────────────┬──────────────┬──────────────────┐
 *  │ own words  │ per expert     │ ring of records, 2 each   │ buckets      │ slots, 8 each    │
 *  └────────────┴────────────────┴───────────────────────────┴──────────────┴──────────────────┘
 *
 * A record is a request for a sampled page, or a sampled page that was stored:
 *
 *   RECORD_HASH  hash of the page
 *   RECORD_SIZE  bytes of the page that was stored, 0 for a request
 *
 * A slot is a sampled page that at least one miniature holds:
 *
 *   HASH    hash of the page
 *   CHAIN   the next slot in its bucket, or the next free slot; 0 ends a chain
 *   STATES  8 bits per expert: its uses, and the queue that the page is in
 *   LINKS   a word per expert, next | prev << 16: slots, the heads of queues being slots too
 *   SIZE    in units of UNIT bytes, at least 1
 *
 * Slots 0 and 1 are the heads of the window and the main queue, in LINKS of each expert.
 *
 * Guarded by the owner's lock except for the ring, which is RACY like the sketch (sketch.ts). No
 * word is logged: BUSY tells whether a thread died halfway, and the miniatures then begin anew.
 * Each block of the table is one frame, so that kernels (window.as.ts) find the words of the ring.
 */
export const EXPERT = 0; // the expert that the policy follows
export const SHIFT = 1; // one in 2^SHIFT pages is sampled
export const FREE = 2; // first free slot, 0 = none
export const BUDGET = 3; // units that a miniature may hold, 0 = not known yet
export const BUSY = 4; // 1 while a thread changes the miniatures
export const SAMPLED = 5; // requests since the gains were last halved
export const MEAN_SIZE = 6; // of sampled pages, in units × MEAN_SCALE
export const MEAN_SCALE = 16;
export const RING_NEXT = 7; // records ever written to the ring, wraps; racy
export const RING_READ = 8; // and read
export const DEVIATION = 9; // mean distance from MEAN_SIZE, in the same scale
export const RING_MASK = 10; // records that the ring holds, less one; fixed

export const EXPERTS_AT = 16;
export const EXPERT_WORDS = 6;
// Words of an expert.
export const WINDOW_COUNT = 0;
export const MAIN_COUNT = 1;
export const HAND = 2; // slot; the head for the oldest
export const UNITS = 3; // units held
export const GAIN = 4; // hits more than the followed expert, lately
export const DIFFERENT = 5; // requests that were a hit for only one of the two

/** The ring, which holds as many records as there are buckets; then the buckets. */
export const RING_AT = 48;
export const RECORD_WORDS = 2;
export const RECORD_HASH = 0;
export const RECORD_SIZE = 1;

/** Unread records from which on the next page that is stored passes them on. */
export const UPDATE_AT = 64;

/**
 * A page is sampled if the upper SHIFT bits of its hash times this are 0. Other bits of the hash
 * choose blocks of the sketch, so they are mixed.
 */
export const SPREAD = 0x9e37_79b1;

export const SLOT_WORDS = 8;
export const HASH = 0;
export const CHAIN = 1;
export const STATES = 2;
export const LINKS = 3;
export const SIZE = 7;

export const WINDOW = 0; // slot
export const MAIN = 1; // slot
/** Slots before the first that holds a page. */
export const HEADS = 2;

// The 8 bits of an expert in STATES.
export const STATE_BITS = 8;
export const USES_MASK = 3;
export const IN_WINDOW = 4;
export const IN_MAIN = 8;
export const STATE_MASK = 15;

/** Bytes of a unit of size. */
export const UNIT = 16;
