// Stores a value as `putValue` and `storePacked` do, without leaving WebAssembly, in the usual case
// only: the arena's lock is free, the value replaces one of a single page in memory or is new, no
// page frame comes from the arena or goes back to it, and nothing has to be evicted. In any other
// case the kernel stops, at the latest before it commits, and says how far it has come: the caller
// rolls back and lets those functions store the value. Each function names its twin;
// test/values/put_value.test.ts compares the two.
import { HALF_TAKEN, releaseLock, takeLock, TAKEN } from "../memory/arena_lock.as";
import { add, commit, put, word } from "../memory/journal.as";
import * as Super from "../memory/arena.layout";
import {
  denseCopyIn,
  denseFree,
  denseMalloc,
  denseOverwrite,
  densePlace,
  denseSlack,
} from "../pool/dense/dense.as";
import * as Pool from "../pool/pool.layout";
import * as Page from "../store/page.layout";
import * as Root from "../store/store.layout";
import * as Value from "../store/value.layout";
import * as Entry from "../tmem/entry.layout";
import * as Obj from "../tmem/object.layout";
import {
  bitsOfNew,
  hasMiniatures,
  isUpdateDue,
  pushEntry,
  recordStored,
  removeEntry,
} from "../policy/window.as";
import { lz4Compress } from "../codec/lz4_compressor.as";
import { lz4CompressDictionary } from "../codec/lz4_dictionary.as";
import * as Find from "./find.layout";
import { hashPage, own, setOwn } from "./find_value.as";
import { insertEntry } from "./put_index.as";
import * as Put from "./put.layout";

// What a call comes to.
/** Another thread has the lock; nothing has changed. `putPacked` may follow, under the lock. */
export const CONTENDED: u32 = 0;
/** The value is stored, and the lock free. */
export const STORED: u32 = 1;
/** The lock is half taken: `ArenaLock.proceed`, and then as after CONTENDED. */
export const PROCEED: u32 = 2;
/** The lock is taken; changes are to be rolled back, and the value is to be stored otherwise. */
export const UNUSUAL: u32 = 3;
/** The value is stored; changes are to be rolled back, and a pending free is to be completed. */
export const FREE_LEFT: u32 = 4;
/** The value is stored; threads wait for the lock, which is to be released. */
export const UNLOCK_LEFT: u32 = 5;

/** Adds to a counter. */
// @ts-ignore: decorator
@inline
function count(ctx: usize, counter: usize, by: u32): void {
  const at = <usize>own(ctx, counter);
  store<f64>(at, load<f64>(at) + <f64>by);
}

/**
 * Compresses the value at `plain` to behind its prefix in the packed scratch, of which everything
 * but the header is written. CODEC and STORED_BYTES tell of it.
 * @param header of the value, as if its dictionary, which is that in DICTIONARY, were used
 */
export function packValue(ctx: usize, plain: usize, header: u32): void {
  const size = header & Value.SIZE_MASK;
  const prefix = (header >>> Value.PREFIX_SHIFT) & Value.PREFIX_MAX;
  const target = <usize>own(own(ctx, Put.FIND), Find.PACKED);
  const limit = size - (size >>> 6) - 1;
  let packed: u32 = 0;
  if (<i32>limit > 0) {
    const out = target + prefix;
    const table = own(ctx, Put.TABLE);
    packed = header >>> Value.DICTIONARY_SHIFT == 0
      ? lz4Compress(plain, size, out, limit, table)
      : lz4CompressDictionary(
        plain, size, out, limit, table,
        own(ctx, Put.DICTIONARY), own(ctx, Put.DICTIONARY_BYTES), own(ctx, Put.DICTIONARY_TABLE),
      );
    count(ctx, Put.COMPRESSED, 1);
    count(ctx, Put.COMPRESSED_IN, size);
    count(ctx, Put.COMPRESSED_OUT, packed == 0 ? size : packed);
  }
  setOwn(ctx, Put.CODEC, packed == 0 ? Page.RAW : Page.FAST);
  if (packed == 0) {
    memory.copy(target + prefix, plain, size);
    packed = size;
    header &= (1 << Value.DICTIONARY_SHIFT) - 1;
  }
  setOwn(ctx, Put.STORED_BYTES, prefix + packed);
  store<u32>(target, header);
}

/** Whether the store is full or not full as before, and takes values. */
function isAsBefore(ctx: usize, root: u32): bool {
  if (word(root + Root.FROZEN) != 0 || word(root + Root.WATCHED) != 0) return false;
  const limit = word(root + Root.LIMIT_FRAMES);
  const mark = <i32>limit - <i32>max<u32>(2, limit >>> 8);
  const used = word(Super.FRAMES_TOTAL) - own(ctx, Put.FIRST_FRAME) - word(Super.FRAMES_FREE);
  return (<i32>used >= mark ? 1 : 0) == word(root + Root.FULL);
}

