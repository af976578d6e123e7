// malloc and free of the dense pool as dense.ts, vectors.ts, owners.ts and reserve.ts do them, with
// the same words in the same order, where no page frame comes from the arena or goes back to it,
// and no class is split or merged. Anything else is left to those: the caller rolls back what has
// been done. Each function names its twin.
//
// The caller has the arena's lock, and there is a journal: no thread has the lock of the pool then.
import * as Frame from "../../memory/frame.layout";
import {
  add,
  keep,
  keepBytes,
  moveBytes,
  put,
  setWord,
  slabAlloc,
  slabFree,
  word,
} from "../../memory/journal.as";
import * as Pool from "../pool.layout";
import * as Dense from "./dense.layout";

/** Of OwnerRecords: records with at most so many words have exactly so many. */
const EXACT_WORDS: u32 = 7;

/** `KIND_OF_WORDS`. */
function wordsOfKind(kind: u32): u32 {
  if (kind < EXACT_WORDS) return kind + 1;
  if (kind < 11) return kind < 9 ? (kind == 7 ? 9 : 12) : kind == 9 ? 17 : 24;
  if (kind < 13) return kind == 11 ? 36 : 60;
  return kind == 13 ? 102 : kind == 14 ? 204 : 512;
}

/** The kind of a record of so many words. */
function kindOf(words: u32): u32 {
  let kind: u32 = words <= EXACT_WORDS ? words - 1 : EXACT_WORDS;
  while (wordsOfKind(kind) < words) kind++;
  return kind;
}

// @ts-ignore: decorator
@inline
function classAt(own: u32, index: u32): u32 {
  return own + Dense.CLASS_TABLE + index * Dense.CLASS_WORDS;
}

// @ts-ignore: decorator
@inline
function linkOf(links: u32, frame: u32): u32 {
  return links + frame * Frame.FRAME_WORDS;
}

/** log₂ of the bytes of a granule. */
// @ts-ignore: decorator
@inline
function granuleShift(frameShift: u32): u32 {
  return frameShift + 2 - Dense.GRANULES_ORDER;
}

/** `#starts`. */
function starts(index: u32, first: u32, frameShift: u32): u32 {
  const slot = (index + 1) << granuleShift(frameShift);
  return ((4 << frameShift) - first + slot - 1) / slot;
}

/** `OwnerRecords.alloc`. @returns the record, 0: not here */
function allocRecord(own: u32, frame: u32, words: u32, frameShift: u32): u32 {
  const kind = kindOf(words);
  const at = own + Dense.RECORDS + kind * Dense.KIND_WORDS;
  const size = wordsOfKind(kind);
  const tail = word(at + Dense.KIND_TAIL);
  if (tail == 0 || word(at + Dense.KIND_USED) == (1 << frameShift) / size) return 0;
  const record = (tail << frameShift) + add(at + Dense.KIND_USED, 1) * size;
  setWord(record, ~frame);
  for (let i: u32 = 1; i < size; i++) setWord(record + i, Dense.NOBODY);
  return record;
}

/** `OwnerRecords.free`. @returns false: not here */
function freeRecord(
  own: u32, record: u32, words: u32, links: u32, frameShift: u32, entryMask: u32,
): bool {
  const kind = kindOf(words);
  const at = own + Dense.RECORDS + kind * Dense.KIND_WORDS;
  const size = wordsOfKind(kind);
  const used = word(at + Dense.KIND_USED) - 1;
  if (used == 0) return false;
  const last = (word(at + Dense.KIND_TAIL) << frameShift) + used * size;
  if (last != record) {
    const first = word(last);
    const frame = <i32>first < 0 ? ~first : word(first & entryMask) >>> frameShift;
    put(linkOf(links, frame) + Dense.RECORD, record);
    for (let i: u32 = 0; i < size; i++) put(record + i, word(last + i));
  }
  for (let i: u32 = 0; i < size; i++) keep(last + i);
  put(at + Dense.KIND_USED, used);
  return true;
}

