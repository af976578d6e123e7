/** struct tmem_obj: an object's record, 8 words, or 12 where the id needs more than 64 bits.
 *
 *  ┌──────┬───────┬────────┬─────────┬───────────────────────────┬ ─ ─ ─ ─ ─ ─ ─ ─ ┐
 *  │ NEXT │ SHAPE │ ID low │ ID high │ ENTRY of page 0     inline │ ID_MORE 4 words
 *  │      │       │        │         │ ROOT │ COUNT │  –  │  –    │ where it is LONG
 *  └──────┴───────┴────────┴─────────┴───────────────────────────┴ ─ ─ ─ ─ ─ ─ ─ ─ ┘
 *
 * An object whose only page has index 0, such as a short value of a cache, has that page's entry in
 * its record. Any other object has a tree (tree.layout.ts). An object has at least one page.
 */
export const NEXT = 0; // the next object of the bucket, or NONE
export const SHAPE = 1; // flags and pool, see below
export const ID = 2; // two words: bits 0 … 63 of the id
export const ENTRY = 4; // if SHAPE has INLINE: the entry of page 0 (entry.layout.ts)
export const ROOT = 4; // else: the reference of the tree's root (tree.layout.ts)
export const COUNT = 5; // and the number of pages in the tree
export const ID_MORE = 8; // if SHAPE has LONG: four words, bits 64 … 191 of the id

export const SHORT_WORDS = 8;
export const LONG_WORDS = 12;

/** No record. Word 0 of an arena is never a record. */
export const NONE = 0;

// SHAPE. The id and the bits of NAME_MASK identify an object.
export const POOL_MASK = 0xff; // bits 0–7: number of the pool
export const ID_BYTES_SHIFT = 8; // bits 8–12: bytes of the id, 1 … 24; 0 = the id is a number
export const ID_BYTES_MASK = 0x1f;
export const LONG = 1 << 13; // the record has 12 words
export const INLINE = 1 << 14; // the entry of page 0 is in the record
export const NAME_MASK = LONG | (ID_BYTES_MASK << ID_BYTES_SHIFT) | POOL_MASK;
