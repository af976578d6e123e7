// Two moves within a list of memory/list.ts that would be twice as many words, made of its removals
// and insertions. A link is [next, prev], as there.

import { put } from "../memory/journal.ts";
import { listInit } from "../memory/list.ts";

const NEXT = 0;
const PREV = 1;

/** Makes `node`, which is in the list, its first: six words, none if it is that already. */
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

/** The link at `from` was copied to `to`: its neighbours, or itself if it is in no list, follow. */
export function linkMoved(words: Int32Array, from: number, to: number): void {
  const next = words[to + NEXT]!;
  if (next === from) {
    listInit(words, to);
    return;
  }
  put(words, next + PREV, to);
  put(words, words[to + PREV]! + NEXT, to);
}
