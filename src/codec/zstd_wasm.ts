// zstd compiled to WebAssembly, from the package `@bokuweb/zstd-wasm`: always available.
//
// The package's own functions allocate contexts and buffers per call. Its module exports zstd's C
// functions by name; with contexts and buffers allocated once, a page takes about twice the time of
// native zstd. zstd has a memory of its own, so each call copies in and out.
import type { Address } from "../base/brand.ts";
import { assert, ZcacheError } from "../base/errors.ts";
import type { Codec, CodecMemory } from "./contract.ts";
import { corruptError } from "./corrupt.ts";
import { checkDictionaryBytes, malformedDictionary } from "./dictionary_option.ts";
import { COMPRESSED_BYTES_MAX, SOURCE_BYTES_MAX, ZSTD_DICTIONARY_BYTES_MAX } from "./limits.ts";
import type { CodecDriver } from "./registry.ts";
import {
  type EncodedFrame,
  isStoredFrame,
  storeFrame,
  ZSTD_LEVELS,
  ZSTD_MAGIC,
} from "./zstd_frame.ts";

/** What this file uses of the initialized module; addresses are in the module's memory. */
export interface ZstdModule {
  /** The module's memory; a new view after the memory has grown. */
  readonly HEAPU8: Uint8Array;
  _malloc(sizeBytes: number): number;
  _free(address: number): void;
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

/** The module, and contexts and buffers in its memory: one set for all zstd codecs of a thread. */
interface Workbench {
  readonly module: ZstdModule;
  readonly compressor: number;
  readonly decompressor: number;
  /** SOURCE_BYTES_MAX for a page. */
  readonly page: number;
  /** COMPRESSED_BYTES_MAX for a frame. */
  readonly frame: number;
}

/**
 * The driver of `zstd` with an initialized module, for the calling thread.
 * @param version version of the package, for `implementation`
 */
export function zstdWasmDriver(module: ZstdModule, version: string): CodecDriver {
  const implementation = `@bokuweb/zstd-wasm ${version} (WebAssembly)`;
  let bench: Workbench | undefined;
  return {
    name: "zstd",
    implementation,
    levels: ZSTD_LEVELS,
    dictionaries: true,
    open(memory, { level, dictionary }) {
      bench ??= furnish(module);
      const known = dictionary === undefined ? NO_DICTIONARY : load(bench, dictionary);
      return new ZstdWasm(implementation, memory, bench, level!, known);
    },
  };
}

function furnish(module: ZstdModule): Workbench {
  const bench = {
    module,
    compressor: module._ZSTD_createCCtx(),
    decompressor: module._ZSTD_createDCtx(),
    page: module._malloc(SOURCE_BYTES_MAX),
    frame: module._malloc(COMPRESSED_BYTES_MAX),
  };
  if (Object.values(bench).includes(0)) {
    throw new ZcacheError(
      "ERR_CODEC_UNAVAILABLE",
      "zstd in WebAssembly can't allocate its working memory",
    );
  }
  return bench;
}

/** A dictionary in the module's memory; 0 bytes mean none. */
interface Known {
  readonly at: number;
  readonly sizeBytes: number;
}
const NO_DICTIONARY: Known = { at: 0, sizeBytes: 0 };

/**
 * Copies a dictionary to the module's memory. The package has no function that prepares a
 * dictionary, so each call reads it anew: compression takes a multiple of the time, decompression
 * some microseconds more.
 * @throws ZcacheError ERR_OPTION for a dictionary that zstd can't use
 */
function load(bench: Workbench, dictionary: Uint8Array): Known {
  checkDictionaryBytes("zstd", dictionary.length, ZSTD_DICTIONARY_BYTES_MAX);
  const { module, compressor, frame, page } = bench;
  const known = { at: module._malloc(dictionary.length), sizeBytes: dictionary.length };
  if (known.at === 0) {
    throw new ZcacheError("ERR_CODEC_UNAVAILABLE", "zstd in WebAssembly has no memory left");
  }
  module.HEAPU8.set(dictionary, known.at);
  const { at, sizeBytes } = known;
  const size = module._ZSTD_compress_usingDict(
    compressor,
    frame,
    COMPRESSED_BYTES_MAX,
    page,
    1,
    at,
    sizeBytes,
    ZSTD_LEVELS.default,
  );
  if (module._ZSTD_isError(size) !== 0) {
    module._free(known.at);
    throw malformedDictionary(dictionary);
  }
  return known;
}

class ZstdWasm implements Codec {
  readonly name = "zstd";
  readonly implementation: string;
  readonly #bytes: Uint8Array;
  readonly #bench: Workbench;
  readonly #frame: EncodedFrame;
  readonly #level: number;
  #dictionary: Known | undefined;

  constructor(
    implementation: string,
    memory: CodecMemory,
    bench: Workbench,
    level: number,
    dictionary: Known,
  ) {
    this.implementation = implementation;
    this.#bytes = memory.bytes;
    this.#bench = bench;
    this.#frame = { bytes: bench.module.HEAPU8, at: bench.frame, sizeBytes: 0 };
    this.#level = level;
    this.#dictionary = dictionary;
  }

  compress(source: Address, sourceBytes: number, target: Address, limitBytes: number): number {
    assert(sourceBytes >= 1 && sourceBytes <= SOURCE_BYTES_MAX, "a source has 1 … 65536 bytes");
    const { module, compressor, page, frame } = this.#bench;
    const dictionary = this.#dictionary;
    assert(dictionary !== undefined, "a codec is not used once it is closed");
    // `subarray` over the shared memory costs 70 ns, here and below: 0.2 % of the compression.
    module.HEAPU8.set(this.#bytes.subarray(source, source + sourceBytes), page);
    const frameBytes = module._ZSTD_compress_usingDict(
      compressor,
      frame,
      COMPRESSED_BYTES_MAX,
      page,
      sourceBytes,
      dictionary.at,
      dictionary.sizeBytes,
      this.#level,
    );
    assert(module._ZSTD_isError(frameBytes) === 0, "zstd compresses into a buffer of its bound");
    const encoded = this.#frame;
    // Read after the call, because a growing memory replaces the view.
    encoded.bytes = module.HEAPU8;
    encoded.sizeBytes = frameBytes;
    return storeFrame(encoded, sourceBytes, this.#bytes, target, limitBytes);
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
    const { module, decompressor, page, frame } = this.#bench;
    const dictionary = this.#dictionary;
    assert(dictionary !== undefined, "a codec is not used once it is closed");
    module.HEAPU8.set(ZSTD_MAGIC, frame);
    const blocks = bytes.subarray(source, source + sourceBytes);
    module.HEAPU8.set(blocks, frame + ZSTD_MAGIC.length);
    const written = module._ZSTD_decompress_usingDict(
      decompressor,
      page,
      targetBytes,
      frame,
      frameBytes,
      dictionary.at,
      dictionary.sizeBytes,
    );
    // An error is a number far above any size.
    if (written !== targetBytes) {
      throw corruptError("zstd", sourceBytes, targetBytes, "is malformed or gives another length");
    }
    bytes.set(module.HEAPU8.subarray(page, page + targetBytes), target);
  }

  close(): void {
    const at = this.#dictionary?.at ?? 0;
    if (at !== 0) this.#bench.module._free(at);
    this.#dictionary = undefined;
  }
}