/** `#grow`. @returns whether there is another frame */
function grow(own: u32, index: u32, first: u32, links: u32, frameShift: u32): bool {
  const reserved = word(own + Dense.RESERVED);
  if (reserved == 0) return false;
  put(own + Dense.RESERVED, reserved - 1);
  const frame = word(own + Dense.RESERVE + reserved - 1);
  const record = allocRecord(own, frame, starts(index, first, frameShift), frameShift);
  if (record == 0) return false;
  const at = classAt(own, index);
  const tail = word(at + Dense.TAIL);
  const link = linkOf(links, frame);
  put(link + Dense.NEXT, (first >>> granuleShift(frameShift)) << Dense.FRAME_BITS);
  put(link + Dense.PREV, (index << Dense.FRAME_BITS) | tail);
  put(link + Dense.RECORD, record);
  if (tail == 0) put(at + Dense.HEAD, frame);
  else add(linkOf(links, tail) + Dense.NEXT, frame);
  put(at + Dense.TAIL, frame);
  add(own - Pool.OWN + Pool.PAGES, 1);
  return true;
}

/** `SlotVectors.push`. @returns the place of the slot, 0: not here */
function push(own: u32, index: u32, links: u32, frameShift: u32): u32 {
  const at = classAt(own, index);
  const pageSize: u32 = 4 << frameShift;
  let start = word(at + Dense.TAIL_END);
  if (start == pageSize) {
    if (!grow(own, index, 0, links, frameShift)) return 0;
    start = 0;
  }
  const frame = word(at + Dense.TAIL);
  let end = start + ((index + 1) << granuleShift(frameShift));
  if (end > pageSize) {
    end -= pageSize;
    if (!grow(own, index, end, links, frameShift)) return 0;
  }
  put(at + Dense.TAIL_END, end);
  add(at + Dense.COUNT, 1);
  return (frame << frameShift) + (start >>> 2);
}

/** `SlotVectors.ownerOf`. */
function ownerOf(place: u32, links: u32, frameShift: u32): u32 {
  const link = linkOf(links, place >>> frameShift);
  const slot = (word(link + Dense.PREV) >>> Dense.FRAME_BITS) + 1;
  const inFrame = place & ((1 << frameShift) - 1);
  const granules = inFrame >>> (granuleShift(frameShift) - 2);
  const nth = (granules - (word(link + Dense.NEXT) >>> Dense.FRAME_BITS)) / slot;
  return word(link + Dense.RECORD) + nth;
}

/** Whether `SizeClasses.grown` changes nothing. @param usable frames of the arena */
function staysAsItIs(own: u32, index: u32, usable: u32): bool {
  const pages = word(own - Pool.OWN + Pool.PAGES);
  if (word(own + Dense.GROWN) == 0 && pages >= usable >>> Dense.GROWING_SHIFT) return false;
  const at = classAt(own, index);
  const width = index + 1 - word(at + Dense.FLOOR);
  return width == 1 || word(at + Dense.COUNT) * width <= <u32>Dense.SPLIT_ABOVE;
}

/**
 * `Zpool.malloc`.
 * @param pool word index of the descriptor
 * @param links word index of frame 0's link  @param frameShift log₂ of the words of a frame
 * @param entryMask the bits of a handle that are its entry's word index
 * @param usable frames of the arena
 * @returns a handle; 0: not here, and changes are to be rolled back
 */
export function denseMalloc(
  pool: u32, size: u32, links: u32, frameShift: u32, entryMask: u32, usable: u32,
): u32 {
  const own = pool + Pool.OWN;
  const entry = slabAlloc(own + Dense.HANDLES, Dense.ENTRY_WORDS, links, frameShift);
  if (entry == 0) return 0;
  const index = word(own + Dense.CLASS_FOR + ((size - 1) >>> granuleShift(frameShift)));
  const place = push(own, index, links, frameShift);
  if (place == 0) return 0;
  const generation = add(pool + Pool.SERIAL, 1) * (entryMask + 1);
  const handle = (generation & 0x7fff_ffff) | entry;
  put(entry, place);
  put(ownerOf(place, links, frameShift), handle);
  if (!staysAsItIs(own, index, usable)) return 0;
  add(pool + Pool.OBJECTS, 1);
  return handle;
}

/** The place of an object. */
// @ts-ignore: decorator
@inline
export function densePlace(handle: u32, entryMask: u32): u32 {
  return word(handle & entryMask);
}

