// zblock's block cache of 2022: per type, 32 entries for blocks that may have room, and no other
// record of them. It is kept for comparison: a block pushed out of the cache is not filled again
// until one of its own slots is freed, which leaves pools half empty under churn.
//
// An entry is the word index of a block's record, 0 for none. Guarded by the pool's lock.
import { NIL } from "../base/brand.ts";
import { put } from "../memory/journal.ts";
import * as Block from "./zblock_block.layout.ts";

/** Entries, and words, of one type's cache. */
export const CACHE_WORDS = 32;

/** The first block in the cache that has room, or NIL. */
export function cacheFind(words: Int32Array, cacheAt: number): number {
  for (let at = cacheAt; at < cacheAt + CACHE_WORDS; at++) {
    const block = words[at]!;
    if (block !== 0 && words[block + Block.FREE_COUNT] !== 0) return block;
  }
  return NIL;
}

/** The block's entry in the cache, or NIL. */
export function cacheIndexOf(words: Int32Array, cacheAt: number, block: number): number {
  for (let at = cacheAt; at < cacheAt + CACHE_WORDS; at++) {
    if (words[at] === block) return at;
  }
  return NIL;
}

/**
 * Adds a block in an empty entry or that of a full block, else in place of the block with the least
 * room. If all blocks are empty, the original has no rule; here the first is replaced.
 */
export function cacheInsert(words: Int32Array, cacheAt: number, block: number): void {
  let least = Block.SLOTS_MAX;
  let leastAt = cacheAt;
  for (let at = cacheAt; at < cacheAt + CACHE_WORDS; at++) {
    const held = words[at]!;
    const free = held === 0 ? 0 : words[held + Block.FREE_COUNT]!;
    if (free === 0) {
      put(words, at, block);
      return;
    }
    if (free < least) {
      least = free;
      leastAt = at;
    }
  }
  put(words, leastAt, block);
}

/** Removes a block, if it is in the cache. */
export function cacheRemove(words: Int32Array, cacheAt: number, block: number): void {
  const at = cacheIndexOf(words, cacheAt, block);
  if (at !== NIL) put(words, at, 0);
}
