/** struct zspage: a chain of 1 … 16 page frames that holds objects of one size.
 *
 *    frame a               frame b               frame c
 *   ┌─────┬─────┬─────┬──  ──┬─────┬─────┬────  ────┬─────┬─────┬───┐
 *   │  0  │  1  │  2  │  3   │  4  │  5  │  6       │  7  │  8  │   │ ← the only waste
 *   └─────┴─────┴─────┴──  ──┴─────┴─────┴────  ────┴─────┴─────┴───┘
 *
 * The frames need not be adjacent: an object that begins in one ends in the next of the chain. The
 * first word of a free object names the next one, so that the list of free objects takes no memory.
 *
 * The words below are a record outside of the frames. All words of this file are guarded by the
 * pool's lock.
 */
export const LINK = 0; // link: in its class's list of GROUP; in none while UNDER_RECLAIM
export const LRU = 2; // link: in the pool's LRU list, the warmest first
export const CLASS = 4; // its size class
export const GROUP = 5; // fullness group, 0 = empty (and in no list) … the highest = full
export const IN_USE = 6; // live objects
export const FREE = 7; // the first free object: its place, or its number in zsmalloc-2012
export const FIRST_FRAME = 8;
export const PINS = 9; // mappings of its objects
export const UNDER_RECLAIM = 10; // 1 while a thread empties it: nothing is placed or moved here
export const PASS = 11; // 1 + the last shrink() that tried its objects
export const FRESH = 12; // objects added since it was last the warmest
export const OWN = 13; // zsmalloc: owner word of a huge object; 2012: word index of the states
export const RECORD_WORDS = 14;

// A frame of a chain, in its owner's words of the frame table: offsets from
// FrameAllocator.linkOf(frame).
export const FRAME_NEXT = 0; // the next frame of the chain, 0 after the last
export const FRAME_CLASS = 1; // class << 16 | number of the first object that begins in this frame
export const FRAME_ZSPAGE = 2; // PRIVATE: word index of the zspage's record

// The class is in the frame table too, because reading an object needs nothing else of its zspage.
// There are at most 304 classes, and 2,048 objects in a chain (32 bytes each of 64 KiB).
const CLASS_SHIFT = 16;

export function frameClass(cls: number, firstObject: number): number {
  return (cls << CLASS_SHIFT) | firstObject;
}

export function classOfFrame(frameClassWord: number): number {
  return frameClassWord >>> CLASS_SHIFT;
}

export function firstObjectOfFrame(frameClassWord: number): number {
  return frameClassWord & ((1 << CLASS_SHIFT) - 1);
}
