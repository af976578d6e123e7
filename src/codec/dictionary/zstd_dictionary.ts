// A dictionary in zstd's own format (RFC 8878, 5): besides the content it has the tables that a
// short document would otherwise have to include, some hundred bytes each.
//
//   0         4         8
//  ┌─────────┬─────────┬──────────────┬─────────┬──────────┬──────────┬───────────┬─ ─ ─ ─ ─┐
//  │ magic   │ id      │ Huffman tree │ offsets │ lengths  │ lengths  │ repeated  │ content │
//  │         │         │ of literals  │         │ of match │ of lits. │ offsets   │         │
//  └─────────┴─────────┴──────────────┴─────────┴──────────┴──────────┴───────────┴─ ─ ─ ─ ─┘
//                        ≤ 128 bytes    tables of FSE, less than 100 bytes     12
import { bytesOf } from "../../base/bytes.ts";
import { ZcacheError } from "../../base/errors.ts";
import { KIB } from "../../base/units.ts";
import { DICTIONARY_BYTES_MIN } from "../limits.ts";
import { normalize, writeTable } from "./fse.ts";
import { writeTree } from "./huffman.ts";
import { countSequences, REPEATED_OFFSETS } from "./sequences.ts";
import { samplesOf, thinOut } from "./train.ts";

const MAGIC = [0x37, 0xa4, 0x30, 0xec];
/** Sizes of the tables, as logarithms; the format allows no more. */
const OFFSETS_LOG = 8;
const MATCH_LENGTHS_LOG = 9;
const LITERAL_LENGTHS_LOG = 9;
/** Samples to count in; more make no measurable difference. */
const COUNTED_BYTES_MAX = 512 * KIB;
/** Ids that the format leaves for private use. */
const ID_MIN = 32_768;
const ID_RANGE = 2 ** 31 - ID_MIN;

/** The most bytes that `finalizeZstdDictionary` adds before the content. */
export const ZSTD_TABLES_BYTES_MAX = 512;

/**
 * Makes a zstd dictionary from content such as `trainDictionary` returns. It is up to
 * ZSTD_TABLES_BYTES_MAX longer than the content. Takes about 50 ms.
 * @param samples typical data
 * @throws ZcacheError ERR_OPTION for less than 8 bytes of content
 */
export function finalizeZstdDictionary(
  contentBytes: Uint8Array,
  samples: readonly Uint8Array[],
): Uint8Array {
  const content = bytesOf(contentBytes, "content");
  if (content.length < DICTIONARY_BYTES_MIN) {
    throw new ZcacheError(
      "ERR_OPTION",
      `content of ${content.length} bytes for a dictionary: the minimum is ${DICTIONARY_BYTES_MIN}`,
      { context: { sizeBytes: content.length } },
    );
  }
  const counts = countSequences(content, thinOut(samplesOf(samples), COUNTED_BYTES_MAX));
  const table = (of: readonly number[], log: number) => writeTable(normalize(of, log), log);
  const words = [...REPEATED_OFFSETS];
  const head = [
    ...MAGIC,
    ...littleEndian(idOf(content)),
    ...writeTree(counts.literals),
    ...table(counts.offsets, OFFSETS_LOG),
    ...table(counts.matchLengths, MATCH_LENGTHS_LOG),
    ...table(counts.literalLengths, LITERAL_LENGTHS_LOG),
    ...words.flatMap(littleEndian),
  ];
  const dictionary = new Uint8Array(head.length + content.length);
  dictionary.set(head);
  dictionary.set(content, head.length);
  return dictionary;
}

function littleEndian(word: number): number[] {
  return [word & 255, (word >>> 8) & 255, (word >>> 16) & 255, word >>> 24];
}

/** Derived from the content (FNV-1a), so that the same samples give the same dictionary. */
function idOf(content: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (const byte of content) hash = Math.imul(hash ^ byte, 0x01000193);
  return ID_MIN + ((hash >>> 0) % ID_RANGE);
}
