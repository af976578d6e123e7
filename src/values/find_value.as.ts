// Finds a value by its key, as `Values.find` does, without leaving WebAssembly: it reads the same
// words in the same order, in the common case only. A value that has chunks, may expire, is in the
// write-back file, or does not exist is never found here, and the caller asks `Values.find`. Each
// function names its twin in TypeScript; test/memcached/plain_gets.long.test.ts compares the two.
//
// The reads are optimistic (docs/locks.md): no lock keeps writers out, so a word may be of another
// time than the word that led to it. Therefore each index and each size is checked before it is
// used, no chain is followed for ever, nothing is written but words of this thread, and nothing
// that was read counts before SEQUENCE says that no thread has written meanwhile. Until then the
// value is only copied, as it is stored, to scratch of this thread.
import * as Prefix from "./prefix.layout";
import * as Entry from "../tmem/entry.layout";
import * as Obj from "../tmem/object.layout";
import * as Frame from "../memory/frame.layout";
import * as Dense from "../pool/dense/dense.layout";
import * as Page from "../store/page.layout";
import * as Value from "../store/value.layout";
import * as Find from "./find.layout";
import { lz4Decompress, lz4DecompressDictionary } from "../codec/lz4.as";

/** One of the context's own words. */
// @ts-ignore: decorator
@inline
export function own(find: usize, nth: usize): u32 {
  return load<u32>(find + (nth << 2));
}

// @ts-ignore: decorator
@inline
export function setOwn(find: usize, nth: usize, value: usize): void {
  store<u32>(find + (nth << 2), <u32>value);
}

/** The word of the arena with this index. */
// @ts-ignore: decorator
@inline
export function word(index: u32): u32 {
  return load<u32>(<usize>index << 2);
}

/** Whether `count` words from this index on are in the arena. */
// @ts-ignore: decorator
@inline
export function isIn(find: usize, index: u32, count: u32): bool {
  const words = own(find, Find.WORDS);
  return index < words && words - index >= count;
}

/** One step of MurmurHash3. */
// @ts-ignore: decorator
@inline
function round(hash: u32, next: u32): u32 {
  const mixed = rotl<u32>(next * 0xcc9e2d51, 15) * 0x1b873593;
  return rotl<u32>(hash ^ mixed, 13) * 5 + 0xe6546b64;
}

/** And its end. */
// @ts-ignore: decorator
@inline
function finish(hash: u32): u32 {
  const mixed = (hash ^ (hash >>> 16)) * 0x85ebca6b;
  const again = (mixed ^ (mixed >>> 13)) * 0xc2b2ae35;
  return again ^ (again >>> 16);
}

/** `KeyHash.set`. @returns both halves of a key's hash, the high one above */
export function hashKey(find: usize, key: usize, count: usize): u64 {
  let low = own(find, Find.SEED_LOW);
  let high = own(find, Find.SEED_HIGH);
  const whole = key + (count & ~3);
  let at = key;
  for (; at < whole; at += 4) {
    const next = load<u32>(at);
    low = round(low, next);
    high = round(high, next * 0x85ebca77);
  }
  let rest: u32 = 0;
  for (const end = key + count; at < end; at++) rest = (rest << 8) | load<u8>(at);
  low = finish(round(low, rest) ^ <u32>count);
  high = finish(round(high, rest * 0x85ebca77) ^ <u32>count);
  return (<u64>high << 32) | low;
}

/** `hashOf` of store/hash.ts, of a value's first page. */
export function hashPage(find: usize, low: u32, high: u32): u32 {
  return finish(round(round(round(round(own(find, Find.PAGE_SEED), low), high), 0), 0));
}

/** `hashName` of tmem/hash.ts. @param name of an object: NAME_MASK of its SHAPE */
// @ts-ignore: decorator
@inline
export function hashName(find: usize, name: u32, low: u32, high: u32): u32 {
  return finish(finish(finish(own(find, Find.INDEX_SEED) ^ name) ^ low) ^ high);
}

/** The word index of the bucket of a hash, where there are objects; else NONE. */
export function bucketOf(find: usize, low: u32, high: u32): u32 {
  const buckets = load<u32>(own(find, Find.BUCKETS));
  if (buckets == 0) return Obj.NONE;
  const name = own(find, Find.NAME);
  const hash = hashName(find, name, low, high);
  const mask = 0xffffffff >>> clz<u32>(buckets);
  let bucket = hash & mask;
  if (bucket >= buckets) bucket &= mask >>> 1;
  const shift = own(find, Find.FRAME_SHIFT);
  const inFrame: u32 = (1 << shift) - 1;
  const listed = own(find, Find.DIRECTORY) + (bucket >>> (2 * shift));
  if (!isIn(find, listed, 1)) return Obj.NONE;
  const directory = word(listed) + ((bucket >>> shift) & inFrame);
  if (!isIn(find, directory, 1)) return Obj.NONE;
  const at = word(directory) + (bucket & inFrame);
  return isIn(find, at, 1) ? at : Obj.NONE;
}

