/** struct page: four words per page frame of the arena, beside the data and never inside it.
 *
 *  ┌───────────────┬───────────────┬───────────────┬───────────────┐
 *  │ STATE         │ LINK.next     │ LINK.prev     │ PRIVATE       │
 *  └───────────────┴───────────────┴───────────────┴───────────────┘
 *
 * Only the frame allocator writes STATE, under its lock. The other three words belong to the owner
 * of the frame, under the owner's lock; they are undefined when the frame is allocated.
 */

/** Words per frame. */
export const FRAME_WORDS = 4;
/** 0 = free, or: bits 0–2 order, bit 3 head of its block, bits 4–30 owner (a frame number). */
export const STATE = 0;
/** A list link (two words, see list.ts). */
export const LINK = 1;
/** The owner's word. */
export const PRIVATE = 3;

const ORDER_MASK = 7;
const HEAD = 8;
const OWNER_SHIFT = 4;

/** Blocks of up to 2⁴ frames. */
export const MAX_ORDER = 4;

export function headState(owner: number, order: number): number {
  return (owner << OWNER_SHIFT) | HEAD | order;
}

export function tailState(owner: number, order: number): number {
  return (owner << OWNER_SHIFT) | order;
}

export function isHead(state: number): boolean {
  return (state & HEAD) !== 0;
}

export function orderOf(state: number): number {
  return state & ORDER_MASK;
}

export function ownerOf(state: number): number {
  return state >>> OWNER_SHIFT;
}
