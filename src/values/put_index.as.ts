// Finds or creates the entry of page 0 of a value, as `TmemIndex.insert` does, with the same words
// in the same order, as long as no page frame is needed. Each function names its twin.
//
// The caller has the arena's lock.
import { add, hasJournalRoom, put, slabAlloc, word } from "../memory/journal.as";
import * as Entry from "../tmem/entry.layout";
import * as Index from "../tmem/index.layout";
import * as Obj from "../tmem/object.layout";
import * as Find from "./find.layout";
import { bucketOf, hashName, own } from "./find_value.as";
import * as Put from "./put.layout";

/** No entry: the index can do it, and what has been changed is to be rolled back. */
export const NOT_HERE: u32 = 0;
/** Splits after an insertion, at most. */
const STEPS: u32 = 2;
/** Entries of the log that a value takes, at most, beside those of a split. */
const LOGGED: u32 = 1000;

/** `ObjectTable.#bucketAt`. */
function bucketAt(find: usize, bucket: u32): u32 {
  const shift = own(find, Find.FRAME_SHIFT);
  const inFrame: u32 = (1 << shift) - 1;
  const directory = word(own(find, Find.DIRECTORY) + (bucket >>> (2 * shift)));
  return word(directory + ((bucket >>> shift) & inFrame)) + (bucket & inFrame);
}

/** `ObjectTable.#split`. @returns false: not here */
function split(find: usize, index: u32): bool {
  const added = word(index + Index.BUCKETS);
  // The next bucket begins a frame.
  if ((added & ((1 << own(find, Find.FRAME_SHIFT)) - 1)) == 0) return false;
  const bit: u32 = 1 << (31 - clz<u32>(added));
  let stayAt = bucketAt(find, added - bit);
  let goAt = bucketAt(find, added);
  let object = word(stayAt);
  while (object != Obj.NONE) {
    const next = word(object + Obj.NEXT);
    const name = word(object + Obj.SHAPE) & Obj.NAME_MASK;
    if ((name & Obj.LONG) != 0 || !hasJournalRoom(LOGGED)) return false;
    const hash = hashName(find, name, word(object + Obj.ID), word(object + Obj.ID + 1));
    if ((hash & bit) == 0) {
      if (word(stayAt) != object) put(stayAt, object);
      stayAt = object + Obj.NEXT;
    } else {
      if (word(goAt) != object) put(goAt, object);
      goAt = object + Obj.NEXT;
    }
    object = next;
  }
  if (word(stayAt) != Obj.NONE) put(stayAt, Obj.NONE);
  if (word(goAt) != Obj.NONE) put(goAt, Obj.NONE);
  put(index + Index.BUCKETS, added + 1);
  return true;
}

/** `ObjectTable.make` and `PageTree.begin`. @returns the object's record, or NOT_HERE */
function makeObject(find: usize, index: u32, low: u32, high: u32): u32 {
  const slab = index + Index.SHORT_SLAB;
  const links = own(find, Find.LINKS);
  const object = slabAlloc(slab, Obj.SHORT_WORDS, links, own(find, Find.FRAME_SHIFT));
  if (object == 0) return NOT_HERE;
  put(object + Obj.NEXT, Obj.NONE);
  put(object + Obj.SHAPE, own(find, Find.NAME) | Obj.INLINE);
  put(object + Obj.ID, low);
  put(object + Obj.ID + 1, high);
  put(object + Obj.ENTRY + Entry.META, 0);
  return object;
}

/** From the head of a slab to the number of its records (memory/slab.layout.ts). */
const RECORDS_USED: u32 = 2;

/** `ObjectTable.count`. */
// @ts-ignore: decorator
@inline
function objects(index: u32): u32 {
  const short = word(index + Index.SHORT_SLAB + RECORDS_USED);
  return short + word(index + Index.LONG_SLAB + RECORDS_USED);
}

/** `TmemIndex.insert`. @returns the entry, whose META is 0 if it is new; or NOT_HERE */
export function insertEntry(ctx: usize, find: usize, low: u32, high: u32): u32 {
  const index = own(ctx, Put.INDEX);
  const name = own(find, Find.NAME);
  const pool = index + Index.POOLS + name * Index.POOL_WORDS;
  if (word(pool + Index.STATE) != own(ctx, Put.TMEM_POOL)) return NOT_HERE;
  const bucket = bucketOf(find, low, high);
  if (bucket == Obj.NONE) return NOT_HERE;
  for (let object = word(bucket); object != Obj.NONE; object = word(object + Obj.NEXT)) {
    if (word(object + Obj.ID) != low || word(object + Obj.ID + 1) != high) continue;
    const shape = word(object + Obj.SHAPE);
    if ((shape & Obj.NAME_MASK) != name) continue;
    return (shape & Obj.INLINE) == 0 ? NOT_HERE : object + Obj.ENTRY;
  }
  const object = makeObject(find, index, low, high);
  if (object == NOT_HERE) return NOT_HERE;
  put(object + Obj.NEXT, word(bucket));
  put(bucket, object);
  for (let step: u32 = 0; step < STEPS; step++) {
    if (objects(index) <= word(index + Index.BUCKETS)) break;
    if (!split(find, index)) return NOT_HERE;
  }
  add(pool + Index.OBJECTS, 1);
  add(pool + Index.PAGES, 1);
  add(pool + Index.FIRSTS, 1);
  return object + Obj.ENTRY;
}
