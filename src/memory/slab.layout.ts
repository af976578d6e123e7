/** The words of a slab's owner, and of a slab (slab.ts). */

/** Words that the owner provides: link of the list of slabs with room, then two counts. */
export const SLAB_HEAD_WORDS = 4;
export const WITH_ROOM = 0; // two words
export const RECORDS_USED = 2;
export const FRAMES = 3;

/** In PRIVATE of a slab's frame, used << 16 | first free record: there is none. */
export const NO_RECORD = 0xffff;
