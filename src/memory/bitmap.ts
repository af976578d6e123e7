// A set of small numbers that finds its lowest member fast: a bitmap with summaries above it.
//
//   level 2   one bit for each word of level 1 that is not 0
//   level 1   one bit for each word of level 0 that is not 0
//   level 0   one bit for each number
//
// Four levels cover 2²⁰ numbers, each at most one word to look at. Guarded by whoever owns the set.
import { NIL, type Nil } from "../base/brand.ts";

/** Where the levels stand, lowest first. */
export interface BitmapLayout {
  readonly levelAt: readonly number[];
  readonly size: number;
}

/** Lays out a set over 0 … size − 1 from word `at` on. @returns the layout and the words it takes */
export function layoutBitmap(at: number, size: number): { layout: BitmapLayout; words: number } {
  const levelAt: number[] = [];
  let words = 0;
  for (let bits = size; ; bits = Math.ceil(bits / 32)) {
    levelAt.push(at + words);
    words += Math.ceil(bits / 32);
    if (bits <= 32) break;
  }
  return { layout: { levelAt, size }, words };
}

export function bitmapHas(words: Int32Array, map: BitmapLayout, member: number): boolean {
  return ((words[map.levelAt[0]! + (member >>> 5)]! >>> (member & 31)) & 1) === 1;
}

export function bitmapAdd(words: Int32Array, map: BitmapLayout, member: number): void {
  const levels = map.levelAt;
  let bit = member;
  for (let level = 0; level < levels.length; level++) {
    const at = levels[level]! + (bit >>> 5);
    const before = words[at]!;
    words[at] = before | (1 << (bit & 31));
    if (before !== 0) return;
    bit >>>= 5;
  }
}

export function bitmapDelete(words: Int32Array, map: BitmapLayout, member: number): void {
  const levels = map.levelAt;
  let bit = member;
  for (let level = 0; level < levels.length; level++) {
    const at = levels[level]! + (bit >>> 5);
    const after = words[at]! & ~(1 << (bit & 31));
    words[at] = after;
    if (after !== 0) return;
    bit >>>= 5;
  }
}

/** @returns the lowest member, or NIL if the set is empty */
export function bitmapLowest(words: Int32Array, map: BitmapLayout): number | Nil {
  const levels = map.levelAt;
  let index = 0;
  for (let level = levels.length - 1; level >= 0; level--) {
    const word = words[levels[level]! + index]!;
    if (word === 0) return NIL;
    index = index * 32 + (31 - Math.clz32(word & -word));
  }
  return index;
}
