// The undo log of an arena: makes what is done under the arena's lock all or nothing, also when the
// thread that does it is terminated in the middle.
//
// A worker thread can be terminated between any two of its steps: no `finally` runs, and the lock
// word keeps its number. What it leaves half done is made undone by whoever waits for the lock and
// finds the owner dead: every word is first written down, then written.
//
//   superblock:  JOURNAL_NEXT  0: no journal, words are just written; else 1 + entries in the log
//                JOURNAL_AT    word index of the log
//                JOURNAL_LIMIT entries that it has room for
//   log:         entry 1, entry 2, …: two words each, (word index, what stood there)
//
// `put` and `add` do so for one word, `moveBytes` for bytes that move within live data, `keepBytes`
// for bytes that are to be overwritten. Not
// written down, because nothing leads to them before the transaction is committed: the bytes of
// an object that is being stored, and the content of a frame that was free when it began.
//
// That a log written by plain stores is exact rests on how an engine stops a thread: at the entry
// of a function or the end of a loop's round, never within a line of stores, and with all stores
// before that point done. And a `memory.copy` is one instruction.
//
// An arena has one log, written by the thread that holds its lock (transaction.ts). An arena whose
// pools are used by themselves, each under its own lock, has none.
import { assert } from "../base/errors.ts";
import type { Kernels } from "../wasm/kernels.ts";
import * as Super from "./arena.layout.ts";

/**
 * Entries of the log. The longest transaction is a malloc in the dense pool that splits all its
 * classes: two words for each of 512 sizes; with room for four times that.
 */
const JOURNAL_ENTRIES = 4095;
/** Bytes of the log; entry 0 is not used. */
export const JOURNAL_BYTES = (JOURNAL_ENTRIES + 1) * 8;

// In the place of a word index, of a move of bytes: first three that say what is about to be moved,
// then one that it was.
const MOVE_FROM = -1;
const MOVE_TO = -2;
const MOVE_BYTES = -3;
const MOVED = -4;
// And of bytes that were copied to where they are kept: where they stood and how many, then one
// that says that they are kept, and where.
const KEPT_FROM = -5;
const KEPT_BYTES = -6;
const KEPT = -7;

/** Writes a word, so that it can be undone. */
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

/** Adds to a word, so that it can be undone. @returns what stood there before */
export function add(words: Int32Array, at: number, delta: number): number {
  const before = words[at]!;
  put(words, at, before + delta);
  return before;
}

/** Notes a word that is about to be overwritten by bytes: the link in a free object, say. */
export function keep(words: Int32Array, at: number): void {
  if (words[Super.JOURNAL_NEXT]! !== 0) put(words, at, words[at]!);
}

/** Moves bytes within live data, source and target may overlap, so that it can be undone. */
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
  // The copy returns into this line of stores: from here on it is done and known to be done.
  const next = words[Super.JOURNAL_NEXT]!;
  words[words[Super.JOURNAL_AT]! + next * 2] = MOVED;
  words[Super.JOURNAL_NEXT] = next + 1;
}

/**
 * Copies live bytes that are about to be overwritten to `save`, from where they are copied back if
 * the transaction is undone: nothing else may be written there before it is committed.
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

/** Whether the arena keeps a journal. */
export function journalIsKept(words: Int32Array): boolean {
  return words[Super.JOURNAL_NEXT]! !== 0;
}

/** Begins to keep a journal in the JOURNAL_BYTES from word `at` on; once, before others attach. */
export function journalFormat(words: Int32Array, at: number): void {
  words[Super.JOURNAL_AT] = at;
  words[Super.JOURNAL_LIMIT] = JOURNAL_ENTRIES;
  words[Super.JOURNAL_NEXT] = 1;
}

/** Everything since the last commit stays. A single store: there is no half of it. */
export function journalCommit(words: Int32Array): void {
  if (words[Super.JOURNAL_NEXT]! !== 0) words[Super.JOURNAL_NEXT] = 1;
}

/**
 * Undoes everything since the last commit, latest first. Who is terminated in here leaves a shorter
 * log, which the next one undoes. @returns entries undone
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
      // Addresses are unsigned. Nothing can stop a thread between the copy and the store behind it,
      // so the bytes are moved back once, though where the two overlap twice would be wrong.
      kernels.copy(words[entry - 5]! >>> 0, words[entry - 3]! >>> 0, bytes);
      words[Super.JOURNAL_NEXT] = next - 3;
    } else {
      // Copied back as often as need be, should the thread that does so die in the middle.
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
  // One more is kept free for MOVED.
  assert(next < words[Super.JOURNAL_LIMIT]!, "a transaction fits into the journal");
  const entry = words[Super.JOURNAL_AT]! + next * 2;
  words[entry] = at;
  words[entry + 1] = value;
  words[Super.JOURNAL_NEXT] = next + 1;
}
