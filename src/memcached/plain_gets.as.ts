// Plain gets of memcached's text protocol, from the bytes received to the bytes sent: `get`,
// `gets`, and `mg` whose flags ask for nothing but the value and its meta data. A line is answered
// if its items are in memory as they came in, in one page, alive, not stale, and their use was
// recorded lately. Any other line ends the work: the commands (commands/, items/items.ts) answer
// it, as they could have answered all lines; test/memcached/plain_gets.long.test.ts compares both.
import * as Item from "./items/items.layout";
import * as Find from "../values/find.layout";
import { addAhead, forgetAhead, hashOf, isAheadOver, lookAhead } from "../values/find_ahead.as";
import { findValue, metaAt, own, restore, setOwn, valueBytes } from "../values/find_value.as";
import { copyExact } from "../codec/lz4.as";
import { askShard, beginShards, forgetAnswers, lookInShards } from "./sharded_gets.as";
import { SEGMENTS } from "./sharded_gets.layout";

const SPACE: u32 = 32;
const NEWLINE: u32 = 10;
const RETURN_NEWLINE: u32 = 0x0a0d;
const KEY_BYTES_MAX: usize = 250;
/** Letters of an opaque token, with its flag. */
const OPAQUE_BYTES_MAX: usize = 32;
/** All of a reply but its value: twice a key, an opaque token and a number for each flag. */
const REPLY_BYTES_MAX: usize = 1024;

const GET_: u32 = 0x20746567; // "get "
const GETS: u32 = 0x73746567; // "gets"
const MG_: u32 = 0x20676d; // "mg "
const NEVER: u32 = 0x312d; // "-1"
const MN: u32 = 0x0a0d6e6d; // "mn\r\n"

// @ts-ignore: decorator
@inline
function metaWord(find: usize, nth: usize): u32 {
  return load<u32>(metaAt(find) + (nth << 2));
}

/** Writes a number in decimal digits. @returns the address behind it */
function writeNumber(out: usize, value: u32): usize {
  let end = out + 1;
  for (let rest = value; rest >= 10; rest /= 10) end++;
  let at = end;
  let rest = value;
  // A remainder would divide once more.
  do {
    const tenth = rest / 10;
    store<u8>(--at, 48 + rest - tenth * 10);
    rest = tenth;
  } while (rest != 0);
  return end;
}

/** The same of 64 bits, which take ten times as long to divide. */
function writeLong(out: usize, value: u64): usize {
  if (value <= <u64>u32.MAX_VALUE) return writeNumber(out, <u32>value);
  let end = out + 1;
  for (let rest = value; rest >= 10; rest /= 10) end++;
  let at = end;
  for (let rest = value; rest != 0; rest /= 10) store<u8>(--at, 48 + <u32>(rest % 10));
  return end;
}

// @ts-ignore: decorator
@inline
function writeShort(out: usize, value: u32): usize {
  store<u16>(out, <u16>value);
  return out + 2;
}

/** Copies the bytes at [from, to). @returns the address behind */
// @ts-ignore: decorator
@inline
function writeBytes(out: usize, from: usize, to: usize): usize {
  copyExact(out, from, out + to - from);
  return out + to - from;
}

/** Whether the item found last is one that a plain get gives back without a change to it. */
function isPlain(find: usize, now: u32, flushes: u32): bool {
  const bits = metaWord(find, Item.BITS);
  if (bits >>> Item.FLUSH_SHIFT != flushes) return false;
  if ((bits & (Item.FETCHED | Item.STALE | Item.TOKEN_SENT)) != Item.FETCHED) return false;
  const expires = metaWord(find, Item.EXPIRES);
  if (expires != 0 && expires <= now) return false;
  // A use that is to be noted is noted elsewhere.
  return now - metaWord(find, Item.ACCESSED) < <u32>Item.BUMP_S;
}

/** The end of the token that begins at `at`: its first byte that is none of it, or `to`. */
// @ts-ignore: decorator
@inline
function tokenEnd(at: usize, to: usize): usize {
  while (at < to && load<u8>(at) > SPACE) at++;
  return at;
}

// @ts-ignore: decorator
@inline
function isLineEnd(at: usize, to: usize): bool {
  return at + 2 <= to && load<u16>(at) == RETURN_NEWLINE;
}

