/** The root of a store: one block of page frames, from which everything else in its arena is found.
 *
 *  ┌──────────┬───────────────┬──────────┬───────────┬────────────┬───────┬──────────┬─────────┐
 *  │ own, 64  │ kinds, 2 × 12 │ counters │ latencies │ missReasons│ index │ policies │ backing │
 *  └──────────┴───────────────┴──────────┴───────────┴────────────┴───────┴──────────┴─────────┘
 *
 * Guarded by the arena's lock unless a line says otherwise. Counters are 64-bit floats; they count
 * events at once, and a rollback does not undo them. The gauges of a kind are rolled back with a
 * transaction.
 */
import { LATENCY_WORDS } from "../base/latency.layout.ts";

export const MAGIC = 0; // fixed: STORE_MAGIC, written last
export const VERSION = 1; // fixed
export const ZPOOLS = 2; // fixed: two words, the pools for ephemeral and for persistent pages
export const PENDING_FREE_KIND = 4; // 0, or 1 + kind of the object to free next
export const PENDING_FREE_HANDLE = 5; // its handle
export const FROZEN = 6; // 1: puts become flushes
export const CLOSED = 7; // atomic
export const TICK = 8; // the store's clock, by which pages age
export const RECLAIMING = 9; // 1 from the low watermark until the high watermark is reached
export const FULL = 10; // 1 from the limit until the accept threshold is reached
export const WORK = 11; // atomic: counts calls for the maintainer
export const MAINTAINER = 12; // the owner (memory/owner.ts) that maintains the store, 0 = none
export const PENDING_RELABEL = 14; // 0, or the moved entry whose object still names its old place
export const VERSIONS = 15; // fixed: word index of the table of versions (versions.ts), 0 = none
/** Number of versions: enough that a change of another key seldom makes a copy invalid. */
export const VERSIONS_MAX = 4096;
export const DICTIONARY = 16; // number of the dictionary for new values, 0 = none
export const DICTIONARIES = 17; // number of dictionaries
export const LIMIT_FRAMES = 13; // frames that may be in use

export const FRONT = 18; // FRONT_WORDS of the cache or the memcached server over the store
export const FRONT_WORDS = 12;
export const WATCHES = 30; // fixed: word index of the table of watches (versions.ts), 0 = none
export const WATCHED = 31; // watches that have begun and not ended
export const DICTIONARY_AT = 34; // 15 words: the word index of each dictionary
export const DICTIONARY_BYTES = 49; // 15 words: its length
export const EVICTION_RING = 32; // word index of the ring of eviction events, 0 = no listener
export const EVICTION_BYTES = 33; // bytes ever written to it, modulo 2³²

// The gauges of a kind of pages.
export const EPHEMERAL = 0;
export const PERSISTENT = 1;
export const KINDS = 2;
export const KIND = 64;
export const KIND_WORDS = 12;
export const IN_MEMORY = 0; // pages in the pool
export const SAME = 1; // same-filled pages
export const IN_FILE = 2; // pages in the write-back file
export const HUGE = 3; // pages in the pool that are stored raw
export const ORIGINAL = 5; // in a store of values: uncompressed size of those in the pool, in units
export const ORIGINAL_UNIT = 16;
export const BYTES = 4; // bytes of the pages in the pool, modulo 2³²: an arena holds no more
export const IN_REMOTE = 6; // pages in the remote tier or in transit
export const REMOTE_LOW = 7; // their bytes, modulo 2³²
export const REMOTE_HIGH = 8; // the upper half of that number

/** 64-bit floats, in the order of counters.ts. */
export const COUNTERS = KIND + KINDS * KIND_WORDS;
export const COUNTERS_MAX = 56;
/** Histograms of latencies (base/latency.ts). */
export const LATENCIES = COUNTERS + COUNTERS_MAX * 2;
export const LATENCIES_MAX = 6;

/** Miss reasons: MISS_REASONS_MAX × (hash, reason), by hash. */
export const MISS_REASONS = LATENCIES + LATENCIES_MAX * LATENCY_WORDS;
export const MISS_REASONS_MAX = 512;
/**
 * Locks of keys, by hash, for operations that read a value and then write it (values/key_locks.ts).
 */
export const STRIPES = MISS_REASONS + MISS_REASONS_MAX * 2;
export const STRIPES_MAX = 64;
/** atomic: a lock under which one thread at a time makes a dictionary (dictionaries.ts). */
export const DICTIONARY_LOCK = STRIPES + STRIPES_MAX;
/**
 * Bounds on expiry times, in seconds since 1970, and the number of searches begun
 * (expiry_bounds.ts).
 */
export const EXPIRES_FROM = DICTIONARY_LOCK + 1;
export const EXPIRES_SINCE = EXPIRES_FROM + 1;
export const EXPIRY_ROUNDS = EXPIRES_SINCE + 1;
/** In place of a time: no value expires. */
export const NEVER = -1;
/**
 * Requests for some of the keys are recorded in a ring (request_sample.ts): those whose hash is
 * below SAMPLE_LIMIT, unsigned; 0: none are. Read by every request, so that the words that change
 * for each recorded request are on other lines of the processor's caches.
 */
export const SAMPLE_LIMIT = EXPIRY_ROUNDS + 1;
export const SAMPLE_PIECES = SAMPLE_LIMIT + 1; // 16 words: the word index of each frame of the ring
export const SAMPLE_NEXT = SAMPLE_LIMIT + 20; // atomic: requests ever recorded, modulo 2³²
export const SAMPLE_READ = SAMPLE_NEXT + 1; // atomic: and read
export const SAMPLE_DROPPED = SAMPLE_NEXT + 2; // atomic: requests that found the ring full
/** The words of the index, two policies, the write-back file and the outbox follow (open.ts). */
export const PARTS = SAMPLE_NEXT + 20;

/** "zsto" */
export const STORE_MAGIC = 0x7a73746f;
export const STORE_VERSION = 2;
