// The undo log of an arena: makes the changes of a transaction all or nothing, even if the thread
// is terminated in the middle.
//
// A worker thread can be terminated between any two of its steps: no `finally` runs, and the lock
// word still has its number. The next thread that waits for the lock finds the owner dead and
// undoes its changes: every word is logged before it is written.
//
//   superblock:  JOURNAL_NEXT  0 = no journal; else 1 + entries in the log
//                JOURNAL_AT    word index of the log
//                JOURNAL_LIMIT maximum of entries
//   log:         entry 1, entry 2, …: two words each, (word index, old value)
//
// `put` and `add` log one word, `moveBytes` logs a move of bytes within live data, `keepBytes`
// saves bytes that are about to be overwritten. Not logged, because nothing refers to them before
// the commit: the bytes of an object that is being stored, and the content of frames that were free
// when the transaction began.
//
// A log written with plain stores is exact because of how an engine stops a thread: at the entry of
// a function or at the end of a loop iteration, never within a sequence of stores, and with all
// earlier stores done. A `memory.copy` is one instruction.
//
// An arena has one log, written by the thread that holds its lock (arena_lock.ts). An arena whose
// pools are used without a store, each under its own lock, has none.
import { assert } from "../base/errors.ts";
import type { Kernels } from "../wasm/kernels.ts";
import * as Super from "./arena.layout.ts";
import {
  KEPT,
  KEPT_BYTES,
  KEPT_FROM,
  MOVE_BYTES,
  MOVE_FROM,
  MOVE_TO,
  MOVED,
} from "./journal.layout.ts";

/**
 * Entries of the log. The longest transaction is a malloc in the dense pool that splits all its
 * classes, two words for each of 512 sizes; the log has room for four times that.
 */
const JOURNAL_ENTRIES = 4095;
/** Bytes of the log; entry 0 is unused. */
export const JOURNAL_BYTES = (JOURNAL_ENTRIES + 1) * 8;

/** Logs a word, and writes it. */
export function put(words: Int32Array, at: number, value: number): void {
  const next = words[Super.JOURNAL_NEXT]!;
  if (next !== 0) {
    assert(next <= words[Super.JOURNAL_LIMIT]!, "a transaction fits into the journal");
    const entry = words[Super.JOURNAL_AT]! + next * 2;
    words[entry] = at;
    words[entry + 1] = words[at]!;
    words[Super.JOURNAL_NEXT] = next + 1;
  }
  words[at] = value;
}

/**
 * Logs a word, and adds to it.
 * @returns its old value
 */
export function add(words: Int32Array, at: number, delta: number): number {
  const before = words[at]!;
  put(words, at, before + delta);
  return before;
}

/** Logs a word that bytes are about to overwrite, such as the link in a free object. */
export function keep(words: Int32Array, at: number): void {
  if (words[Super.JOURNAL_NEXT]! !== 0) put(words, at, words[at]!);
}

/** Logs and makes a move of bytes within live data; source and target may overlap. */
export function moveBytes(
  words: Int32Array,
  kernels: Kernels,
  target: number,
  source: number,
  sizeBytes: number,
): void {
  if (words[Super.JOURNAL_NEXT]! === 0) {
    kernels.copy(target, source, sizeBytes);
    return;
  }
  record(words, MOVE_FROM, source);
  record(words, MOVE_TO, target);
  record(words, MOVE_BYTES, sizeBytes);
  kernels.copy(target, source, sizeBytes);
  // No thread is stopped between the copy and this store: from here on the move is made and logged
  // as made.
  const next = words[Super.JOURNAL_NEXT]!;
  words[words[Super.JOURNAL_AT]! + next * 2] = MOVED;
  words[Super.JOURNAL_NEXT] = next + 1;
}

/**
 * Copies live bytes that are about to be overwritten to `save`, from where a rollback restores
 * them: nothing else may be written there before the commit.
 */
export function keepBytes(
  words: Int32Array,
  kernels: Kernels,
  at: number,
  sizeBytes: number,
  save: number,
): void {
  if (words[Super.JOURNAL_NEXT]! === 0) return;
  kernels.copy(save, at, sizeBytes);
  record(words, KEPT_FROM, at);
  record(words, KEPT_BYTES, sizeBytes);
  record(words, KEPT, save);
}

/** Whether the arena has a journal. */
export function journalIsKept(words: Int32Array): boolean {
  return words[Super.JOURNAL_NEXT]! !== 0;
}

/** Creates a journal in the JOURNAL_BYTES from word `at` on; called once, before others attach. */
export function journalFormat(words: Int32Array, at: number): void {
  words[Super.JOURNAL_AT] = at;
  words[Super.JOURNAL_LIMIT] = JOURNAL_ENTRIES;
  words[Super.JOURNAL_NEXT] = 1;
}

/** Commits all changes since the last commit. A single store, so it can't be done in half. */
export function journalCommit(words: Int32Array): void {
  if (words[Super.JOURNAL_NEXT]! !== 0) words[Super.JOURNAL_NEXT] = 1;
}

/**
 * Undoes all changes since the last commit, latest first. A thread that is terminated here leaves a
 * shorter log, which the next one undoes.
 * @returns entries undone
 */
export function journalRollBack(words: Int32Array, kernels: Kernels): number {
  const log = words[Super.JOURNAL_AT]!;
  const entries = Math.max(0, words[Super.JOURNAL_NEXT]! - 1);
  for (let next = entries; next > 0; next = words[Super.JOURNAL_NEXT]! - 1) {
    const entry = log + next * 2;
    const at = words[entry]!;
    if (at >= 0) {
      words[at] = words[entry + 1]!;
      words[Super.JOURNAL_NEXT] = next;
    } else if (at === MOVED) {
      const bytes = words[entry - 1]!;
      // Addresses are unsigned. A thread can't be stopped between the copy and the store after it,
      // so the bytes are moved back exactly once; twice would be wrong if the regions overlap.
      kernels.copy(words[entry - 5]! >>> 0, words[entry - 3]! >>> 0, bytes);
      words[Super.JOURNAL_NEXT] = next - 3;
    } else {
      // Can be repeated, if the thread dies in the middle.
      if (at === KEPT) {
        const save = words[entry + 1]! >>> 0;
        kernels.copy(words[entry - 3]! >>> 0, save, words[entry - 1]!);
      }
      words[Super.JOURNAL_NEXT] = next;
    }
  }
  return entries;
}

function record(words: Int32Array, at: number, value: number): void {
  const next = words[Super.JOURNAL_NEXT]!;
  // Leaves room for one more entry, MOVED.
  assert(next < words[Super.JOURNAL_LIMIT]!, "a transaction fits into the journal");
  const entry = words[Super.JOURNAL_AT]! + next * 2;
  words[entry] = at;
  words[entry + 1] = value;
  words[Super.JOURNAL_NEXT] = next + 1;
}
