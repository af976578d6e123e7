// The format of stored zstd objects, the same for every implementation, so that each reads what
// another has written:
//
//   0            1                   2
//  ┌────────────┬───────────────────┬─────────────────────────────────────┐
//  │ descriptor │ window descriptor │ blocks, the last one marked as such │
//  └────────────┴───────────────────┴─────────────────────────────────────┘
//
// It is a zstd frame (RFC 8878) without its four magic bytes, which are always the same, and
// without content size and checksum, which the store has: five bytes less per page, and a header
// that can't demand memory or a dictionary, or be a skippable frame.
import type { Address } from "../base/brand.ts";

/** Magic number of a zstd frame, in the order of its bytes in memory. */
export const ZSTD_MAGIC = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd);
export const ZSTD_LEVELS = { min: 1, max: 19, default: 1 } as const;
/**
 * Level for implementations that keep a prepared dictionary: JSON documents of 2.4 KiB become 8 %
 * smaller with 3 than with 1, in 1.2 times the time. Preparing a dictionary for each call takes
 * twice as long with 3.
 */
export const ZSTD_PREPARED_LEVELS = { ...ZSTD_LEVELS, withDictionary: 3 } as const;

/** No content size, no single segment, no checksum, no dictionary. */
export const PLAIN_DESCRIPTOR = 0;
const HEADER_BYTES = 2;
const BLOCK_HEADER_BYTES = 3;
/** The window descriptor's exponent is above 3 bits of mantissa, and counts from 2¹⁰ bytes. */
const WINDOW_LOG_MIN = 10;
const WINDOW_LOG_MAX = 16;
const WINDOW_SHIFT = 3;
const BLOCK_RLE = 1;
const BLOCK_RESERVED = 3;

/** The window descriptor of the smallest window of at least `contentBytes`. */
function windowDescriptorFor(contentBytes: number): number {
  const log2 = 32 - Math.clz32(contentBytes - 1);
  return (Math.max(log2, WINDOW_LOG_MIN) - WINDOW_LOG_MIN) << WINDOW_SHIFT;
}

/** Bytes of a field, by the two bits that encode it; the content size has its own rule. */
const DICTIONARY_ID_BYTES = [0, 1, 2, 4] as const;

/** Bytes from a frame's start to its first block: magic, descriptor, window, dictionary, size. */
function headerBytes(descriptor: number): number {
  const singleSegment = (descriptor >>> 5) & 1;
  const sizeFlag = descriptor >>> 6;
  const sizeBytes = sizeFlag === 0 ? singleSegment : 1 << sizeFlag;
  const idBytes = DICTIONARY_ID_BYTES[descriptor & 3]!;
  return ZSTD_MAGIC.length + 1 + (1 - singleSegment) + idBytes + sizeBytes;
}

/** A zstd frame as an encoder has written it. Each codec has one object, and reuses it. */
export interface EncodedFrame {
  /** The bytes that the frame is in, from index `at` on. */
  bytes: Uint8Array;
  readonly at: number;
  sizeBytes: number;
}

/**
 * Stores an encoded frame of `sourceBytes` bytes of content, with a header of the above format in
 * place of the encoder's, because not every encoder can leave out all fields. The
 * dictionary's id is dropped too. A window as large as the content allows every distance, because
 * distances into the dictionary are valid while the content is within the window.
 * @returns the size in bytes, or 0 if it would exceed `limitBytes`
 */
export function storeFrame(
  frame: EncodedFrame,
  sourceBytes: number,
  bytes: Uint8Array,
  target: Address,
  limitBytes: number,
): number {
  const { bytes: encoded, at, sizeBytes } = frame;
  const header = headerBytes(encoded[at + ZSTD_MAGIC.length]!);
  const size = HEADER_BYTES + sizeBytes - header;
  if (size > limitBytes) return 0;
  bytes[target] = PLAIN_DESCRIPTOR;
  bytes[target + 1] = windowDescriptorFor(sourceBytes);
  bytes.set(encoded.subarray(at + header, at + sizeBytes), target + HEADER_BYTES);
  return size;
}

/**
 * Whether these bytes are exactly one stored frame, from the header to the end of the last block.
 * Reads three bytes of each block; the decompressor checks the blocks' content, but would accept a
 * second frame after the first, or a window of gigabytes, neither of which is ever stored.
 */
export function isStoredFrame(bytes: Uint8Array, source: Address, sourceBytes: number): boolean {
  if (sourceBytes < HEADER_BYTES + BLOCK_HEADER_BYTES) return false;
  if (bytes[source] !== PLAIN_DESCRIPTOR) return false;
  if (bytes[source + 1]! > (WINDOW_LOG_MAX - WINDOW_LOG_MIN) << WINDOW_SHIFT) return false;
  const end = source + sourceBytes;
  // Ends, because at most a third of the bytes are block headers.
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
