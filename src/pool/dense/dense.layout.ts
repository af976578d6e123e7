/** The words of the dense pool: per pool, per class, per page frame, per handle.
 *
 * A class is one vector of equal slots, laid without gaps over a chain of page frames; a slot may
 * begin in one frame and end in the next. Objects always fill the vector from its start:
 *
 *   frame (head)            frame                   frame (tail)
 *  ┌───────┬───────┬──────┬───────┬───────┬───────┬───────┬───────┬ ─ ─ ─ ─ ┐
 *  │ slot 0│ slot 1│ slot 2       │ slot 3│ slot 4        │ slot 5│  free
 *  └───────┴───────┴──────┴───────┴───────┴───────┴───────┴───────┴ ─ ─ ─ ─ ┘
 *                         └ first start of the second frame        └ TAIL_END
 *
 * The owners of the slots are outside of the frames, in a record per frame:
 *
 *   frame table:  state │ next, first start │ previous, class │ record ──┐
 *                                                                        ▼
 *   record of k words, one for each slot that begins in the frame:   │ handle │ handle │ … │
 *
 * All words are guarded by the pool's lock.
 */

/** Sizes are counted in granules of 1/512 page: 8 bytes at 4 KiB. */
export const GRANULES_ORDER = 9;
export const GRANULES = 1 << GRANULES_ORDER;

// When the classes change (size_classes.ts). In the kernels, divisions are of whole numbers, which
// comes to the same.
/** The share of the arena's frames above which a pool is expected to fill the arena: 1/512. */
export const GROWING_SHIFT = 9;
/** objects × width, in granules, above which a split pays. */
export const SPLIT_ABOVE = 2 * GRANULES;
/**
 * objects of the lower class × width of the upper one below which two classes are merged: a fifth
 * of the split threshold, so that a pool that loses half of its objects and gets them back keeps
 * its classes.
 */
export const MERGE_BELOW = SPLIT_ABOVE / 4 / 5;

// The pool's words.
export const SPLITS = 0; // class splits since the pool was created
export const FRAMES_RETURNED = 1; // frames freed since the pool was created
export const CURSOR_PASS = 2; // the shrink() of the cursor
export const CURSOR_CLASS = 3; // the class being reclaimed
export const CURSOR_FRAME = 4; // frames of that class already tried
export const MAPPINGS = 5; // current mappings of all threads
export const MAPPED = 6; // MAPPINGS_MAX handles of mapped objects, 0 = unused
export const MAPPINGS_MAX = 64;
export const RESERVED = MAPPED + MAPPINGS_MAX; // frames in reserve
export const RESERVE = RESERVED + 1; // RESERVE_MAX frames, of which the first RESERVED are valid
export const RESERVE_MAX = 20;
// The reserve (reserve.ts): the share of the pool's pages, 1/1024, and its bounds in frames; above
// the limit some more wait to be freed.
export const RESERVE_SHARE_SHIFT = 10;
export const RESERVE_LIMIT_MIN = 4;
export const RESERVE_LIMIT_MAX = 16;
export const RESERVE_WAITING_MAX = RESERVE_MAX - RESERVE_LIMIT_MAX;
export const GROWN = RESERVE + RESERVE_MAX; // 1 once the classes were split for a full arena
export const HANDLES = GROWN + 1; // HANDLES_WORDS: the handle table
export const HANDLES_WORDS = 4;
export const RECORD_FRAMES = HANDLES + HANDLES_WORDS; // page frames of records
export const RECORDS = RECORD_FRAMES + 1; // RECORD_KINDS × KIND_WORDS: the frames' records
export const RECORD_KINDS = 16;
export const CLASS_FOR = RECORDS + RECORD_KINDS * 2; // GRANULES: class by size
export const CLASS_TABLE = CLASS_FOR + GRANULES; // GRANULES × CLASS_WORDS

// Records of one size form a stack over page frames, which PREV links.
export const KIND_WORDS = 2;
export const KIND_TAIL = 0; // the last frame, 0 = none
export const KIND_USED = 1; // records in it

// One class: class i has slots of i + 1 granules. The classes in use divide all sizes among them:
// class i takes objects of FLOOR + 1 … i + 1 granules.
export const CLASS_WORDS = 6;
export const HEAD = 0; // the first frame, 0 = none
export const TAIL = 1; // the last frame, 0 = none
export const TAIL_END = 2; // bytes of the last frame filled by slots; a page if there is no frame
export const COUNT = 3; // objects
export const FLOOR = 4; // the largest size, in granules, that the class below takes
export const DRAINS = 5; // 1 + the class whose last objects fill this class's holes, 0 = its own

// One page frame: its three words in the frame table, from the link on. A frame number has 20 bits,
// whatever the page size: an arena has at most 4 GiB.
export const NEXT = 0; // next frame of the chain, 0 = none | granules before the first start << 20
export const PREV = 1; // previous frame, 0 = none | class << 20
export const RECORD = 2; // PRIVATE: word index of the frame's record; 0: holds no slots
export const FRAME_BITS = 20;
export const FRAME_MASK = (1 << FRAME_BITS) - 1;

/**
 * A record's word for an unowned slot is 0, or, if it is the record's first word, ~frame, so that
 * the frame of any record can be found: by this word, or by the owner's place.
 */
export const NOBODY = 0;

/**
 * Words of an entry of the handle table: the slot's address ÷ 4. A handle is live if the owner word
 * of that slot is this handle, whatever the entry holds.
 */
export const ENTRY_WORDS = 1;
