// Plain sets of memcached's text protocol, from the bytes received to the item stored: `set`, and
// `ms` without other flags than T and F. The value is compressed where it was received. A line is
// done if it is complete and its set is of the usual kind (values/put_value.as.ts). Any other line
// ends the work: the commands (commands/) do it, as they could have done all lines;
// test/memcached/plain_sets.long.test.ts compares both.
import * as Item from "./items/items.layout";
import { densePlace } from "../pool/dense/dense.as";
import * as Root from "../store/store.layout";
import * as Super from "../memory/arena.layout";
import * as Page from "../store/page.layout";
import * as Value from "../store/value.layout";
import * as Entry from "../tmem/entry.layout";
import * as Find from "../values/find.layout";
import { hashKey, own, setOwn } from "../values/find_value.as";
import * as Prefix from "../values/prefix.layout";
import * as Put from "../values/put.layout";
import { word } from "../memory/journal.as";
import {
  beginPut,
  CONTENDED,
  endPut,
  FREE_LEFT,
  packValue,
  STORED,
  UNLOCK_LEFT,
  UNUSUAL,
} from "../values/put_value.as";
import * as Sets from "./plain_sets.layout";

const SPACE: u32 = 32;
const RETURN_NEWLINE: u32 = 0x0a0d;
const KEY_BYTES_MAX: usize = 250;
const ITEM_OVERHEAD_BYTES: u32 = 50;
/** More than a reply takes. */
const REPLY_BYTES_MAX: usize = 1024;
/** Sets of one call. */
const SETS_MAX: u32 = 64;

const SET_: u32 = 0x20746573; // "set "
const MS_: u32 = 0x20736d; // "ms "
const NOREPLY: u64 = 0x796c7065726f6e; // "noreply"
const STORED_REPLY: u64 = 0x0a0d4445524f5453; // "STORED\r\n"
const HD_REPLY: u32 = 0x0a0d4448; // "HD\r\n"
const FLAG_T: u32 = 84;
const FLAG_F: u32 = 70;

const META_BYTES: u32 = Item.META_WORDS * 4;
/** Of a prefix, before the key: with the lengths of key and meta bytes. */
const HEAD_BYTES: u32 = Value.FIXED_BYTES + 2;
const DICTIONARY_HELPS_BYTES: u32 = Value.DICTIONARY_HELPS_BYTES;
/** Up to thirty days a time is counted from now (items/lifetime.ts). */
const RELATIVE_MAX_S: u64 = 60 * 60 * 24 * 30;

// @ts-ignore: decorator
@inline
function tokenEnd(at: usize, to: usize): usize {
  while (at < to && load<u8>(at) > SPACE) at++;
  return at;
}

