/** The segments of a write-back file: words in the arena, guarded by its lock.
 *
 *  the log's words:  state of the whole log, BUFFERED (which segments are in memory)
 *  directory ──► frames of the table: SEGMENT_WORDS words for each segment
 *
 *           append              full              beginFlush          endFlush
 *   FREE ───────────► OPEN ───────────► FULL ────────────► FLUSHING ─────────► ON_FILE
 *    ▲                                   ▲                     │ failed            │
 *    │                                   └─────────────────────┘                   │ pickVictim
 *    └───────────── no record in it is live any more ◄──────────────── CLEANING ◄──┘
 */
export const RUN_LOW = 0; // fixed: the run id
export const RUN_HIGH = 1;
export const SEGMENTS = 2; // fixed: segments that the file may have, including the first (0)
export const DIRECTORY = 3; // fixed: word index of the directory
export const OPEN_SEGMENT = 4; // the segment being filled, 0 = none
export const OPEN_USED = 5; // bytes of it in use
export const NEXT_FRESH = 6; // the first segment that was never used
export const FREE_FIRST = 7; // the first segment that was used and is free again, 0 = none
export const FREE_COUNT = 8; // number of such segments
export const NEXT_SEQUENCE = 9;
export const CLEANER = 10; // the owner (memory/owner.ts) that cleans a segment, 0 = none
export const CLEANED = 11; // the segment that it cleans
export const CURSOR = 12; // the segment at which the next search for a victim begins
export const HOLD_OFF = 13; // calls of beginFlush to skip after a failed write
export const SPARES = 14; // first frames of SPARES_MAX unused buffers, 0 = none
export const SPARES_MAX = 2;
export const BUFFERED = 16; // BUFFERS_MAX segments in memory, 0 = unused
/**
 * Segments in memory, at most: one that is filled, and others that wait to be written. They take
 * 512 KiB, or 1 MiB where a segment has 128 KiB.
 */
export const BUFFERS_MAX = 8;
export const TABLE_FRAMES = 24; // frames of the table
export const LIVE_LOW = 25; // bytes of all live records, modulo 2³²
export const LIVE_HIGH = 26; // the upper half of that number
/** Counters of events: 64-bit floats, which a rollback does not undo. */
export const COUNTERS = 28;
export const COUNTERS_MAX = 10;
/** BUFFERS_MAX owners: while a segment is FLUSHING, the thread that writes it. */
export const FLUSHERS = COUNTERS + COUNTERS_MAX * 2;
export const BACKING_WORDS = FLUSHERS + BUFFERS_MAX;

// One segment.
export const SEGMENT_WORDS = 4;
export const STATE = 0; // see above; filled bytes ÷ 32 << 16 once FULL
export const LIVE = 1; // bytes of its live records
export const BUFFER = 2; // its first frame in memory, 0 = none
export const LINK = 3; // FREE: the next free one; otherwise the sequence number

export const FREE = 0;
export const OPEN = 1;
export const FULL = 2;
export const FLUSHING = 3;
export const ON_FILE = 4;
export const CLEANING = 5;
export const STATE_MASK = 0xff;
export const FILLED_SHIFT = 16;
export const FILLED_MASK = 0x1fff;
export const FILLED_UNIT = 32;
export const DAMAGED = 0x4000_0000; // in STATE: cleaning could not read the whole segment
