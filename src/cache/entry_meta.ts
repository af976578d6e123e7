// The meta bytes of a cached value (values/prefix.layout.ts): its type, and until when it is fresh.
//
//  │ TYPE │ FRESH_UNTIL, 6 bytes, ms since 1970: only where it is not the same as when it expires │

export const BYTES = 0; // a Uint8Array
export const BUFFER = 1; // a Buffer of Node
export const LATIN1 = 2; // a string of which every character is a byte, as such
export const TEXT = 3; // any other string, in UTF-8
export const STRUCTURED = 4; // whatever the serializer makes bytes of

export const META_MAX = 7;
const TIME_BYTES = 6;

/** A time as it can be kept: what six bytes can't say, in the year 10889 or later, is never. */
export function timeOf(ms: number): number {
  return ms < 2 ** (TIME_BYTES * 8) ? ms : Number.POSITIVE_INFINITY;
}

/** Writes the meta bytes. @returns how many */
export function writeMeta(meta: Uint8Array, type: number, freshMs: number): number {
  meta[0] = type;
  if (freshMs === Number.POSITIVE_INFINITY) return 1;
  let rest = freshMs;
  for (let i = 1; i <= TIME_BYTES; i++) {
    meta[i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  return META_MAX;
}

/** Until when a value is fresh: ms since 1970; Infinity where nothing is said. */
export function freshUntil(bytes: Uint8Array, at: number, metaBytes: number): number {
  if (metaBytes < META_MAX) return Number.POSITIVE_INFINITY;
  let ms = 0;
  for (let i = TIME_BYTES; i >= 1; i--) ms = ms * 256 + bytes[at + i]!;
  return ms;
}
