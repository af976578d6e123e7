// The codecs of a store as one thread has them open: the one for what comes in, the denser one for
// what has lain idle, and each of them once more for every dictionary that it has met.
//
// Dictionaries stand in the arena for good; every thread finds one by the number that it meets in a
// value's header (value.layout.ts).
import { ZcacheError } from "../base/errors.ts";
import type { Codec, CodecMemory } from "../codec/contract.ts";
import type { CodecRegistry } from "../codec/registry.ts";
import type { ResolvedOptions } from "./options.ts";
import * as Page from "./page.layout.ts";

/** Reads the dictionary of a number; undefined if there is none. */
export type ReadDictionary = (dictionary: number) => Uint8Array | undefined;

export class StoreCodecs {
  readonly #registry: CodecRegistry;
  readonly #memory: CodecMemory;
  readonly #options: ResolvedOptions;
  /** By dictionary × 2, + 1 for the denser one. */
  readonly #open: (Codec | undefined)[] = [];
  /** Of the codec for what comes in, and of the denser one. */
  readonly #takesDictionary: readonly boolean[];

  constructor(registry: CodecRegistry, memory: CodecMemory, options: ResolvedOptions) {
    this.#registry = registry;
    this.#memory = memory;
    this.#options = options;
    this.#open[0] = registry.create(options.codec, memory, options.codecOptions);
    if (options.recompress !== undefined) {
      const { codec, codecOptions } = options.recompress;
      this.#open[1] = registry.create(codec, memory, codecOptions);
    }
    this.#takesDictionary = [options.codec, options.recompress?.codec].map((name) => {
      const found = name === undefined ? undefined : registry.find(name);
      return found?.available === true && found.dictionaries;
    });
  }

  /** Whether there is one for what has lain idle. */
  get hasDense(): boolean {
    return this.#open[1] !== undefined;
  }

  /** Whether the codec for what comes in, or the denser one, can use a dictionary. */
  takesDictionary(isDense: boolean): boolean {
    return this.#takesDictionary[isDense ? 1 : 0]!;
  }

  /**
   * The codec that META's number means.
   * @throws ZcacheError ERR_CODEC_CORRUPT if there is no such dictionary
   */
  of(codec: number, dictionary: number, read: ReadDictionary): Codec {
    const isDense = codec === Page.DENSE;
    const nth = dictionary * 2 + (isDense ? 1 : 0);
    return this.#open[nth] ?? this.#openWith(nth, isDense, dictionary, read);
  }

  #openWith(nth: number, isDense: boolean, dictionary: number, read: ReadDictionary): Codec {
    const bytes = dictionary === 0 ? undefined : read(dictionary);
    const { codec, codecOptions, recompress } = this.#options;
    const name = isDense ? recompress?.codec : codec;
    if (bytes === undefined || name === undefined) {
      throw new ZcacheError("ERR_CODEC_CORRUPT", `there is no dictionary ${dictionary}`, {
        context: { dictionary },
      });
    }
    const settings = isDense ? recompress?.codecOptions : codecOptions;
    const opened = this.#registry.create(name, this.#memory, { ...settings, dictionary: bytes });
    this.#open[nth] = opened;
    return opened;
  }
}
