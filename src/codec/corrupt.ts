// The error of all decompressors for data that they can't decompress.
import { ZcacheError } from "../base/errors.ts";

/** @param why completes "a <codec> object of so many bytes" */
export function corruptError(
  codec: string,
  sourceBytes: number,
  targetBytes: number,
  why: string,
  cause?: unknown,
): ZcacheError {
  return new ZcacheError(
    "ERR_CODEC_CORRUPT",
    `a ${codec} object of ${sourceBytes} bytes that should give ${targetBytes} bytes ${why}`,
    { context: { codec, sourceBytes, targetBytes }, cause },
  );
}
