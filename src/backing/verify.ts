// Checks that a log's words agree with each other and with the live records. For tests; under the
// arena's lock.
import { NIL } from "../base/brand.ts";
import { assert } from "../base/errors.ts";
import * as Rec from "./record.layout.ts";
import * as Log from "./segment_log.layout.ts";
import type { SegmentTable } from "./segments.ts";

/** Place and size of a live record. */
export type LiveRecord = readonly [place: number, sizeBytes: number];

/**
 * @param at word index of the log's words
 * @throws AssertionError naming what does not hold
 */
export function verifyLog(
  words: Int32Array,
  at: number,
  table: SegmentTable,
  places: Rec.Places,
  live: readonly LiveRecord[],
): void {
  const liveBytes = liveBySegment(table, places, live);
  const tally = { free: 0, total: 0, buffered: 0 };
  for (let segment = 1; table.has(segment); segment++) {
    const state = table.state(segment);
    assert(
      table.liveOf(segment) === (liveBytes.get(segment) ?? 0),
      "a segment counts its live bytes",
    );
    const inMemory = state === Log.OPEN || state === Log.FULL || state === Log.FLUSHING;
    assert(
      (table.bufferOf(segment) !== NIL) === inMemory,
      "segments not yet written are in memory",
    );
    const isOpen = words[at + Log.OPEN_SEGMENT] === segment;
    assert(isOpen === (state === Log.OPEN), "at most one segment is open, and it is recorded");
    const isCleaned = words[at + Log.CLEANER] !== 0 && words[at + Log.CLEANED] === segment;
    assert(
      isCleaned === (state === Log.CLEANING),
      "at most one segment is cleaned, and it is recorded",
    );
    const filled = isOpen ? words[at + Log.OPEN_USED]! : table.filledOf(segment);
    const room = state === Log.FREE ? 0 : filled - Rec.HEADER_BYTES;
    assert(table.liveOf(segment) <= room, "live records are within the filled part");
    if (state === Log.FREE) tally.free++;
    if (inMemory) tally.buffered++;
    // A segment without live records is free, unless a thread is writing or cleaning it.
    if (state === Log.FULL || state === Log.ON_FILE)
      assert(table.liveOf(segment) > 0, "a segment that is not free has live records");
    tally.total += table.liveOf(segment);
  }
  assert(tally.total === table.liveBytes, "live bytes are counted");
  assert(tally.free === words[at + Log.FREE_COUNT], "free segments are counted");
  assert(listedFree(words, at, table) === tally.free, "free segments are listed, once each");
  assert(table.bufferedCount === tally.buffered, "segments in memory are listed, once each");
}

function liveBySegment(
  table: SegmentTable,
  places: Rec.Places,
  live: readonly LiveRecord[],
): Map<number, number> {
  const bytes = new Map<number, number>();
  const seen = new Set<number>();
  for (const [place, sizeBytes] of live) {
    const segment = places.segmentOf(place);
    assert(!seen.has(place), "no two pages have the same place");
    seen.add(place);
    assert(table.has(segment), "a place is in a segment that was used");
    assert(table.state(segment) !== Log.FREE, "no free segment has a live record");
    bytes.set(segment, (bytes.get(segment) ?? 0) + Rec.recordBytes(sizeBytes));
  }
  return bytes;
}

/**
 * Walks the list of free segments.
 * @returns its length, −1 if it has a loop or a segment that is not free
 */
function listedFree(words: Int32Array, at: number, table: SegmentTable): number {
  let count = 0;
  for (let segment = words[at + Log.FREE_FIRST]!; segment !== 0; count++) {
    if (count > words[at + Log.FREE_COUNT]! || !table.has(segment)) return -1;
    if (table.state(segment) !== Log.FREE) return -1;
    segment = words[table.at(segment) + Log.LINK]!;
  }
  return count;
}
