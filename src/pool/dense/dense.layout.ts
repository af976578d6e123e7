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
 * All words are guarded by the pool's lock.
 */
import { SLAB_HEAD_WORDS } from "../../memory/slab.ts";

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
export const RESERVE_MAX = 16;
export const GROWN = RESERVE + RESERVE_MAX; // 1 once the classes were split for a full arena
export const HANDLES = GROWN + 1; // slab head: the handle table
export const RECORDS = HANDLES + SLAB_HEAD_WORDS; // slab heads: frame records by size
export const RECORD_KINDS = 16;
export const CLASS_FOR = RECORDS + RECORD_KINDS * SLAB_HEAD_WORDS; // GRANULES: class by size
export const CLASS_TABLE = CLASS_FOR + GRANULES; // GRANULES × CLASS_WORDS

// One class: class i has slots of i + 1 granules. Those that are in use divide the sizes among
// them: class i takes objects of FLOOR + 1 … i + 1 granules.
export const CLASS_WORDS = 6;
export const CHAIN = 0; // list head: the frames, through their links in the frame table
export const TAIL_END = 2; // bytes of the last frame that slots fill; a page if there is no frame
export const COUNT = 3; // objects
export const CLASS_FRAMES = 4; // frames of the chain
export const FLOOR = 5; // granules of the largest objects that the class below takes

// One page frame: a record outside of it, at the word index in the frame table's PRIVATE.
export const SHAPE = 0; // fixed: class << 17 | offset in bytes of the first slot that begins here
export const OWNERS = 1; // the handles of the slots that begin in this frame, in order
export const CLASS_SHIFT = 17;
export const FIRST_START_MASK = (1 << CLASS_SHIFT) - 1;

/** Words of a handle table entry: the slot's address ÷ 4. What says that a handle is live is not
 * the
 *  entry but the owner word of the slot that it leads to. */
export const ENTRY_WORDS = 1;
