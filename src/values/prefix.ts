// Writes and reads the prefixes of values (prefix.layout.ts), byte by byte.
import * as Value from "../store/value.layout.ts";
import * as Prefix from "./prefix.layout.ts";
import type { SetRequest } from "./request.ts";

/** Lengths of keys up to which one byte says them. */
const SHORT_KEY_BYTES = 255;

/** Bytes of the prefix of a value, without VERSION and TOTAL. */
export function prefixBytesOf({ keyBytes, metaBytes, expiresMs }: SetRequest): number {
  const expiry = expiresMs === Number.POSITIVE_INFINITY ? 0 : Value.EXPIRES_BYTES;
  const lengths = (keyBytes > SHORT_KEY_BYTES ? 2 : 1) + 1;
  return Value.FIXED_BYTES + expiry + lengths + keyBytes + metaBytes;
}

/**
 * Writes the prefix of a value, without HEADER, VERSION and TOTAL.
 * @returns its bytes, as `prefixBytesOf`
 */
export function writePrefix(
  bytes: Uint8Array,
  start: number,
  flags: number,
  request: SetRequest,
): number {
  const { key, keyBytes, meta, metaBytes, expiresMs } = request;
  const mayExpire = expiresMs !== Number.POSITIVE_INFINITY;
  const isLong = keyBytes > SHORT_KEY_BYTES;
  bytes[start + Value.FLAGS] =
    flags | (mayExpire ? Value.MAY_EXPIRE : 0) | (isLong ? Prefix.LONG_KEY : 0);
  let at = start + Value.FIXED_BYTES;
  if (mayExpire) {
    Value.writeExpiry(bytes, start, expiresMs);
    at += Value.EXPIRES_BYTES;
  }
  bytes[at++] = keyBytes;
  if (isLong) bytes[at++] = keyBytes >>> 8;
  bytes[at++] = metaBytes;
  for (let i = 0; i < keyBytes; i++) bytes[at + i] = key[i]!;
  at += keyBytes;
  for (let i = 0; i < metaBytes; i++) bytes[at + i] = meta[i]!;
  return at + metaBytes - start;
}

/** Writes VERSION and TOTAL of a chunked value. */
export function writeChunking(bytes: Uint8Array, at: number, version: number, total: number): void {
  for (let i = 0; i < 4; i++) {
    bytes[at + i] = version >>> (i * 8);
    bytes[at + 4 + i] = total >>> (i * 8);
  }
}

/** Whether the value whose prefix is at `start` has more than one page. */
export function isChunkedAt(bytes: Uint8Array, start: number): boolean {
  return (bytes[start + Value.FLAGS]! & Prefix.CHUNKED) !== 0;
}

/** The VERSION of the chunked value whose prefix is at `start`. */
export function chunkVersionAt(bytes: Uint8Array, start: number): number {
  const key = keyAt(bytes, start);
  const metaBytes = bytes[key - 1]!;
  return readWord(bytes, key + keyBytesAt(bytes, start) + metaBytes);
}

/** How long the key is in the prefix at `start`. */
export function keyBytesAt(bytes: Uint8Array, start: number): number {
  const at = lengthsAt(bytes, start);
  const isLong = (bytes[start + Value.FLAGS]! & Prefix.LONG_KEY) !== 0;
  return bytes[at]! | (isLong ? bytes[at + 1]! << 8 : 0);
}

/** Where the key stands; the byte before is the meta's length. */
export function keyAt(bytes: Uint8Array, start: number): number {
  const isLong = (bytes[start + Value.FLAGS]! & Prefix.LONG_KEY) !== 0;
  return lengthsAt(bytes, start) + (isLong ? 3 : 2);
}

export function readWord(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}

function lengthsAt(bytes: Uint8Array, start: number): number {
  const mayExpire = (bytes[start + Value.FLAGS]! & Value.MAY_EXPIRE) !== 0;
  return start + Value.FIXED_BYTES + (mayExpire ? Value.EXPIRES_BYTES : 0);
}
