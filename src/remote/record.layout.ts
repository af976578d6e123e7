/** A record: what is stored under one key of the cluster.
 *
 *   0  "ZCR", and the version as one byte
 *   4  CHECK     XXH32, seed 0, of all bytes from 8 on
 *   8  BYTES     of the whole record
 *  12  EPOCH     of the owner that wrote it; 0 for a value that has no owner
 *  16  DICTIONARY  number of the dictionary, 0 for none
 *  20  PLAIN     uncompressed size in bytes, without the prefix
 *  24  PREFIX    bytes in front of the data that are not compressed
 *  28  KEY       length of the key, 16 bits
 *  30  CODEC     length of the codec's name, 8 bits
 *  31  0
 *  32  the name of the codec, the key as it is in the cluster, the prefix, the compressed bytes
 *
 * Words are little-endian. The key is a part of the record, so that a record under another key, or
 * in the answer to another request, is noticed.
 */

export const MAGIC = "ZCR";
export const VERSION = 1;

export const VERSION_AT = 3;
export const CHECK_AT = 4;
export const BYTES_AT = 8;
export const EPOCH_AT = 12;
export const DICTIONARY_AT = 16;
export const PLAIN_AT = 20;
export const PREFIX_AT = 24;
export const KEY_AT = 28;
export const CODEC_AT = 30;
export const ZERO_AT = 31;
export const HEADER_BYTES = 32;

/** The longest key: a key of the cache has 1,024 bytes, and the prefix of the cluster is short. */
export const KEY_BYTES_MAX = 2048;
/** The longest name of a codec. */
export const CODEC_BYTES_MAX = 32;