/** Units of an uncompressed size in its gauge. */
// @ts-ignore: decorator
@inline
function unitsOf(header: u32): u32 {
  return ((header & Value.SIZE_MASK) + Root.ORIGINAL_UNIT - 1) / Root.ORIGINAL_UNIT;
}

/** `StoreState.commitLocked`, of the object whose free is pending. @returns false: not here */
function freePending(ctx: usize, find: usize, root: u32): bool {
  const handle = word(root + Root.PENDING_FREE_HANDLE);
  const links = own(find, Find.LINKS);
  const shift = own(find, Find.FRAME_SHIFT);
  if (!denseFree(own(ctx, Put.POOL), handle, links, shift, own(find, Find.ENTRY_MASK))) {
    return false;
  }
  put(root + Root.PENDING_FREE_KIND, 0);
  commit();
  return true;
}

/** `lowerBoundsLocked`, for the value that stands at `at`. */
function lowerBounds(root: u32, at: usize): void {
  if ((load<u8>(at, Value.FLAGS) & Value.MAY_EXPIRE) == 0) return;
  const ms = ((<u64>load<u16>(at, Value.EXPIRES + 4)) << 32) | load<u32>(at, Value.EXPIRES);
  const seconds = <u32>min<u64>(ms / 1000, <u64>u32.MAX_VALUE);
  if (seconds < word(root + Root.EXPIRES_FROM)) put(root + Root.EXPIRES_FROM, seconds);
  if (seconds < word(root + Root.EXPIRES_SINCE)) put(root + Root.EXPIRES_SINCE, seconds);
}

/**
 * `attachLocked` of overwrite.ts, and `placeLocked`: attaches an object to an entry, and commits.
 * @param handle of the object, which may be that of the entry, overwritten in place
 * @param units by which the uncompressed size grows  @param low half of the hash of the key
 */
function attach(
  ctx: usize, find: usize, entry: u32, handle: u32, units: u32, low: u32,
): void {
  const root = own(ctx, Put.ROOT);
  const kind = own(ctx, Put.KIND);
  const codec = own(ctx, Put.CODEC);
  const size = own(ctx, Put.STORED_BYTES);
  const gauges = root + Root.KIND + kind * Root.KIND_WORDS;
  const policy = own(ctx, Put.POLICY);
  const before = word(entry + Entry.META);
  let bytes = size;
  let huge: u32 = codec == Page.RAW ? 1 : 0;
  count(ctx, Put.PUTS, 1);
  const versions = word(root + Root.VERSIONS);
  if (versions != 0) atomic.add<u32>(<usize>(versions + (low & (Root.VERSIONS_MAX - 1))) << 2, 1);
  if (huge != 0) count(ctx, Put.HUGE_SINCE, 1);
  if (before != 0) {
    count(ctx, Put.DUPLICATE_PUTS, 1);
    removeEntry(policy, entry + Entry.LINKS, before >>> Page.POLICY_SHIFT);
    bytes -= before & Page.SIZE_MASK;
    if (((before >>> Page.CODEC_SHIFT) & Page.CODEC_MASK) == Page.RAW) huge--;
    if (word(entry + Entry.VALUE) != handle) {
      put(root + Root.PENDING_FREE_KIND, kind + 1);
      put(root + Root.PENDING_FREE_HANDLE, word(entry + Entry.VALUE));
    }
  } else add(gauges + Root.IN_MEMORY, 1);
  lowerBounds(root, <usize>own(find, Find.PACKED));
  if (units != 0) add(gauges + Root.ORIGINAL, units);
  if (bytes != 0) add(gauges + Root.BYTES, bytes);
  if (huge != 0) add(gauges + Root.HUGE, huge);
  const age = (word(root + Root.TICK) & (Page.AGES - 1)) << Page.AGE_SHIFT;
  const where: u32 = Page.MEMORY << Page.WHERE_SHIFT;
  put(entry + Entry.VALUE, handle);
  const packed = (codec << Page.CODEC_SHIFT) | size;
  const bits = bitsOfNew(policy);
  const state = age | where | (bits << Page.POLICY_SHIFT);
  put(entry + Entry.META, (kind << Page.KIND_SHIFT) | state | packed);
  if (hasMiniatures(policy)) {
    const id = entry - Obj.ENTRY + Obj.ID;
    const hash = hashPage(find, word(id), word(id + 1));
    recordStored(policy, hash, size + Page.ENTRY_BYTES, own(find, Find.FRAME_SHIFT));
  }
  pushEntry(policy, entry + Entry.LINKS, bits);
  commit();
}

/** `slackMax`. */
function slackMax(ctx: usize, root: u32, pageSize: u32): i32 {
  if (word(root + Root.FULL) != 0) return 0;
  const gauges = root + Root.KIND + own(ctx, Put.KIND) * Root.KIND_WORDS;
  const bytes = <i64>word(gauges + Root.BYTES);
  const waste = <i64>word(own(ctx, Put.POOL) + Pool.PAGES) * pageSize - bytes;
  return waste * Page.WASTE_PART > bytes ? 0 : pageSize >>> Page.SLACK_SHIFT;
}

