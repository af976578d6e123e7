// A round of repacking (repack.ts) through all entries, as one thread makes it.
import { ScanCursor } from "../tmem/scan_cursor.ts";

/** Pages that one step stores anew, at most. */
export const STEP_PAGES = 64;

export class RepackRound {
  readonly cursor = new ScanCursor();
  /** For each entry that the current step has picked: the entry, its VALUE. */
  readonly picked = new Int32Array(STEP_PAGES * 2);
  count = 0;
  /** Pages that this round has stored anew. */
  moved = 0;
  /** The store's version at the end of a round that found nothing. */
  inVain = -0x4000_0000;
}
