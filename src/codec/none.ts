// No compression: the kernels copy. For data that is compressed already, and to measure the cost of
// everything around a codec.
import type { Address } from "../base/brand.ts";
import type { Codec, CodecMemory } from "./contract.ts";
import { corruptError } from "./corrupt.ts";
import type { CodecDriver } from "./registry.ts";

const IMPLEMENTATION = "memory.copy (WebAssembly)";

/** Opens the `none` codec for the calling thread; takes no scratch. */
export function createNone(memory: CodecMemory): Codec {
  return new None(memory);
}

export const NONE_DRIVER: CodecDriver = {
  name: "none",
  implementation: IMPLEMENTATION,
  dictionaries: false,
  open: (memory) => createNone(memory),
};

class None implements Codec {
  readonly name = "none";
  readonly implementation = IMPLEMENTATION;
  readonly #kernels: CodecMemory["kernels"];

  constructor(memory: CodecMemory) {
    this.#kernels = memory.kernels;
  }

  compress(source: Address, sourceBytes: number, target: Address, limitBytes: number): number {
    if (sourceBytes > limitBytes) return 0;
    this.#kernels.copy(target, source, sourceBytes);
    return sourceBytes;
  }

  decompress(source: Address, sourceBytes: number, target: Address, targetBytes: number): void {
    if (sourceBytes !== targetBytes) {
      throw corruptError("none", sourceBytes, targetBytes, "has another length");
    }
    this.#kernels.copy(target, source, sourceBytes);
  }
}
