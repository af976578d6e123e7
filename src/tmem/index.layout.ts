/** struct tmem_index: the words of an index, which its owner provides.
 *
 *  ┌──────┬─────────┬──────────────┬───────────────┬────────────────┬──────────────────────┐
 *  │ SEED │ BUCKETS │ …_FRAMES     │ 3 slab heads  │ DIRECTORY 64   │ POOLS 256 × 13 words │
 *  └──────┴─────────┴──────────────┴───────────────┴────────────────┴──────────────────────┘
 *
 * The buckets of the hash table are in page frames. Frames of the directory list those frames, and
 * the words of DIRECTORY list the frames of the directory:
 *
 *   DIRECTORY ──► frame of word indexes ──► frame of buckets ──► object ──► object …
 *
 * All words are guarded by the arena's lock. Word indexes of frames beyond the table's size are
 * stale.
 */
import { SLAB_HEAD_WORDS } from "../memory/slab.layout.ts";

export const SEED = 0; // fixed: seed of the hash
export const BUCKETS = 1; // buckets of the hash table, 0 = no objects and no frames
export const BUCKET_FRAMES = 2; // frames that hold buckets
export const DIRECTORY_FRAMES = 3; // frames that list the frames of buckets
export const TREE_SLAB = 4; // slab head: leaves and nodes
export const SHORT_SLAB = TREE_SLAB + SLAB_HEAD_WORDS; // slab head: objects of 8 words
export const LONG_SLAB = SHORT_SLAB + SLAB_HEAD_WORDS; // slab head: objects of 12 words
export const DIRECTORY = LONG_SLAB + SLAB_HEAD_WORDS; // DIRECTORY_WORDS word indexes
/**
 * With frames of 4 KiB: 2¹⁰ buckets per frame, 2¹⁰ frames per frame of the directory, 2²⁶ buckets.
 */
export const DIRECTORY_WORDS = 64;
export const POOLS = DIRECTORY + DIRECTORY_WORDS; // POOLS_MAX × POOL_WORDS

// One tmem pool.
export const POOL_WORDS = 13;
export const POOLS_MAX = 256;
export const STATE = 0; // FREE, DYING, or the id of a pool in use
export const POOL_ID = 1; // number | generation << 8, of this use or, if FREE, of the next
export const CLIENT = 2; // the client that created it
export const FLAGS = 3; // PERSISTENT, SHARED, KEEPS_OLD
export const UUID = 4; // four words, of shared pools
export const PAGES = 8; // entries
export const OBJECTS = 9; // objects
export const USERS = 10; // clients that use it; more than 1 only if SHARED
export const CURSOR = 11; // while DYING: the bucket to visit next
export const FIRSTS = 12; // entries of index 0, of which each value has one

export const FREE = -1;
export const DYING = -2;
export const NUMBER_BITS = 8;
export const NUMBER_MASK = POOLS_MAX - 1;

export const INDEX_WORDS = POOLS + POOLS_MAX * POOL_WORDS;
