/** struct shards: what the kernel that answers plain gets needs to know of a store with several
 * shards (sharded_gets.as.ts), and where it has left the answers. Each thread has one, in the
 * memory of the first shard.
 *
 *  0            SHARD_AT                     SEGMENT_AT
 *  ┌───────────┬────────────────────────────┬──────────────────────────┐
 *  │ own words │ SHARDS_MAX × SHARD_WORDS   │ SEGMENTS_MAX × 4 words   │
 *  └───────────┴────────────────────────────┴──────────────────────────┘
 *
 * Addresses of a shard count bytes from the start of that shard's arena.
 */
export const SHARDS = 0; // how many there are
export const FUNCTIONS_AT = 1; // index in the table of functions of the first shard's first one
export const SEGMENTS = 2; // answers of this call
export const COPIES = 3; // 1: COPY_OUT copies each answer at once; 0: the caller does so at the end

/** Of each shard. */
export const SHARD_AT = 16;
export const SHARDS_MAX = 64;
export const SHARD_WORDS = 8;
export const FIND = 0; // address of a context (values/find.layout.ts)
export const INPUT = 1; // address of the context's input
export const ANSWERS = 2; // address of the room for answers
export const ANSWERS_END = 3;
export const OUT = 4; // address behind the last answer of this call

/** Of each answer: where a shard has left it, and its place in the reply buffer. */
export const SEGMENT_AT = 528;
export const SEGMENT_WORDS = 4;
export const SEGMENTS_MAX = 112;
export const SHARD = 0; // number of the shard
export const FROM = 1; // address in the shard's arena
export const BYTES = 2;
export const TO = 3; // address in the reply buffer

/** Bytes in all. */
export const SHARDS_BYTES = 4096;

/** Functions of each shard's kernels, in the order in which they stand in the table. */
export const PUT_LONG = 0;
export const ADD_HASH = 1;
export const LOOK_AT_HASHES = 2;
export const ANSWER_KEY = 3;
export const FORGET_FOUND = 4;
export const COPY_OUT = 5;
export const FUNCTIONS = 6;
