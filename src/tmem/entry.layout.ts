/** struct tmem_entry: what is known of one page; the kernel's "pampd".
 *
 *  ┌───────────────┬───────────────┬───────────────┬───────────────┐
 *  │ VALUE         │ META          │ LINKS         │               │
 *  └───────────────┴───────────────┴───────────────┴───────────────┘
 *
 * An entry lies within what holds it, a leaf of its object's tree or the object's record, and
 * begins at a multiple of four words. An entry is named by its word index. The index moves entries
 * (and says so) but gives the words no meaning, but for META being 0 or not.
 *
 * Guarded by the arena's lock, as everything in this folder.
 */
export const VALUE = 0; // the store's: a handle, half a fill pattern, a place in a file
export const META = 1; // 0 = there is no page here, else the store's bits
export const LINKS = 2; // two words of whoever orders the entries by age; else the store's

export const ENTRY_WORDS = 4;
