/** The file: segments of 64 KiB, the first of them the file's header; and in a segment, records.
 *
 *  segment 0      segment 1                      segment 2
 *  ┌────────────┬──────────────────────────────┬──────────────────────────────┬ ─ ─
 *  │ file header│ header │ record │ record │ … │ header │ record │ …          │
 *  └────────────┴──────────────────────────────┴──────────────────────────────┴ ─ ─
 *
 *  segment header, 32 bytes:
 *    MAGIC · run id low · run id high · number · SEQUENCE · USED bytes · 0 · CHECK of the former
 *
 *  record, a multiple of 16 bytes:
 *    CHECK · META · POOL · ID_SHAPE · ID × 6 · INDEX low · INDEX high · the page as compressed
 *
 * Words are little-endian. A CHECK is the checksum (XXH32) of all that follows it in its record,
 * or stands before it in its header; its seed is the run id, which is new with every use of the
 * file: so what a former use has left is never taken for this one's.
 */
export const SEGMENT_BYTES = 65536;
export const SEGMENT_SHIFT = 16;

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
export const RECORD_ALIGN = 16;

/** The bits of META that are the size in bytes: what the store and this folder have agreed on. */
export const SIZE_MASK = 0x1ffff;

/** "zcsg" */
export const SEGMENT_MAGIC = 0x7a637367;

/** Bytes that a record of so many bytes of data takes. */
export function recordBytes(sizeBytes: number): number {
  return Math.ceil((RECORD_HEADER_BYTES + sizeBytes) / RECORD_ALIGN) * RECORD_ALIGN;
}

// A place names a record: segment << 12 | offset ÷ 16. 2¹⁹ segments are 32 GiB, and a place is
// positive.
const OFFSET_BITS = 12;
export const SEGMENTS_MAX = 2 ** 19;

export function placeOf(segment: number, offsetBytes: number): number {
  return (segment << OFFSET_BITS) | (offsetBytes / RECORD_ALIGN);
}

export function segmentOf(place: number): number {
  return place >>> OFFSET_BITS;
}

export function offsetOf(place: number): number {
  return (place & (2 ** OFFSET_BITS - 1)) * RECORD_ALIGN;
}
