/** struct value: what stands before the compressed bytes of an object, in a store of values.
 *
 *  0                  4       5                        PREFIX
 *  ┌──────────────────┬───────┬───────────┬ ─ ─ ─ ─ ─ ─ ┬─────────────────────────────┐
 *  │ HEADER           │ FLAGS │ EXPIRES   │ the front's │ the value, compressed       │
 *  │                  │       │ if it may │             │                             │
 *  └──────────────────┴───────┴───────────┴ ─ ─ ─ ─ ─ ─ ┴─────────────────────────────┘
 *
 * A page is as long as all pages are; a value has a length of its own, may expire, and may have
 * been compressed with a dictionary: that is what the store knows of it. What a front needs (the
 * key in full, say) stands behind, up to PREFIX. None of it is compressed: who looks for a key, or
 * for what has expired, need not decompress.
 *
 *  HEADER   31      28 27                17 16                        0
 *          ┌──────────┬────────────────────┬───────────────────────────┐
 *          │ DICTIONARY│ PREFIX, in bytes  │ SIZE of the value, plain  │
 *          └──────────┴────────────────────┴───────────────────────────┘
 */
export const SIZE_MASK = 0x1ffff;
export const PREFIX_SHIFT = 17;
/** And the most bytes that may stand before the compressed value. */
export const PREFIX_MAX = 0x7ff;
export const DICTIONARY_SHIFT = 28;
/** Dictionaries are numbered 1 … 15; 0 = none. */
export const DICTIONARIES_MAX = 15;
/** A value of more bytes is compressed as it is: what a dictionary knows, it soon has itself. */
export const DICTIONARY_HELPS_BYTES = 16 * 1024;

export const FLAGS = 4;
/** Of FLAGS: EXPIRES is there. The other bits are the front's. */
export const MAY_EXPIRE = 1;
/** 6 bytes, milliseconds since 1970, lowest first. */
export const EXPIRES = 5;
export const EXPIRES_BYTES = 6;
/** Bytes without and with EXPIRES: where the front's part begins. */
export const FIXED_BYTES = 5;
/** What is to be read of an object to know all this of it. */
export const HEAD_BYTES = FIXED_BYTES + EXPIRES_BYTES;

export function makeHeader(sizeBytes: number, prefixBytes: number, dictionary: number): number {
  return (dictionary << DICTIONARY_SHIFT) | (prefixBytes << PREFIX_SHIFT) | sizeBytes;
}

export function sizeOf(header: number): number {
  return header & SIZE_MASK;
}

export function prefixOf(header: number): number {
  return (header >>> PREFIX_SHIFT) & PREFIX_MAX;
}

export function dictionaryOf(header: number): number {
  return header >>> DICTIONARY_SHIFT;
}

/** Writes a time behind FLAGS. @param at where the value's object begins */
export function writeExpiry(bytes: Uint8Array, at: number, ms: number): void {
  const high = Math.floor(ms / 2 ** 32);
  const low = ms - high * 2 ** 32;
  for (let i = 0; i < 4; i++) bytes[at + EXPIRES + i] = low >>> (i * 8);
  bytes[at + EXPIRES + 4] = high;
  bytes[at + EXPIRES + 5] = high >>> 8;
}

/** The time at which an object expires, in ms since 1970; Infinity if it does not. */
export function expiryOf(bytes: Uint8Array, at: number): number {
  if ((bytes[at + FLAGS]! & MAY_EXPIRE) === 0) return Number.POSITIVE_INFINITY;
  let low = 0;
  for (let i = 3; i >= 0; i--) low = low * 256 + bytes[at + EXPIRES + i]!;
  return (bytes[at + EXPIRES + 4]! + bytes[at + EXPIRES + 5]! * 256) * 2 ** 32 + low;
}
