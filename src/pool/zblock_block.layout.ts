/** struct zblock_block: one block of 1, 2, 4 or 8 page frames, divided into slots of one size.
 *
 *   frames of the block                                    record in a slab
 *  ┌────────┬────────┬────────┬─ … ─┬────────┬───────┐    ┌──────────────┬─ … ─┬──────────┐
 *  │(header)│ slot 0 │ slot 1 │     │ slot n │ slack │ ◄──┤ words 0 … 11 │     │ SLOTS[n] │
 *  └────────┴────────┴────────┴─ … ─┴────────┴───────┘    └──────────────┴─ … ─┴──────────┘
 *    first frame's PRIVATE = ~record ──────────────────────►
 *
 * The record is outside of the block: a word per slot does not fit into the originals' header of 32
 * to 64 bytes, and without any header a slot can be a whole page. Settings that imitate an original
 * leave its header's bytes unused before slot 0, so that slots are as small as there. PRIVATE is
 * negative for blocks, to distinguish them from the pool's slabs, for which it is a count.
 *
 * All words are guarded by the pool's lock.
 * Invariants: FREE_COUNT = bits set in FREE; MAPS = sum of the slots' maps; a slot mapped is not
 * free.
 */
export const LINK = 0; // link: in the list of its type's blocks with room, else in none
export const LRU = 2; // link: in the pool's LRU list, most recently added-to first
export const FRAME = 4; // the block's first frame
export const TYPE = 5; // index in the pool's table of block types
export const FREE_COUNT = 6; // slots that are free
export const FREE = 7; // two words, bit s of slot s: 1 = free
export const MAPS = 9; // mappings of all slots
export const UNDER_RECLAIM = 10; // 1 while a thread empties the block
export const PASS = 11; // the last shrink() that tried this block
export const SLOTS = 12; // a word per slot: bits 0–15 generation, bits 16–30 number of mappings

/** FREE has a bit for each. */
export const SLOTS_MAX = 64;
export const GENERATION_MASK = 0xffff;
export const MAPS_SHIFT = 16;
/** How often one object can be mapped at a time. */
export const MAPS_MAX = 0x7fff;
