// The position of an iteration over all entries of an index, while the hash table grows and
// shrinks.
//
// The iteration visits objects in the order of their bit-reversed hashes, their positions. All
// objects of a bucket agree in the lowest bits of their hashes, so a bucket is a range of
// positions. A split divides a range, a merge joins two, and neither changes the order. An
// iteration by bucket numbers would miss objects that a merge moves to a bucket already visited.
import { TmemKey } from "./key.ts";

/** Positions are 0 … POSITIONS − 1. */
export const POSITIONS = 2 ** 32;

/** A new cursor is at the beginning. */
export class ScanCursor {
  /** Objects at lower positions have been visited. */
  position = 0;
  /**
   * Whether the cursor is within an object: that of pool `number` and `key`, at the key's index.
   */
  isWithin = false;
  number = 0;
  readonly key = new TmemKey();
}

/** Reverses the 32 bits of a word. @returns 0 … 2³² − 1 */
export function reverseBits(word: number): number {
  let w = ((word >>> 1) & 0x55555555) | ((word & 0x55555555) << 1);
  w = ((w >>> 2) & 0x33333333) | ((w & 0x33333333) << 2);
  w = ((w >>> 4) & 0x0f0f0f0f) | ((w & 0x0f0f0f0f) << 4);
  w = ((w >>> 8) & 0x00ff00ff) | ((w & 0x00ff00ff) << 8);
  return ((w >>> 16) | (w << 16)) >>> 0;
}
