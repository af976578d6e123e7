/** struct object_state: the state of an object in zsmalloc-2012, outside of the page frames.
 *
 *  ┌────────────────────────┬────────────────────────┐
 *  │ HANDLE                 │ PINS                   │
 *  └────────────────────────┴────────────────────────┘
 *
 * The original has no such state: its handles are places, and a stale handle frees or reads
 * whatever is at the place by then. Each zspage has a table of these, guarded by the pool's lock.
 */
export const HANDLE = 0; // the handle of a live object; of a free one ~generation, so negative
export const PINS = 1; // number of mappings
export const STATE_WORDS = 2;
