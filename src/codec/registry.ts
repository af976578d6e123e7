// The codecs by name, including those that are not available here, with the reason and the remedy.
// Which codecs exist depends on the platform, so the registry is a value that the platform fills
// (node/codecs.ts for Node), not a table in this folder.
import { bytesOf } from "../base/bytes.ts";
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import { checkOptionNames } from "../base/option_names.ts";
import type { Codec, CodecMemory, CodecOptions } from "./contract.ts";

/** The compression levels of a codec. */
export interface CodecLevels {
  readonly min: number;
  readonly max: number;
  readonly default: number;
  /** The default with a dictionary, if it differs. */
  readonly withDictionary?: number;
}

/** An available codec, and how to open it. */
export interface CodecDriver {
  readonly name: string;
  /** The implementation and its version, such as `zstd-napi 0.0.13 (native)`. */
  readonly implementation: string;
  /** Absent for a codec without levels. */
  readonly levels?: CodecLevels;
  /** Whether it supports the option `dictionary`. */
  readonly dictionaries: boolean;
  /** Opens the codec for the calling thread. The options have been checked. */
  open(memory: CodecMemory, options: CodecOptions): Codec;
}

/** A codec that is not available here. */
export interface MissingCodec {
  readonly name: string;
  /** The reason, to complete the sentence `zstd is not available: <reason>`. */
  readonly reason: string;
  /** The remedy, as an instruction. */
  readonly remedy: string;
}

/** An entry of the registry's list. */
export type CodecListing =
  | {
      readonly name: string;
      readonly available: true;
      readonly implementation: string;
      readonly levels?: CodecLevels;
      readonly dictionaries: boolean;
    }
  | ({ readonly available: false } & MissingCodec);

type Entry = CodecDriver | MissingCodec;

export class CodecRegistry {
  readonly #entries = new Map<string, Entry | (() => Entry)>();

  /** Adds a codec, or the reason why it is missing; replaces an entry of the same name. */
  register(entry: CodecDriver | MissingCodec): this {
    this.#entries.set(entry.name, entry);
    return this;
  }

  /** Adds a codec that is looked up at its first use. */
  registerLater(name: string, load: () => CodecDriver | MissingCodec): this {
    this.#entries.set(name, load);
    return this;
  }

  /** The names of all codecs, in the order of their registration. */
  names(): string[] {
    return [...this.#entries.keys()];
  }

  /** All codecs in the order of their registration, missing ones with their reason. */
  list(): CodecListing[] {
    return this.names().map((name) => this.find(name)!);
  }

  /** The entry of one codec; undefined if there is none of that name. */
  find(name: string): CodecListing | undefined {
    const entry = this.#entryOf(name);
    if (entry === undefined) return undefined;
    if ("reason" in entry) return { available: false, ...entry };
    const { implementation, levels, dictionaries } = entry;
    const listing = { name, available: true, implementation, dictionaries } as const;
    return levels === undefined ? listing : { ...listing, levels };
  }

  /**
   * Opens a codec for the calling thread.
   * @throws ZcacheError ERR_CODEC_UNKNOWN listing the names, ERR_CODEC_UNAVAILABLE with reason and
   *   remedy, ERR_OPTION for a level that the codec does not have or a dictionary that it can't
   *   use, ERR_ARENA_FULL without room
   */
  create(name: string, memory: CodecMemory, options: CodecOptions = {}): Codec {
    const entry = this.#entryOf(name);
    if (entry === undefined) {
      const known = this.names().join(", ");
      throw new ZcacheError(
        "ERR_CODEC_UNKNOWN",
        `no codec is called "${name}"; available: ${known}`,
      );
    }
    if ("reason" in entry) {
      const { reason, remedy } = entry;
      throw new ZcacheError(
        "ERR_CODEC_UNAVAILABLE",
        `${name} is not available: ${reason}; ${remedy}`,
        {
          context: { codec: name, reason, remedy },
        },
      );
    }
    return entry.open(memory, checkOptions(entry, options));
  }

  #entryOf(name: string): Entry | undefined {
    const known = this.#entries.get(name);
    if (typeof known !== "function") return known;
    const entry = known();
    this.#entries.set(name, entry);
    return entry;
  }
}

/**
 * Checks a codec's options.
 * @returns them, with the default level filled in
 */
function checkOptions(driver: CodecDriver, options: CodecOptions): CodecOptions {
  checkOptionNames(options, ["level", "dictionary"], `codec ${driver.name}`);
  const { dictionary: given, level: wanted } = options;
  const dictionary = checkDictionary(driver, given);
  const level = checkLevel(driver, wanted, dictionary !== undefined);
  return { ...(level !== undefined && { level }), ...(dictionary !== undefined && { dictionary }) };
}

function checkLevel(
  { name, levels }: CodecDriver,
  level: number | undefined,
  hasDictionary: boolean,
): number | undefined {
  if (levels === undefined) {
    if (level === undefined) return undefined;
    throw new ZcacheError("ERR_OPTION", `codec ${name} has no levels; leave the level out`, {
      context: { codec: name },
    });
  }
  if (level === undefined) {
    return hasDictionary ? (levels.withDictionary ?? levels.default) : levels.default;
  }
  if (!Number.isInteger(level) || level < levels.min || level > levels.max) {
    throw new ZcacheError(
      "ERR_OPTION",
      `level ${describe(level)} of codec ${name}: ` +
        `must be a whole number from ${levels.min} to ${levels.max}`,
      { context: { codec: name, level, min: levels.min, max: levels.max } },
    );
  }
  return level;
}

/** The codec checks the length. */
function checkDictionary(
  { name, implementation, dictionaries }: CodecDriver,
  dictionary: Uint8Array | undefined,
): Uint8Array | undefined {
  if (dictionary === undefined) return undefined;
  const bytes = bytesOf(dictionary, `the dictionary of codec ${name}`);
  if (!dictionaries) {
    throw new ZcacheError(
      "ERR_OPTION",
      `codec ${name} by ${implementation} takes no dictionary; ` +
        "leave the dictionary out, or use lz4 or zstd",
      { context: { codec: name, implementation } },
    );
  }
  return bytes;
}
