// zstd by the optional package `zstd-napi`: the C library, which reads its source in place.
//
// The package accepts views over the shared memory. A frame is compressed to a private buffer
// first, because zstd needs eight bytes more than it writes: in the target itself it would refuse a
// limit that the frame just meets.
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
  PLAIN_DESCRIPTOR,
  storeFrame,
  ZSTD_LEVELS,
  ZSTD_MAGIC,
  ZSTD_PREPARED_LEVELS,
} from "../../codec/zstd_frame.ts";
import { requireOptional } from "../optional_packages.ts";

interface CompressContext {
  compress2(target: Uint8Array, source: Uint8Array): number;
  compressUsingCDict(target: Uint8Array, source: Uint8Array, dictionary: Prepared): number;
  setParameter(parameter: number, value: number): void;
}
interface DecompressContext {
  decompress(target: Uint8Array, source: Uint8Array): number;
  decompressUsingDDict(target: Uint8Array, source: Uint8Array, dictionary: Prepared): number;
  setParameter(parameter: number, value: number): void;
}
/** A dictionary prepared for one direction; it has a copy of the bytes. */
interface Prepared {
  getDictID(): number;
}
/** The used part of `zstd-napi/binding`. */
interface Binding {
  readonly CCtx: new () => CompressContext;
  readonly DCtx: new () => DecompressContext;
  readonly CDict: new (dictionary: Uint8Array, level: number) => Prepared;
  readonly DDict: new (dictionary: Uint8Array) => Prepared;
  readonly CParameter: { readonly compressionLevel: number; readonly contentSizeFlag: number };
}

/**
 * ZSTD_c_format and ZSTD_d_format. They are experimental in zstd.h, so the package has no names for
 * them, but it passes numbers on unchecked. Value 1 omits the magic number.
 */
const C_FORMAT = 10;
const D_FORMAT = 1000;
const FORMAT_MAGICLESS = 1;

/** @throws Error if the package is not installed, or its binary does not load or work here */
export function loadZstdNative(): CodecDriver {
  const binding = requireOptional("zstd-napi/binding") as Binding;
  const { version } = requireOptional("zstd-napi/package.json") as { version: string };
  const implementation = `zstd-napi ${version} (native)`;
  let contexts: Contexts | undefined;
  selfTest(binding);
  return {
    name: "zstd",
    implementation,
    levels: ZSTD_PREPARED_LEVELS,
    dictionaries: true,
    open(memory, { level, dictionary }) {
      if (dictionary === undefined) return new ZstdNative(implementation, memory, binding, level!);
      contexts ??= {
        compressor: new binding.CCtx(),
        decompressor: createDecompressor(binding),
        frame: {
          bytes: new Uint8Array(COMPRESSED_BYTES_MAX + ZSTD_MAGIC.length),
          at: 0,
          sizeBytes: 0,
        },
      };
      const known = new Dictionary(binding, memory, dictionary, level!);
      return new ZstdNativeWithDictionary(implementation, memory, contexts, known);
    },
  };
}

/** Contexts for all dictionaries of a thread: a context takes ten times the memory of one. */
interface Contexts {
  readonly compressor: CompressContext;
  readonly decompressor: DecompressContext;
  readonly frame: EncodedFrame;
}

/**
 * A dictionary prepared for both directions. The form for compression takes 160 to 510 KiB and is
 * made at its first use: a thread may only decompress with an old dictionary.
 */
class Dictionary {
  readonly forDecompressor: Prepared;
  readonly #binding: Binding;
  readonly #level: number;
  #content: Uint8Array;
  #forCompressor: Prepared | undefined;

  /** @throws ZcacheError ERR_OPTION for a dictionary that zstd can't use */
  constructor(binding: Binding, memory: CodecMemory, content: Uint8Array, level: number) {
    checkDictionaryBytes("zstd", content.length, ZSTD_DICTIONARY_BYTES_MAX);
    this.#binding = binding;
    this.#level = level;
    // Bytes in the shared memory stay unchanged until `close()`; others may change.
    this.#content = content.buffer === memory.bytes.buffer ? content : new Uint8Array(content);
    try {
      this.forDecompressor = new binding.DDict(content);
    } catch (cause) {
      throw malformedDictionary(content, cause);
    }
  }

  get forCompressor(): Prepared {
    if (this.#forCompressor === undefined) {
      try {
        this.#forCompressor = new this.#binding.CDict(this.#content, this.#level);
      } catch (cause) {
        throw malformedDictionary(this.#content, cause);
      }
      this.#content = new Uint8Array(0); // zstd has a copy of its own
    }
    return this.#forCompressor;
  }
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

/** Checks that the experimental parameters work as this file expects. */
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
    // The package takes only whole views. A view over the shared memory costs 70 ns, little beside
    // 12 µs of compression; a copy to a buffer with a permanent view would cost more.
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

/**
 * With a prepared dictionary, the package allows only zstd's default settings: so a frame has a
 * full header, which is replaced by that of the stored form.
 */
class ZstdNativeWithDictionary implements Codec {
  readonly name = "zstd";
  readonly implementation: string;
  readonly #bytes: Uint8Array;
  readonly #contexts: Contexts;
  #dictionary: Dictionary | undefined;

  constructor(
    implementation: string,
    memory: CodecMemory,
    contexts: Contexts,
    dictionary: Dictionary,
  ) {
    this.implementation = implementation;
    this.#bytes = memory.bytes;
    this.#contexts = contexts;
    this.#dictionary = dictionary;
  }

  compress(source: Address, sourceBytes: number, target: Address, limitBytes: number): number {
    assert(sourceBytes >= 1 && sourceBytes <= SOURCE_BYTES_MAX, "a source has 1 … 65536 bytes");
    const known = this.#dictionary;
    assert(known !== undefined, "a codec is not used once it is closed");
    const bytes = this.#bytes;
    const { compressor, frame } = this.#contexts;
    const page = bytes.subarray(source, source + sourceBytes);
    frame.sizeBytes = compressor.compressUsingCDict(frame.bytes, page, known.forCompressor);
    return storeFrame(frame, sourceBytes, bytes, target, limitBytes);
  }

  decompress(source: Address, sourceBytes: number, target: Address, targetBytes: number): void {
    const known = this.#dictionary;
    assert(known !== undefined, "a codec is not used once it is closed");
    const bytes = this.#bytes;
    if (!isStoredFrame(bytes, source, sourceBytes)) {
      throw corruptError("zstd", sourceBytes, targetBytes, "is no stored frame");
    }
    const frame = bytes.subarray(source, source + sourceBytes);
    const page = bytes.subarray(target, target + targetBytes);
    let written: number;
    try {
      const { decompressor } = this.#contexts;
      written = decompressor.decompressUsingDDict(page, frame, known.forDecompressor);
    } catch (cause) {
      throw corruptError("zstd", sourceBytes, targetBytes, "is malformed", cause);
    }
    if (written !== targetBytes) {
      throw corruptError("zstd", sourceBytes, targetBytes, `gives ${written} bytes`);
    }
  }

  close(): void {
    this.#dictionary = undefined;
  }
}
