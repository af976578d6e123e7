// Owner numbers: the names by which shared words say which thread has a lock or a task.
//
//   31   30      29 …           8   7 …         0
//  ┌───┬────────┬────────────────┬───────────────┐
//  │ 0 │ WAITED │ attachment     │ thread        │   attachment: how often the thread number was
//  └───┴────────┴────────────────┴───────────────┘   assigned; thread: 1 … MAX_THREADS
//
// Thread numbers are reused, owner numbers are not: a word that still names the owner of a
// terminated thread is never mistaken for a word of the thread that has its number now. An
// attachment has 22 bits: a stale word would have to survive four million attachments of one
// number.
import type { Threads } from "../base/threads.ts";
import * as Super from "./arena.layout.ts";

const THREAD_BITS = 8;
const THREAD_MASK = (1 << THREAD_BITS) - 1;
const ATTACHMENT_MASK = (1 << 22) - 1;

/** Assigns an owner number; called once by the thread that has claimed the thread number. */
export function newOwner(words: Int32Array, thread: number): number {
  const attachment = Atomics.add(words, Super.ATTACHMENTS + thread - 1, 1) + 1;
  return ((attachment & ATTACHMENT_MASK) << THREAD_BITS) | thread;
}

/** The thread number of an owner. */
export function threadOf(owner: number): number {
  return owner & THREAD_MASK;
}

/**
 * Whether an owner is attached and its thread may still run. Returns true for a number that was
 * claimed a moment ago and whose attachment is not counted yet; the next call is exact.
 */
export function ownerMayRun(words: Int32Array, threads: Threads, owner: number): boolean {
  const name = nameOf(words, owner);
  return name !== 0 && threads.mayRun(name);
}

/** Whether an owner has not detached; its thread may have been terminated. */
export function ownerIsAttached(words: Int32Array, owner: number): boolean {
  return nameOf(words, owner) !== 0;
}

/** The name of an owner's thread in the thread table, 0 if it is not attached. */
function nameOf(words: Int32Array, owner: number): number {
  const thread = threadOf(owner);
  if (thread === 0 || thread > Super.MAX_THREADS) return 0;
  const attachment = Atomics.load(words, Super.ATTACHMENTS + thread - 1) & ATTACHMENT_MASK;
  return attachment === owner >>> THREAD_BITS ? Atomics.load(words, Super.THREADS + thread - 1) : 0;
}
