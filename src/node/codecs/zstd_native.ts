// zstd by the optional package `zstd-napi`: the C library, without a copy on the way in.
//
// The package takes views over the shared memory as they are. A frame is compressed into a private
// buffer first, because zstd wants eight bytes more than it writes: straight into the target it
// would refuse a limit that the result just meets.
import { createRequire } from "node:module";
import type { Address } from "../../base/brand.ts";
import { assert } from "../../base/errors.ts";
import type { Codec, CodecMemory } from "../../codec/contract.ts";
import { corruptError } from "../../codec/corrupt.ts";
import { COMPRESSED_BYTES_MAX, SOURCE_BYTES_MAX } from "../../codec/limits.ts";
import type { CodecDriver } from "../../codec/registry.ts";
import { isStoredFrame, PLAIN_DESCRIPTOR, ZSTD_LEVELS } from "../../codec/zstd_frame.ts";

interface CompressContext {
  compress2(target: Uint8Array, source: Uint8Array): number;
  setParameter(parameter: number, value: number): void;
}
interface DecompressContext {
  decompress(target: Uint8Array, source: Uint8Array): number;
  setParameter(parameter: number, value: number): void;
}
/** What is used of `zstd-napi/binding`. */
interface Binding {
  readonly CCtx: new () => CompressContext;
  readonly DCtx: new () => DecompressContext;
  readonly CParameter: { readonly compressionLevel: number; readonly contentSizeFlag: number };
}

/**
 * ZSTD_c_format and ZSTD_d_format, which zstd.h lists as experimental and the package therefore
 * doesn't name; it passes numbers on unchecked. Value 1 leaves the magic number out.
 */
const C_FORMAT = 10;
const D_FORMAT = 1000;
const FORMAT_MAGICLESS = 1;

/** @throws Error if the package is not installed, or its binary does not load or work here */
export function loadZstdNative(): CodecDriver {
  const require = createRequire(import.meta.url);
  const binding = require("zstd-napi/binding") as Binding;
  const { version } = require("zstd-napi/package.json") as { version: string };
  const implementation = `zstd-napi ${version} (native)`;
  selfTest(binding);
  return {
    name: "zstd",
    implementation,
    levels: ZSTD_LEVELS,
    open: (memory, options) => new ZstdNative(implementation, memory, binding, options.level!),
  };
}

function createCompressor(binding: Binding, level: number): CompressContext {
  const context = new binding.CCtx();
  context.setParameter(C_FORMAT, FORMAT_MAGICLESS);
  context.setParameter(binding.CParameter.contentSizeFlag, 0);
  context.setParameter(binding.CParameter.compressionLevel, level);
  return context;
}

function createDecompressor(binding: Binding): DecompressContext {
  const context = new binding.DCtx();
  context.setParameter(D_FORMAT, FORMAT_MAGICLESS);
  return context;
}

/** Holds the experimental parameters to what this file takes them for. */
function selfTest(binding: Binding): void {
  const page = new Uint8Array(256).fill(7);
  const frame = new Uint8Array(64);
  const size = createCompressor(binding, ZSTD_LEVELS.default).compress2(frame, page);
  const back = new Uint8Array(page.length);
  const written = createDecompressor(binding).decompress(back, frame.subarray(0, size));
  if (frame[0] !== PLAIN_DESCRIPTOR || written !== page.length || back.some((byte) => byte !== 7)) {
    throw new Error("its zstd does not know frames without a magic number");
  }
}

class ZstdNative implements Codec {
  readonly name = "zstd";
  readonly implementation: string;
  readonly #bytes: Uint8Array;
  readonly #compressor: CompressContext;
  readonly #decompressor: DecompressContext;
  readonly #frame = new Uint8Array(COMPRESSED_BYTES_MAX);

  constructor(implementation: string, memory: CodecMemory, binding: Binding, level: number) {
    this.implementation = implementation;
    this.#bytes = memory.bytes;
    this.#compressor = createCompressor(binding, level);
    this.#decompressor = createDecompressor(binding);
  }

  compress(source: Address, sourceBytes: number, target: Address, limitBytes: number): number {
    assert(sourceBytes >= 1 && sourceBytes <= SOURCE_BYTES_MAX, "a source has 1 … 65536 bytes");
    const frame = this.#frame;
    // The package takes whole views only. One over the shared memory costs 70 ns, a copy to a place
    // with a standing view more; next to 12 µs of compression neither shows.
    const page = this.#bytes.subarray(source, source + sourceBytes);
    const size = this.#compressor.compress2(frame, page);
    if (size > limitBytes) return 0;
    this.#bytes.set(frame.subarray(0, size), target);
    return size;
  }

  decompress(source: Address, sourceBytes: number, target: Address, targetBytes: number): void {
    const bytes = this.#bytes;
    if (!isStoredFrame(bytes, source, sourceBytes)) {
      throw corruptError("zstd", sourceBytes, targetBytes, "is no stored frame");
    }
    const frame = bytes.subarray(source, source + sourceBytes);
    const page = bytes.subarray(target, target + targetBytes);
    let written: number;
    try {
      written = this.#decompressor.decompress(page, frame);
    } catch (cause) {
      throw corruptError("zstd", sourceBytes, targetBytes, "is malformed", cause);
    }
    if (written !== targetBytes) {
      throw corruptError("zstd", sourceBytes, targetBytes, `gives ${written} bytes`);
    }
  }
}
