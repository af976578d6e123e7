// Reads ahead what several keys lead to, before the first of them is looked up. A key leads from a
// bucket to a record, to an entry of the handle table, to a value: four places that the processor's
// caches mostly do not have, each known only when the one before has been read. One key after the
// other waits for all four; some keys side by side, step by step, wait for them together.
//
// Nothing is found here, and nothing decided: all that is kept of it are the hashes. So it does not
// matter if a thread writes meanwhile, as long as each index is checked.
import * as Entry from "../tmem/entry.layout";
import * as Obj from "../tmem/object.layout";
import * as Find from "./find.layout";
import { bucketOf, hashKey, isIn, own, setOwn, word } from "./find_value.as";

/** Where the words of the n-th key stand. */
// @ts-ignore: decorator
@inline
function aheadOf(find: usize, nth: u32): usize {
  return find + ((Find.AHEAD_AT + nth * Find.AHEAD_WORDS) << 2);
}

/** Begins anew with no keys. */
export function forgetAhead(find: usize): void {
  setOwn(find, Find.AHEAD, 0);
  setOwn(find, Find.AHEAD_NEXT, 0);
}

/** Adds a key of `count` bytes. @returns whether there is room for more */
export function addAhead(find: usize, key: usize, count: usize): bool {
  const at = aheadOf(find, own(find, Find.AHEAD));
  setOwn(at, Find.KEY_AT, key);
  setOwn(at, Find.KEY_BYTES, count);
  addHashAhead(find, hashKey(find, key, count));
  return own(find, Find.AHEAD) < <u32>Find.AHEAD_MAX;
}

/** Adds a key by its hash alone, which `hashOf` does not find. */
export function addHashAhead(find: usize, hash: u64): void {
  const nth = own(find, Find.AHEAD);
  const at = aheadOf(find, nth);
  setOwn(at, Find.LOW, <u32>hash);
  setOwn(at, Find.HIGH, <u32>(hash >>> 32));
  setOwn(find, Find.AHEAD, nth + 1);
}

/** The hash of the nth key. */
export function aheadHash(find: usize, nth: u32): u64 {
  const at = aheadOf(find, nth);
  return (<u64>own(at, Find.HIGH) << 32) | own(at, Find.LOW);
}

/** Reads the buckets of all keys, then the records, then the entries, then how the values begin. */
export function lookAhead(find: usize): void {
  for (let step: u32 = 0; step < LOOK_STEPS; step++) lookStep(find, step);
}

export const LOOK_STEPS: u32 = 4;

/** One step of `lookAhead`. */
export function lookStep(find: usize, step: u32): void {
  const end = aheadOf(find, own(find, Find.AHEAD));
  const first = aheadOf(find, 0);
  if (step == 0) lookAtBuckets(find, first, end);
  else if (step == 1) lookAtRecords(find, first, end);
  else if (step == 2) lookAtEntries(find, first, end);
  else lookAtValues(find, first, end);
}

const STEP: usize = Find.AHEAD_WORDS << 2;

function lookAtBuckets(find: usize, first: usize, end: usize): void {
  for (let at = first; at < end; at += STEP) {
    const bucket = bucketOf(find, own(at, Find.LOW), own(at, Find.HIGH));
    setOwn(at, Find.PLACE, bucket == Obj.NONE ? 0 : word(bucket));
  }
}

function lookAtRecords(find: usize, first: usize, end: usize): void {
  for (let at = first; at < end; at += STEP) {
    const object = own(at, Find.PLACE);
    // Another object of the same bucket is none to go on with.
    const isRecord = object != 0 && isIn(find, object, Obj.SHORT_WORDS);
    const isIt = isRecord && word(object + Obj.ID) == own(at, Find.LOW);
    setOwn(at, Find.PLACE, isIt ? word(object + Obj.ENTRY + Entry.VALUE) : <u32>0);
  }
}

function lookAtEntries(find: usize, first: usize, end: usize): void {
  const mask = own(find, Find.ENTRY_MASK);
  const words = own(find, Find.WORDS);
  for (let at = first; at < end; at += STEP) {
    // What stands there is no handle where the value lies in the file, and may be any number.
    const entry = own(at, Find.PLACE) & mask;
    setOwn(at, Find.PLACE, entry < words ? word(entry) : <u32>0);
  }
}

function lookAtValues(find: usize, first: usize, end: usize): void {
  const words = own(find, Find.WORDS);
  let begins: u32 = 0;
  for (let at = first; at < end; at += STEP) {
    const place = own(at, Find.PLACE);
    if (place < words) begins ^= word(place);
  }
  // Kept, so that the reads are not taken for idle ones.
  setOwn(find, Find.PEEKED, begins);
}

/** The hash of a key: the next one that was looked at ahead is known. */
export function hashOf(find: usize, key: usize, count: usize): u64 {
  const nth = own(find, Find.AHEAD_NEXT);
  if (nth < own(find, Find.AHEAD)) {
    const at = aheadOf(find, nth);
    setOwn(find, Find.AHEAD_NEXT, nth + 1);
    if (<usize>own(at, Find.KEY_AT) == key && <usize>own(at, Find.KEY_BYTES) == count) {
      return (<u64>own(at, Find.HIGH) << 32) | own(at, Find.LOW);
    }
  }
  return hashKey(find, key, count);
}

/** Whether all keys that were looked at ahead have been asked for. */
// @ts-ignore: decorator
@inline
export function isAheadOver(find: usize): bool {
  return own(find, Find.AHEAD_NEXT) == own(find, Find.AHEAD);
}