/** `#bytesInFrame`. */
// @ts-ignore: decorator
@inline
function bytesInFrame(place: u32, frameShift: u32): u32 {
  return ((1 << frameShift) - (place & ((1 << frameShift) - 1))) << 2;
}

/** `#continuation`. */
// @ts-ignore: decorator
@inline
function continuation(place: u32, links: u32, frameShift: u32): usize {
  const next = word(linkOf(links, place >>> frameShift) + Dense.NEXT) & Dense.FRAME_MASK;
  return <usize>next << (frameShift + 2);
}

/** `SlotVectors.copyIn`, into an object that nothing refers to before the commit. */
export function denseCopyIn(
  place: u32, source: usize, size: u32, links: u32, frameShift: u32,
): void {
  const inFrame = bytesInFrame(place, frameShift);
  const target = <usize>place << 2;
  if (size <= inFrame) {
    memory.copy(target, source, size);
    return;
  }
  memory.copy(target, source, inFrame);
  memory.copy(continuation(place, links, frameShift), source + inFrame, size - inFrame);
}

/**
 * `Zpool.slackOf`.
 * @param place of an object  @param pool and the others as in `denseMalloc`
 * @returns by how much its slot is larger than a new one of this size, −1 if it is too small
 */
export function denseSlack(pool: u32, place: u32, size: u32, links: u32, frameShift: u32): i32 {
  const own = pool + Pool.OWN;
  const shift = granuleShift(frameShift);
  const index = word(linkOf(links, place >>> frameShift) + Dense.PREV) >>> Dense.FRAME_BITS;
  if (size > (index + 1) << shift) return -1;
  const wanted = word(own + Dense.CLASS_FOR + ((size - 1) >>> shift));
  return max<i32>(0, <i32>(index - wanted) << shift);
}

/** `Zpool.overwriteShared`. @param save where the old bytes are kept until the commit */
export function denseOverwrite(
  place: u32, source: usize, size: u32, save: usize, links: u32, frameShift: u32,
): void {
  const inFrame = min(size, bytesInFrame(place, frameShift));
  const target = <usize>place << 2;
  keepBytes(target, inFrame, save);
  memory.copy(target, source, inFrame);
  if (size == inFrame) return;
  const next = continuation(place, links, frameShift);
  keepBytes(next, size - inFrame, save + inFrame);
  memory.copy(next, source + inFrame, size - inFrame);
}

/** `SlotVectors.move`. */
function move(from: u32, to: u32, size: u32, links: u32, frameShift: u32): void {
  const fromRoom = bytesInFrame(from, frameShift);
  const toRoom = bytesInFrame(to, frameShift);
  const first = min(size, min(fromRoom, toRoom));
  moveBytes(<usize>to << 2, <usize>from << 2, first);
  if (first == size) return;
  const fromNext = fromRoom < size ? continuation(from, links, frameShift) - fromRoom : 0;
  const toNext = toRoom < size ? continuation(to, links, frameShift) - toRoom : 0;
  const second = min(size, max(fromRoom, toRoom));
  if (second > first) {
    const source = (fromRoom <= first ? fromNext : <usize>from << 2) + first;
    const target = (toRoom <= first ? toNext : <usize>to << 2) + first;
    moveBytes(target, source, second - first);
  }
  if (size > second) moveBytes(toNext + second, fromNext + second, size - second);
}

/** `FrameReserve.#limit`. */
function reserveLimit(own: u32): u32 {
  const share = word(own - Pool.OWN + Pool.PAGES) >>> Dense.RESERVE_SHARE_SHIFT;
  return max<u32>(Dense.RESERVE_LIMIT_MIN, min<u32>(Dense.RESERVE_LIMIT_MAX, share));
}

