// The codecs of a store as one thread has them open: one for new pages, a denser one for idle
// pages, and both once more for each dictionary in use.
//
// Dictionaries stay in the arena. A thread finds each by the number in a value's header
// (value.layout.ts).
import { ZcacheError } from "../base/errors.ts";
import type { Codec, CodecMemory } from "../codec/contract.ts";
import type { CodecRegistry } from "../codec/registry.ts";
import type { ResolvedOptions } from "./options.ts";
import * as Page from "./page.layout.ts";

/** Returns the dictionary of a number; undefined if there is none. */
export type ReadDictionary = (dictionary: number) => Uint8Array | undefined;

export class StoreCodecs {
  readonly #registry: CodecRegistry;
  readonly #memory: CodecMemory;
  readonly #options: ResolvedOptions;
  /** Indexed by 2 × dictionary, + 1 for the denser codec. */
  readonly #open: (Codec | undefined)[] = [];
  /** For the codec of new pages, and for the denser codec. */
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

  /** Whether the store has a denser codec. */
  get hasDense(): boolean {
    return this.#open[1] !== undefined;
  }

  /** Whether the codec of new pages, or the denser codec, supports dictionaries. */
  takesDictionary(isDense: boolean): boolean {
    return this.#takesDictionary[isDense ? 1 : 0]!;
  }

  /**
   * The codec of a number in META.
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
