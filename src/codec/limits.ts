// The sizes that codecs work with.
import { KIB, MIB } from "../base/units.ts";

/** The largest source: the largest page. */
export const SOURCE_BYTES_MAX = 64 * KIB;

/** The smallest dictionary: zstd silently ignores smaller ones. */
export const DICTIONARY_BYTES_MIN = 8;
/** LZ4's longest distance is one byte less. */
export const LZ4_DICTIONARY_BYTES_MAX = 64 * KIB;
/** zstd's own trainer makes 110 KiB; longer dictionaries cost time and memory in each thread. */
export const ZSTD_DICTIONARY_BYTES_MAX = MIB;

/**
 * The largest compressed size of SOURCE_BYTES_MAX with any codec here: LZO's bound is n + n/16 +
 * 67, which is 69,699 bytes, zstd's n + n/256 + 18, deflate's about n + n/1024. In whole KiB.
 */
export const COMPRESSED_BYTES_MAX = 69 * KIB;
