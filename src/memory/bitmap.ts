// A set of small numbers that finds its lowest member fast: a bitmap with summaries.
//
//   level 2   one bit for each word of level 1 that is not 0
//   level 1   one bit for each word of level 0 that is not 0
//   level 0   one bit for each number
//
// Four levels cover 2²⁰ numbers; a search reads one word per level. Guarded by the owner of the
// set.
import { put } from "./journal.ts";

/** Word indexes of the levels, lowest first. */
export interface BitmapLayout {
  readonly levelAt: readonly number[];
  readonly size: number;
}

/**
 * Lays out a set over 0 … size − 1 from word `at` on.
 * @returns the layout and the number of words it takes
 */
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
    put(words, at, before | (1 << (bit & 31)));
    if (before !== 0) return;
    bit >>>= 5;
  }
}

/** Adds the numbers from … end − 1, of which there is at least one: a word at a time. */
export function bitmapAddRange(
  words: Int32Array,
  map: BitmapLayout,
  from: number,
  end: number,
): void {
  let first = from;
  let last = end - 1;
  for (const at of map.levelAt) {
    for (let nth = first >>> 5; nth <= last >>> 5; nth++) {
      const low = nth === first >>> 5 ? -1 << (first & 31) : -1;
      const high = nth === last >>> 5 ? -1 >>> (31 - (last & 31)) : -1;
      put(words, at + nth, words[at + nth]! | (low & high));
    }
    first >>>= 5;
    last >>>= 5;
  }
}

export function bitmapDelete(words: Int32Array, map: BitmapLayout, member: number): void {
  const levels = map.levelAt;
  let bit = member;
  for (let level = 0; level < levels.length; level++) {
    const at = levels[level]! + (bit >>> 5);
    const after = words[at]! & ~(1 << (bit & 31));
    put(words, at, after);
    if (after !== 0) return;
    bit >>>= 5;
  }
}

/** The lowest member of a set that is not empty. */
export function bitmapLowest(words: Int32Array, map: BitmapLayout): number {
  const levels = map.levelAt;
  let member = 0;
  for (let level = levels.length - 1; level >= 0; level--) {
    const word = words[levels[level]! + member]!;
    member = member * 32 + (31 - Math.clz32(word & -word));
  }
  return member;
}

/** The highest member of a set that is not empty. */
export function bitmapHighest(words: Int32Array, map: BitmapLayout): number {
  const levels = map.levelAt;
  let member = 0;
  for (let level = levels.length - 1; level >= 0; level--) {
    member = member * 32 + (31 - Math.clz32(words[levels[level]! + member]!));
  }
  return member;
}

/**
 * Removes the lowest member of a set that is not empty.
 * @returns the member
 */
export function bitmapTakeLowest(words: Int32Array, map: BitmapLayout): number {
  const member = bitmapLowest(words, map);
  bitmapDelete(words, map, member);
  return member;
}

/**
 * Checks every summary bit against the word below. For `verify()`.
 * @returns the number of members, or −1 if a summary is wrong or a member out of range
 */
export function bitmapCheck(words: Int32Array, map: BitmapLayout): number {
  let below = map.size;
  let count = 0;
  for (const [level, at] of map.levelAt.entries()) {
    const wordsHere = Math.ceil(below / 32);
    for (let bit = 0; bit < wordsHere * 32; bit++) {
      const set = ((words[at + (bit >>> 5)]! >>> (bit & 31)) & 1) === 1;
      if (set && bit >= below) return -1;
      if (level === 0) count += set ? 1 : 0;
      else if (set !== (bit < below && words[map.levelAt[level - 1]! + bit] !== 0)) return -1;
    }
    below = wordsHere;
  }
  return count;
}
