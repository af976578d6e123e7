// Where a walk through an index stands between two steps, whatever is removed in between.
import { TmemKey } from "./key.ts";

/** Where a walk through all entries stands (`scan`); a new one stands at the beginning. */
export class ScanCursor {
  bucket = 0;
  /** Whether it stands at or within the object of that pool's number and that id. */
  isWithin = false;
  number = 0;
  readonly key = new TmemKey();
  /** How many buckets there were at the last step, of a thorough walk. */
  buckets = 0;
  readonly isThorough: boolean;

  /** @param isThorough visits all that stays, though some of it more than once */
  constructor(isThorough = false) {
    this.isThorough = isThorough;
  }
}
