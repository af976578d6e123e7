/** struct value: the prefix before the compressed bytes of an object, in a store of values.
 *
 *  0                  4       5                        PREFIX
 *  ┌──────────────────┬───────┬───────────┬ ─ ─ ─ ─ ─ ─ ┬─────────────────────────────┐
 *  │ HEADER           │ FLAGS │ EXPIRES   │ the owner's │ the value, compressed       │
 *  │                  │       │ if it may │             │                             │
 *  └──────────────────┴───────┴───────────┴ ─ ─ ─ ─ ─ ─ ┴─────────────────────────────┘
 *
 * All pages have one size; a value has its own, may expire, and may be compressed with a
 * dictionary. The fixed part of the prefix says so. The rest, up to PREFIX bytes, belongs to the
 * owner of the values (values/prefix.ts): the full key, for example. The prefix is not compressed,
 * so that searches for a key or for expired values need not decompress.
 *
 *  HEADER   31      28 27                17 16                        0
 *          ┌──────────┬────────────────────┬───────────────────────────┐
 *          │ DICTIONARY│ PREFIX, in bytes  │ SIZE of the value, plain  │
 *          └──────────┴────────────────────┴───────────────────────────┘
 */
export const SIZE_MASK = 0x1ffff;
export const PREFIX_SHIFT = 17;
/** The largest prefix, in bytes. */
export const PREFIX_MAX = 0x7ff;
export const DICTIONARY_SHIFT = 28;
/** Dictionaries are numbered 1 … 15; 0 = none. */
export const DICTIONARIES_MAX = 15;
/**
 * Larger values are compressed without a dictionary: they soon contain what a dictionary would add.
 */
export const DICTIONARY_HELPS_BYTES = 16 * 1024;

export const FLAGS = 4;
/** A bit of FLAGS: the prefix has EXPIRES. The other bits belong to the owner of the values. */
export const MAY_EXPIRE = 1;
/** 6 bytes, milliseconds since 1970, lowest first. */
export const EXPIRES = 5;
export const EXPIRES_BYTES = 6;
/** Bytes of the fixed part without EXPIRES. */
export const FIXED_BYTES = 5;
/** Bytes of the fixed part with EXPIRES: all that is needed to know size, dictionary and expiry. */
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

/** The header with another dictionary. */
export function withDictionary(header: number, dictionary: number): number {
  return makeHeader(sizeOf(header), prefixOf(header), dictionary);
}

/**
 * Writes EXPIRES.
 * @param at address of the object
 * @param ms when the value expires, in ms since 1970
 */
export function writeExpiry(bytes: Uint8Array, at: number, ms: number): void {
  const high = Math.floor(ms / 2 ** 32);
  const low = ms - high * 2 ** 32;
  for (let i = 0; i < 4; i++) bytes[at + EXPIRES + i] = low >>> (i * 8);
  bytes[at + EXPIRES + 4] = high;
  bytes[at + EXPIRES + 5] = high >>> 8;
}

/**
 * When a value expires, in ms since 1970; Infinity if it does not.
 * @param at address of the object, or of a copy of its first HEAD_BYTES
 */
export function expiryOf(bytes: Uint8Array, at: number): number {
  if ((bytes[at + FLAGS]! & MAY_EXPIRE) === 0) return Number.POSITIVE_INFINITY;
  let low = 0;
  for (let i = 3; i >= 0; i--) low = low * 256 + bytes[at + EXPIRES + i]!;
  return (bytes[at + EXPIRES + 4]! + bytes[at + EXPIRES + 5]! * 256) * 2 ** 32 + low;
}
