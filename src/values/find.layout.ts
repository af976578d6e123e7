/** struct find: what the kernels need to know to find values in a store (find_value.as.ts), and the
 * values that they found. Each thread has one for gets of one key, and for memcached's gets one
 * that is a page of the arena.
 *
 *  0            FOUND_AT              AHEAD_AT              INPUT_AT
 *  ┌───────────┬─────────────────────┬─────────────────────┬──────────────────────┐
 *  │ own words │ FOUND_MAX × 5 words │ AHEAD_MAX × 5 words │ 2 KiB for the caller │
 *  └───────────┴─────────────────────┴─────────────────────┴──────────────────────┘
 *
 * An address counts bytes from the start of the arena; an index counts words. The words before
 * COUNT are written once; the others change.
 */
export const WRITING = 0; // address of the word that tells whether a thread writes
export const SEQUENCE = 1; // address of the word that counts how often a thread began to write
export const VERSION = 2; // address of the word that counts transactions
export const INDEX_SEED = 3; // of the hash of the table of objects
export const BUCKETS = 4; // address of the word with the number of buckets
export const DIRECTORY = 5; // word index of the directory of buckets
export const NAME = 6; // SHAPE of the objects' names: the number of their tmem pool
export const PAGE_SEED = 7; // of the hash by which a policy knows a page
export const FRAME_SHIFT = 8; // log₂ of the words of a frame
export const LINKS = 9; // word index of frame 0's link in the frame table
export const ENTRY_MASK = 10; // the bits of a handle that are its entry's word index
export const SEED_LOW = 11; // of the keys' hash
export const SEED_HIGH = 12;
export const DICTIONARIES = 13; // address of the word with the number of dictionaries
export const DICTIONARY_AT = 14; // word index of the words with their word indexes
export const DICTIONARY_BYTES = 15; // word index of the words with their sizes in bytes
export const IS_LZ4 = 16; // 1: new values are compressed with LZ4
export const PACKED = 17; // address of scratch for a value as it is stored
export const PACKED_BYTES = 18; // its size, a page and more
export const WORDS = 19; // number of words of the arena

export const FENCE = 20; // written by an atomic store, which reads do not pass
export const ANSWERED = 21; // 1: the last call has answered a line at least
export const SHARDS = 22; // address of what tells of other shards; 0: all values are in this one
export const MET_WRITER = 23; // 1: a value was not looked up because threads were writing

export const COUNT = 24; // values found since it was set to 0
export const OUT = 25; // address behind what was written
export const META = 26; // META of the value found last (store/page.layout.ts)

export const AHEAD = 27; // keys that were looked at ahead
export const AHEAD_NEXT = 28; // the first of them that has not been asked for

export const PEEKED = 29; // written so that reads ahead are not optimized away (find_ahead.as.ts)

/** Of each value found: what the store needs to record the hit. */
export const FOUND_AT = 32;
export const FOUND_WORDS = 5;
export const FOUND_MAX = 80;
export const HASH = 0; // by which the policy knows it
export const ENTRY = 1; // word index
export const ENTRY_VALUE = 2; // its words (tmem/entry.layout.ts)
export const ENTRY_META = 3;
export const SEEN = 4; // the version of the store at which they were so

/** Of each key looked at ahead (find_ahead.as.ts). */
export const AHEAD_AT = 432;
export const AHEAD_WORDS = 5;
export const AHEAD_MAX = 16;
export const KEY_AT = 0; // address of the key
export const KEY_BYTES = 1;
export const LOW = 2; // halves of its hash
export const HIGH = 3;
export const PLACE = 4; // index of the word that it has led to so far, 0 = it leads nowhere

/** Word index of the caller's input: it takes the rest of the 4 KiB. */
export const INPUT_AT = 512;
export const INPUT_BYTES = 2048;
/** Bytes in all. */
export const FIND_BYTES = 4096;
