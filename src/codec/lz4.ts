// LZ4: the fastest codec here, and the default. Its kernels run inside the shared memory, so that
// pages are not copied. The output is plain LZ4 blocks, which any LZ4 library reads.
import type { Address } from "../base/brand.ts";
import { assert, ZcacheError } from "../base/errors.ts";
import { LZ4_DICTIONARY_TABLE_BYTES, LZ4_TABLE_BYTES } from "../wasm/kernels.ts";
import type { Codec, CodecMemory, CodecOptions } from "./contract.ts";
import { corruptError } from "./corrupt.ts";
import { checkDictionaryBytes } from "./dictionary_option.ts";
import { LZ4_DICTIONARY_BYTES_MAX, SOURCE_BYTES_MAX } from "./limits.ts";
import { giveScratch, sharedScratch, takeScratch } from "./scratch.ts";

const IMPLEMENTATION = "zcache's own (WebAssembly)";

/**
 * Opens the `lz4` codec for the calling thread; takes LZ4_TABLE_BYTES of scratch. Codecs with a
 * dictionary share those within a thread, and each takes LZ4_DICTIONARY_TABLE_BYTES and, unless the
 * dictionary is in the memory, LZ4_DICTIONARY_BYTES_MAX for a copy.
 * @throws ZcacheError ERR_OPTION for a level, which LZ4 does not have, or a dictionary that is too
 *   short or too long; ERR_ARENA_FULL without room for scratch
 */
export function createLz4(memory: CodecMemory, options: CodecOptions = {}): Codec {
  if (options.level !== undefined) {
    throw new ZcacheError("ERR_OPTION", `lz4 has no levels, but level ${options.level} was given`, {
      context: { codec: "lz4", level: options.level },
    });
  }
  const { dictionary } = options;
  return dictionary === undefined ? new Lz4(memory) : new Lz4WithDictionary(memory, dictionary);
}

/** What the kernels of a codec work with, for kernels that compress by themselves. */
export interface Lz4Scratch {
  readonly table: Address;
  readonly dictionary: Address;
  /** 0: there is no dictionary. */
  readonly dictionaryBytes: number;
  readonly dictionaryTable: Address;
}

const NONE = 0 as Address;

/** The scratch of an open codec; undefined if the codec is not LZ4. */
export function lz4ScratchOf(codec: Codec): Lz4Scratch | undefined {
  return codec instanceof Lz4 || codec instanceof Lz4WithDictionary ? codec.scratch : undefined;
}

class Lz4 implements Codec {
  readonly name = "lz4";
  readonly implementation = IMPLEMENTATION;
  readonly #kernels: CodecMemory["kernels"];
  readonly #table: Address;

  constructor(memory: CodecMemory) {
    this.#kernels = memory.kernels;
    this.#table = memory.reserve(LZ4_TABLE_BYTES);
  }

  get scratch(): Lz4Scratch {
    return { table: this.#table, dictionary: NONE, dictionaryBytes: 0, dictionaryTable: NONE };
  }

  compress(source: Address, sourceBytes: number, target: Address, limitBytes: number): number {
    // The kernel's table has 16-bit positions: a longer source would be corrupted.
    assert(sourceBytes >= 1 && sourceBytes <= SOURCE_BYTES_MAX, "a source has 1 … 65536 bytes");
    return this.#kernels.lz4Compress(source, sourceBytes, target, limitBytes, this.#table);
  }

  decompress(source: Address, sourceBytes: number, target: Address, targetBytes: number): void {
    const written = this.#kernels.lz4Decompress(source, sourceBytes, target, targetBytes);
    if (written !== targetBytes) throw corrupt(sourceBytes, targetBytes, written);
  }
}

function corrupt(sourceBytes: number, targetBytes: number, written: number): ZcacheError {
  const why = written < 0 ? "is malformed" : `gives ${written} bytes`;
  return corruptError("lz4", sourceBytes, targetBytes, why);
}

class Lz4WithDictionary implements Codec {
  readonly name = "lz4";
  readonly implementation = IMPLEMENTATION;
  readonly #memory: CodecMemory;
  readonly #kernels: CodecMemory["kernels"];
  readonly #table: Address;
  readonly #dictionary: Address;
  readonly #dictionaryBytes: number;
  readonly #dictionaryTable: Address;
  /** Whether the dictionary is a copy, in scratch. */
  readonly #isCopy: boolean;
  #isOpen = true;

  constructor(memory: CodecMemory, dictionary: Uint8Array) {
    checkDictionaryBytes("lz4", dictionary.length, LZ4_DICTIONARY_BYTES_MAX);
    const { bytes, kernels } = memory;
    this.#memory = memory;
    this.#kernels = kernels;
    this.#table = sharedScratch(memory, LZ4_TABLE_BYTES);
    this.#dictionaryTable = takeScratch(memory, LZ4_DICTIONARY_TABLE_BYTES);
    this.#dictionaryBytes = dictionary.length;
    this.#isCopy = dictionary.buffer !== bytes.buffer;
    if (this.#isCopy) {
      this.#dictionary = takeScratch(memory, LZ4_DICTIONARY_BYTES_MAX);
      bytes.set(dictionary, this.#dictionary);
    } else {
      this.#dictionary = (dictionary.byteOffset - bytes.byteOffset) as Address;
    }
    assert(this.#dictionary > 0, "no dictionary begins at address 0");
    kernels.lz4PrepareDictionary(this.#dictionary, dictionary.length, this.#dictionaryTable);
  }

  get scratch(): Lz4Scratch {
    return {
      table: this.#table,
      dictionary: this.#dictionary,
      dictionaryBytes: this.#dictionaryBytes,
      dictionaryTable: this.#dictionaryTable,
    };
  }

  compress(source: Address, sourceBytes: number, target: Address, limitBytes: number): number {
    assert(sourceBytes >= 1 && sourceBytes <= SOURCE_BYTES_MAX, "a source has 1 … 65536 bytes");
    assert(this.#isOpen, "a codec is not used once it is closed");
    return this.#kernels.lz4CompressDictionary(
      source,
      sourceBytes,
      target,
      limitBytes,
      this.#table,
      this.#dictionary,
      this.#dictionaryBytes,
      this.#dictionaryTable,
    );
  }

  decompress(source: Address, sourceBytes: number, target: Address, targetBytes: number): void {
    assert(this.#isOpen, "a codec is not used once it is closed");
    const written = this.#kernels.lz4DecompressDictionary(
      source,
      sourceBytes,
      target,
      targetBytes,
      this.#dictionary,
      this.#dictionaryBytes,
    );
    if (written !== targetBytes) throw corrupt(sourceBytes, targetBytes, written);
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    giveScratch(this.#memory, LZ4_DICTIONARY_TABLE_BYTES, this.#dictionaryTable);
    if (this.#isCopy) giveScratch(this.#memory, LZ4_DICTIONARY_BYTES_MAX, this.#dictionary);
  }
}
