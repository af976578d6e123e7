// Two operations on the lists of memory/list.ts that would log twice as many words if they were
// made of its removal and insertion. A link is [next, prev], as there.

import { put } from "../memory/journal.ts";
import { listInit } from "../memory/list.ts";

const NEXT = 0;
const PREV = 1;

/**
 * Moves `node`, which is in the list, to its front: six words, or none if it is the first already.
 */
export function linkToFirst(words: Int32Array, node: number, head: number): void {
  const prev = words[node + PREV]!;
  if (prev === head) return;
  const next = words[node + NEXT]!;
  put(words, prev + NEXT, next);
  put(words, next + PREV, prev);
  const first = words[head + NEXT]!;
  put(words, node + NEXT, first);
  put(words, node + PREV, head);
  put(words, first + PREV, node);
  put(words, head + NEXT, node);
}

/**
 * Makes the neighbours of a link that was copied from `from` to `to` point to `to`; a link that is
 * in no list points to itself.
 */
export function linkMoved(words: Int32Array, from: number, to: number): void {
  const next = words[to + NEXT]!;
  if (next === from) {
    listInit(words, to);
    return;
  }
  put(words, next + PREV, to);
  put(words, words[to + PREV]! + NEXT, to);
}
