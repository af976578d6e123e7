// LZ4's compressor, without a dictionary, and what lz4_dictionary.as.ts shares with it. lz4.as.ts
// describes the format.
import { copyLiterals, HALF_MAX, LAST_LITERALS, MATCH_MIN } from "./lz4.as";

/**
 * The table: 16 bits for each hash of four bytes, the position in the source where they were seen.
 * 4,096 entries for small sources, because clearing it is a part of the cost; twice as many for
 * large ones, which without them lose up to 2 % of size.
 */
const TABLE_BITS_SMALL: u32 = 12;
const TABLE_BITS_LARGE: u32 = 13;
const SMALL_SOURCE: u32 = 16384;
/** Multiplicative hashing (Knuth): a prime next to 2³² divided by the golden ratio. */
export const HASH_FACTOR: u32 = 2654435761;
/**
 * No match starts in the last 16 bytes. The format asks for 12; with 16, a copy of 16 bytes from
 * among the literals before a match never reads beyond the source. It costs 0.1 % of the size.
 */
export const START_MARGIN: u32 = 16;
/** After 64 misses in a row the search steps by two, after 128 by three: what does not compress is
 *  passed quickly. The reference does the same. */
export const SKIP_BITS: u32 = 6;
/** What a sequence of less than 15 literals writes before its match's length goes on: the token,
 *  a copy of 16 bytes that holds the literals, and behind the literals the distance. */
export const SEQUENCE_MARGIN: u32 = 17;

/** Address of the table's entry for four bytes. */
// @ts-ignore: decorator
@inline
export function slotOf(table: usize, four: u32, hashShift: u32): usize {
  return table + (<usize>((four * HASH_FACTOR) >>> hashShift) << 1);
}

/** The position that was last seen with these four bytes' hash, as an address; then notes `at`. */
// @ts-ignore: decorator
@inline
export function exchange(slot: usize, source: usize, at: usize): usize {
  const earlier = source + <usize>load<u16>(slot);
  store<u16>(slot, <u16>(at - source));
  return earlier;
}

/** @returns up to where, from `at` on, bytes equal those `distance` before them; at most `limit` */
// @ts-ignore: decorator
@inline
export function matchEnd(at: usize, distance: usize, limit: usize): usize {
  for (; at + 8 <= limit; at += 8) {
    const difference = load<u64>(at) ^ load<u64>(at - distance);
    if (difference != 0) return at + <usize>(ctz(difference) >> 3);
  }
  while (at < limit && load<u8>(at) == load<u8>(at - distance)) at++;
  return at;
}

/** How many bytes a length takes behind its token. */
// @ts-ignore: decorator
@inline
export function extraBytes(length: usize): usize {
  return length < HALF_MAX ? 0 : (length - HALF_MAX) / 255 + 1;
}

/** Writes what of a length, at least 15, goes behind its token. @returns the address behind it */
// @ts-ignore: decorator
@inline
export function putExtra(out: usize, length: usize): usize {
  let rest = length - HALF_MAX;
  for (; rest >= 255; rest -= 255) store<u8>(out++, 255);
  store<u8>(out, <u8>rest);
  return out + 1;
}

/**
 * Writes a token for literals only, and the literals: the form for long runs and tight room.
 * `reserve` more bytes must fit behind them.
 * @returns the address behind the literals, or 0 if there is no room
 */
export function putLiterals(
  out: usize,
  outEnd: usize,
  from: usize,
  count: usize,
  sourceEnd: usize,
  reserve: usize,
): usize {
  if (1 + extraBytes(count) + count + reserve > outEnd - out) return 0;
  store<u8>(out++, <u8>(min(count, HALF_MAX) << 4));
  if (count >= HALF_MAX) out = putExtra(out, count);
  copyLiterals(out, from, count, min(sourceEnd - from, outEnd - out));
  return out + count;
}

/**
 * Compresses `size` bytes (1 … 65,536) from `source`, with 16 KiB of scratch at `table`.
 * @returns bytes written, or 0 if they would exceed `limit`
 */
export function lz4Compress(
  source: usize, size: u32, target: usize, limit: u32, table: usize,
): u32 {
  return size <= SMALL_SOURCE
    ? compressWith(source, size, target, limit, table, TABLE_BITS_SMALL)
    : compressWith(source, size, target, limit, table, TABLE_BITS_LARGE);
}

/**
 * The same with a table of 2^tableBits entries. Inlined, so that there are two copies of it, each
 * with constants: a variable table size costs 3 % of the time. Lengths and literals are written
 * here, not by functions shared with the other compressor, whose results cost a check per sequence.
 */
// @ts-ignore: decorator
@inline
function compressWith(
  source: usize, size: u32, target: usize, limit: u32, table: usize, tableBits: u32,
): u32 {
  const sourceEnd = source + size;
  const outEnd = target + limit;
  const hashShift = 32 - tableBits;
  let anchor = source; // everything before it is in the target
  let out = target;
  if (size > START_MARGIN) {
    // Cleared for every block. A table that keeps its entries would save that, but telling old
    // entries from new ones takes a branch per probe that can't be predicted. A cleared entry needs
    // no such branch: it says position 0, and the bytes there are compared like any others.
    memory.fill(table, 0, 2 << tableBits);
    const lastStart = sourceEnd - START_MARGIN;
    const lastMatchEnd = sourceEnd - LAST_LITERALS;
    const outWide = limit > SEQUENCE_MARGIN ? outEnd - SEQUENCE_MARGIN : target;
    let at = source + 1; // position 0 is in the table already: every cleared entry says it
    while (at <= lastStart) {
      let match = exchange(slotOf(table, load<u32>(at), hashShift), source, at);
      for (let misses: u32 = 1 << SKIP_BITS; load<u32>(match) != load<u32>(at); misses++) {
        at += misses >> SKIP_BITS;
        if (at > lastStart) break;
        match = exchange(slotOf(table, load<u32>(at), hashShift), source, at);
      }
      if (at > lastStart) break;
      while (at > anchor && match > source && load<u8>(at - 1) == load<u8>(match - 1)) {
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
        store<u16>(out, <u16>(at - match));
        out += 2;
        anchor = matchEnd(at + MATCH_MIN, at - match, lastMatchEnd);
        const length = anchor - at - MATCH_MIN;
        at = anchor;
        if (length < HALF_MAX) {
          store<u8>(token, <u8>(halves | length));
        } else {
          if (extraBytes(length) > outEnd - out) return 0;
          store<u8>(token, <u8>(halves | HALF_MAX));
          out = putExtra(out, length);
        }
        if (at > lastStart) break;

        // Often another match follows at once: a sequence without literals, found without a search.
        exchange(slotOf(table, load<u32>(at - 2), hashShift), source, at - 2);
        match = exchange(slotOf(table, load<u32>(at), hashShift), source, at);
        if (load<u32>(match) != load<u32>(at)) break;
        if (outEnd - out < 3) return 0;
        token = out++;
        halves = 0;
      }
      at++;
    }
  }
  out = putLiterals(out, outEnd, anchor, sourceEnd - anchor, sourceEnd, 0);
  return out == 0 ? 0 : <u32>(out - target);
}
