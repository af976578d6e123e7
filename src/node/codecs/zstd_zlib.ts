// zstd by `node:zlib` of Node 22.15, 23.8 and later: the last choice, because each call makes a
// context and a buffer. Streams keep both, but lose their settings with a reset. Dictionaries work
// from Node 22.19 and 24.6 on, and are parsed again in each call.
import zlib from "node:zlib";
import type { Address } from "../../base/brand.ts";
import { assert } from "../../base/errors.ts";
import type { Codec, CodecMemory } from "../../codec/contract.ts";
import { corruptError } from "../../codec/corrupt.ts";
import { checkDictionaryBytes, malformedDictionary } from "../../codec/dictionary_option.ts";
import {
  COMPRESSED_BYTES_MAX,
  SOURCE_BYTES_MAX,
  ZSTD_DICTIONARY_BYTES_MAX,
} from "../../codec/limits.ts";
import type { CodecDriver } from "../../codec/registry.ts";
import {
  type EncodedFrame,
  isStoredFrame,
  storeFrame,
  ZSTD_LEVELS,
  ZSTD_MAGIC,
} from "../../codec/zstd_frame.ts";

interface CompressOptions {
  readonly chunkSize: number;
  readonly params: Record<number, number>;
  readonly dictionary?: Uint8Array | undefined;
}

/** The part of `node:zlib` that the types of the oldest supported Node lack. */
interface ZlibWithZstd {
  zstdCompressSync(source: Uint8Array, options: CompressOptions): Uint8Array;
  zstdDecompressSync(
    source: Uint8Array,
    options: { chunkSize: number; maxOutputLength: number; dictionary?: Uint8Array | undefined },
  ): Uint8Array;
  readonly constants: {
    readonly ZSTD_c_compressionLevel: number;
    readonly ZSTD_c_contentSizeFlag: number;
  };
}

/** Extra bytes of a chunk, so that any result fits into one chunk. */
const SPARE_BYTES = 64;

/** @throws Error if this Node has no zstd */
export function loadZstdZlib(): CodecDriver {
  if (!("zstdCompressSync" in zlib)) {
    throw new Error(`node:zlib of Node ${process.versions.node} has no zstd`);
  }
  const functions = zlib as unknown as ZlibWithZstd;
  const implementation = `node:zlib ${process.versions["zstd"] ?? ""} (native)`;
  return {
    name: "zstd",
    implementation,
    levels: ZSTD_LEVELS,
    dictionaries: knowsDictionaries(functions),
    open(memory, { level, dictionary }) {
      const known = dictionary && copyDictionary(functions, dictionary);
      return new ZstdZlib(implementation, memory, functions, level!, known);
    },
  };
}

/** Whether dictionaries work: older versions of Node ignore the option. */
function knowsDictionaries(functions: ZlibWithZstd): boolean {
  const dictionary = Uint8Array.from({ length: 256 }, (_, n) => (n * 167) & 255);
  const options = { chunkSize: COMPRESSED_BYTES_MAX, params: {}, dictionary };
  return functions.zstdCompressSync(dictionary, options).length < dictionary.length / 2;
}

/** @throws ZcacheError ERR_OPTION for a dictionary that zstd can't use */
function copyDictionary(functions: ZlibWithZstd, dictionary: Uint8Array): Uint8Array {
  checkDictionaryBytes("zstd", dictionary.length, ZSTD_DICTIONARY_BYTES_MAX);
  const copy = new Uint8Array(dictionary);
  try {
    const options = { chunkSize: COMPRESSED_BYTES_MAX, params: {}, dictionary: copy };
    functions.zstdCompressSync(new Uint8Array(1), options);
  } catch (cause) {
    throw malformedDictionary(dictionary, cause);
  }
  return copy;
}

class ZstdZlib implements Codec {
  readonly name = "zstd";
  readonly implementation: string;
  readonly #bytes: Uint8Array;
  readonly #zlib: ZlibWithZstd;
  readonly #options: CompressOptions;
  readonly #dictionary: Uint8Array | undefined;
  #isOpen = true;
  readonly #frame = new Uint8Array(COMPRESSED_BYTES_MAX);
  readonly #encoded: EncodedFrame = { bytes: this.#frame, at: 0, sizeBytes: 0 };

  constructor(
    implementation: string,
    memory: CodecMemory,
    functions: ZlibWithZstd,
    level: number,
    dictionary: Uint8Array | undefined,
  ) {
    this.implementation = implementation;
    this.#bytes = memory.bytes;
    this.#zlib = functions;
    const { ZSTD_c_compressionLevel, ZSTD_c_contentSizeFlag } = functions.constants;
    this.#options = {
      chunkSize: COMPRESSED_BYTES_MAX,
      params: { [ZSTD_c_compressionLevel]: level, [ZSTD_c_contentSizeFlag]: 0 },
      dictionary,
    };
    this.#dictionary = dictionary;
    this.#frame.set(ZSTD_MAGIC);
  }

  compress(source: Address, sourceBytes: number, target: Address, limitBytes: number): number {
    assert(sourceBytes >= 1 && sourceBytes <= SOURCE_BYTES_MAX, "a source has 1 … 65536 bytes");
    assert(this.#isOpen, "a codec is not used once it is closed");
    const page = this.#bytes.subarray(source, source + sourceBytes);
    const frame = this.#zlib.zstdCompressSync(page, this.#options);
    if (this.#dictionary === undefined) {
      const size = frame.length - ZSTD_MAGIC.length;
      if (size > limitBytes) return 0;
      this.#bytes.set(frame.subarray(ZSTD_MAGIC.length), target);
      return size;
    }
    // zlib's window includes the dictionary, and its frame has the dictionary's ID.
    const encoded = this.#encoded;
    encoded.bytes = frame;
    encoded.sizeBytes = frame.length;
    return storeFrame(encoded, sourceBytes, this.#bytes, target, limitBytes);
  }

  decompress(source: Address, sourceBytes: number, target: Address, targetBytes: number): void {
    assert(this.#isOpen, "a codec is not used once it is closed");
    const bytes = this.#bytes;
    const frameBytes = ZSTD_MAGIC.length + sourceBytes;
    if (frameBytes > COMPRESSED_BYTES_MAX || !isStoredFrame(bytes, source, sourceBytes)) {
      throw corruptError("zstd", sourceBytes, targetBytes, "is no stored frame");
    }
    this.#frame.set(bytes.subarray(source, source + sourceBytes), ZSTD_MAGIC.length);
    let page: Uint8Array;
    try {
      page = this.#zlib.zstdDecompressSync(this.#frame.subarray(0, frameBytes), {
        chunkSize: targetBytes + SPARE_BYTES,
        maxOutputLength: targetBytes,
        dictionary: this.#dictionary,
      });
    } catch (cause) {
      throw corruptError("zstd", sourceBytes, targetBytes, "is malformed", cause);
    }
    if (page.length !== targetBytes) {
      throw corruptError("zstd", sourceBytes, targetBytes, `gives ${page.length} bytes`);
    }
    bytes.set(page, target);
  }

  close(): void {
    this.#isOpen = false;
  }
}
