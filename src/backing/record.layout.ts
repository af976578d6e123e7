/** The file: segments, the first of them the file's header; and in a segment, records.
 *
 *  segment 0      segment 1                      segment 2
 *  ┌────────────┬──────────────────────────────┬──────────────────────────────┬ ─ ─
 *  │ file header│ header │ record │ record │ … │ header │ record │ …          │
 *  └────────────┴──────────────────────────────┴──────────────────────────────┴ ─ ─
 *
 *  segment header, 32 bytes:
 *    MAGIC · run id low · run id high · number · SEQUENCE · USED bytes · 0 · CHECK of the former
 *
 *  record, a multiple of 32 bytes:
 *    CHECK · META · POOL · ID_SHAPE · ID × 6 · INDEX low · INDEX high · the page as compressed
 *
 * Words are little-endian. A CHECK is the checksum (XXH32) of all that follows it in its record,
 * or stands before it in its header. Its seed is the run id, which is new with every use of the
 * file, and in a record the segment's sequence number too, which is new each time that a segment is
 * begun: so neither what a former use has left, nor what stood there before a write that the device
 * has lost, is ever taken for what was asked for.
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

/** The bits of META that are the size in bytes: what the store and this folder have agreed on. */
export const SIZE_MASK = 0x1ffff;

/** "zcsg" */
export const SEGMENT_MAGIC = 0x7a637367;

/** Bytes that a record of so many bytes of data takes. */
export function recordBytes(sizeBytes: number): number {
  return Math.ceil((RECORD_HEADER_BYTES + sizeBytes) / RECORD_ALIGN) * RECORD_ALIGN;
}

/**
 * Bytes of a segment. A page that is stored raw has to fit with its headers, so segments are longer
 * where pages are as long as they are.
 */
export function segmentBytesOf(pageSize: number): number {
  return pageSize > 16 * KIB ? 128 * KIB : 64 * KIB;
}

// A place names a record: segment × (slots per segment) + offset ÷ 32, below 2³¹, so it is positive
// as a 32-bit word. That is 64 GiB, whatever a segment's length.
const PLACES = 2 ** 31;

/** How segments of one length are numbered and records in them named. */
export class Places {
  readonly segmentBytes: number;
  /** Segments that can be told apart. */
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
