/** The root of a store: one block of page frames, from which everything else in its arena is found.
 *
 *  ┌──────────┬───────────────┬──────────┬───────────┬────────────┬───────┬──────────┬─────────┐
 *  │ own, 64  │ kinds, 2 × 8  │ counters │ latencies │ missReasons│ index │ policies │ backing │
 *  └──────────┴───────────────┴──────────┴───────────┴────────────┴───────┴──────────┴─────────┘
 *
 * Guarded by the arena's lock where nothing else is said. Counters are 64-bit floats: events are
 * counted as they happen, and stay counted when a transaction is undone. What says how much there
 * is (a kind's words) is undone with it.
 */
import { LATENCY_WORDS } from "../base/latency.ts";

export const MAGIC = 0; // fixed: STORE_MAGIC, written last
export const VERSION = 1; // fixed
export const ZPOOLS = 2; // fixed: two words, the pools for ephemeral and for persistent pages
export const PENDING_FREE_KIND = 4; // 0, or 1 + kind of an object that is to be freed
export const PENDING_FREE_HANDLE = 5; // and its handle
export const FROZEN = 6; // 1: puts become flushes
export const CLOSED = 7; // atomic
export const TICK = 8; // the store's clock, by which pages age
export const RECLAIMING = 9; // 1 from the low watermark until the high one is reached
export const FULL = 10; // 1 from the limit until the accept threshold is reached
export const WORK = 11; // atomic: counts calls for the maintainer
export const MAINTAINER = 12; // the owner (memory/owner.ts) that maintains the store, 0 = none
export const PENDING_RELABEL = 14; // 0, or the moved entry whose object still names its old place
export const VERSIONS = 15; // fixed: word index of the table of versions (versions.ts), 0 = none
export const DICTIONARY = 16; // number of the one for what comes in, 0 = none
export const DICTIONARIES = 17; // how many have been made
export const LIMIT_FRAMES = 13; // frames that may be in use, of all there are

export const FRONT = 18; // FRONT_WORDS that belong to whoever keeps values in the store
export const FRONT_WORDS = 12;
export const WATCHES = 30; // fixed: word index of the table of watches (versions.ts), 0 = none
export const WATCHED = 31; // watches that have begun and not ended
export const DICTIONARY_AT = 34; // 15 words: where each dictionary stands, as a word index
export const DICTIONARY_BYTES = 49; // 15 words: and how long it is
export const EVICTION_RING = 32; // word index of the ring of what was evicted, 0 = nobody listens
export const EVICTION_BYTES = 33; // bytes that were ever written to it, modulo 2³²

// What there is of one kind of pages.
export const EPHEMERAL = 0;
export const PERSISTENT = 1;
export const KINDS = 2;
export const KIND = 64;
export const KIND_WORDS = 8;
export const IN_MEMORY = 0; // pages in the pool
export const SAME = 1; // same-filled pages
export const IN_FILE = 2; // pages in the write-back file
export const HUGE = 3; // pages in the pool that are stored raw
export const ORIGINAL = 5; // in a store of values: those in the pool as they came in, in units
export const ORIGINAL_UNIT = 16;
export const BYTES = 4; // bytes of the pages in the pool, modulo 2³²: an arena holds no more

/** 64-bit floats: statistics.ts says which. */
export const COUNTERS = KIND + KINDS * KIND_WORDS;
export const COUNTERS_MAX = 56;
/** Histograms of latencies (base/latency.ts). */
export const LATENCIES = COUNTERS + COUNTERS_MAX * 2;
export const LATENCIES_MAX = 5;

/** What became of pages that are not there: MISS_REASONS_MAX × (hash, reason), by hash. */
export const MISS_REASONS = LATENCIES + LATENCIES_MAX * LATENCY_WORDS;
export const MISS_REASONS_MAX = 512;
/** Locks of keys, for who reads, thinks and then writes (values.ts): by hash. */
export const STRIPES = MISS_REASONS + MISS_REASONS_MAX * 2;
export const STRIPES_MAX = 64;
/** atomic: a lock, under which one thread at a time makes a dictionary (dictionaries.ts). */
export const DICTIONARY_LOCK = STRIPES + STRIPES_MAX;
/**
 * When values expire (expiry.ts), in seconds since 1970: none does before EXPIRES_FROM, and none of
 * those that were stored since a walk has begun before EXPIRES_SINCE; and walks that have begun.
 */
export const EXPIRES_FROM = DICTIONARY_LOCK + 1;
export const EXPIRES_SINCE = EXPIRES_FROM + 1;
export const EXPIRY_ROUNDS = EXPIRES_SINCE + 1;
/** In the place of a time. */
export const NEVER = -1;
/** The index, then two policies, then the backing: open.ts adds up. */
export const PARTS = EXPIRY_ROUNDS + 1;

/** "zsto" */
export const STORE_MAGIC = 0x7a73746f;
export const STORE_VERSION = 1;
