/** What is known of the segments of a write-back file: in the arena, guarded by its lock.
 *
 *  the log's own words:  state of the whole, BUFFERED (which segments are in memory)
 *  directory ──► frames of the table: SEGMENT_WORDS words for each segment
 *
 *           append              full              beginFlush          endFlush
 *   FREE ───────────► OPEN ───────────► FULL ────────────► FLUSHING ─────────► ON_FILE
 *    ▲                                   ▲                     │ failed            │
 *    │                                   └─────────────────────┘                   │ pickVictim
 *    └───────────── nothing in it is wanted any more ◄──────────────── CLEANING ◄──┘
 */
export const RUN_LOW = 0; // fixed: the run id
export const RUN_HIGH = 1;
export const SEGMENTS = 2; // fixed: segments that the file may have, the first (0) included
export const DIRECTORY = 3; // fixed: word index of the directory
export const OPEN_SEGMENT = 4; // the one that is being filled, 0 = none
export const OPEN_USED = 5; // bytes of it that are filled
export const NEXT_FRESH = 6; // segments from here on were never used
export const FREE_FIRST = 7; // the first of those that were and are free again, 0 = none
export const FREE_COUNT = 8; // and how many
export const NEXT_SEQUENCE = 9;
export const CLEANER = 10; // the owner (memory/owner.ts) that cleans, 0 = none
export const CLEANED = 11; // and what it cleans
export const CURSOR = 12; // the segment at which the next victim is looked for
export const HOLD_OFF = 13; // calls of beginFlush that do nothing, after one that failed
export const SPARES = 14; // SPARES_MAX buffers that are nobody's, their frames, 0 = none
export const SPARES_MAX = 2;
export const BUFFERED = 16; // BUFFERS_MAX segments in memory, 0 = unused
/** Half a megabyte or one: as much as is worth writing at a time, times some that wait. */
export const BUFFERS_MAX = 8;
export const TABLE_FRAMES = 24; // frames of the table
export const LIVE_LOW = 25; // bytes of all records that are wanted, modulo 2³²
export const LIVE_HIGH = 26; // and above
/** Counters: 64-bit floats, of what has happened, also in what is undone. */
export const COUNTERS = 28;
export const COUNTERS_MAX = 10;
/** BUFFERS_MAX owners, each of the thread that writes the segment of BUFFERED, while FLUSHING. */
export const FLUSHERS = COUNTERS + COUNTERS_MAX * 2;
export const BACKING_WORDS = FLUSHERS + BUFFERS_MAX;

// One segment.
export const SEGMENT_WORDS = 4;
export const STATE = 0; // see above; filled bytes ÷ 32 << 16 once FULL
export const LIVE = 1; // bytes of its records that are wanted
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
export const DAMAGED = 0x4000_0000; // in STATE: cleaning found that it can't be read, or not all
