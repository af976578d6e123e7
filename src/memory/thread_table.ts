// The threads that are attached to an arena: one word for each thread number in the superblock,
// with the name of the thread (base/threads.ts), 0 = free.
//
// The last thread that leaves a closed arena returns its memory to the system, all but the
// superblock. No thread may attach meanwhile:
//
//   closing or leaving     CLOSED = 1 ─ own word = 0 ─ CLOSED, and all words 0 or dead? ─ return
//   attaching              own word = name ─ CLOSED? ─ own word = 0, as above ─ ERR_ARENA_CLOSED
//
// Each side writes its own word before it reads the words of the others, so at least one of them
// sees the other. Two threads that leave at the same time may both return the memory, which does
// no harm.
import { ZcacheError } from "../base/errors.ts";
import type { Threads } from "../base/threads.ts";
import * as Super from "./arena.layout.ts";
import { journalIsKept } from "./journal.ts";

/**
 * Returns to the system the memory of an arena that is closed and that no thread uses any more. Is
 * called once or several times, and does not throw.
 * @param bytes the whole arena
 * @param keptBytes at its beginning, which stay: they say that the arena is closed
 * @param populatedBytes for which the system has given memory, at about
 */
export type ReleaseArena = (bytes: Uint8Array, keptBytes: number, populatedBytes: number) => void;

/**
 * Finds a free thread number. If all are taken and there is a journal, takes over the number of a
 * dead thread, with its scratch.
 * @throws ZcacheError ERR_ARENA_THREADS
 */
export function claimThread(
  words: Int32Array,
  threads: Threads,
): { thread: number; wasDead: boolean } {
  const self = threads.self();
  for (let slot = 0; slot < Super.MAX_THREADS; slot++) {
    if (Atomics.compareExchange(words, Super.THREADS + slot, 0, self) === 0) {
      return { thread: slot + 1, wasDead: false };
    }
  }
  for (let slot = 0; journalIsKept(words) && slot < Super.MAX_THREADS; slot++) {
    const name = Atomics.load(words, Super.THREADS + slot);
    if (name !== 0 && threads.mayRun(name)) continue;
    if (Atomics.compareExchange(words, Super.THREADS + slot, name, self) === name) {
      return { thread: slot + 1, wasDead: true };
    }
  }
  throw new ZcacheError("ERR_ARENA_THREADS", `${Super.MAX_THREADS} threads are attached already`);
}

/** Makes all later attempts to attach fail. */
export function setClosed(words: Int32Array): void {
  Atomics.store(words, Super.CLOSED, 1);
}

export function isClosed(words: Int32Array): boolean {
  return Atomics.load(words, Super.CLOSED) !== 0;
}

export function closedError(): ZcacheError {
  return new ZcacheError("ERR_ARENA_CLOSED", "the arena has been closed");
}

/**
 * Frees the number of the calling thread.
 * @returns whether the arena is closed and no living thread is attached: then none ever will be
 */
export function leave(words: Int32Array, thread: number, threads: Threads): boolean {
  Atomics.store(words, Super.THREADS + thread - 1, 0);
  if (!isClosed(words)) return false;
  for (let slot = 0; slot < Super.MAX_THREADS; slot++) {
    const name = Atomics.load(words, Super.THREADS + slot);
    if (name !== 0 && threads.mayRun(name)) return false;
  }
  return true;
}