/** `overwriteInPlaceLocked`. @returns whether it was done */
function overwrite(ctx: usize, find: usize, entry: u32, units: u32, low: u32): bool {
  const root = own(ctx, Put.ROOT);
  const links = own(find, Find.LINKS);
  const shift = own(find, Find.FRAME_SHIFT);
  const size = own(ctx, Put.STORED_BYTES);
  const handle = word(entry + Entry.VALUE);
  const place = densePlace(handle, own(find, Find.ENTRY_MASK));
  const slack = denseSlack(own(ctx, Put.POOL), place, size, links, shift);
  if (slack != 0 && (slack < 0 || slack > slackMax(ctx, root, 4 << shift))) return false;
  const source = <usize>own(find, Find.PACKED);
  denseOverwrite(place, source, size, own(ctx, Put.SAVE), links, shift);
  attach(ctx, find, entry, handle, units, low);
  return true;
}

/**
 * Takes the lock, and finds or creates the entry of the value whose key has this hash.
 * @returns the entry; 0: OUTCOME says why there is none
 */
export function beginPut(ctx: usize, low: u32, high: u32): u32 {
  const taken = takeLock(own(ctx, Put.OWNER), own(ctx, Put.TURNS), ctx + (Put.SPUN << 2));
  if (taken != TAKEN) {
    setOwn(ctx, Put.OUTCOME, taken == HALF_TAKEN ? PROCEED : CONTENDED);
    return 0;
  }
  return enter(ctx, low, high);
}

/** The rest of `beginPut`, under the lock. */
function enter(ctx: usize, low: u32, high: u32): u32 {
  setOwn(ctx, Put.OUTCOME, UNUSUAL);
  if (!isAsBefore(ctx, own(ctx, Put.ROOT)) || isUpdateDue(own(ctx, Put.POLICY))) return 0;
  return insertEntry(ctx, own(ctx, Put.FIND), low, high);
}

/** `storeLocked`, with an entry. @returns STORED, UNUSUAL or FREE_LEFT */
function fill(ctx: usize, find: usize, entry: u32, low: u32): u32 {
  const root = own(ctx, Put.ROOT);
  const links = own(find, Find.LINKS);
  const shift = own(find, Find.FRAME_SHIFT);
  const mask = own(find, Find.ENTRY_MASK);
  const usable = word(Super.FRAMES_TOTAL) - own(ctx, Put.FIRST_FRAME);
  const size = own(ctx, Put.STORED_BYTES);
  const source = <usize>own(find, Find.PACKED);
  const before = word(entry + Entry.META);
  let units = unitsOf(load<u32>(source));
  if (before != 0) {
    if (((before >>> Page.WHERE_SHIFT) & Page.WHERE_MASK) != Page.MEMORY) return UNUSUAL;
    units -= unitsOf(word(densePlace(word(entry + Entry.VALUE), mask)));
    if (overwrite(ctx, find, entry, units, low)) return STORED;
  }
  const handle = denseMalloc(own(ctx, Put.POOL), size, links, shift, mask, usable);
  if (handle == 0) return UNUSUAL;
  denseCopyIn(densePlace(handle, mask), source, size, links, shift);
  attach(ctx, find, entry, handle, units, low);
  return before == 0 || freePending(ctx, find, root) ? STORED : FREE_LEFT;
}

/**
 * Stores what stands in the packed scratch, whose CODEC and STORED_BYTES are set, under an entry
 * from `beginPut`, and releases the lock.
 * @returns STORED, UNUSUAL, FREE_LEFT or UNLOCK_LEFT
 */
export function endPut(ctx: usize, entry: u32, low: u32): u32 {
  const outcome = fill(ctx, own(ctx, Put.FIND), entry, low);
  if (outcome != STORED) return outcome;
  return releaseLock(own(ctx, Put.OWNER)) ? STORED : UNLOCK_LEFT;
}

/**
 * Compresses and stores the value at PLAIN.
 * @param header of the value, as if its dictionary were used
 * @returns one of the numbers above
 */
export function putValue(ctx: usize, low: u32, high: u32, header: u32): u32 {
  packValue(ctx, own(ctx, Put.PLAIN), header);
  const entry = beginPut(ctx, low, high);
  return entry == 0 ? own(ctx, Put.OUTCOME) : endPut(ctx, entry, low);
}

/**
 * Stores the value that the last call of `putValue` has packed. The caller has the lock, which is
 * released as there.
 * @returns STORED, UNUSUAL, FREE_LEFT or UNLOCK_LEFT
 */
export function putPacked(ctx: usize, low: u32, high: u32): u32 {
  const entry = enter(ctx, low, high);
  return entry == 0 ? UNUSUAL : endPut(ctx, entry, low);
}
