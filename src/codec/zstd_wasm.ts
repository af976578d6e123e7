// zstd compiled to WebAssembly, by the package `@bokuweb/zstd-wasm`: the zstd that is always there.
//
// The package's own functions allocate contexts and buffers for every call. Beneath them its module
// has zstd's C functions by name; with contexts and buffers that are made once, a page takes about
// twice the time of native zstd. zstd works in a memory of its own, so each call copies in and out.
import type { Address } from "../base/brand.ts";
import { assert, ZcacheError } from "../base/errors.ts";
import type { Codec, CodecMemory } from "./contract.ts";
import { corruptError } from "./corrupt.ts";
import { COMPRESSED_BYTES_MAX, SOURCE_BYTES_MAX } from "./limits.ts";
import type { CodecDriver } from "./registry.ts";
import {
  isStoredFrame,
  PLAIN_DESCRIPTOR,
  windowDescriptorFor,
  ZSTD_LEVELS,
  ZSTD_MAGIC,
} from "./zstd_frame.ts";

/** What is used of the package's module once it is initialized; addresses are in its own memory. */
export interface ZstdModule {
  /** Its memory; another view after the memory has grown. */
  readonly HEAPU8: Uint8Array;
  _malloc(sizeBytes: number): number;
  _ZSTD_createCCtx(): number;
  _ZSTD_createDCtx(): number;
  _ZSTD_isError(result: number): number;
  _ZSTD_compress_usingDict(
    context: number,
    target: number,
    targetBytes: number,
    source: number,
    sourceBytes: number,
    dictionary: number,
    dictionaryBytes: number,
    level: number,
  ): number;
  _ZSTD_decompress_usingDict(
    context: number,
    target: number,
    targetBytes: number,
    source: number,
    sourceBytes: number,
    dictionary: number,
    dictionaryBytes: number,
  ): number;
}

/** Contexts and buffers in the module's memory: one set for all zstd codecs of the thread. */
interface Workbench {
  readonly compressor: number;
  readonly decompressor: number;
  /** SOURCE_BYTES_MAX for a page. */
  readonly page: number;
  /** COMPRESSED_BYTES_MAX for a frame. */
  readonly frame: number;
}

/**
 * The driver of `zstd` over an initialized module, for the calling thread.
 * @param version of the package, for `implementation`
 */
export function zstdWasmDriver(module: ZstdModule, version: string): CodecDriver {
  const implementation = `@bokuweb/zstd-wasm ${version} (WebAssembly)`;
  let bench: Workbench | undefined;
  return {
    name: "zstd",
    implementation,
    levels: ZSTD_LEVELS,
    open(memory, options) {
      bench ??= furnish(module);
      return new ZstdWasm(implementation, memory, module, bench, options.level!);
    },
  };
}

function furnish(module: ZstdModule): Workbench {
  const bench = {
    compressor: module._ZSTD_createCCtx(),
    decompressor: module._ZSTD_createDCtx(),
    page: module._malloc(SOURCE_BYTES_MAX),
    frame: module._malloc(COMPRESSED_BYTES_MAX),
  };
  if (Object.values(bench).includes(0)) {
    throw new ZcacheError(
      "ERR_CODEC_UNAVAILABLE",
      "zstd in WebAssembly has no memory for its work",
    );
  }
  return bench;
}

/** Bytes from a frame's start to its first block: magic, descriptor, window, content's size. */
function headerBytes(descriptor: number): number {
  const singleSegment = (descriptor >>> 5) & 1;
  const sizeFlag = descriptor >>> 6;
  const sizeBytes = sizeFlag === 0 ? singleSegment : 1 << sizeFlag;
  return ZSTD_MAGIC.length + 1 + (1 - singleSegment) + sizeBytes;
}

class ZstdWasm implements Codec {
  readonly name = "zstd";
  readonly implementation: string;
  readonly #bytes: Uint8Array;
  readonly #module: ZstdModule;
  readonly #bench: Workbench;
  readonly #level: number;

  constructor(
    implementation: string,
    memory: CodecMemory,
    module: ZstdModule,
    bench: Workbench,
    level: number,
  ) {
    this.implementation = implementation;
    this.#bytes = memory.bytes;
    this.#module = module;
    this.#bench = bench;
    this.#level = level;
  }

  compress(source: Address, sourceBytes: number, target: Address, limitBytes: number): number {
    assert(sourceBytes >= 1 && sourceBytes <= SOURCE_BYTES_MAX, "a source has 1 … 65536 bytes");
    const module = this.#module;
    const { compressor, page, frame } = this.#bench;
    // `subarray` over the shared memory costs 70 ns, here and below: 0.2 % of the compression.
    module.HEAPU8.set(this.#bytes.subarray(source, source + sourceBytes), page);
    const frameBytes = module._ZSTD_compress_usingDict(
      compressor,
      frame,
      COMPRESSED_BYTES_MAX,
      page,
      sourceBytes,
      0,
      0,
      this.#level,
    );
    assert(module._ZSTD_isError(frameBytes) === 0, "zstd compresses into a buffer of its bound");
    // Read after the call: zstd may have let the memory grow, which replaces the view.
    const heap = module.HEAPU8;
    // This module can't leave the content's size out, so the header is written anew, shorter.
    const blocks = headerBytes(heap[frame + ZSTD_MAGIC.length]!);
    const size = 2 + frameBytes - blocks;
    if (size > limitBytes) return 0;
    this.#bytes[target] = PLAIN_DESCRIPTOR;
    this.#bytes[target + 1] = windowDescriptorFor(sourceBytes);
    this.#bytes.set(heap.subarray(frame + blocks, frame + frameBytes), target + 2);
    return size;
  }

  decompress(source: Address, sourceBytes: number, target: Address, targetBytes: number): void {
    const bytes = this.#bytes;
    const frameBytes = ZSTD_MAGIC.length + sourceBytes;
    if (
      frameBytes > COMPRESSED_BYTES_MAX ||
      targetBytes > SOURCE_BYTES_MAX ||
      !isStoredFrame(bytes, source, sourceBytes)
    ) {
      throw corruptError("zstd", sourceBytes, targetBytes, "is no stored frame");
    }
    const module = this.#module;
    const { decompressor, page, frame } = this.#bench;
    module.HEAPU8.set(ZSTD_MAGIC, frame);
    const blocks = bytes.subarray(source, source + sourceBytes);
    module.HEAPU8.set(blocks, frame + ZSTD_MAGIC.length);
    const written = module._ZSTD_decompress_usingDict(
      decompressor,
      page,
      targetBytes,
      frame,
      frameBytes,
      0,
      0,
    );
    // An error is a number too, far above any size.
    if (written !== targetBytes) {
      throw corruptError("zstd", sourceBytes, targetBytes, "is malformed or gives another length");
    }
    bytes.set(module.HEAPU8.subarray(page, page + targetBytes), target);
  }
}