/** Objects of a bucket that are looked at; there are hardly ever more than ten. */
const CHAIN_MAX: u32 = 100;
/** Where no object is looked for any more. */
const LOST: u32 = 0xffff_ffff;

/** `ObjectTable.find`. @returns the word index of an object's record, or NONE, or LOST */
function findObject(find: usize, low: u32, high: u32): u32 {
  const bucket = bucketOf(find, low, high);
  if (bucket == Obj.NONE) return Obj.NONE;
  const name = own(find, Find.NAME);
  let object = word(bucket);
  for (let seen: u32 = 0; object != Obj.NONE; object = word(object + Obj.NEXT)) {
    if (++seen > CHAIN_MAX || !isIn(find, object, Obj.SHORT_WORDS)) return LOST;
    if (
      word(object + Obj.ID) == low &&
      word(object + Obj.ID + 1) == high &&
      (word(object + Obj.SHAPE) & Obj.NAME_MASK) == name
    ) {
      return object;
    }
  }
  return Obj.NONE;
}

/**
 * `SlotVectors.copyOut`: copies the first `size` bytes of what a handle of a dense pool names to
 * the scratch. Frames are within the arena as a whole or not at all.
 * @returns whether there is such an object
 */
function copyObject(find: usize, handle: u32, size: u32): bool {
  const at = handle & own(find, Find.ENTRY_MASK);
  if (size > own(find, Find.PACKED_BYTES) || !isIn(find, at, 1)) return false;
  const place = word(at);
  if (!isIn(find, place, 1)) return false;
  const target = <usize>own(find, Find.PACKED);
  const shift = own(find, Find.FRAME_SHIFT);
  const inFrame: u32 = ((1 << shift) - (place & ((1 << shift) - 1))) << 2;
  const source = <usize>place << 2;
  if (size <= inFrame) {
    memory.copy(target, source, size);
    return true;
  }
  const link = own(find, Find.LINKS) + (place >>> shift) * Frame.FRAME_WORDS;
  const next = word(link + Dense.NEXT) & Dense.FRAME_MASK;
  const rest = size - inFrame;
  if (next >= own(find, Find.WORDS) >>> shift || rest > <u32>4 << shift) return false;
  memory.copy(target, source, inFrame);
  memory.copy(target + inFrame, <usize>next << (shift + 2), rest);
  return true;
}

// What a search comes to.
/** There is no such page. */
const MISSING: u32 = 0;
const FOUND: u32 = 1;
/** It is to be looked for in TypeScript. */
const UNUSUAL: u32 = 2;
/** A thread writes. */
const WRITTEN: u32 = 3;

/**
 * Copies what is stored under a hash to the scratch, and writes down that it was found.
 * @returns what came of it, if no thread has written meanwhile
 */
function fetch(find: usize, low: u32, high: u32): u32 {
  const object = findObject(find, low, high);
  if (object == Obj.NONE) return MISSING;
  if (object == LOST || (word(object + Obj.SHAPE) & Obj.INLINE) == 0) return UNUSUAL;
  const entry = object + Obj.ENTRY;
  const meta = word(entry + Entry.META);
  if (((meta >>> Page.WHERE_SHIFT) & Page.WHERE_MASK) != Page.MEMORY) return UNUSUAL;
  const handle = word(entry + Entry.VALUE);
  if (!copyObject(find, handle, meta & Page.SIZE_MASK)) return UNUSUAL;
  setOwn(find, Find.META, meta);
  const found = find + ((Find.FOUND_AT + own(find, Find.COUNT) * Find.FOUND_WORDS) << 2);
  setOwn(found, Find.ENTRY, entry);
  setOwn(found, Find.ENTRY_VALUE, handle);
  setOwn(found, Find.ENTRY_META, meta);
  setOwn(found, Find.SEEN, load<u32>(own(find, Find.VERSION)));
  setOwn(found, Find.HASH, hashPage(find, low, high));
  return FOUND;
}

/** Searches that writers may make void, before the caller waits for them. */
const SEARCHES: u32 = 4;

