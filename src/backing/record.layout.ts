/** The write-back file: segments of records; the first segment is the file's header.
 *
 *  segment 0      segment 1                      segment 2
 *  ┌────────────┬──────────────────────────────┬──────────────────────────────┬ ─ ─
 *  │ file header│ header │ record │ record │ … │ header │ record │ …          │
 *  └────────────┴──────────────────────────────┴──────────────────────────────┴ ─ ─
 *
 *  segment header, 32 bytes:
 *    MAGIC · run id low · run id high · number · SEQUENCE · USED bytes · 0 · CHECK of the above
 *
 *  record, a multiple of 32 bytes:
 *    CHECK · META · POOL · ID_SHAPE · ID × 6 · INDEX low · INDEX high · the page as compressed
 *
 * Words are little-endian. CHECK is the checksum (XXH32) of all that follows it in its record, or
 * precedes it in its header. Its seed is the run id, which is new with every use of the file; in a
 * record, the seed also contains the segment's sequence number, which is new each time that a
 * segment is opened. So neither bytes from an earlier use of the file nor bytes that a lost write
 * should have replaced pass for the requested record.
 */
import { KIB } from "../base/units.ts";

// Words of a segment's header.
export const MAGIC = 0;
export const RUN_LOW = 1;
export const RUN_HIGH = 2;
export const NUMBER = 3;
export const SEQUENCE = 4;
export const USED = 5;
export const HEADER_CHECK = 7;
export const HEADER_BYTES = 32;

// Words of a record.
export const CHECK = 0;
export const META = 1;
export const POOL = 2;
export const ID_SHAPE = 3;
export const ID = 4;
export const ID_WORDS = 6;
export const INDEX_LOW = 10;
export const INDEX_HIGH = 11;
export const RECORD_HEADER_BYTES = 48;
export const RECORD_ALIGN = 32;

/** The bits of META that are the record's data size in bytes, the same as in the store's META. */
export const SIZE_MASK = 0x1ffff;

/** "zcsg" */
export const SEGMENT_MAGIC = 0x7a637367;

/** Bytes of a record with so many bytes of data. */
export function recordBytes(sizeBytes: number): number {
  return Math.ceil((RECORD_HEADER_BYTES + sizeBytes) / RECORD_ALIGN) * RECORD_ALIGN;
}

/**
 * Bytes of a segment. A segment has room for an uncompressed page and its headers, so large pages
 * need longer segments.
 */
export function segmentBytesOf(pageSize: number): number {
  return pageSize > 16 * KIB ? 128 * KIB : 64 * KIB;
}

// The place of a record is segment × (slots per segment) + offset ÷ 32, below 2³¹, so that it is
// positive as a 32-bit word. That covers 64 GiB, whatever a segment's length.
const PLACES = 2 ** 31;

/** Converts between places, segments and offsets, for segments of one length. */
export class Places {
  readonly segmentBytes: number;
  /** Segments that places can name. */
  readonly segmentsMax: number;
  readonly #slotBits: number;
  readonly #slotMask: number;

  constructor(segmentBytes: number) {
    const slots = segmentBytes / RECORD_ALIGN;
    this.segmentBytes = segmentBytes;
    this.segmentsMax = PLACES / slots;
    this.#slotBits = Math.log2(slots);
    this.#slotMask = slots - 1;
  }

  placeOf(segment: number, offsetBytes: number): number {
    return (segment << this.#slotBits) | (offsetBytes / RECORD_ALIGN);
  }

  segmentOf(place: number): number {
    return place >>> this.#slotBits;
  }

  offsetOf(place: number): number {
    return (place & this.#slotMask) * RECORD_ALIGN;
  }
}
