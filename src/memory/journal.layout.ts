/** Entries of the undo log (journal.ts), two words each: a word index and the word's old value, or,
 * in place of the index, one of these numbers.
 */

// A move of bytes: three entries describe a move that is about to be made, a fourth says that it
// was made.
export const MOVE_FROM = -1;
export const MOVE_TO = -2;
export const MOVE_BYTES = -3;
export const MOVED = -4;
// Saved bytes: their address and length, then their copy's address, which marks the copy as
// complete.
export const KEPT_FROM = -5;
export const KEPT_BYTES = -6;
export const KEPT = -7;