/** The number of 32 bits that stands at [from, to) without a sign; −1 if there is none. */
function numberAt(from: usize, to: usize): i64 {
  if (to == from || to - from > 10 || (to - from > 1 && load<u8>(from) == 48)) return -1;
  let value: u64 = 0;
  for (let at = from; at < to; at++) {
    const digit = <u32>load<u8>(at) - 48;
    if (digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value > <u64>u32.MAX_VALUE ? -1 : <i64>value;
}

/** `expiryOf`, of a time that is not negative. */
function expiryOf(given: u64, now: u32): u32 {
  if (given == 0) return 0;
  const at = given > RELATIVE_MAX_S ? given : given + now;
  return <u32>min<u64>(at, u32.MAX_VALUE);
}

/**
 * Whether an entry has an item that has expired or was flushed, or one whose words are not at hand:
 * what replaces it counts it.
 */
function isGone(ctx: usize, find: usize, entry: u32): bool {
  const meta = word(entry + Entry.META);
  if (meta == 0) return false;
  if (((meta >>> Page.WHERE_SHIFT) & Page.WHERE_MASK) != Page.MEMORY) return true;
  const place = densePlace(word(entry + Entry.VALUE), own(find, Find.ENTRY_MASK));
  const frameWords: u32 = 1 << own(find, Find.FRAME_SHIFT);
  const inFrame = (frameWords - (place & (frameWords - 1))) << 2;
  const at = <usize>place << 2;
  if (inFrame < HEAD_BYTES) return true;
  const odd: u32 = Value.MAY_EXPIRE | Prefix.CHUNKED | Prefix.LONG_KEY;
  if ((load<u8>(at, Value.FLAGS) & odd) != 0) return true;
  const words: u32 = HEAD_BYTES + load<u8>(at, Value.FIXED_BYTES);
  if (inFrame < words + META_BYTES) return true;
  const bits = load<u32>(at + words + (Item.BITS << 2));
  const expires = load<u32>(at + words + (Item.EXPIRES << 2));
  if (bits >>> Item.FLUSH_SHIFT != own(ctx, Sets.FLUSHES)) return true;
  return expires != 0 && expires <= own(ctx, Sets.NOW);
}

/** Writes everything of the prefix but the header: `writePrefix`, `newMeta` and `setCas`. */
function writePrefix(
  ctx: usize, at: usize, key: usize, count: u32, clientFlags: u32, expires: u32,
): void {
  store<u8>(at, 0, Value.FLAGS);
  store<u8>(at, <u8>count, Value.FIXED_BYTES);
  store<u8>(at, <u8>META_BYTES, Value.FIXED_BYTES + 1);
  const name = at + HEAD_BYTES;
  memory.copy(name, key, count);
  const meta = name + count;
  const hasCas = own(ctx, Sets.HAS_CAS) != 0;
  store<u32>(meta + (Item.CLIENT_FLAGS << 2), clientFlags);
  store<u32>(meta + (Item.CAS_LOW << 2), hasCas ? own(ctx, Sets.CAS_LOW) : 0);
  store<u32>(meta + (Item.CAS_HIGH << 2), hasCas ? own(ctx, Sets.CAS_HIGH) : 0);
  store<u32>(meta + (Item.EXPIRES << 2), expires);
  store<u32>(meta + (Item.ACCESSED << 2), own(ctx, Sets.NOW));
  store<u32>(meta + (Item.BITS << 2), own(ctx, Sets.FLUSHES) << Item.FLUSH_SHIFT);
}

/** Counts a cas number as assigned. */
function useCas(ctx: usize): void {
  if (own(ctx, Sets.HAS_CAS) == 0) return;
  const low = own(ctx, Sets.CAS_LOW) + 1;
  setOwn(ctx, Sets.CAS_LOW, low);
  if (low == 0) setOwn(ctx, Sets.CAS_HIGH, own(ctx, Sets.CAS_HIGH) + 1);
  setOwn(ctx, Sets.CAS_LEFT, own(ctx, Sets.CAS_LEFT) - 1);
}

/**
 * Stores an item, with the lock of its key. OUTCOME and KEY_LOCK say what is left to do.
 * @returns whether it is stored
 */
function storeItem(
  ctx: usize, key: usize, count: u32, value: usize, size: u32, clientFlags: u32, expires: u32,
): bool {
  const find = <usize>own(ctx, Put.FIND);
  const owner = own(ctx, Put.OWNER);
  const hash = hashKey(find, key, count);
  const low = <u32>hash;
  const lock = own(ctx, Put.ROOT) + Root.STRIPES + (low & (Root.STRIPES_MAX - 1));
  if (atomic.cmpxchg<u32>(<usize>lock << 2, 0, owner) != 0) return false;
  const at = <usize>own(find, Find.PACKED);
  writePrefix(ctx, at, key, count, clientFlags, expires);
  const prefix = HEAD_BYTES + count + META_BYTES;
  const dictionary = size > DICTIONARY_HELPS_BYTES ? 0 : own(ctx, Sets.DICTIONARY_NUMBER);
  const header = (dictionary << Value.DICTIONARY_SHIFT) | (prefix << Value.PREFIX_SHIFT) | size;
  packValue(ctx, value, header);
  let outcome = UNUSUAL;
  const entry = beginPut(ctx, low, <u32>(hash >>> 32));
  if (entry == 0) outcome = own(ctx, Put.OUTCOME);
  else if (!isGone(ctx, find, entry)) outcome = endPut(ctx, entry, low);
  setOwn(ctx, Sets.OUTCOME, outcome);
  const isLeft = outcome != STORED && outcome != CONTENDED;
  if (isLeft || atomic.cmpxchg<u32>(<usize>lock << 2, owner, 0) != owner) {
    setOwn(ctx, Sets.KEY_LOCK, lock);
  }
  return outcome == STORED || outcome == FREE_LEFT || outcome == UNLOCK_LEFT;
}

/** Whether there may be an item of this size in a page, and a cas number for it. */
function fits(ctx: usize, count: u32, size: u64): bool {
  if (size == 0 || count + size + ITEM_OVERHEAD_BYTES > own(ctx, Sets.ITEM_BYTES_MAX)) return false;
  const prefix = HEAD_BYTES + count + META_BYTES;
  if (prefix + size > own(ctx, Sets.PAGE_BYTES_MAX)) return false;
  return own(ctx, Sets.HAS_CAS) == 0 || own(ctx, Sets.CAS_LEFT) != 0;
}

/** Stores the value behind a line. @returns the address behind the value, 0: it is not stored */
function storeBehind(
  ctx: usize, key: usize, count: usize, lineEnd: usize, to: usize,
  size: i64, clientFlags: u32, expires: u32,
): usize {
  if (size < 0 || !fits(ctx, <u32>count, size)) return 0;
  const value = lineEnd + 2;
  const end = value + <usize>size;
  if (end + 2 > to || load<u16>(end) != RETURN_NEWLINE) return 0;
  if (!storeItem(ctx, key, <u32>count, value, <u32>size, clientFlags, expires)) return 0;
  useCas(ctx);
  setOwn(ctx, Sets.SETS, own(ctx, Sets.SETS) + 1);
  setOwn(ctx, Sets.VALUE_BYTES, own(ctx, Sets.VALUE_BYTES) + <u32>size);
  return end + 2;
}

/** `set KEY FLAGS EXPTIME BYTES [noreply]`. @returns where the next line begins, 0: not this one */
function storeSet(ctx: usize, key: usize, to: usize): usize {
  const keyEnd = tokenEnd(key, to);
  const flags = keyEnd + 1;
  const flagsEnd = tokenEnd(flags, to);
  const time = flagsEnd + 1;
  const timeEnd = tokenEnd(time, to);
  const bytes = timeEnd + 1;
  const bytesEnd = tokenEnd(bytes, to);
  // Whatever is shorter than that is not complete.
  if (bytesEnd + 4 > to || keyEnd == key || keyEnd - key > KEY_BYTES_MAX) return 0;
  if (load<u8>(keyEnd) != SPACE || load<u8>(flagsEnd) != SPACE) return 0;
  if (load<u8>(timeEnd) != SPACE) return 0;
  const clientFlags = numberAt(flags, flagsEnd);
  const expires = numberAt(time, timeEnd);
  if (clientFlags < 0 || expires < 0) return 0;
  let lineEnd = bytesEnd;
  const isSilent = load<u8>(bytesEnd) == SPACE;
  if (isSilent) {
    lineEnd = tokenEnd(bytesEnd + 1, to);
    if (lineEnd - bytesEnd != 8 || lineEnd + 4 > to) return 0;
    if ((load<u64>(bytesEnd + 1) & 0xff_ffff_ffff_ffff) != NOREPLY) return 0;
  }
  if (load<u16>(lineEnd) != RETURN_NEWLINE) return 0;
  const next = storeBehind(
    ctx, key, keyEnd - key, lineEnd, to, numberAt(bytes, bytesEnd),
    <u32>clientFlags, expiryOf(expires, own(ctx, Sets.NOW)),
  );
  if (next == 0 || isSilent) return next;
  const out = <usize>own(ctx, Sets.OUT);
  store<u64>(out, STORED_REPLY);
  setOwn(ctx, Sets.OUT, out + 8);
  return next;
}

/** `ms KEY BYTES [T…] [F…]`. @returns as storeSet */
function storeMeta(ctx: usize, key: usize, to: usize): usize {
  const keyEnd = tokenEnd(key, to);
  const bytes = keyEnd + 1;
  const bytesEnd = tokenEnd(bytes, to);
  if (bytesEnd + 4 > to || keyEnd == key || keyEnd - key > KEY_BYTES_MAX) return 0;
  if (load<u8>(keyEnd) != SPACE) return 0;
  let clientFlags: i64 = -1;
  let expires: i64 = -1;
  let at = bytesEnd;
  while (load<u8>(at) == SPACE) {
    const end = tokenEnd(at + 1, to);
    if (end + 4 > to) return 0;
    const letter = <u32>load<u8>(at, 1);
    const number = numberAt(at + 2, end);
    if (number < 0) return 0;
    if (letter == FLAG_T && expires < 0) expires = number;
    else if (letter == FLAG_F && clientFlags < 0) clientFlags = number;
    else return 0;
    at = end;
  }
  if (load<u16>(at) != RETURN_NEWLINE) return 0;
  const next = storeBehind(
    ctx, key, keyEnd - key, at, to, numberAt(bytes, bytesEnd),
    <u32>max<i64>(0, clientFlags), expiryOf(max<i64>(0, expires), own(ctx, Sets.NOW)),
  );
  if (next == 0) return 0;
  const out = <usize>own(ctx, Sets.OUT);
  store<u32>(out, HD_REPLY);
  setOwn(ctx, Sets.OUT, out + 4);
  return next;
}

/** Whether the call is to end after a set: memory is short, or its work is enough. */
function isEnough(ctx: usize): bool {
  if (own(ctx, Sets.OUTCOME) != STORED || own(ctx, Sets.KEY_LOCK) != 0) return true;
  if (own(ctx, Sets.SETS) == SETS_MAX) return true;
  const used = word(Super.FRAMES_TOTAL) - own(ctx, Put.FIRST_FRAME) - word(Super.FRAMES_FREE);
  const free = <i32>word(own(ctx, Put.ROOT) + Root.LIMIT_FRAMES) - <i32>used;
  return free < <i32>own(ctx, Sets.FRAMES_LOW);
}

/**
 * Does lines at [from, to) as far as they are plain sets, with replies in [reply, replyEnd).
 * @param ctx struct put of this thread, with the words of plain_sets.layout.ts, which tell what has
 *   come of it
 * @returns the address behind the last line that was done
 */
export function storeLines(
  ctx: usize, from: usize, to: usize, reply: usize, replyEnd: usize,
): usize {
  setOwn(ctx, Sets.OUT, reply);
  setOwn(ctx, Sets.SETS, 0);
  setOwn(ctx, Sets.VALUE_BYTES, 0);
  setOwn(ctx, Sets.OUTCOME, STORED);
  setOwn(ctx, Sets.KEY_LOCK, 0);
  let at = from;
  while (to - at > 8 && replyEnd - own(ctx, Sets.OUT) >= REPLY_BYTES_MAX) {
    const begin = load<u32>(at);
    let next: usize = 0;
    if (begin == SET_) next = storeSet(ctx, at + 4, to);
    else if ((begin & 0xffffff) == MS_) next = storeMeta(ctx, at + 3, to);
    if (next == 0) return at;
    at = next;
    if (isEnough(ctx)) return at;
  }
  return at;
}
