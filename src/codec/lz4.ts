// LZ4: the fastest codec here, and the default. Its kernels run inside the shared memory, so a page
// is neither copied out nor in; the blocks are plain LZ4 blocks, which any LZ4 library reads.
import type { Address } from "../base/brand.ts";
import { assert, ZcacheError } from "../base/errors.ts";
import { LZ4_TABLE_BYTES } from "../wasm/kernels.ts";
import type { Codec, CodecMemory, CodecOptions } from "./contract.ts";
import { corruptError } from "./corrupt.ts";
import { SOURCE_BYTES_MAX } from "./limits.ts";

/**
 * The `lz4` codec for the calling thread; takes LZ4_TABLE_BYTES of scratch from the memory.
 * @throws ZcacheError ERR_OPTION if a level is given: LZ4 has none; ERR_ARENA_FULL for want of
 *   scratch
 */
export function createLz4(memory: CodecMemory, options: CodecOptions = {}): Codec {
  if (options.level !== undefined) {
    throw new ZcacheError("ERR_OPTION", `lz4 takes no level, but level ${options.level} is given`, {
      context: { codec: "lz4", level: options.level },
    });
  }
  return new Lz4(memory);
}

class Lz4 implements Codec {
  readonly name = "lz4";
  readonly implementation = "zcache's own (WebAssembly)";
  readonly #kernels: CodecMemory["kernels"];
  readonly #table: Address;

  constructor(memory: CodecMemory) {
    this.#kernels = memory.kernels;
    this.#table = memory.reserve(LZ4_TABLE_BYTES);
  }

  compress(source: Address, sourceBytes: number, target: Address, limitBytes: number): number {
    // The kernel's table holds positions in 16 bits: a longer source would come back wrong.
    assert(sourceBytes >= 1 && sourceBytes <= SOURCE_BYTES_MAX, "a source has 1 … 65536 bytes");
    return this.#kernels.lz4Compress(source, sourceBytes, target, limitBytes, this.#table);
  }

  decompress(source: Address, sourceBytes: number, target: Address, targetBytes: number): void {
    const written = this.#kernels.lz4Decompress(source, sourceBytes, target, targetBytes);
    if (written === targetBytes) return;
    const why = written < 0 ? "is malformed" : `gives ${written} bytes`;
    throw corruptError("lz4", sourceBytes, targetBytes, why);
  }
}
