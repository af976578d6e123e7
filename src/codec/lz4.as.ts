// LZ4's block format, and its decompressor, for blocks of 1 … 65,536 bytes. The compressors are in
// lz4_compressor.as.ts and lz4_dictionary.as.ts.
//
// A block is a row of sequences; each is some new bytes (literals), then a copy of earlier ones
// (a match, so many bytes from so far back):
//
//    token         more literals   literals      distance    more match
//  ┌──────┬──────┐┌─────────────┐┌────────────┐┌────────────┐┌─────────────┐
//  │ 4 bit│ 4 bit││ 255 255 … n ││ 0 … bytes  ││ u16, 1 …   ││ 255 255 … n │
//  └──────┴──────┘└─────────────┘└────────────┘└────────────┘└─────────────┘
//  literals │ match − 4    a half of 15 is continued: add bytes up to and including the first < 255
//
// The block ends behind the literals of its last sequence. Compressors owe decompressors two rules:
// the last 5 bytes are literals, and the last match starts at least 12 bytes before the end.
//
// Where the speed comes from: copies of a fixed 16 or 32 bytes write more than is needed, and what
// comes next overwrites the surplus. They are taken only where the surplus stays inside of the
// region; near its end, exact copies take over. Nothing outside of the two regions is ever written
// or read, so a block may lie at the very end of the memory. It may also lie above 2 GiB or at
// address 0, hence two habits: all compares are unsigned, and a length that the block states is
// compared with the room that is left, never added to an address first, because that could wrap.
//
// The decorator @inline is AssemblyScript's; TypeScript itself knows none on functions.

/** The shortest match, and what the token's half counts from. */
export const MATCH_MIN: usize = 4;
/** The format's rule: this many bytes at the end are literals. */
export const LAST_LITERALS: usize = 5;
/** The half of a token that says that the length goes on behind it. */
export const HALF_MAX: usize = 15;
/** From this length on, the call that `memory.copy` is costs less than a loop. */
const BULK_COPY: usize = 512;

/**
 * Copies in steps of 32 bytes, at least one, up to `end` or less than 32 bytes further. Each 16
 * bytes are stored before the next are loaded, so a match may be as near as 16 bytes.
 */
// @ts-ignore: decorator
@inline
export function copyWide(target: usize, from: usize, end: usize): void {
  do {
    v128.store(target, v128.load(from));
    v128.store(target, v128.load(from, 16), 16);
    target += 32;
    from += 32;
  } while (target < end);
}

/** Copies exactly up to `end`, in steps of 16 bytes as far as they fit and don't overlap. */
export function copyExact(target: usize, from: usize, end: usize): void {
  if (target - from >= 16) {
    for (; end - target >= 16; target += 16, from += 16) v128.store(target, v128.load(from));
  }
  for (; target < end; target++, from++) store<u8>(target, load<u8>(from));
}

/** Copies `count` literals. Up to `room` bytes may be read and written, at least `count`. */
// @ts-ignore: decorator
@inline
export function copyLiterals(target: usize, from: usize, count: usize, room: usize): void {
  if (count >= BULK_COPY) memory.copy(target, from, count);
  else if (count + 32 <= room) copyWide(target, from, target + count);
  else copyExact(target, from, target + count);
}

/**
 * What the fast path may read from a sequence's start before it looks at the end again: the token
 * and 16 bytes of literals, or the token, 14 literals and the distance.
 */
const SOURCE_MARGIN: u32 = 17;
/** What it may write: 14 literals and a match copied as 18 bytes. Covers copyWide's surplus too. */
const TARGET_MARGIN: u32 = 32;
/** A token from here on has 15 or more literals. */
const LITERALS_GO_ON: usize = HALF_MAX << 4;
/**
 * No block of 65,536 bytes comes near this size, and up to it lengths can't wrap: they grow by 255
 * for each byte, so that takes 16 MiB.
 */
const BLOCK_BYTES_MAX: u32 = 1 << 20;
/** A hexadecimal digit for each distance below 8, the last for 0: its least multiple ≥ 8. */
const MULTIPLES: u32 = 0xeca89880;

