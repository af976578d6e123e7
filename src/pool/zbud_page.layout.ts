/** struct zbud_page: one page frame that holds at most two objects ("buddies").
 *
 *   chunk 0 (… 1)    all others
 *  ┌───────────────┬───────────────┬───────────┬───────────────┐
 *  │ header        │ first buddy → │   slack   │  ← last buddy │
 *  └───────────────┴───────────────┴───────────┴───────────────┘
 *
 * A chunk is 1/64 of the page. The first buddy begins after the header, the last ends with the
 * page, so freeing either leaves the largest hole. The header's words, all guarded by the pool's
 * lock:
 */
export const LINK = 0; // link: in unbuddied[slack], in buddied, or in none while under reclaim
export const LRU = 2; // link: in the pool's LRU list, most recently added-to first
export const FIRST = 4; // chunks of the first buddy, 0 = free
export const LAST = 5; // chunks of the last buddy, 0 = free
export const FIRST_HANDLE = 6; // the first buddy's handle
export const LAST_HANDLE = 7; // the last buddy's handle
export const FIRST_MAPS = 8; // mappings of the first buddy
export const LAST_MAPS = 9; // mappings of the last buddy
export const UNDER_RECLAIM = 10; // 1 while a thread empties the page
export const PASS = 11; // the last shrink() that tried this page
