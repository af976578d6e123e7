// Intrusive circular lists in the arena, the kernel's `struct list_head`.
//
// A link is two words, [next, prev], each the word index of another link. The head is a link too,
// so that an empty list points to itself and no operation has a special case. The owner of a list
// guards it.
import type { WordIndex } from "../base/brand.ts";
import { put } from "./journal.ts";

/** Words of a link. */
export const LINK_WORDS = 2;
const NEXT = 0;
const PREV = 1;

/** Initializes an empty list, or a node that is in no list. */
export function listInit(words: Int32Array, link: number): void {
  put(words, link + NEXT, link);
  put(words, link + PREV, link);
}

/** Inserts `node` after `head`, as the first of the list. */
export function listAdd(words: Int32Array, node: number, head: number): void {
  const next = words[head + NEXT]!;
  put(words, node + NEXT, next);
  put(words, node + PREV, head);
  put(words, next + PREV, node);
  put(words, head + NEXT, node);
}

/** Inserts `node` before `head`, as the last of the list. */
export function listAddTail(words: Int32Array, node: number, head: number): void {
  listAdd(words, node, words[head + PREV]!);
}

/** Removes `node` from its list and points it to itself; has no effect if it is in no list. */
export function listDel(words: Int32Array, node: number): void {
  const next = words[node + NEXT]!;
  const prev = words[node + PREV]!;
  put(words, prev + NEXT, next);
  put(words, next + PREV, prev);
  put(words, node + NEXT, node);
  put(words, node + PREV, node);
}

/** @returns whether the list is empty, or the node in no list */
export function listEmpty(words: Int32Array, head: number): boolean {
  return words[head + NEXT] === head;
}

/** @returns the first link, or `head` itself if the list is empty */
export function listFirst(words: Int32Array, head: number): WordIndex {
  return words[head + NEXT]! as WordIndex;
}

/** @returns the last link, or `head` itself if the list is empty */
export function listLast(words: Int32Array, head: number): WordIndex {
  return words[head + PREV]! as WordIndex;
}

/** @returns the link after `node`; the head when `node` is the last */
export function listNext(words: Int32Array, node: number): WordIndex {
  return words[node + NEXT]! as WordIndex;
}

/** @returns the link before `node`; the head when `node` is the first */
export function listPrev(words: Int32Array, node: number): WordIndex {
  return words[node + PREV]! as WordIndex;
}

/**
 * Checks that the links of the whole list agree. For `verify()`.
 * @param limit more nodes than this mean a loop that misses the head
 * @returns the number of nodes, or −1 if a link is broken
 */
export function listCheck(words: Int32Array, head: number, limit: number): number {
  let count = 0;
  for (let at = head; ; count++) {
    const next = words[at + NEXT]!;
    if (next < 0 || next + PREV >= words.length || words[next + PREV] !== at) return -1;
    if (next === head) return count;
    if (count > limit) return -1;
    at = next;
  }
}
