/** The part of a value's prefix (store/value.layout.ts) behind the store's: the key, and the bytes
 * that whoever keeps the values has given with it.
 *
 *  │ HEADER │ FLAGS │ EXPIRES │ KEY_BYTES │ META_BYTES │ key … │ meta … │ VERSION │ TOTAL │
 *             u8      6, with   1, or 2     1                           4         4
 *                     MAY_EXPIRE  with LONG_KEY                         both with CHUNKED
 *
 * The key is there in full: an object's id in the index is only the hash of the key, and two keys
 * may have one hash. What the meta bytes mean is up to the caller: a type, flags, a cas number.
 *
 * A value of more than a page is CHUNKED: page 0 of the object holds its first bytes, and in TOTAL
 * the size of the whole value. The other chunks have indexes whose high half is VERSION, which is
 * new each time that the value is set. So page 0 always names chunks of one and the same value; a
 * value that is overwritten while it is read is read again, and never mixed.
 */
import { FIXED_BYTES } from "../store/value.layout.ts";

// Bits of FLAGS, beside MAY_EXPIRE.
export const CHUNKED = 2;
export const LONG_KEY = 4;
/** The value has no bytes: the one byte that is stored stands for none. */
export const EMPTY = 8;

/** The longest value: chunks are numbered, and a caller holds a value in one piece. */
export const VALUE_BYTES_MAX = 128 * 1024 * 1024;
/** The bytes of a key and of a meta at most. */
export const KEY_BYTES_MAX = 1024;
export const META_BYTES_MAX = 255;
/** The prefix of a chunk that is not the first. */
export const CHUNK_PREFIX_BYTES = FIXED_BYTES;
/** VERSION and TOTAL. */
export const CHUNKING_BYTES = 8;
