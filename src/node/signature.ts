// Tells damaged files of this library from those of others, by the name that each format begins
// with: what differs from it in a few bits was it once, and a file of zeros alone is what a loss of
// power may leave.
import { readSync } from "node:fs";

/** Bits in which a name may differ: chance differs in half of them, 28 or more. */
export const NEAR_BITS = 6;
/** A file of zeros alone holds nothing; longer ones are not read to find out. */
const ZEROS_BYTES_MAX = 64 * 1024 * 1024;
const BLOCK_BYTES = 65_536;

/** How many bits of bytes differ from a name, of one byte for each character. */
export function bitsOff(bytes: Uint8Array, name: string): number {
  let count = 0;
  for (let nth = 0; nth < name.length; nth++) {
    const byte = bytes[nth] ?? 0;
    for (let rest = byte ^ name.charCodeAt(nth); rest !== 0; rest &= rest - 1) count++;
  }
  return count;
}

export function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

/** Whether a file consists of zeros, as far as that is looked at. */
export function isZeroFile(fd: number, sizeBytes: number): boolean {
  if (sizeBytes > ZEROS_BYTES_MAX) return false;
  const block = new Uint8Array(BLOCK_BYTES);
  for (let at = 0; at < sizeBytes; ) {
    const got = readSync(fd, block, 0, block.length, at);
    if (got === 0) break;
    if (!isZero(block.subarray(0, got))) return false;
    at += got;
  }
  return true;
}
