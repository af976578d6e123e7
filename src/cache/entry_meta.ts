// The meta bytes of an entry (values/prefix.layout.ts): the type of its value, and until when the
// value is fresh.
//
//  │ TYPE │ FRESH_UNTIL, 6 bytes, ms since 1970: only if it differs from the time of expiry │

// Types.
export const BYTES = 0; // a Uint8Array
export const BUFFER = 1; // a Buffer of Node
export const LATIN1 = 2; // a string in Latin-1, one byte a character
export const TEXT = 3; // any other string, in UTF-8
export const STRUCTURED = 4; // bytes made by the serializer

export const META_BYTES_MAX = 7;
/** Bytes of a time, lowest first. */
export const TIME_BYTES = 6;
const NEVER = 2 ** (TIME_BYTES * 8) - 1;

/** A time that the format can hold: one beyond six bytes, from the year 10889 on, means never. */
export function timeOf(ms: number): number {
  return ms < NEVER ? ms : Number.POSITIVE_INFINITY;
}

/** Writes a time, ms since 1970, or Infinity. */
export function writeTime(bytes: Uint8Array, at: number, ms: number): void {
  let rest = Math.min(ms, NEVER);
  for (let i = 0; i < TIME_BYTES; i++) {
    bytes[at + i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
}

/** Reads a time, ms since 1970, or Infinity. */
export function readTime(bytes: Uint8Array, at: number): number {
  let ms = 0;
  for (let i = TIME_BYTES - 1; i >= 0; i--) ms = ms * 256 + bytes[at + i]!;
  return timeOf(ms);
}

/** Writes meta bytes. @param freshMs Infinity: as the entry expires @returns their number */
export function writeMeta(meta: Uint8Array, type: number, freshMs: number): number {
  meta[0] = type;
  if (freshMs === Number.POSITIVE_INFINITY) return 1;
  writeTime(meta, 1, freshMs);
  return META_BYTES_MAX;
}

/** FRESH_UNTIL of meta bytes: ms since 1970, Infinity where it is not written. */
export function freshUntil(bytes: Uint8Array, at: number, metaBytes: number): number {
  return metaBytes < META_BYTES_MAX ? Number.POSITIVE_INFINITY : readTime(bytes, at + 1);
}
