/** The six words that are stored beside an item's value, as its meta bytes.
 *   word 0          1          2          3          4          5
 *  ┌───────────────┬──────────┬──────────┬──────────┬──────────┬────────────────────┐
 *  │ client flags  │ cas low  │ cas high │ expires  │ accessed │ flush number, bits │
 *  └───────────────┴──────────┴──────────┴──────────┴──────────┴────────────────────┘
 * Guarded by the lock of the item's key. Times are whole seconds since 1970, so that they mean the
 * same in every thread, and after a restart. */
export const CLIENT_FLAGS = 0; // u32  the client's own, handed back with the value
export const CAS_LOW = 1; //      u32  unique for each change of the item
export const CAS_HIGH = 2; //     u32
export const EXPIRES = 3; //      s    the first second in which the item is gone, 0 = never
export const ACCESSED = 4; //     s    when the item was last stored, fetched or touched
/** Bits 0 … 7: see below. Bits 8 … 31: the number of flushes before the item was stored. */
export const BITS = 5;

/** ACCESSED is written at most once in so many seconds, as by memcached. */
export const BUMP_S = 60;

/** The words above. */
export const META_WORDS = 6;

export const FETCHED = 1; //    it was read since it was stored
export const STALE = 2; //      marked by `md … I`, or stored by a cas that came too late
export const TOKEN_SENT = 4; // a client has won the right to store it anew
export const KEY_BINARY = 8; // the key was sent in base64, and is shown so

export const FLUSH_SHIFT = 8;
/** Numbers of flushes are distinct as long as fewer than 2²⁴ flushes lie between them. */
export const FLUSH_MASK = 0xff_ffff;