/** @returns the address behind the key at `key`; 0 if it may go on, or is no key */
function keyEndOf(key: usize, to: usize): usize {
  const end = tokenEnd(key, to);
  // A key that reaches to the end may go on.
  return end == to || end == key || end - key > KEY_BYTES_MAX ? 0 : end;
}

/** `VALUE key flags bytes [cas]`, and the value. @returns the address behind, 0 without room */
function writeItem(
  find: usize, key: usize, end: usize, out: usize, cas: bool, replyEnd: usize,
): usize {
  const size = valueBytes(find);
  if (replyEnd - out < size + REPLY_BYTES_MAX) return 0;
  store<u64>(out, 0x2045554c4156); // "VALUE "
  let at = out + 6;
  at = writeBytes(at, key, end);
  store<u8>(at++, SPACE);
  at = writeNumber(at, metaWord(find, Item.CLIENT_FLAGS));
  store<u8>(at++, SPACE);
  at = writeNumber(at, <u32>size);
  if (cas) {
    store<u8>(at++, SPACE);
    at = writeLong(at, casOf(find));
  }
  at = writeShort(at, RETURN_NEWLINE);
  if (!restore(find, at)) return 0;
  return writeShort(at + size, RETURN_NEWLINE);
}

// @ts-ignore: decorator
@inline
function casOf(find: usize): u64 {
  return (<u64>metaWord(find, Item.CAS_HIGH) << 32) | metaWord(find, Item.CAS_LOW);
}

// How a key is answered.
/** `VALUE` without the cas number. */
const AS_VALUE: u32 = 0;
/** `VALUE` with it. */
const AS_VALUE_CAS: u32 = 0x100;
/** The reply of `mg`: with the bits of its flags, which stand behind the key. */
const AS_META: u32 = 0x200;

/**
 * Answers one key, which stands at [key, end), if its item is found in this store, and plain.
 * @returns the address behind the answer; 0: it is not answered, and not counted as found
 */
export function answerKey(
  find: usize, key: usize, end: usize, hash: u64, how: u32,
  out: usize, replyEnd: usize, now: u32, flushes: u32,
): usize {
  const count = own(find, Find.COUNT);
  if (!findValue(find, key, end - key, hash)) return 0;
  let behind: usize = 0;
  if (isPlain(find, now, flushes)) {
    behind = (how & AS_META) == 0
      ? writeItem(find, key, end, out, how == AS_VALUE_CAS, replyEnd)
      : writeMeta(find, key, end, out, how & 0xff, replyEnd, now);
  }
  if (behind == 0) setOwn(find, Find.COUNT, count);
  return behind;
}

/** As `answerKey`, in the store that has the key. @param to behind what `how` needs of the line */
// @ts-ignore: decorator
@inline
function askKey(
  find: usize, key: usize, end: usize, to: usize, how: u32,
  out: usize, replyEnd: usize, now: u32, flushes: u32,
): usize {
  const hash = hashOf(find, key, end - key);
  const shards = <usize>own(find, Find.SHARDS);
  return shards == 0
    ? answerKey(find, key, end, hash, how, out, replyEnd, now, flushes)
    : askShard(shards, key, end, to, hash, how, out, replyEnd, now, flushes);
}

/** `get` and `gets`, with all their keys. @returns the address of the next line, 0: not this one */
function answerGet(
  find: usize, keys: usize, to: usize, how: u32, replyEnd: usize, now: u32, flushes: u32,
): usize {
  let out = <usize>own(find, Find.OUT);
  let key = keys;
  while (true) {
    const end = keyEndOf(key, to);
    if (end == 0) return 0;
    out = askKey(find, key, end, end, how, out, replyEnd, now, flushes);
    if (out == 0) return 0;
    if (isLineEnd(end, to)) {
      // The last value left room for this.
      store<u32>(out, 0x0d444e45); // "END\r"
      store<u8>(out + 4, 10);
      setOwn(find, Find.OUT, out + 5);
      return end + 2;
    }
    if (load<u8>(end) != SPACE) return 0;
    key = end + 1;
  }
}

