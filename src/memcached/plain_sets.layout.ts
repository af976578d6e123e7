/** What the kernel of plain sets needs to know beside struct put (values/put.layout.ts), behind
 * whose words these stand, and what has come of its last call.
 *
 * An address counts bytes from the start of the arena; an index counts words.
 */
import { PUT_WORDS } from "../values/put.layout.ts";

export const HAS_CAS = PUT_WORDS; // 1: items get cas numbers
export const CAS_LOW = PUT_WORDS + 1; // the next cas number, in halves
export const CAS_HIGH = PUT_WORDS + 2;
export const CAS_LEFT = PUT_WORDS + 3; // numbers from there on that this thread may assign
export const ITEM_BYTES_MAX = PUT_WORDS + 4; // key, value and 50 bytes of an item, at most
export const PAGE_BYTES_MAX = PUT_WORDS + 5; // prefix and value of a page, at most
export const DICTIONARY_NUMBER = PUT_WORDS + 6; // of the dictionary in struct put, 0 for none
export const FRAMES_LOW = PUT_WORDS + 7; // with fewer free frames, a call ends after a set
export const NOW = PUT_WORDS + 8; // seconds since 1970
export const FLUSHES = PUT_WORDS + 9; // how often all items were flushed

export const OUT = PUT_WORDS + 10; // address behind the replies
export const SETS = PUT_WORDS + 11; // items stored
export const VALUE_BYTES = PUT_WORDS + 12; // bytes of their values
export const OUTCOME = PUT_WORDS + 13; // what is left of the last set (values/put_value.as.ts)
export const KEY_LOCK = PUT_WORDS + 14; // word index of a lock of a key to release, 0 = none

/** Words of both structs. */
export const SETS_WORDS = PUT_WORDS + 15;