/** @returns the address behind a length's last byte, the first below 255; 0 if there is none */
// @ts-ignore: decorator
@inline
function extraEnd(from: usize, sourceEnd: usize): usize {
  while (from < sourceEnd) {
    if (load<u8>(from++) != 255) return from;
  }
  return 0;
}

/** The length that the bytes from `from` to `end` continue. */
// @ts-ignore: decorator
@inline
function extraLength(from: usize, end: usize): usize {
  return HALF_MAX + (end - from - 1) * 255 + <usize>load<u8>(end - 1);
}

/** Copies a match from 8 … 15 bytes before, up to `end` or at most 15 bytes further. */
// @ts-ignore: decorator
@inline
function copyNear(target: usize, from: usize, end: usize): void {
  do {
    store<u64>(target, load<u64>(from));
    store<u64>(target, load<u64>(from, 8), 8);
    target += 16;
    from += 16;
  } while (target < end);
}

/** Stores the 8 bytes of `pattern` over and over, up to `end` or at most 31 bytes further. */
// @ts-ignore: decorator
@inline
function fillWide(target: usize, pattern: u64, end: usize): void {
  const twice = i64x2.splat(<i64>pattern);
  do {
    v128.store(target, twice);
    v128.store(target, twice, 16);
    target += 32;
  } while (target < end);
}

/**
 * A match less than 16 bytes back repeats a short pattern; copied bit by bit, each step would wait
 * for the one before to be stored. Distances that divide 8 are the usual ones, from arrays of
 * words: their pattern fills a register. The others below 8 are rare: eight single bytes, and then
 * the pattern is also found at a multiple of the distance that is 8 or more.
 * Writes at most 31 bytes beyond `end`.
 */
// @ts-ignore: decorator
@inline
function repeatWide(target: usize, distance: usize, end: usize): void {
  const match = target - distance;
  if (distance == 8) return fillWide(target, load<u64>(match), end);
  if (distance == 4) return fillWide(target, <u64>load<u32>(match) * 0x0000000100000001, end);
  if (distance == 2) return fillWide(target, <u64>load<u16>(match) * 0x0001000100010001, end);
  if (distance == 1) return fillWide(target, <u64>load<u8>(match) * 0x0101010101010101, end);
  if (distance > 8) return copyNear(target, match, end);
  for (let at: usize = 0; at < 8; at++) store<u8>(target + at, load<u8>(match + at));
  const multiple = <usize>((MULTIPLES >>> (<u32>distance << 2)) & 15);
  copyNear(target + 8, target + 8 - multiple, end);
}

/**
 * Copies a match that begins in the dictionary, `back` bytes before the dictionary's end. It may go
 * on in the target, which the format takes to follow the dictionary at once.
 */
function copyFromDictionary(
  out: usize, length: usize, target: usize, targetEnd: usize, dictionaryEnd: usize, back: usize,
): void {
  const match = dictionaryEnd - back;
  if (length + 32 <= min(back, targetEnd - out)) return copyWide(out, match, out + length);
  const first = min(length, back);
  copyExact(out, match, out + first);
  copyExact(out + first, target, out + length);
}

/**
 * Decompresses the `size` bytes at `source`.
 * @returns bytes written, at most `targetBytes`, or −1 for a malformed block
 */
export function lz4Decompress(source: usize, size: u32, target: usize, targetBytes: u32): i32 {
  return decompressWith(source, size, target, targetBytes, false, 0, 0);
}

/**
 * The same where matches may also begin in the dictionary, of `dictionaryBytes` up to
 * `dictionaryEnd`.
 */
export function lz4DecompressDictionary(
  source: usize, size: u32, target: usize, targetBytes: u32,
  dictionary: usize, dictionaryBytes: u32,
): i32 {
  const end = dictionary + dictionaryBytes;
  return decompressWith(source, size, target, targetBytes, true, end, dictionaryBytes);
}

