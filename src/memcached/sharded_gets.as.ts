// Plain gets of a store with several shards. The kernels of a shard see the memory of that shard
// only. The kernels of the first shard read the lines, and for each key call the kernels of the
// shard that has the key, which stand in the table of functions: such a call takes 4 ns, a call
// through JavaScript five times as long, and the keys are asked for in the order of the lines.
//
// The reply buffer is in the memory of the first shard, which writes its answers there. Another
// shard writes its answer to memory of its own, from where it is copied to the reply buffer. Where
// kernels can't copy between two memories (wasm/copier.ts), the place of the answer in the reply
// buffer is left free, and a segment says what is to be copied there (items/sharded_gets.ts).
import * as Find from "../values/find.layout";
import * as Shards from "./sharded_gets.layout";
import {
  addHashAhead, aheadHash, forgetAhead, LOOK_STEPS, lookStep,
} from "../values/find_ahead.as";
import { own, setOwn } from "../values/find_value.as";

// @ts-ignore: decorator
@inline
function shardAt(shards: usize, nth: u32): usize {
  return shards + ((Shards.SHARD_AT + nth * Shards.SHARD_WORDS) << 2);
}

// @ts-ignore: decorator
@inline
function segmentAt(shards: usize, nth: u32): usize {
  return shards + ((Shards.SEGMENT_AT + nth * Shards.SEGMENT_WORDS) << 2);
}

/** The place of a shard's function in the table of functions. */
// @ts-ignore: decorator
@inline
function functionOf(shards: usize, nth: u32, which: u32): u32 {
  return own(shards, Shards.FUNCTIONS_AT) + nth * Shards.FUNCTIONS + which;
}

// @ts-ignore: decorator
@inline
function mix(hash: u32, word: u32): u32 {
  const mixed = (hash ^ word) * 0x85ebca6b;
  return ((mixed ^ (mixed >>> 15)) * 0xc2b2ae35) ^ (mixed >>> 13);
}

/** `shardOfHash` of shard/route.ts. */
// @ts-ignore: decorator
@inline
function shardOf(hash: u64, shards: u32): u32 {
  const mixed = mix(<u32>hash, <u32>(hash >>> 32));
  return <u32>((<u64>(mixed ^ (mixed >>> 16)) * shards) >>> 32);
}

/** To be called before the first key of a call. */
export function beginShards(shards: usize): void {
  setOwn(shards, Shards.SEGMENTS, 0);
  const end = shardAt(shards, own(shards, Shards.SHARDS));
  for (let at = shardAt(shards, 0); at < end; at += Shards.SHARD_WORDS << 2) {
    setOwn(at, Shards.OUT, own(at, Shards.ANSWERS));
  }
}

/** Drops the answers from the nth one on, which then do not count as found. */
export function forgetAnswers(shards: usize, nth: u32): void {
  for (let at = own(shards, Shards.SEGMENTS); at > nth; ) {
    const shard = own(segmentAt(shards, --at), Shards.SHARD);
    const find = own(shardAt(shards, shard), Shards.FIND);
    call_indirect<void>(functionOf(shards, shard, Shards.FORGET_FOUND), <usize>find);
  }
  setOwn(shards, Shards.SEGMENTS, nth);
}

/**
 * `lookAhead` of the keys that were added to `find`, each in its shard: all shards make one step
 * before the first makes the next, so that the processor reads in all of them together.
 */
export function lookInShards(find: usize, shards: usize): void {
  const count = own(shards, Shards.SHARDS);
  const keys = own(find, Find.AHEAD);
  // The shards that have keys.
  let asked: u64 = 0;
  for (let nth: u32 = 0; nth < keys; nth++) {
    const hash = aheadHash(find, nth);
    const shard = shardOf(hash, count);
    asked |= <u64>1 << shard;
    const target = <usize>own(shardAt(shards, shard), Shards.FIND);
    call_indirect<void>(functionOf(shards, shard, Shards.ADD_HASH), target, hash);
  }
  for (let step: u32 = 0; step < LOOK_STEPS; step++) {
    for (let rest = asked; rest != 0; rest &= rest - 1) {
      const shard = <u32>ctz<u64>(rest);
      const target = <usize>own(shardAt(shards, shard), Shards.FIND);
      call_indirect<void>(functionOf(shards, shard, Shards.LOOK_AT_HASHES), target, step);
    }
  }
}

/**
 * Has a key answered by its shard.
 * @param key where it stands, up to `end`; the shard gets what stands up to `to`
 * @param out where its answer is to be in the reply buffer
 * @returns the address in the reply buffer behind the answer; 0: it is not answered
 */
export function askShard(
  shards: usize, key: usize, end: usize, to: usize, hash: u64, how: u32,
  out: usize, replyEnd: usize, now: u32, flushes: u32,
): usize {
  const nth = own(shards, Shards.SEGMENTS);
  if (nth == Shards.SEGMENTS_MAX) return 0;
  const shard = shardOf(hash, own(shards, Shards.SHARDS));
  const asked = shardAt(shards, shard);
  const input = <usize>own(asked, Shards.INPUT);
  const put = functionOf(shards, shard, Shards.PUT_LONG);
  const count = to - key;
  for (let i: usize = 0; i < count; i += 8) {
    call_indirect<void>(put, input + i, load<u64>(key + i));
  }
  let from = out;
  let limit = replyEnd;
  if (shard != 0) {
    from = <usize>own(asked, Shards.OUT);
    // A copy is faster between addresses at the same distance from a multiple of 8.
    from += (out - from) & 7;
    const answersEnd = <usize>own(asked, Shards.ANSWERS_END);
    if (from >= answersEnd) return 0;
    limit = from + min<usize>(answersEnd - from, replyEnd - out);
  }
  const behind = call_indirect<usize>(
    functionOf(shards, shard, Shards.ANSWER_KEY), <usize>own(asked, Shards.FIND),
    input, input + (end - key), hash, how, from, limit, now, flushes,
  );
  if (behind == 0) return 0;
  const segment = segmentAt(shards, nth);
  setOwn(segment, Shards.SHARD, shard);
  setOwn(segment, Shards.FROM, from);
  setOwn(segment, Shards.BYTES, behind - from);
  setOwn(segment, Shards.TO, out);
  setOwn(shards, Shards.SEGMENTS, nth + 1);
  const bytes = behind - from;
  if (shard == 0) return behind;
  if (own(shards, Shards.COPIES) == 0) setOwn(asked, Shards.OUT, behind);
  else call_indirect<void>(functionOf(shards, shard, Shards.COPY_OUT), out, from, bytes);
  return out + bytes;
}

// What follows is called by the kernels of the first shard, in each shard.

export function putLong(at: usize, value: u64): void {
  store<u64>(at, value);
}

/** Adds a key to those that `lookAtHashes` looks at. */
export function addHash(find: usize, hash: u64): void {
  addHashAhead(find, hash);
}

/** A step of `lookAhead` of the keys that were added. */
export function lookAtHashes(find: usize, step: u32): void {
  lookStep(find, step);
  if (step + 1 == LOOK_STEPS) forgetAhead(find);
}

/** The value found last does not count. */
export function forgetFound(find: usize): void {
  setOwn(find, Find.COUNT, own(find, Find.COUNT) - 1);
}
