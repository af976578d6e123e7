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
const TIME_BYTES = 6;

/** A time that the format can hold: one beyond six bytes, from the year 10889 on, means never. */
export function timeOf(ms: number): number {
  return ms < 2 ** (TIME_BYTES * 8) ? ms : Number.POSITIVE_INFINITY;
}

/** Writes meta bytes. @param freshMs Infinity: as the entry expires @returns their number */
export function writeMeta(meta: Uint8Array, type: number, freshMs: number): number {
  meta[0] = type;
  if (freshMs === Number.POSITIVE_INFINITY) return 1;
  let rest = freshMs;
  for (let i = 1; i <= TIME_BYTES; i++) {
    meta[i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  return META_BYTES_MAX;
}

/** FRESH_UNTIL of meta bytes: ms since 1970, Infinity where it is not written. */
export function freshUntil(bytes: Uint8Array, at: number, metaBytes: number): number {
  if (metaBytes < META_BYTES_MAX) return Number.POSITIVE_INFINITY;
  let ms = 0;
  for (let i = TIME_BYTES; i >= 1; i--) ms = ms * 256 + bytes[at + i]!;
  return ms;
}