/**
 * Finds page 0 of a value in memory, by the hash of its key, and copies it to the scratch. META and
 * the next value found tell of it.
 * @returns MISSING, FOUND, UNUSUAL or WRITTEN
 */
export function findPage(find: usize, low: u32, high: u32): u32 {
  const sequence = <usize>own(find, Find.SEQUENCE);
  const writing = <usize>own(find, Find.WRITING);
  for (let nth: u32 = 0; nth < SEARCHES; nth++) {
    const before = atomic.load<u32>(sequence);
    if (atomic.load<u32>(writing) != 0) return WRITTEN;
    const outcome = fetch(find, low, high);
    // No read of the search comes after this store, and the next read does not come before it.
    atomic.store<u32>(find + (Find.FENCE << 2), 0);
    if (atomic.load<u32>(sequence) == before) return outcome;
  }
  return WRITTEN;
}

/** Whether what stands in the scratch is the usual kind of value, and this key's. */
function isOf(find: usize, key: usize, count: usize): bool {
  const at = <usize>own(find, Find.PACKED);
  const odd: u32 = Value.MAY_EXPIRE | Prefix.CHUNKED | Prefix.LONG_KEY;
  if ((load<u8>(at, Value.FLAGS) & odd) != 0) return false;
  if (load<u8>(at, Value.FIXED_BYTES) != count) return false;
  const name = at + KEY_AT;
  let i: usize = 0;
  for (; i + 8 <= count; i += 8) if (load<u64>(name + i) != load<u64>(key + i)) return false;
  for (; i < count; i++) if (load<u8>(name + i) != load<u8>(key + i)) return false;
  return true;
}

/** Where the key stands in a prefix: behind the lengths of itself and of the meta bytes. */
const KEY_AT: usize = Value.FIXED_BYTES + 2;

/**
 * Finds a value: then COUNT is one more, and `metaAt`, `valueBytes` and `restore` tell of it.
 * @param key where `count` bytes of it stand, 1 … 255  @param hash of the key (hashKey)
 * @returns whether it was found here
 */
export function findValue(find: usize, key: usize, count: usize, hash: u64): bool {
  if (own(find, Find.COUNT) == Find.FOUND_MAX) return false;
  const outcome = findPage(find, <u32>hash, <u32>(hash >>> 32));
  if (outcome == WRITTEN) setOwn(find, Find.MET_WRITER, 1);
  if (outcome != FOUND || !isOf(find, key, count)) return false;
  setOwn(find, Find.COUNT, own(find, Find.COUNT) + 1);
  return true;
}

/** Where the meta bytes of the value found last stand. */
export function metaAt(find: usize): usize {
  const at = <usize>own(find, Find.PACKED);
  return at + KEY_AT + load<u8>(at, Value.FIXED_BYTES);
}

export function valueBytes(find: usize): usize {
  const at = <usize>own(find, Find.PACKED);
  return (load<u8>(at, Value.FLAGS) & Prefix.EMPTY) != 0 ? 0 : load<u32>(at) & Value.SIZE_MASK;
}

/**
 * Restores the value found last to `target`.
 * @returns whether it could be done here: it is not compressed, or with LZ4, and is not damaged
 */
export function restore(find: usize, target: usize): bool {
  const at = <usize>own(find, Find.PACKED);
  const header = load<u32>(at);
  const size = valueBytes(find);
  if (size == 0) return true;
  const prefix = (header >>> Value.PREFIX_SHIFT) & Value.PREFIX_MAX;
  const meta = own(find, Find.META);
  const codec = (meta >>> Page.CODEC_SHIFT) & Page.CODEC_MASK;
  const from = at + prefix;
  if (codec == Page.RAW) {
    memory.copy(target, from, size);
    return true;
  }
  if (codec == Page.DENSE || own(find, Find.IS_LZ4) == 0) return false;
  const packed = (meta & Page.SIZE_MASK) - prefix;
  const dictionary = header >>> Value.DICTIONARY_SHIFT;
  if (dictionary == 0) return lz4Decompress(from, packed, target, <u32>size) == <i32>size;
  if (dictionary > load<u32>(own(find, Find.DICTIONARIES))) return false;
  const start = word(own(find, Find.DICTIONARY_AT) + dictionary - 1) << 2;
  const bytes = word(own(find, Find.DICTIONARY_BYTES) + dictionary - 1);
  return lz4DecompressDictionary(from, packed, target, <u32>size, start, bytes) == <i32>size;
}
