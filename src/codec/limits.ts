// The sizes that codecs work with, in one place.
import { KIB, MIB } from "../base/units.ts";

/** The largest source: the largest page. */
export const SOURCE_BYTES_MAX = 64 * KIB;

/** Less than that is no dictionary: zstd passes it over in silence. */
export const DICTIONARY_BYTES_MIN = 8;
/** LZ4's longest distance is one byte less. */
export const LZ4_DICTIONARY_BYTES_MAX = 64 * KIB;
/** zstd's own trainer makes 110 KiB; more of it costs time and memory for each thread. */
export const ZSTD_DICTIONARY_BYTES_MAX = MIB;

/**
 * The most that any codec here makes of SOURCE_BYTES_MAX: LZO's bound is n + n/16 + 67, which is
 * 69,699 bytes, zstd's n + n/256 + 18, deflate's about n + n/1024. In whole KiB.
 */
export const COMPRESSED_BYTES_MAX = 69 * KIB;
