// Values that are counted with: a number in decimal, with spaces around it.
import { parseU64, type U64, writeU64 } from "../../base/u64.ts";

/** No number is looked for in longer values: twenty digits, and what spaces somebody adds. */
export const NUMBER_BYTES_MAX = 64;
const SPACE = 32;

/** A number with spaces around it, up to the first that follows its digits. */
export function parseSpaced(bytes: Uint8Array, length: number, out: U64): boolean {
  let from = 0;
  while (from < length && bytes[from]! <= SPACE) from++;
  let to = from;
  while (to < length && bytes[to]! > SPACE) to++;
  return parseU64(bytes, from, to, out);
}

/**
 * Writes a number, and behind it spaces up to `bytesMin`: one that has become shorter is filled up,
 * as memcached's are.
 * @returns bytes written
 */
export function writeSpaced(bytes: Uint8Array, number: U64, bytesMin: number): number {
  const end = writeU64(bytes, 0, number.high, number.low);
  for (let at = end; at < bytesMin; at++) bytes[at] = SPACE;
  return Math.max(end, bytesMin);
}
