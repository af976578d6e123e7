/** struct put: what the kernel that stores values needs to know of a store (put_value.as.ts). Each
 * thread has one for each store.
 *
 * An address counts bytes from the start of the arena; an index counts words. The words before
 * TABLE are written once, the others before or by a call.
 */
export const FIND = 0; // address of struct find (find.layout.ts)
export const OWNER = 1; // the thread, as the owner of locks
export const ROOT = 2; // word index of the store's root
export const INDEX = 3; // word index of the words of the index
export const TMEM_POOL = 4; // id of the tmem pool of the values
export const KIND = 5; // its kind of pages
export const POOL = 6; // word index of the descriptor of that kind's pool
export const POLICY = 7; // word index of the words of that kind's policy
export const FIRST_FRAME = 8; // the first frame that can be allocated
export const PLAIN = 9; // address of the value
export const HAS_LZ4 = 10; // 1: values are compressed by this kernel
// Addresses of counters, which are 64-bit floats.
export const PUTS = 11;
export const DUPLICATE_PUTS = 12;
export const HUGE_SINCE = 13;
export const COMPRESSED = 14;
export const COMPRESSED_IN = 15;
export const COMPRESSED_OUT = 16;

export const TABLE = 17; // address of LZ4's table
export const DICTIONARY = 18; // address of the dictionary
export const DICTIONARY_BYTES = 19; // 0: there is none
export const DICTIONARY_TABLE = 20; // address of its table

export const CODEC = 21; // Page.RAW or FAST: how the value was packed
export const STORED_BYTES = 22; // bytes of its prefix and of what it was packed to

export const OUTCOME = 23; // why no entry was found or made (put_value.as.ts)
export const SAVE = 24; // address of scratch for overwritten bytes; written once
export const TURNS = 25; // to spin for the arena's lock, before the value is left to the caller
export const SPUN = 26; // how often the lock was taken after spinning; the caller counts it

/** Words in all. */
export const PUT_WORDS = 27;