/** Inlined, so that without a dictionary nothing is left of it. */
// @ts-ignore: decorator
@inline
function decompressWith(
  source: usize, size: u32, target: usize, targetBytes: u32,
  hasDictionary: bool, dictionaryEnd: usize, dictionaryBytes: usize,
): i32 {
  if (size > BLOCK_BYTES_MAX) return -1;
  const sourceEnd = source + size;
  const targetEnd = target + targetBytes;
  // How far the fast path goes; nowhere if a region is shorter than its margin.
  const sourceFast = size > SOURCE_MARGIN ? sourceEnd - SOURCE_MARGIN : source;
  const targetFast = targetBytes > TARGET_MARGIN ? targetEnd - TARGET_MARGIN : target;
  let from = source;
  let out = target;
  while (from < sourceFast && out < targetFast) {
    const token = <usize>load<u8>(from++);
    if (token < LITERALS_GO_ON) {
      v128.store(out, v128.load(from));
      from += token >> 4;
      out += token >> 4;
    } else {
      const extra = extraEnd(from, sourceEnd);
      if (extra == 0) return -1;
      const literals = extraLength(from, extra);
      const room = min(sourceEnd - extra, targetEnd - out);
      if (literals + TARGET_MARGIN > room) {
        from--; // back to the token: too near to an end for this path
        break;
      }
      copyLiterals(out, extra, literals, room);
      from = extra + literals;
      out += literals;
    }

    const distance = <usize>load<u16>(from);
    from += 2;
    let back: usize = 0; // from the dictionary's end, if the match begins there
    // One compare for two faults, because 0 − 1 is the largest number: none, or before the target.
    if (distance - 1 >= out - target) {
      back = distance - (out - target);
      if (!hasDictionary || distance == 0 || back > dictionaryBytes) return -1;
    }
    const match = back == 0 ? out - distance : dictionaryEnd - back;
    let length = token & HALF_MAX;
    if (length != HALF_MAX && (back == 0 ? distance >= 8 : back >= 18)) {
      store<u64>(out, load<u64>(match));
      store<u64>(out, load<u64>(match, 8), 8);
      store<u16>(out, load<u16>(match, 16), 16);
      out += length + MATCH_MIN;
      continue;
    }
    if (length == HALF_MAX) {
      const extra = extraEnd(from, sourceEnd);
      if (extra == 0) return -1;
      length = extraLength(from, extra);
      from = extra;
    }
    length += MATCH_MIN;
    const end = out + length;
    const room = targetEnd - out;
    if (length > room) return -1;
    if (back != 0) copyFromDictionary(out, length, target, targetEnd, dictionaryEnd, back);
    else if (length + TARGET_MARGIN > room) copyExact(out, match, end);
    else if (distance >= 16) copyWide(out, match, end);
    else repeatWide(out, distance, end);
    out = end;
  }
  out = decompressExact(from, sourceEnd, target, out, targetEnd, dictionaryEnd, dictionaryBytes);
  return out == 0 ? -1 : <i32>(out - target);
}

/**
 * The same without a byte too many: for the last sequences of a block, and for short blocks.
 * @returns the address behind the last byte written, or 0 for a malformed block
 */
function decompressExact(
  from: usize,
  sourceEnd: usize,
  target: usize,
  out: usize,
  targetEnd: usize,
  dictionaryEnd: usize,
  dictionaryBytes: usize,
): usize {
  while (from < sourceEnd) {
    const token = <usize>load<u8>(from++);
    let literals = token >> 4;
    if (literals == HALF_MAX) {
      const extra = extraEnd(from, sourceEnd);
      if (extra == 0) return 0;
      literals = extraLength(from, extra);
      from = extra;
    }
    const room = min(sourceEnd - from, targetEnd - out);
    if (literals > room) return 0;
    copyLiterals(out, from, literals, room);
    from += literals;
    out += literals;
    if (from == sourceEnd) return out;

    if (sourceEnd - from < 2) return 0;
    const distance = <usize>load<u16>(from);
    from += 2;
    const before = out - target;
    if (distance == 0 || distance > before + dictionaryBytes) return 0;
    let length = token & HALF_MAX;
    if (length == HALF_MAX) {
      const extra = extraEnd(from, sourceEnd);
      if (extra == 0) return 0;
      length = extraLength(from, extra);
      from = extra;
    }
    length += MATCH_MIN;
    if (length > targetEnd - out) return 0;
    if (distance <= before) copyExact(out, out - distance, out + length);
    else copyFromDictionary(out, length, target, targetEnd, dictionaryEnd, distance - before);
    out += length;
  }
  return 0;
}
