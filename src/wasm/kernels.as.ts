// The kernels: what must run inside the arena's memory to be fast. One small module, one instance
// per thread, no state of its own: every table and buffer is an address that the caller gives.
// Addresses are bytes, lengths are bytes. Nothing here checks bounds: callers own that.

export { lz4Decompress, lz4DecompressDictionary } from "../codec/lz4.as";
export { lz4Compress } from "../codec/lz4_compressor.as";
export { lz4CompressDictionary, lz4PrepareDictionary } from "../codec/lz4_dictionary.as";
export {
  addLong,
  compareExchange,
  enterReader,
  exchange,
  firstSet,
  increment,
  leaveReader,
  readLong,
  spinAsReader,
  spinForLock,
  spinWhileSet,
} from "../memory/lock.as";
export { answerGets, answerKey } from "../memcached/plain_gets.as";
export { storeLines } from "../memcached/plain_sets.as";
export { addHash, forgetFound, lookAtHashes, putLong } from "../memcached/sharded_gets.as";
export { findPage } from "../values/find_value.as";
export { putPacked, putValue } from "../values/put_value.as";
export {
  compareExchangeAt,
  copyAt,
  enterReaderAt,
  exchangeAt,
  findPageAt,
  firstSetAt,
  incrementAt,
  leaveReaderAt,
  lz4CompressAt,
  lz4DecompressAt,
  sameFilledAt,
} from "./kernel_switch.as";

/** Copies `size` bytes; the regions may overlap. */
export function copy(target: usize, source: usize, size: usize): void {
  memory.copy(target, source, size);
}

/** Sets `size` bytes to `value` (low 8 bits). */
export function fill(target: usize, value: u32, size: usize): void {
  memory.fill(target, <u8>value, size);
}

/** Writes the 64-bit pattern `high:low` over `size` bytes (a multiple of 16). */
export function fillPattern(target: usize, low: u32, high: u32, size: usize): void {
  const pattern = i64x2.splat(<i64>((<u64>high << 32) | <u64>low));
  const end = target + size;
  for (let at = target; at < end; at += 16) v128.store(at, pattern);
}

/** @returns 1 if the two regions of `size` bytes are equal, else 0 */
export function equal(left: usize, right: usize, size: usize): i32 {
  let at: usize = 0;
  for (; at + 64 <= size; at += 64) {
    const l = left + at;
    const r = right + at;
    const a = v128.xor(v128.load(l), v128.load(r));
    const b = v128.xor(v128.load(l, 16), v128.load(r, 16));
    const c = v128.xor(v128.load(l, 32), v128.load(r, 32));
    const d = v128.xor(v128.load(l, 48), v128.load(r, 48));
    if (v128.any_true(v128.or(v128.or(a, b), v128.or(c, d)))) return 0;
  }
  for (; at + 16 <= size; at += 16) {
    if (v128.any_true(v128.xor(v128.load(left + at), v128.load(right + at)))) return 0;
  }
  for (; at < size; at++) {
    if (load<u8>(left + at) != load<u8>(right + at)) return 0;
  }
  return 1;
}

/**
 * Is the page (`size` bytes, a multiple of 64) one 64-bit pattern over and over?
 * Looks at the last word first: most pages that differ do so there at once.
 * @returns 1 or 0; the pattern is the page's first eight bytes
 */
export function sameFilled(page: usize, size: usize): i32 {
  const word = load<u64>(page);
  if (load<u64>(page + size - 8) != word) return 0;
  const pattern = i64x2.splat(<i64>word);
  const end = page + size;
  for (let at = page; at < end; at += 64) {
    const a = v128.xor(v128.load(at), pattern);
    const b = v128.xor(v128.load(at, 16), pattern);
    const c = v128.xor(v128.load(at, 32), pattern);
    const d = v128.xor(v128.load(at, 48), pattern);
    if (v128.any_true(v128.or(v128.or(a, b), v128.or(c, d)))) return 0;
  }
  return 1;
}

const XXH_1: u32 = 2654435761;
const XXH_2: u32 = 2246822519;
const XXH_3: u32 = 3266489917;
const XXH_4: u32 = 668265263;
const XXH_5: u32 = 374761393;

/** One lane of XXH32, by one word. */
// @ts-ignore: decorator
@inline
function xxhRound(lane: u32, word: u32): u32 {
  return rotl<u32>(lane + word * XXH_2, 13) * XXH_1;
}

/** XXH32 (Y. Collet) of `size` bytes: a checksum that finds accidents, not attacks. */
export function checksum(source: usize, size: usize, seed: u32): u32 {
  let at = source;
  const end = source + size;
  let hash: u32;
  if (size >= 16) {
    let a = seed + XXH_1 + XXH_2;
    let b = seed + XXH_2;
    let c = seed;
    let d = seed - XXH_1;
    for (; at + 16 <= end; at += 16) {
      a = xxhRound(a, load<u32>(at));
      b = xxhRound(b, load<u32>(at, 4));
      c = xxhRound(c, load<u32>(at, 8));
      d = xxhRound(d, load<u32>(at, 12));
    }
    hash = rotl<u32>(a, 1) + rotl<u32>(b, 7) + rotl<u32>(c, 12) + rotl<u32>(d, 18);
  } else hash = seed + XXH_5;
  hash += <u32>size;
  for (; at + 4 <= end; at += 4) hash = rotl<u32>(hash + load<u32>(at) * XXH_3, 17) * XXH_4;
  for (; at < end; at++) hash = rotl<u32>(hash + <u32>load<u8>(at) * XXH_5, 11) * XXH_1;
  hash = (hash ^ (hash >>> 15)) * XXH_2;
  hash = (hash ^ (hash >>> 13)) * XXH_3;
  return hash ^ (hash >>> 16);
}

/** The smallest page of any system. */
const SYSTEM_PAGE: usize = 4096;

/**
 * Touches each page of `size` bytes, so that the system gives it memory. Changes nothing, even if
 * other threads write to the pages at the same time. An exchange is a single instruction that
 * writes; an addition is compiled to a load first, whose page fault gives no memory.
 */
export function populate(from: usize, size: usize): void {
  const end = from + size;
  for (let at = from; at < end; at += SYSTEM_PAGE) atomic.cmpxchg<i32>(at, 0, 0);
}
