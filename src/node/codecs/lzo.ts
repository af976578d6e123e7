// LZO1X-1, the first codec of zram, by the package `lzo` if the user has installed it. The package
// contains GPL code, so it is never a dependency.
//
// The package's functions allocate each result, so its binding is called directly. The binding's
// compressor ignores the size of its target, so it gets a buffer for the worst case.
import { dirname, join } from "node:path";
import type { Address } from "../../base/brand.ts";
import { assert } from "../../base/errors.ts";
import type { Codec } from "../../codec/contract.ts";
import { corruptError } from "../../codec/corrupt.ts";
import { COMPRESSED_BYTES_MAX, SOURCE_BYTES_MAX } from "../../codec/limits.ts";
import type { CodecDriver } from "../../codec/registry.ts";
import { requireOptional } from "../optional_packages.ts";

/** `err` is 0, or one of LZO's negative error numbers. */
interface LzoResult {
  readonly err: number;
  readonly len: number;
}
interface LzoBinding {
  compress(source: Uint8Array, target: Uint8Array): LzoResult;
  decompress(source: Uint8Array, target: Uint8Array): LzoResult;
}

/** @throws Error if the package is not installed, or its binary does not load here */
export function loadLzo(): CodecDriver {
  const root = dirname(requireOptional.resolve("lzo/package.json"));
  const binding = requireOptional(join(root, "build/Release/node_lzo.node")) as LzoBinding;
  const { version } = requireOptional("lzo/package.json") as { version: string };
  const implementation = `lzo ${version} (native)`;
  return {
    name: "lzo",
    implementation,
    dictionaries: false,
    open: ({ bytes }) => new Lzo(implementation, bytes, binding),
  };
}

class Lzo implements Codec {
  readonly name = "lzo";
  readonly implementation: string;
  readonly #bytes: Uint8Array;
  readonly #binding: LzoBinding;
  readonly #packed = new Uint8Array(COMPRESSED_BYTES_MAX);

  constructor(implementation: string, bytes: Uint8Array, binding: LzoBinding) {
    this.implementation = implementation;
    this.#bytes = bytes;
    this.#binding = binding;
  }

  compress(source: Address, sourceBytes: number, target: Address, limitBytes: number): number {
    assert(sourceBytes >= 1 && sourceBytes <= SOURCE_BYTES_MAX, "a source has 1 … 65536 bytes");
    const page = this.#bytes.subarray(source, source + sourceBytes);
    const { err, len } = this.#binding.compress(page, this.#packed);
    assert(err === 0, "LZO compresses anything");
    if (len > limitBytes) return 0;
    this.#bytes.set(this.#packed.subarray(0, len), target);
    return len;
  }

  decompress(source: Address, sourceBytes: number, target: Address, targetBytes: number): void {
    const packed = this.#bytes.subarray(source, source + sourceBytes);
    const page = this.#bytes.subarray(target, target + targetBytes);
    const { err, len } = this.#binding.decompress(packed, page);
    if (err !== 0 || len !== targetBytes) {
      const why = err === 0 ? `gives ${len} bytes` : `is malformed (LZO's error ${err})`;
      throw corruptError("lzo", sourceBytes, targetBytes, why);
    }
  }
}
