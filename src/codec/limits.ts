// The sizes that codecs work with, in one place.
import { KIB } from "../base/units.ts";

/** The largest source: the largest page. */
export const SOURCE_BYTES_MAX = 64 * KIB;

/**
 * The most that any codec here makes of SOURCE_BYTES_MAX: LZO's bound is n + n/16 + 67, which is
 * 69,699 bytes, zstd's n + n/256 + 18, deflate's about n + n/1024. In whole KiB.
 */
export const COMPRESSED_BYTES_MAX = 69 * KIB;
