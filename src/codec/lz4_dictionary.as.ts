// LZ4's compressor with a dictionary: bytes that stand before the source for both sides, so that a
// match may begin among them. What comes out is a plain block with an external dictionary, as the
// reference library's `LZ4_decompress_safe_usingDict` reads it.
//
//    dictionary                    source
//  ┌──────────────────────────┐  ┌────────────────────────────────────┐
//  │      ◄── within 65,535 ──┼──┼── at                               │
//  └──────────────────────────┘  └────────────────────────────────────┘
//    a table of its own, made      the table that is cleared for each
//    once, only read               source
//
// The two lie anywhere in the memory; for distances the source follows the dictionary at once.
// Two tables, and not one that begins as a copy of the dictionary's: the copy would take longer
// than compressing a short document, so it would have to be small, and then most of the
// dictionary is not in it. docs/decisions/0011-dictionaries.md has the figures.
import { HALF_MAX, LAST_LITERALS, MATCH_MIN } from "./lz4.as";
import {
  exchange,
  extraBytes,
  HASH_FACTOR,
  matchEnd,
  putExtra,
  putLiterals,
  SEQUENCE_MARGIN,
  SKIP_BITS,
  START_MARGIN,
} from "./lz4_compressor.as";

/** Entries of 16 bits for the source, cleared for each. */
const SOURCE_BITS: u32 = 12;
/** For the dictionary: a position in it for each hash of four bytes. */
const DICTIONARY_BITS: u32 = 14;
/** The longest distance that the format can say. */
const DISTANCE_MAX: usize = 65535;

/** Notes every position of the dictionary (8 … 65,536 bytes); of equal ones, the last. */
export function lz4PrepareDictionary(dictionary: usize, size: u32, table: usize): void {
  memory.fill(table, 0, 2 << DICTIONARY_BITS);
  for (let at: u32 = 0; at <= size - <u32>MATCH_MIN; at++) {
    const hash = load<u32>(dictionary + at) * HASH_FACTOR;
    store<u16>(table + (<usize>(hash >>> (32 - DICTIONARY_BITS)) << 1), <u16>at);
  }
}

// @ts-ignore: decorator
@inline
function sourceSlot(table: usize, hash: u32): usize {
  return table + (<usize>(hash >>> (32 - SOURCE_BITS)) << 1);
}

/**
 * Where the four bytes at `at` were last seen: in the source, else within reach in the dictionary.
 * Notes `at`. @returns the address, or 0; the dictionary never begins at address 0
 */
// @ts-ignore: decorator
@inline
function find(
  at: usize, source: usize, table: usize,
  dictionary: usize, dictionaryEnd: usize, dictionaryTable: usize,
): usize {
  const four = load<u32>(at);
  const hash = four * HASH_FACTOR;
  const own = exchange(sourceSlot(table, hash), source, at);
  // A cleared entry says the source's begin, which at the begin itself is no match.
  if (load<u32>(own) == four && own != at) return own;
  const entry = dictionaryTable + (<usize>(hash >>> (32 - DICTIONARY_BITS)) << 1);
  const known = dictionary + <usize>load<u16>(entry);
  if (load<u32>(known) != four) return 0;
  return dictionaryEnd - known + (at - source) <= DISTANCE_MAX ? known : 0;
}

/** Completes a token by its match's length. @returns the address behind it, or 0 without room */
// @ts-ignore: decorator
@inline
function putLength(token: usize, halves: usize, length: usize, out: usize, outEnd: usize): usize {
  store<u8>(token, <u8>(halves | min(length, HALF_MAX)));
  if (length < HALF_MAX) return out;
  return extraBytes(length) > outEnd - out ? 0 : putExtra(out, length);
}

/** @returns up to where a match from the dictionary goes, over its end on into the source */
// @ts-ignore: decorator
@inline
function knownEnd(
  at: usize, match: usize, source: usize, dictionaryEnd: usize, limit: usize,
): usize {
  // The difference `at - match` wraps where the dictionary lies higher; so does what is made of it.
  const edge = at + (dictionaryEnd - match);
  const end = matchEnd(at + MATCH_MIN, at - match, min(limit, edge));
  return end == edge ? matchEnd(edge, edge - source, limit) : end;
}

/**
 * Compresses `size` bytes (1 … 65,536) from `source` with a prepared dictionary.
 * @returns bytes written, or 0 if they would exceed `limit`
 */
export function lz4CompressDictionary(
  source: usize, size: u32, target: usize, limit: u32, table: usize,
  dictionary: usize, dictionaryBytes: u32, dictionaryTable: usize,
): u32 {
  const sourceEnd = source + size;
  const outEnd = target + limit;
  const dictionaryEnd = dictionary + dictionaryBytes;
  let anchor = source;
  let out = target;
  if (size > START_MARGIN) {
    memory.fill(table, 0, 2 << SOURCE_BITS);
    const lastStart = sourceEnd - START_MARGIN;
    const lastMatchEnd = sourceEnd - LAST_LITERALS;
    const outWide = limit > SEQUENCE_MARGIN ? outEnd - SEQUENCE_MARGIN : target;
    let at = source;
    while (at <= lastStart) {
      let match = find(at, source, table, dictionary, dictionaryEnd, dictionaryTable);
      for (let misses: u32 = 1 << SKIP_BITS; match == 0; misses++) {
        at += misses >> SKIP_BITS;
        if (at > lastStart) break;
        match = find(at, source, table, dictionary, dictionaryEnd, dictionaryTable);
      }
      if (at > lastStart) break;
      // In which of the two the match begins; unsigned, so one compare.
      let isKnown = match - dictionary < <usize>dictionaryBytes;
      const start = isKnown ? dictionary : source;
      while (at > anchor && match > start && load<u8>(at - 1) == load<u8>(match - 1)) {
        at--;
        match--;
      }

      let token = out;
      const literals = at - anchor;
      let halves = min(literals, HALF_MAX) << 4;
      if (literals < HALF_MAX && out < outWide) {
        v128.store(out, v128.load(anchor), 1);
        out += 1 + literals;
      } else {
        out = putLiterals(out, outEnd, anchor, literals, sourceEnd, 2);
        if (out == 0) return 0;
      }
      while (true) {
        if (isKnown) {
          store<u16>(out, <u16>(dictionaryEnd - match + (at - source)));
          anchor = knownEnd(at, match, source, dictionaryEnd, lastMatchEnd);
        } else {
          store<u16>(out, <u16>(at - match));
          anchor = matchEnd(at + MATCH_MIN, at - match, lastMatchEnd);
        }
        out += 2;
        const length = anchor - at - MATCH_MIN;
        at = anchor;
        out = putLength(token, halves, length, out, outEnd);
        if (out == 0) return 0;
        if (at > lastStart) break;

        exchange(sourceSlot(table, load<u32>(at - 2) * HASH_FACTOR), source, at - 2);
        match = find(at, source, table, dictionary, dictionaryEnd, dictionaryTable);
        if (match == 0) break;
        if (outEnd - out < 3) return 0;
        isKnown = match - dictionary < <usize>dictionaryBytes;
        token = out++;
        halves = 0;
      }
      at++;
    }
  }
  out = putLiterals(out, outEnd, anchor, sourceEnd - anchor, sourceEnd, 0);
  return out == 0 ? 0 : <u32>(out - target);
}
