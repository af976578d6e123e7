/** struct object_state: what zsmalloc-2012 keeps for each object, outside of the page frames.
 *
 *  ┌────────────────────────┬────────────────────────┐
 *  │ HANDLE                 │ PINS                   │
 *  └────────────────────────┴────────────────────────┘
 *
 * The original keeps nothing: a handle is a place there, and a stale one frees or reads what stands
 * in the place by then. One table of these for each zspage, guarded by the pool's lock.
 */
export const HANDLE = 0; // the handle of a live object; of a free one ~generation, so negative
export const PINS = 1; // how often it is mapped
export const STATE_WORDS = 2;
