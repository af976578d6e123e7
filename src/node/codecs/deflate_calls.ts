// Raw deflate by the documented functions of `node:zlib`: the fallback of `deflate.ts`.
import zlib from "node:zlib";
import type { Address } from "../../base/brand.ts";
import { assert } from "../../base/errors.ts";
import type { Codec } from "../../codec/contract.ts";
import { corruptError } from "../../codec/corrupt.ts";
import { COMPRESSED_BYTES_MAX, SOURCE_BYTES_MAX } from "../../codec/limits.ts";
import type { CodecDriver } from "../../codec/registry.ts";
import { DEFLATE_LEVELS } from "./deflate.ts";

/** Extra bytes of a chunk, so that any result fits into one chunk. */
const SPARE_BYTES = 64;

export function loadDeflateCalls(): CodecDriver {
  const implementation = `node:zlib ${process.versions.zlib} (native, a context per call)`;
  return {
    name: "deflate",
    implementation,
    levels: DEFLATE_LEVELS,
    dictionaries: false,
    open: ({ bytes }, { level }) => new DeflateCalls(implementation, bytes, level!),
  };
}

class DeflateCalls implements Codec {
  readonly name = "deflate";
  readonly implementation: string;
  readonly #bytes: Uint8Array;
  readonly #level: number;

  constructor(implementation: string, bytes: Uint8Array, level: number) {
    this.implementation = implementation;
    this.#bytes = bytes;
    this.#level = level;
  }

  compress(source: Address, sourceBytes: number, target: Address, limitBytes: number): number {
    assert(sourceBytes >= 1 && sourceBytes <= SOURCE_BYTES_MAX, "a source has 1 … 65536 bytes");
    const page = this.#bytes.subarray(source, source + sourceBytes);
    const options = { level: this.#level, chunkSize: COMPRESSED_BYTES_MAX };
    const packed = zlib.deflateRawSync(page, options);
    if (packed.length > limitBytes) return 0;
    this.#bytes.set(packed, target);
    return packed.length;
  }

  decompress(source: Address, sourceBytes: number, target: Address, targetBytes: number): void {
    const packed = this.#bytes.subarray(source, source + sourceBytes);
    let page: Uint8Array;
    let consumedBytes: number;
    try {
      // With `info`, which the types lack, zlib tells how much of the source it has used.
      const options = {
        chunkSize: targetBytes + SPARE_BYTES,
        maxOutputLength: targetBytes,
        info: true,
      };
      const result = zlib.inflateRawSync(packed, options) as unknown as {
        buffer: Uint8Array;
        engine: { bytesWritten: number };
      };
      page = result.buffer;
      consumedBytes = result.engine.bytesWritten;
    } catch (cause) {
      throw corruptError("deflate", sourceBytes, targetBytes, "is malformed", cause);
    }
    if (page.length !== targetBytes || consumedBytes !== sourceBytes) {
      throw corruptError("deflate", sourceBytes, targetBytes, "has or gives another length");
    }
    this.#bytes.set(page, target);
  }
}
