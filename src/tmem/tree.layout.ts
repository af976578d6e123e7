/** The tree of an object's pages: leaves of 16 entries, below nodes of 64 references. Both are
 * records of 68 words, 15 per frame of 4 KiB; no entry crosses a cache line.
 *
 *         OBJECT  BASE low  BASE high  USED
 *        ┌───────┬─────────┬──────────┬──────┬─────────┬─────────┬─ ─ ─┬──────────┐
 *  leaf  │       │         │          │ bits │ entry 0 │ entry 1 │     │ entry 15 │
 *        ├───────┼─────────┼──────────┼──────┼────┬────┴┬────┬───┴─ ─ ─┴─────┬────┤
 *  node  │       │         │          │ count│ r0 │  r1 │ r2 │               │ r63│
 *        └───────┴─────────┴──────────┴──────┴────┴─────┴────┴─ ─ ─ ─ ─ ─ ─ ─┴────┘
 *
 * A leaf covers the 16 indexes from BASE on, by bits 0 … 3 of the index. A node of level L, 1 … 10,
 * covers the 2^(4 + 6·L) indexes from BASE on, and divides them into 64 parts by the six bits from
 * bit 6·L − 2 on. Levels are left out where they are not needed: a node has at least two children,
 * and the root is at the level that the object needs. So an index far from all others costs a leaf
 * and at most one node, and an insertion needs at most three records: a leaf for the entry that was
 * in the object, a leaf and a node.
 *
 * A reference is a record's word index and level in one word. Records begin at multiples of four
 * words, which leaves four bits:
 *
 *   bits 4–31  word index ÷ 4      bits 0–3  level, 0 = leaf      0 as a whole: none
 */
export const OBJECT = 0; // the object's record
export const BASE = 1; // two words: the first index covered
export const USED = 3; // leaf: a bit per used entry; node: number of references that are not 0
export const ENTRIES = 4; // of a leaf
export const SLOTS = 4; // of a node

export const TREE_WORDS = 68;
export const LEAF_BITS = 4;
export const LEAF_ENTRIES = 1 << LEAF_BITS;
export const NODE_BITS = 6;
export const NODE_SLOTS = 1 << NODE_BITS;
/** 4 + 6 · 10 = 64 bits. */
export const LEVEL_MAX = 10;
export const LEVEL_MASK = 15;

export function refOf(at: number, level: number): number {
  return (at << 2) | level;
}

export function recordOf(ref: number): number {
  return (ref >>> 2) & ~3;
}

export function levelOf(ref: number): number {
  return ref & LEVEL_MASK;
}

/** The slot of a node that an index belongs to; the index is given as two halves. */
export function slotOf(level: number, low: number, high: number): number {
  const shift = level * NODE_BITS - 2;
  if (shift < 28) return (low >>> shift) & 63;
  if (shift > 28) return (high >>> (shift - 32)) & 63;
  // Level 5 takes four bits of the lower half and two of the upper.
  return ((low >>> 28) | (high << 4)) & 63;
}

/** The lower half of the first index that a record of this level covers. */
export function baseLow(level: number, low: number): number {
  // Levels 5 and up cover more than 32 bits; a shift by 32 would be one by 0.
  if (level >= 5) return 0;
  return low & (-1 << (LEAF_BITS + NODE_BITS * level));
}

/** The upper half of the first index that a record of this level covers. */
export function baseHigh(level: number, high: number): number {
  if (level < 5) return high;
  if (level === LEVEL_MAX) return 0;
  return high & (-1 << (LEAF_BITS + NODE_BITS * level - 32));
}

/** The lowest level at which one record covers two indexes, given the halves of their xor. */
export function levelJoining(low: number, high: number): number {
  const top = high !== 0 ? 63 - Math.clz32(high) : 31 - Math.clz32(low);
  return top < LEAF_BITS ? 0 : Math.floor((top - LEAF_BITS) / NODE_BITS) + 1;
}
