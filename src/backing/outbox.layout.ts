/** The outbox: what the threads of a store hand to the thread that owns the remote tier.
 *
 *  words below ── FREE_FIRST ─► slot ─► slot …       slots without a page
 *              ── READY_FIRST ► slot ─► slot …       pages to be sent, oldest first
 *              ── REMOVE_HEAD … REMOVE_TAIL          ring of records to be removed
 *  blocks: frames with slots (heads, pages), removals and fetches (heads, pages)
 *
 *            append            begin              end: stored
 *   FREE ──────────► READY ──────────► SENDING ──────────────► FREE; the record is in the cluster
 *    ▲                 ▲                  │ failed     │
 *    │                 └──────────────────┘            └─────► STORED: its pool is being destroyed
 *    └── CANCELLED (a flag): the page was replaced or removed meanwhile
 *
 * Guarded by the arena's lock unless a line says otherwise.
 */
export const EPOCH = 0; // the fencing epoch in new keys; 0: no pages go out
export const SERVER = 1; // the owner (memory/owner.ts) of the thread that serves, 0 = none
export const CALLS = 2; // atomic: counts calls for that thread
export const ENDED = 3; // atomic: counts slots that became free; threads wait for room on it
export const SLOTS = 4; // fixed: number of slots
export const FREE_FIRST = 5; // 1 + the first free slot, 0 = none
export const READY_FIRST = 6; // 1 + the slot to send next, 0 = none
export const READY_LAST = 7; // 1 + the last one
export const IN_TRANSIT = 8; // slots that are not FREE
export const VERSION_LOW = 9; // the version that was given to a page last: 48 bits
export const VERSION_HIGH = 10;
export const REMOVALS = 11; // fixed: length of the ring, a power of two
export const REMOVE_HEAD = 12; // removals taken from the ring, modulo 2³²
export const REMOVE_TAIL = 13; // removals put into it
export const ORPHANS = 14; // records that may be left in the cluster although no page has them
export const ENABLED = 15; // kinds that may go out, as bits: eph_remotify_enable and so on
export const FETCHES = 16; // fixed: number of fetches
export const REFUSED = 17; // 1: the cluster is full, or unreachable: pages go to the file first
export const BLOCKS = 18; // BLOCKS_MAX word indexes
export const BLOCKS_MAX = 78;
/** Slots have lower numbers. */
export const SLOTS_LIMIT = 0xffff;
export const OUTBOX_WORDS = BLOCKS + BLOCKS_MAX;

// The name of a record: in slots, removals and fetches alike.
export const POOL = 0;
export const ID_SHAPE = 1;
export const ID = 2;
export const ID_WORDS = 6;
export const INDEX_LOW = 8;
export const INDEX_HIGH = 9;
export const RECORD_LOW = 10; // version
export const RECORD_HIGH = 11;
export const RECORD_EPOCH = 12;
/** META of the page in the store, which has the size of the data. */
export const META = 13;
export const NAME_WORDS = 14;

// A slot.
export const STATE = 14;
export const LINK = 15; // 1 + the next slot of the list, 0 = none
export const SLOT_WORDS = 16;

export const FREE = 0;
export const READY = 1;
export const SENDING = 2;
export const STORED = 3;
export const STATE_MASK = 0xff;
export const CANCELLED = 0x100; // no page has the record any more
export const SENT = 0x200; // the record may be in the cluster

export const REMOVAL_WORDS = 16;

// A fetch: a read that a thread has asked for. Its name belongs to the thread that has claimed it,
// its page to the thread that serves, until STATE passes them on.
export const FETCH_STATE = 14; // atomic
export const FETCH_OWNER = 15; // atomic: the owner (memory/owner.ts) that has claimed it
export const FETCH_WORDS = 16;

export const UNUSED = 0;
export const CLAIMED = 1; // the thread writes the name
export const ASKED = 2; // the serving thread may take it
export const TAKEN = 3;
export const FOUND = 4; // the page is there; the claimer copies it and frees the fetch
export const MISSING = 5;
export const DAMAGED = 6;
export const FAILED = 7;
export const ABANDONED = 8; // the claimer does not wait any more
