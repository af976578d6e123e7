/** struct z3fold_header: one page frame that holds up to three objects ("buddies").
 *
 *   chunk 0         1 …               START_MIDDLE …           … 63
 *  ┌──────────────┬───────────┬──────┬────────────┬───────────┬────────────┐
 *  │ header       │ first →   │      │ middle →   │           │     ← last │
 *  └──────────────┴───────────┴──────┴────────────┴───────────┴────────────┘
 *
 * An object too large to leave room for the header and another object has the page to itself (a
 * headless page). Its header is then a record outside of the page, with the object as its first:
 * handle, map count and marks need more than the one free word of the frame table, and only
 * headless pages pay for them. PRIVATE of the frame table has the header's word index for both,
 * LINK the LRU link. All words are guarded by the pool's lock.
 */
export const LINK = 0; // link: in unbuddied[free], buddied, or none (reclaimed, headless)
export const CHUNKS_USED = 2; // three words, by buddy: chunks, 0 = free
export const HANDLES = 5; // three words, by buddy: the object's handle
export const MAPS = 8; // three words, by buddy: number of mappings
export const START_MIDDLE = 11; // the middle buddy's first chunk, 0 if there is none
export const UNDER_RECLAIM = 12; // 1 while a thread empties the page
export const PASS = 13; // the last shrink() that tried this page
export const FRAME = 14; // fixed: the page's frame
export const HEADLESS = 15; // fixed: 1 if the object has the page to itself
export const HEADER_WORDS = 16;

export const FIRST = 0;
export const MIDDLE = 1;
export const LAST = 2;
export const BUDDIES = 3;
