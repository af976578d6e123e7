// Walks what a log knows of its segments and checks that it agrees with itself and with the records
// that are wanted. For tests; under the arena's lock.
import { NIL } from "../base/brand.ts";
import { assert } from "../base/errors.ts";
import * as Rec from "./record.layout.ts";
import * as Log from "./segment_log.layout.ts";
import type { SegmentTable } from "./segments.ts";

/** Place and size of a record that is wanted. */
export type Wanted = readonly [place: number, sizeBytes: number];

/**
 * @param at word index of the log's own words
 * @throws AssertionError naming what does not hold
 */
export function verifyLog(
  words: Int32Array,
  at: number,
  table: SegmentTable,
  places: Rec.Places,
  wanted: readonly Wanted[],
): void {
  const live = wantedBySegment(table, places, wanted);
  const tally = { free: 0, total: 0, buffered: 0 };
  for (let segment = 1; table.has(segment); segment++) {
    const state = table.state(segment);
    assert(table.liveOf(segment) === (live.get(segment) ?? 0), "a segment knows what it holds");
    const inMemory = state === Log.OPEN || state === Log.FULL || state === Log.FLUSHING;
    assert((table.bufferOf(segment) !== NIL) === inMemory, "what is not written is here");
    const isOpen = words[at + Log.OPEN_SEGMENT] === segment;
    assert(isOpen === (state === Log.OPEN), "one segment at most is open, and known");
    const isCleaned = words[at + Log.CLEANER] !== 0 && words[at + Log.CLEANED] === segment;
    assert(isCleaned === (state === Log.CLEANING), "one segment at most is cleaned, and known");
    const filled = isOpen ? words[at + Log.OPEN_USED]! : table.filledOf(segment);
    const room = state === Log.FREE ? 0 : filled - Rec.HEADER_BYTES;
    assert(table.liveOf(segment) <= room, "what is wanted is within what is filled");
    if (state === Log.FREE) tally.free++;
    if (inMemory) tally.buffered++;
    // Who holds nothing is free, but for those that somebody is at work with.
    if (state === Log.FULL || state === Log.ON_FILE) assert(table.liveOf(segment) > 0, "no husks");
    tally.total += table.liveOf(segment);
  }
  assert(tally.total === table.liveBytes, "the bytes that are wanted are counted");
  assert(tally.free === words[at + Log.FREE_COUNT], "free segments are counted");
  assert(listedFree(words, at, table) === tally.free, "free segments are listed, once each");
  let buffered = 0;
  for (let nth = 0; nth < Log.BUFFERS_MAX; nth++) if (table.buffered(nth) !== 0) buffered++;
  assert(buffered === tally.buffered, "segments in memory are listed, once each");
}

function wantedBySegment(
  table: SegmentTable,
  places: Rec.Places,
  wanted: readonly Wanted[],
): Map<number, number> {
  const live = new Map<number, number>();
  const seen = new Set<number>();
  for (const [place, sizeBytes] of wanted) {
    const segment = places.segmentOf(place);
    assert(!seen.has(place), "no two pages have one place");
    seen.add(place);
    assert(table.has(segment), "a place is in a segment that was used");
    assert(table.state(segment) !== Log.FREE, "what is wanted is in no free segment");
    live.set(segment, (live.get(segment) ?? 0) + Rec.recordBytes(sizeBytes));
  }
  return live;
}

/** Walks the list of free segments. @returns its length, −1 for a loop or a stranger in it */
function listedFree(words: Int32Array, at: number, table: SegmentTable): number {
  let count = 0;
  for (let segment = words[at + Log.FREE_FIRST]!; segment !== 0; count++) {
    if (count > words[at + Log.FREE_COUNT]! || !table.has(segment)) return -1;
    if (table.state(segment) !== Log.FREE) return -1;
    segment = words[table.at(segment) + Log.LINK]!;
  }
  return count;
}
