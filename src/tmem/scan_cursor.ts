// Where a walk through all entries of an index stands, while the table of objects grows and
// shrinks.
//
// The walk goes through objects in the order of their hashes, read with the lowest bit first: their
// positions. A bucket is all objects whose hashes agree in some lowest bits, and so a range of
// positions; to split it or to merge it divides or joins ranges and leaves each object where it is
// in the order. A walk by the buckets' numbers would miss what a merge moves behind it.
import { TmemKey } from "./key.ts";

/** Positions are 0 … this − 1. */
export const POSITIONS = 2 ** 32;

/** A new one stands at the beginning. */
export class ScanCursor {
  /** All objects of lower positions have been visited. */
  position = 0;
  /** Whether it stands within the object there: of that pool's number, that id, at that index. */
  isWithin = false;
  number = 0;
  readonly key = new TmemKey();
}

/** The 32 bits of a word in the opposite order, as a number from 0 on. */
export function reverseBits(word: number): number {
  let w = ((word >>> 1) & 0x55555555) | ((word & 0x55555555) << 1);
  w = ((w >>> 2) & 0x33333333) | ((w & 0x33333333) << 2);
  w = ((w >>> 4) & 0x0f0f0f0f) | ((w & 0x0f0f0f0f) << 4);
  w = ((w >>> 8) & 0x00ff00ff) | ((w & 0x00ff00ff) << 8);
  return ((w >>> 16) | (w << 16)) >>> 0;
}
