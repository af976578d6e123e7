// Checks of a dictionary that several codecs make, each with its own limit.
import { ZcacheError } from "../base/errors.ts";
import { DICTIONARY_BYTES_MIN } from "./limits.ts";

/** @throws ZcacheError ERR_OPTION */
export function checkDictionaryBytes(codec: string, sizeBytes: number, maxBytes: number): void {
  if (sizeBytes >= DICTIONARY_BYTES_MIN && sizeBytes <= maxBytes) return;
  throw new ZcacheError(
    "ERR_OPTION",
    `a dictionary of ${sizeBytes} bytes for codec ${codec}: must be ` +
      `from ${DICTIONARY_BYTES_MIN} to ${maxBytes} bytes`,
    { context: { codec, sizeBytes, minBytes: DICTIONARY_BYTES_MIN, maxBytes } },
  );
}

/** The error for bytes that begin like a dictionary of zstd and are not one. */
export function malformedDictionary(dictionary: Uint8Array, cause?: unknown): ZcacheError {
  return new ZcacheError(
    "ERR_OPTION",
    `a dictionary of ${dictionary.length} bytes for codec zstd begins with its magic number but ` +
      "is malformed after it: must be the output of `finalizeZstdDictionary` or `zstd --train`, " +
      "or plain content",
    { context: { codec: "zstd", sizeBytes: dictionary.length }, cause },
  );
}
