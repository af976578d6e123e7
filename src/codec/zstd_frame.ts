// The form in which zstd objects are stored, the same for every implementation, so that each reads
// what another wrote:
//
//   0            1                   2
//  ┌────────────┬───────────────────┬─────────────────────────────────────┐
//  │ descriptor │ window descriptor │ blocks, the last one marked as such │
//  └────────────┴───────────────────┴─────────────────────────────────────┘
//
// It is a zstd frame (RFC 8878) without its four magic bytes, which never differ, and without size
// and checksum of the content, which the store keeps itself: five bytes less for each page, and a
// header that can't ask for memory, for a dictionary, or be skipped.
import type { Address } from "../base/brand.ts";

/** Magic number of a zstd frame, as its bytes stand in memory. */
export const ZSTD_MAGIC = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd);
export const ZSTD_LEVELS = { min: 1, max: 19, default: 1 } as const;
/**
 * For implementations that keep a dictionary prepared: JSON documents of 2.4 KiB become 8 % smaller
 * by 3 than by 1, for 1.2 times the time. To prepare it for each call takes twice as long for 3.
 */
export const ZSTD_PREPARED_LEVELS = { ...ZSTD_LEVELS, withDictionary: 3 } as const;

/** No content size, no single segment, no checksum, no dictionary. */
export const PLAIN_DESCRIPTOR = 0;
const HEADER_BYTES = 2;
const BLOCK_HEADER_BYTES = 3;
/** The window descriptor's exponent stands above 3 bits of mantissa and counts from 2¹⁰ bytes. */
const WINDOW_LOG_MIN = 10;
const WINDOW_LOG_MAX = 16;
const WINDOW_SHIFT = 3;
const BLOCK_RLE = 1;
const BLOCK_RESERVED = 3;

/** The window descriptor of the smallest window that holds `contentBytes`. */
function windowDescriptorFor(contentBytes: number): number {
  const log2 = 32 - Math.clz32(contentBytes - 1);
  return (Math.max(log2, WINDOW_LOG_MIN) - WINDOW_LOG_MIN) << WINDOW_SHIFT;
}

/** Bytes that a field takes, by the two bits that say it; the content's size has its own rule. */
const DICTIONARY_ID_BYTES = [0, 1, 2, 4] as const;

/** Bytes from a frame's start to its first block: magic, descriptor, window, dictionary, size. */
function headerBytes(descriptor: number): number {
  const singleSegment = (descriptor >>> 5) & 1;
  const sizeFlag = descriptor >>> 6;
  const sizeBytes = sizeFlag === 0 ? singleSegment : 1 << sizeFlag;
  const idBytes = DICTIONARY_ID_BYTES[descriptor & 3]!;
  return ZSTD_MAGIC.length + 1 + (1 - singleSegment) + idBytes + sizeBytes;
}

/**
 * Stores the frame of `frameBytes` that an encoder has left at `frame`, with a header of the form
 * above in place of its own: not every encoder lets all fields be left out. The dictionary's id
 * goes too. A window that holds the content holds every distance, since distances into the
 * dictionary are not bound by the window as long as the content is within it.
 * @returns the size in bytes, or 0 if it would exceed `limitBytes`
 */
export function storeFrame(
  encoded: Uint8Array,
  frame: number,
  frameBytes: number,
  sourceBytes: number,
  bytes: Uint8Array,
  target: Address,
  limitBytes: number,
): number {
  const blocks = headerBytes(encoded[frame + ZSTD_MAGIC.length]!);
  const size = HEADER_BYTES + frameBytes - blocks;
  if (size > limitBytes) return 0;
  bytes[target] = PLAIN_DESCRIPTOR;
  bytes[target + 1] = windowDescriptorFor(sourceBytes);
  bytes.set(encoded.subarray(frame + blocks, frame + frameBytes), target + HEADER_BYTES);
  return size;
}

/**
 * Are these bytes one stored frame, from the header to the end of the last block and no further?
 * Reads three bytes of each block. What the blocks hold is the decompressor's to judge; but it
 * would accept a second frame behind the first, and a window of gigabytes; neither is ever stored.
 */
export function isStoredFrame(bytes: Uint8Array, source: Address, sourceBytes: number): boolean {
  if (sourceBytes < HEADER_BYTES + BLOCK_HEADER_BYTES) return false;
  if (bytes[source] !== PLAIN_DESCRIPTOR) return false;
  if (bytes[source + 1]! > (WINDOW_LOG_MAX - WINDOW_LOG_MIN) << WINDOW_SHIFT) return false;
  const end = source + sourceBytes;
  // At most a third of the source's bytes are block headers, so this ends.
  for (let at = source + HEADER_BYTES; at + BLOCK_HEADER_BYTES <= end; ) {
    const header = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16);
    const isLast = (header & 1) === 1;
    const type = (header >>> 1) & 3;
    if (type === BLOCK_RESERVED) return false;
    at += BLOCK_HEADER_BYTES + (type === BLOCK_RLE ? 1 : header >>> 3);
    if (isLast) return at === end;
  }
  return false;
}