/** `#dropTail`. @returns false: not here */
function dropTail(own: u32, index: u32, links: u32, frameShift: u32, entryMask: u32): bool {
  const at = classAt(own, index);
  const frame = word(at + Dense.TAIL);
  const link = linkOf(links, frame);
  const before = word(link + Dense.PREV) & Dense.FRAME_MASK;
  const first = (word(link + Dense.NEXT) >>> Dense.FRAME_BITS) << granuleShift(frameShift);
  const words = starts(index, first, frameShift);
  const record = word(link + Dense.RECORD);
  if (!freeRecord(own, record, words, links, frameShift, entryMask)) return false;
  put(at + Dense.TAIL, before);
  if (before == 0) put(at + Dense.HEAD, 0);
  else add(linkOf(links, before) + Dense.NEXT, -frame);
  add(own - Pool.OWN + Pool.PAGES, -1);
  add(own + Dense.FRAMES_RETURNED, 1);
  const reserved = word(own + Dense.RESERVED);
  if (reserved >= reserveLimit(own) + Dense.RESERVE_WAITING_MAX) return false;
  put(link + Dense.RECORD, 0);
  put(own + Dense.RESERVED, reserved + 1);
  put(own + Dense.RESERVE + reserved, frame);
  return true;
}

/** `SlotVectors.pop`. @returns false: not here */
function pop(
  own: u32, index: u32, last: u32, links: u32, frameShift: u32, entryMask: u32,
): bool {
  const at = classAt(own, index);
  const owner = ownerOf(last, links, frameShift);
  const frame = last >>> frameShift;
  put(owner, owner == word(linkOf(links, frame) + Dense.RECORD) ? ~frame : Dense.NOBODY);
  add(at + Dense.COUNT, -1);
  let end = <i32>word(at + Dense.TAIL_END) - <i32>((index + 1) << granuleShift(frameShift));
  if (end <= 0) {
    if (!dropTail(own, index, links, frameShift, entryMask)) return false;
    end += 4 << frameShift;
  } else if (word(own + Dense.RESERVED) > reserveLimit(own)) return false;
  put(at + Dense.TAIL_END, <u32>end);
  return true;
}

/** `SlotVectors.last`. */
function lastOf(own: u32, index: u32, links: u32, frameShift: u32): u32 {
  const at = classAt(own, index);
  let frame = word(at + Dense.TAIL);
  let start = <i32>word(at + Dense.TAIL_END) - <i32>((index + 1) << granuleShift(frameShift));
  if (start < 0) {
    frame = word(linkOf(links, frame) + Dense.PREV) & Dense.FRAME_MASK;
    start += 4 << frameShift;
  }
  return (frame << frameShift) + (<u32>start >>> 2);
}

/** Whether `SizeClasses.shrunk` changes nothing. */
function staysAfterFree(own: u32, index: u32): bool {
  if (index + 1 == Dense.GRANULES) return true;
  const above = word(own + Dense.CLASS_FOR + index + 1);
  const objects = word(classAt(own, index) + Dense.COUNT);
  if (objects * (above - index) > <u32>Dense.MERGE_BELOW) return true;
  if (word(own + Dense.CLASS_FOR + index) != index) return true;
  return false;
}

/**
 * `Zpool.free`. @param pool and the others as in `denseMalloc`
 * @returns false: not here, and changes are to be rolled back
 */
export function denseFree(
  pool: u32, handle: u32, links: u32, frameShift: u32, entryMask: u32,
): bool {
  const own = pool + Pool.OWN;
  if (word(own + Dense.MAPPINGS) != 0) return false;
  const entry = handle & entryMask;
  const hole = word(entry);
  const owner = ownerOf(hole, links, frameShift);
  if (word(owner) != handle) return false;
  const index = word(linkOf(links, hole >>> frameShift) + Dense.PREV) >>> Dense.FRAME_BITS;
  if (word(classAt(own, index) + Dense.DRAINS) != 0) return false;
  const last = lastOf(own, index, links, frameShift);
  if (last != hole) {
    move(last, hole, (index + 1) << granuleShift(frameShift), links, frameShift);
    const moved = word(ownerOf(last, links, frameShift));
    put(owner, moved);
    put(moved & entryMask, hole);
  }
  if (!pop(own, index, last, links, frameShift, entryMask)) return false;
  if (!staysAfterFree(own, index)) return false;
  if (!slabFree(entry, own + Dense.HANDLES, Dense.ENTRY_WORDS, links, frameShift)) return false;
  add(pool + Pool.OBJECTS, -1);
  return true;
}
