// Tells damaged files of zcache from foreign files, by the name that each format begins with: a
// name that differs in a few bits is damage, and so is a file of zeros, as a loss of power leaves.
import { readSync } from "node:fs";

/** Bits in which a damaged name may differ; a random name differs in half of them, 28 or more. */
export const NEAR_BITS = 6;
/** Longer files are not searched for bytes other than zero. */
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

/** Whether a file of at most ZEROS_BYTES_MAX has only zeros. */
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