// Flags of `mg`, and a bit for each.
const FLAG_V: u32 = 118; // the value
const FLAG_F: u32 = 102; // client flags
const FLAG_C: u32 = 99; // cas number
const FLAG_S: u32 = 115; // size
const FLAG_T: u32 = 116; // seconds left
const FLAG_K: u32 = 107; // the key
const FLAG_Q: u32 = 113; // nothing, if it is not there
const FLAG_OPAQUE: u32 = 79; // a token that is given back
const VALUE_BIT: u32 = 1;
const OPAQUE_BIT: u32 = 128;

/** @returns the bit of a flag, 0 if it is none of these */
function flagBit(letter: u32): u32 {
  if (letter == FLAG_V) return VALUE_BIT;
  if (letter == FLAG_F) return 2;
  if (letter == FLAG_C) return 4;
  if (letter == FLAG_S) return 8;
  if (letter == FLAG_T) return 16;
  if (letter == FLAG_K) return 32;
  if (letter == FLAG_Q) return 64;
  return letter == FLAG_OPAQUE ? OPAQUE_BIT : 0;
}

/** Reads the flags from `at` on. @returns their bits, or −1 if one is none of ours, or is wrong */
function readFlags(at: usize, to: usize): i32 {
  let bits: u32 = 0;
  while (!isLineEnd(at, to)) {
    if (at == to || load<u8>(at) != SPACE) return -1;
    const end = tokenEnd(++at, to);
    if (end == to || end == at) return -1;
    const bit = flagBit(load<u8>(at));
    if (bit == 0 || (bits & bit) != 0) return -1;
    if (end - at > (bit == OPAQUE_BIT ? OPAQUE_BYTES_MAX : 1)) return -1;
    bits |= bit;
    at = end;
  }
  return bits;
}

/** Writes what one flag asks for. @returns the address behind */
function writeFlag(find: usize, letter: u32, out: usize, now: u32): usize {
  if (letter == FLAG_F) return writeNumber(out, metaWord(find, Item.CLIENT_FLAGS));
  if (letter == FLAG_C) return writeLong(out, casOf(find));
  if (letter == FLAG_S) return writeNumber(out, <u32>valueBytes(find));
  const expires = metaWord(find, Item.EXPIRES);
  return expires == 0 ? writeShort(out, NEVER) : writeNumber(out, expires - now);
}

/** Writes what the flags from `at` on ask for, in their order. @returns the address behind */
function writeFlags(
  find: usize, at: usize, key: usize, keyEnd: usize, out: usize, now: u32,
): usize {
  while (load<u8>(at) == SPACE) {
    const letter = <u32>load<u8>(++at);
    const end = tokenEnd(at, usize.MAX_VALUE);
    if (letter != FLAG_V && letter != FLAG_Q) {
      out = writeShort(out, SPACE | (letter << 8));
      if (letter == FLAG_K) out = writeBytes(out, key, keyEnd);
      else if (letter == FLAG_OPAQUE) out = writeBytes(out, at + 1, end);
      else out = writeFlag(find, letter, out, now);
    }
    at = end;
  }
  return out;
}

/** The reply of `mg` to the item found last. @returns as writeItem */
function writeMeta(
  find: usize, key: usize, keyEnd: usize, out: usize, flags: u32, replyEnd: usize, now: u32,
): usize {
  const size = (flags & VALUE_BIT) != 0 ? valueBytes(find) : 0;
  if (replyEnd - out < size + REPLY_BYTES_MAX) return 0;
  let at = out;
  if ((flags & VALUE_BIT) != 0) {
    store<u32>(at, 0x204156); // "VA "
    at = writeNumber(at + 3, <u32>size);
  } else at = writeShort(at, 0x4448); // "HD"
  at = writeFlags(find, keyEnd, key, keyEnd, at, now);
  at = writeShort(at, RETURN_NEWLINE);
  if ((flags & VALUE_BIT) == 0) return at;
  if (!restore(find, at)) return 0;
  return writeShort(at + size, RETURN_NEWLINE);
}

