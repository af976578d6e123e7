/** struct change record: one change to one value, in the log of changes and in a snapshot
 * (docs/formats.md). A multiple of 32 bytes, so that a header never lies across the ring's end.
 *
 *  word 0  CHECK      XXH32 of words 1 … 7; its seed holds the record's place in its file
 *       1  KIND       and the codec's number (page.layout.ts) from bit 8 on
 *       2  SIZE       bytes behind the header
 *       3  DATA_CHECK XXH32 of these
 *     4–5  OBJECT     the object's id: 64 bits of the key's hash; of NOTE: its words, to 7
 *     6–7  INDEX      of the page; of a dictionary: its number, and the offset of this piece
 *       8… the value as stored (value.layout.ts), or a piece of a dictionary
 */
export const CHECK = 0;
export const KIND = 1;
export const SIZE = 2;
export const DATA_CHECK = 3;
export const OBJECT_LOW = 4;
export const OBJECT_HIGH = 5;
export const INDEX_LOW = 6;
export const INDEX_HIGH = 7;

/** Bytes of a header, and the unit of places and sizes. */
export const UNIT_BYTES = 32;
/** Bytes before the records of a file. */
export const FILE_HEADER_BYTES = 96;

// Kinds.
export const PUT = 1;
export const REMOVE = 2;
export const REMOVE_OBJECT = 3;
export const CLEAR = 4;
export const DICTIONARY = 5;
/** The last record of a snapshot; OBJECT_LOW is the number of records before it. */
export const END = 6;
/** The first record of a log; OBJECT_LOW is the size in units of the preceding log, or UNKNOWN. */
export const BEGIN = 7;
export const UNKNOWN = -1;
/** Four words of the cache's in OBJECT and INDEX; the last such record counts. */
export const NOTE = 8;
/**
 * The last record of a log; OBJECT_LOW is the number of the next log, or NONE if the log was
 * closed.
 */
export const NEXT = 9;
export const NONE = 0;

const KIND_MASK = 0xff;
const CODEC_SHIFT = 8;
/** Odd, so that different places have different seeds. */
const PLACE_FACTOR = 0x9e37_79b1;
/**
 * Bytes of a dictionary per record: a whole dictionary may be longer than a ring of small pages.
 */
export const PIECE_BYTES = 8192;

export function kindOf(word: number): number {
  return word & KIND_MASK;
}

export function codecOf(word: number): number {
  return word >>> CODEC_SHIFT;
}

export function makeKind(kind: number, codec: number): number {
  return (codec << CODEC_SHIFT) | kind;
}

/** Units of a record with so many bytes after its header. */
export function unitsOf(sizeBytes: number): number {
  return 1 + Math.ceil(sizeBytes / UNIT_BYTES);
}

/**
 * The seed of a record's checksum.
 * @param place in units from the first record of the file
 */
export function seedOf(fileSeed: number, place: number): number {
  return fileSeed ^ Math.imul(place, PLACE_FACTOR);
}
