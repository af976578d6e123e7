/** The words of the dense pool: per pool, per class, per page frame, per handle.
 *
 * A class is one vector of equal slots, laid without gaps over a chain of page frames; a slot may
 * begin in one frame and end in the next. Objects fill the vector from its start, always:
 *
 *   frame (head)            frame                   frame (tail)
 *  ┌───────┬───────┬──────┬───────┬───────┬───────┬───────┬───────┬ ─ ─ ─ ─ ┐
 *  │ slot 0│ slot 1│ slot 2       │ slot 3│ slot 4        │ slot 5│  free
 *  └───────┴───────┴──────┴───────┴───────┴───────┴───────┴───────┴ ─ ─ ─ ─ ┘
 *                         └ first start of the second frame        └ TAIL_END
 *
 * Who owns the slots stands outside of the frames, in a record for each:
 *
 *   frame table:  state │ next, first start │ previous, class │ record ──┐
 *                                                                        ▼
 *   record of k words, one for each slot that begins in the frame:   │ handle │ handle │ … │
 *
 * All words are guarded by the pool's lock.
 */

/** Sizes are told apart by granules of 1/512 page: 8 bytes at 4 KiB. */
export const GRANULES_ORDER = 9;
export const GRANULES = 1 << GRANULES_ORDER;

// The pool's own words.
export const SPLITS = 0; // classes that were split since the pool was made
export const FRAMES_RETURNED = 1; // frames given back since the pool was made
export const CURSOR_PASS = 2; // the shrink() that the cursor belongs to
export const CURSOR_CLASS = 3; // class that is being reclaimed
export const CURSOR_FRAME = 4; // number of frames of that class that were asked
export const MAPPINGS = 5; // mappings now, all threads together
export const MAPPED = 6; // MAPPINGS_MAX handles, 0 = unused: what is mapped
export const MAPPINGS_MAX = 64;
export const RESERVED = MAPPED + MAPPINGS_MAX; // frames in reserve
export const RESERVE = RESERVED + 1; // RESERVE_MAX frames, the first RESERVED of them are there
export const RESERVE_MAX = 20;
export const GROWN = RESERVE + RESERVE_MAX; // 1 once the classes were split for a full arena
export const HANDLES = GROWN + 1; // HANDLES_WORDS: the handle table
export const HANDLES_WORDS = 4;
export const RECORD_FRAMES = HANDLES + HANDLES_WORDS; // frames that hold records
export const RECORDS = RECORD_FRAMES + 1; // RECORD_KINDS × KIND_WORDS: the frames' records
export const RECORD_KINDS = 16;
export const CLASS_FOR = RECORDS + RECORD_KINDS * 2; // GRANULES: class by size
export const CLASS_TABLE = CLASS_FOR + GRANULES; // GRANULES × CLASS_WORDS

// Records of one size: a stack over frames, as a class is, which are linked through PREV.
export const KIND_WORDS = 2;
export const KIND_TAIL = 0; // the last frame, 0 = none
export const KIND_USED = 1; // records in it

// One class: class i has slots of i + 1 granules. Those that are in use divide the sizes among
// them: class i takes objects of FLOOR + 1 … i + 1 granules.
export const CLASS_WORDS = 6;
export const HEAD = 0; // the first frame, 0 = none
export const TAIL = 1; // the last frame, 0 = none
export const TAIL_END = 2; // bytes of the last frame that slots fill; a page if there is no frame
export const COUNT = 3; // objects
export const FLOOR = 4; // granules of the largest objects that the class below takes
export const DRAINS = 5; // 1 + the class whose last objects fill this one's holes, 0 = itself

// One page frame: its three words in the frame table, from the link on. A frame number has 20 bits,
// whatever the page size: an arena has at most 4 GiB.
export const NEXT = 0; // next frame of the chain, 0 = none | granules before the first start << 20
export const PREV = 1; // previous frame, 0 = none | class << 20
export const RECORD = 2; // PRIVATE: word index of the frame's record; 0: holds no slots
export const FRAME_BITS = 20;
export const FRAME_MASK = (1 << FRAME_BITS) - 1;

/**
 * A record's word for a slot that nobody owns is 0; if it is the first of the record, then ~frame,
 * so that the frame of any record can be found: by this word, or by the owner's place.
 */
export const NOBODY = 0;

/**
 * Words of a handle table entry: the slot's address ÷ 4. What says that a handle is live is not the
 * entry but the owner word of the slot that it leads to.
 */
export const ENTRY_WORDS = 1;