/** `mg`. @returns as answerGet */
function answerMeta(
  find: usize, key: usize, to: usize, replyEnd: usize, now: u32, flushes: u32,
): usize {
  const keyEnd = keyEndOf(key, to);
  if (keyEnd == 0) return 0;
  const flags = readFlags(keyEnd, to);
  if (flags < 0) return 0;
  let end = keyEnd;
  while (!isLineEnd(end, to)) end++;
  end += 2;
  const how = AS_META | <u32>flags;
  const out = askKey(
    find, key, keyEnd, end, how, own(find, Find.OUT), replyEnd, now, flushes,
  );
  if (out == 0) return 0;
  setOwn(find, Find.OUT, out);
  return end;
}

/** One line. @returns as answerGet */
function answerLine(
  find: usize, at: usize, to: usize, replyEnd: usize, now: u32, flushes: u32,
): usize {
  if (to - at < 4) return 0;
  const begin = load<u32>(at);
  if (begin == GET_) return answerGet(find, at + 4, to, AS_VALUE, replyEnd, now, flushes);
  if ((begin & 0xffffff) == MG_) return answerMeta(find, at + 3, to, replyEnd, now, flushes);
  if (begin == GETS && to - at > 4 && load<u8>(at, 4) == SPACE) {
    return answerGet(find, at + 5, to, AS_VALUE_CAS, replyEnd, now, flushes);
  }
  const out = own(find, Find.OUT);
  if (begin != MN || replyEnd - out < REPLY_BYTES_MAX) return 0;
  store<u32>(out, 0x0a0d4e4d); // "MN\r\n"
  setOwn(find, Find.OUT, out + 4);
  return at + 4;
}

/** Adds the keys of a line that begins at `at`. @returns where the next one begins, 0: no more */
function addKeys(find: usize, at: usize, to: usize): usize {
  const begin = load<u32>(at);
  const isMeta = (begin & 0xffffff) == MG_;
  if (!isMeta && begin != GET_ && begin != GETS) return 0;
  let key = at + (isMeta ? 3 : begin == GETS ? 5 : 4);
  while (true) {
    const end = tokenEnd(key, to);
    if (end == key || to - end < 2 || end - key > KEY_BYTES_MAX) return 0;
    if (!addAhead(find, key, end - key)) return 0;
    key = end + 1;
    if (!isMeta && load<u8>(end) == SPACE) continue;
    while (key < to && load<u8>(key - 1) != NEWLINE) key++;
    return key;
  }
}

/** Looks at what the next keys lead to, if all that were looked at before have had their turn. */
function lookAtKeys(find: usize, from: usize, to: usize): void {
  forgetAhead(find);
  let at = from;
  while (at != 0 && to - at > 5) at = addKeys(find, at, to);
  // One key alone has nothing to wait for together with.
  if (own(find, Find.AHEAD) < 2) return;
  const shards = <usize>own(find, Find.SHARDS);
  if (shards == 0) lookAhead(find);
  else lookInShards(find, shards);
}

/**
 * Answers lines at [from, to) as far as they are plain, into [reply, replyEnd).
 * @param find the context of this thread (find.layout.ts); COUNT and OUT tell what came of it
 * @param now seconds since 1970  @param flushes the number of flushes so far
 * @returns the address behind the last line that was answered
 */
export function answerGets(
  find: usize, from: usize, to: usize, reply: usize, replyEnd: usize, now: u32, flushes: u32,
): usize {
  setOwn(find, Find.COUNT, 0);
  setOwn(find, Find.OUT, reply);
  forgetAhead(find);
  const shards = <usize>own(find, Find.SHARDS);
  if (shards != 0) beginShards(shards);
  let at = from;
  // Where the last call has answered nothing, this one may not, either: then looking at all keys
  // ahead, call for call, would take longer than all else.
  if (own(find, Find.ANSWERED) != 0) lookAtKeys(find, at, to);
  while (true) {
    if (at != from && isAheadOver(find)) lookAtKeys(find, at, to);
    const count = own(find, Find.COUNT);
    const segments = shards == 0 ? 0 : own(shards, SEGMENTS);
    const next = answerLine(find, at, to, replyEnd, now, flushes);
    if (next == 0) {
      // What was found for a line that others answer counts there.
      setOwn(find, Find.COUNT, count);
      if (shards != 0) forgetAnswers(shards, segments);
      setOwn(find, Find.ANSWERED, at == from ? 0 : 1);
      return at;
    }
    at = next;
  }
}
