// What every decompressor says of bytes that it can't restore.
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
