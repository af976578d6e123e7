/** A record: what is stored under one key of the cluster.
 *
 *   0  "ZCR", and the version as one byte: 3
 *   4  CHECK     XXH32, seed 0, of the key as it is in the cluster, and of all bytes from 8 on
 *   8  five numbers, each in groups of seven bits, the lowest first; a set high bit: more follow
 *        EPOCH       of the owner that wrote it; 0 for a value that has no owner
 *        DICTIONARY  number of the dictionary, 0 for none
 *        PLAIN       uncompressed size in bytes, without the prefix
 *        PREFIX      bytes in front of the data that are not compressed
 *        CODEC       33 and more: the codec's place in CODECS; else the length of its name
 *      the name of the codec, only if CODEC is its length; the prefix; the compressed bytes
 *
 * The check covers the key, so that a record under another key, or in the answer to another
 * request, is noticed.
 *
 * In version 2, CODEC is always a length. Version 1 has the key in the record, and words of fixed
 * size, little-endian:
 *
 *   4  CHECK of all bytes from 8 on, 8 bytes of the whole record, 12 EPOCH, 16 DICTIONARY,
 *  20  PLAIN, 24 PREFIX, 28 length of the key (16 bits), 30 CODEC (8 bits), 31 a zero
 *  32  the name of the codec, the key, the prefix, the compressed bytes
 */

export const MAGIC = "ZCR";
export const VERSION = 3;

export const VERSION_AT = 3;
export const CHECK_AT = 4;
export const NUMBERS_AT = 8;
/** Bytes of one number: 32 bits in groups of seven. */
export const NUMBER_BYTES_MAX = 5;
export const HEADER_BYTES_MAX = NUMBERS_AT + 5 * NUMBER_BYTES_MAX;
/** The shortest record: five numbers of one byte. */
export const HEADER_BYTES_MIN = NUMBERS_AT + 5;

export const FIRST = {
  BYTES_AT: 8,
  EPOCH_AT: 12,
  DICTIONARY_AT: 16,
  PLAIN_AT: 20,
  PREFIX_AT: 24,
  KEY_AT: 28,
  CODEC_AT: 30,
  HEADER_BYTES: 32,
} as const;

/** The longest key: a key of the cache has 1,024 bytes, and the prefix of the cluster is short. */
export const KEY_BYTES_MAX = 2048;
/** The longest name of a codec. */
export const CODEC_BYTES_MAX = 32;
/** Codecs that a record names by 33 plus their place here. The list may only grow, at its end. */
export const CODECS = ["none", "lz4", "zstd", "deflate", "lzo"] as const;
