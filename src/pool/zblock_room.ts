// The blocks of a zblock pool that have room: in one list per type, or, in the form of 2022, in one
// cache per type.
//
// Every method here runs under the pool's lock, except the constructor.
import { NIL, type PageFrame } from "../base/brand.ts";
import { assert } from "../base/errors.ts";
import type { Arena } from "../memory/arena.ts";
import { isHead } from "../memory/frame.layout.ts";
import {
  LINK_WORDS,
  listAdd,
  listAddTail,
  listCheck,
  listDel,
  listFirst,
  listInit,
  listNext,
} from "../memory/list.ts";
import * as Block from "./zblock_block.layout.ts";
import { CACHE_WORDS, cacheFind, cacheIndexOf, cacheInsert, cacheRemove } from "./zblock_cache.ts";
import type { ZblockSetting } from "./zblock_tables.ts";

/** Words of the pool's descriptor for the lists and caches of all types. */
export function roomWords({ types, cached }: ZblockSetting): number {
  return types.length * (LINK_WORDS + (cached ? CACHE_WORDS : 0));
}

export class ZblockRoom {
  readonly #arena: Arena;
  readonly #words: Int32Array;
  readonly #listsAt: number;
  readonly #cachesAt: number;
  readonly #types: number;
  readonly #cached: boolean;

  /** @param at word index of `roomWords` words */
  constructor(arena: Arena, at: number, { types, cached }: ZblockSetting) {
    this.#arena = arena;
    this.#words = arena.words;
    this.#listsAt = at;
    this.#cachesAt = at + types.length * LINK_WORDS;
    this.#types = types.length;
    this.#cached = cached;
  }

  /** Initializes the lists; called once, by the pool's creator. */
  format(): void {
    for (let type = 0; type < this.#types; type++) listInit(this.#words, this.#listOf(type));
  }

  /** A block of this type with room, by its record, or NIL. */
  find(type: number): number {
    if (this.#cached) return cacheFind(this.#words, this.#cacheOf(type));
    const head = this.#listOf(type);
    const link = listFirst(this.#words, head);
    return link === head ? NIL : link - Block.LINK;
  }

  /**
   * Adds a block that has room.
   * @param isFirst whether it is filled before the others or after them; a cache has its own rule
   */
  add(block: number, isFirst: boolean): void {
    const words = this.#words;
    const type = words[block + Block.TYPE]!;
    if (this.#cached) {
      const cache = this.#cacheOf(type);
      if (cacheIndexOf(words, cache, block) === NIL) cacheInsert(words, cache, block);
    } else if (isFirst) listAdd(words, block + Block.LINK, this.#listOf(type));
    else listAddTail(words, block + Block.LINK, this.#listOf(type));
  }

  /** Removes a block that is full now; a cache keeps it. */
  removeFull(block: number): void {
    listDel(this.#words, block + Block.LINK);
  }

  /** Hides a block's room from malloc. */
  remove(block: number): void {
    listDel(this.#words, block + Block.LINK);
    if (!this.#cached) return;
    cacheRemove(this.#words, this.#cacheOf(this.#words[block + Block.TYPE]!), block);
  }

  /**
   * Checks the lists and caches.
   * @param withRoom the blocks that have room and are not under reclaim
   */
  verify(withRoom: number): void {
    let listed = 0;
    for (let type = 0; type < this.#types; type++) {
      if (this.#cached) this.#verifyCache(type);
      listed += this.#verifyList(type);
    }
    const expected = this.#cached ? 0 : withRoom;
    assert(listed === expected, "every block with room is in its type's list");
  }

  #listOf(type: number): number {
    return this.#listsAt + type * LINK_WORDS;
  }

  #cacheOf(type: number): number {
    return this.#cachesAt + type * CACHE_WORDS;
  }

  /** @returns the blocks in the list */
  #verifyList(type: number): number {
    const words = this.#words;
    const head = this.#listOf(type);
    const count = listCheck(words, head, this.#arena.frames.framesTotal);
    assert(count >= 0, "a list of blocks is whole");
    for (let link = listFirst(words, head); link !== head; link = listNext(words, link)) {
      const block = link - Block.LINK;
      assert(words[block + Block.TYPE] === type, "a block is in its own type's list");
      assert(words[block + Block.FREE_COUNT] !== 0, "a block in the list has room");
      assert(words[block + Block.UNDER_RECLAIM] === 0, "a block under reclaim takes no objects");
    }
    return count;
  }

  #verifyCache(type: number): void {
    const words = this.#words;
    const { frames } = this.#arena;
    const cache = this.#cacheOf(type);
    for (let at = cache; at < cache + CACHE_WORDS; at++) {
      const block = words[at]!;
      if (block === 0) continue;
      const frame = words[block + Block.FRAME]! as PageFrame;
      const lives = isHead(frames.state(frame)) && words[frames.privateOf(frame)] === ~block;
      assert(lives && words[block + Block.TYPE] === type, "a cache holds blocks of its type");
      assert(cacheIndexOf(words, cache, block) === at, "a block is in the cache once");
      assert(words[block + Block.UNDER_RECLAIM] === 0, "a block under reclaim takes no objects");
    }
  }
}
