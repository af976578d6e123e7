/** struct tmem_entry: the entry of one page; the kernel's "pampd".
 *
 *  ┌───────────────┬───────────────┬───────────────┬───────────────┐
 *  │ VALUE         │ META          │ LINKS         │               │
 *  └───────────────┴───────────────┴───────────────┴───────────────┘
 *
 * An entry is part of a leaf of its object's tree, or of the object's record, and begins at a
 * multiple of four words. It is referred to by its word index. The index moves entries, and reports
 * each move, but of the words of an entry it reads only META, and only whether META is 0.
 *
 * Guarded by the arena's lock, as all structures in this folder.
 */
export const VALUE = 0; // the store's: a handle, half of a fill pattern, or a place in the file
export const META = 1; // 0 = no page, else the store's bits
export const LINKS = 2; // two words of the eviction policy; for unlisted pages, the store's

export const ENTRY_WORDS = 4;
