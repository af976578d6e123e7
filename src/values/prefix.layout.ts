/** The front's part of a value's prefix (store/value.layout.ts): whose it is, and what belongs to
 * it.
 *
 *  │ HEADER │ FLAGS │ EXPIRES │ KEY_BYTES │ META_BYTES │ key … │ meta … │ VERSION │ TOTAL │
 *             u8      6, if it   1, or 2     1                           4         4
 *                     may        if it is LONG_KEY                       both if it is PARTED
 *
 * The key stands there in full: an object's id in the index is only its hash, and a hash proves
 * nothing. The meta bytes belong to whoever keeps the values: a type, flags, a cas number.
 *
 * A value that is longer than a page is PARTED: page 0 of the object holds its first bytes and, in
 * TOTAL, how many there are in all; the other parts are under indexes that begin with VERSION, new
 * with each time that the value is set. So page 0 always names parts of one and the same value,
 * and one that is overwritten while it is read is read again, never mixed.
 */
import { FIXED_BYTES } from "../store/value.layout.ts";

// Bits of FLAGS, beside MAY_EXPIRE.
export const PARTED = 2;
export const LONG_KEY = 4;
/** The value has no bytes: of the one that is stored, none is meant. */
export const EMPTY = 8;

/** The longest value: parts are numbered, and somebody has to hold it in one piece. */
export const VALUE_BYTES_MAX = 128 * 1024 * 1024;
/** The bytes of a key and of a meta at most. */
export const KEY_BYTES_MAX = 1024;
export const META_BYTES_MAX = 255;
/** What a part that is not the first has before it. */
export const PART_PREFIX_BYTES = FIXED_BYTES;
