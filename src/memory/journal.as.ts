// The undo log, lists and slabs for kernels that change what the arena's lock guards: the same
// words in the same order as journal.ts, list.ts and slab.ts write them. The arena has a journal.
//
// Engines stop a thread in WebAssembly as in JavaScript: at the entry of a function or at the end
// of a loop iteration, with all earlier stores done. So the reasons in journal.ts hold here too.
import * as Super from "./arena.layout";
import * as Frame from "./frame.layout";
import * as Journal from "./journal.layout";
import * as Slab from "./slab.layout";

/** The word of the arena with this index. */
// @ts-ignore: decorator
@inline
export function word(index: u32): u32 {
  return load<u32>(<usize>index << 2);
}

/** Writes a word that nothing refers to before the commit. */
// @ts-ignore: decorator
@inline
export function setWord(index: u32, value: u32): void {
  store<u32>(<usize>index << 2, value);
}

// @ts-ignore: decorator
@inline
function record(index: u32, value: u32): void {
  const next = word(Super.JOURNAL_NEXT);
  const entry = <usize>(word(Super.JOURNAL_AT) + next * 2) << 2;
  store<u32>(entry, index);
  store<u32>(entry, value, 4);
  setWord(Super.JOURNAL_NEXT, next + 1);
}

/** `put`. Callers log less than the log has room for. */
// @ts-ignore: decorator
@inline
export function put(index: u32, value: u32): void {
  record(index, word(index));
  setWord(index, value);
}

/** `add`. @returns the old value */
// @ts-ignore: decorator
@inline
export function add(index: u32, delta: u32): u32 {
  const before = word(index);
  put(index, before + delta);
  return before;
}

/** `keep`. */
// @ts-ignore: decorator
@inline
export function keep(index: u32): void {
  record(index, word(index));
}

/** `moveBytes`. */
export function moveBytes(target: usize, source: usize, size: usize): void {
  record(Journal.MOVE_FROM, <u32>source);
  record(Journal.MOVE_TO, <u32>target);
  record(Journal.MOVE_BYTES, <u32>size);
  memory.copy(target, source, size);
  record(Journal.MOVED, 0);
}

/** `keepBytes`. */
export function keepBytes(at: usize, size: usize, save: usize): void {
  memory.copy(save, at, size);
  record(Journal.KEPT_FROM, <u32>at);
  record(Journal.KEPT_BYTES, <u32>size);
  record(Journal.KEPT, <u32>save);
}

/** Whether the log has room for so many more entries. */
// @ts-ignore: decorator
@inline
export function hasJournalRoom(entries: u32): bool {
  return word(Super.JOURNAL_NEXT) + entries <= word(Super.JOURNAL_LIMIT);
}

/** `ArenaLock.commit`. */
export function commit(): void {
  setWord(Super.TRANSACTIONS, word(Super.TRANSACTIONS) + 1);
  setWord(Super.JOURNAL_NEXT, 1);
}

/** `listAdd`. */
export function listAdd(node: u32, head: u32): void {
  const next = word(head);
  put(node, next);
  put(node + 1, head);
  put(next + 1, node);
  put(head, node);
}

/** `listDel`. */
export function listDel(node: u32): void {
  const next = word(node);
  const prev = word(node + 1);
  put(prev, next);
  put(next + 1, prev);
  put(node, node);
  put(node + 1, node);
}

/** From a frame's link to its PRIVATE. */
const PRIVATE: u32 = Frame.PRIVATE - Frame.LINK;

/**
 * `Slab.alloc`, in a slab that has room.
 * @param links word index of frame 0's link  @param frameShift log₂ of the words of a frame
 * @returns the word index of the record, 0 if there is no such slab
 */
export function slabAlloc(head: u32, recordWords: u32, links: u32, frameShift: u32): u32 {
  const link = word(head + Slab.WITH_ROOM);
  if (link == head + Slab.WITH_ROOM) return 0;
  const frame = (link - links) / Frame.FRAME_WORDS;
  const state = word(link + PRIVATE);
  const at = (frame << frameShift) + (state & Slab.NO_RECORD) * recordWords;
  const next = word(at) & Slab.NO_RECORD;
  keep(at);
  put(link + PRIVATE, (((state >>> 16) + 1) << 16) | next);
  if (next == Slab.NO_RECORD) listDel(link);
  add(head + Slab.RECORDS_USED, 1);
  return at;
}

/**
 * `Slab.free`, of a record whose slab has others.
 * @returns false if it has none: nothing has changed
 */
export function slabFree(
  at: u32, head: u32, recordWords: u32, links: u32, frameShift: u32,
): bool {
  const frame = at >>> frameShift;
  const link = links + frame * Frame.FRAME_WORDS;
  const state = word(link + PRIVATE);
  const used = (state >>> 16) - 1;
  const first = state & Slab.NO_RECORD;
  if (used == 0) return false;
  add(head + Slab.RECORDS_USED, -1);
  put(at, first);
  put(link + PRIVATE, (used << 16) | ((at - (frame << frameShift)) / recordWords));
  if (first == Slab.NO_RECORD) listAdd(link, head + Slab.WITH_ROOM);
  return true;
}
