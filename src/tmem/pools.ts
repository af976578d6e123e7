// The table of tmem pools.
//
// A pool is a set of objects that are destroyed together: the cache of a file system, a swap
// device. It is ephemeral (its pages may be evicted) or persistent, and private or shared by all
// clients that name its UUID. A pool that its last client has left is DYING: nothing is found or
// stored in it while its pages are removed step by step. Once they are removed, another pool can
// have its number. An id contains a generation besides the number, so that the id of an old pool
// does not open a new one.
import { type Brand, NIL, type Nil } from "../base/brand.ts";
import { EBUSY, EINVAL, ENOSPC, type Errno } from "../base/errno.ts";
import { assert } from "../base/errors.ts";
import type { Arena } from "../memory/arena.ts";
import { add, put } from "../memory/journal.ts";
import * as Index from "./index.layout.ts";

/** The id of a tmem pool: number | generation << 8; 2⁸ … 2³¹ − 1. */
export type TmemPool = Brand<number, "TmemPool">;

// The kernel's TMEM_POOL_PERSIST and TMEM_POOL_SHARED.
/** Pages stay until they are flushed; without this flag, the pool is ephemeral. */
export const PERSISTENT = 1;
/** All clients that name the pool's UUID share the pool. */
export const SHARED = 2;
/** A refused put keeps the old page; without this flag, it removes the old page. */
export const KEEPS_OLD = 4;

/** Bytes of a UUID. */
export const UUID_BYTES = 16;
const UUID_WORDS = 4;

const GENERATIONS = 2 ** (31 - Index.NUMBER_BITS);

export interface TmemPoolInfo {
  readonly id: TmemPool;
  /** The client that created the pool. */
  readonly client: number;
  readonly persistent: boolean;
  readonly shared: boolean;
  /** Clients that use it. */
  readonly users: number;
  /** No client uses it any more, and it is not empty yet. */
  readonly dying: boolean;
  readonly pages: number;
  readonly objects: number;
  /** Pages of index 0, which is the number of objects that have their first page. */
  readonly firstPages: number;
}

export class PoolTable {
  readonly #words: Int32Array;
  readonly #at: number;

  /** @param at word index of POOLS_MAX × POOL_WORDS words */
  constructor(arena: Arena, at: number) {
    this.#words = arena.words;
    this.#at = at;
  }

  /** Initializes all pools as free, without the journal: called before others see the words. */
  format(): void {
    const words = this.#words;
    for (let number = 0; number < Index.POOLS_MAX; number++) {
      const at = this.at(number);
      words.fill(0, at, at + Index.POOL_WORDS);
      words[at + Index.STATE] = Index.FREE;
      words[at + Index.POOL_ID] = number + Index.POOLS_MAX;
    }
  }

  /** Word index of the pool that has, or had, this id or number. */
  at(pool: number): number {
    return this.#at + (pool & Index.NUMBER_MASK) * Index.POOL_WORDS;
  }

  /** As TmemIndex.createPool. */
  create(
    client: number,
    flags: number,
    uuid: Uint8Array | null,
    wanted?: number,
  ): TmemPool | Errno {
    const words = this.#words;
    const shared = (flags & SHARED) !== 0;
    if ((flags & ~(PERSISTENT | SHARED | KEEPS_OLD)) !== 0 || shared !== (uuid !== null))
      return EINVAL;
    if (uuid !== null) {
      if (uuid.length !== UUID_BYTES) return EINVAL;
      const at = this.#withUuid(uuid);
      if (at !== NIL) return this.#join(at, flags);
    }
    const number = wanted === undefined ? this.#firstFree() : wanted & Index.NUMBER_MASK;
    if (number === NIL) return ENOSPC;
    const at = this.at(number);
    if (words[at + Index.STATE] !== Index.FREE) return EBUSY;
    const id = wanted ?? words[at + Index.POOL_ID]!;
    put(words, at + Index.POOL_ID, id);
    put(words, at + Index.CLIENT, client);
    put(words, at + Index.FLAGS, flags);
    for (let word = 0; word < UUID_WORDS; word++) {
      put(words, at + Index.UUID + word, uuid === null ? 0 : uuidWord(uuid, word));
    }
    for (const count of [Index.PAGES, Index.OBJECTS, Index.FIRSTS, Index.CURSOR]) {
      put(words, at + count, 0);
    }
    put(words, at + Index.USERS, 1);
    put(words, at + Index.STATE, id);
    return id as TmemPool;
  }

  #firstFree(): number {
    for (let number = 0; number < Index.POOLS_MAX; number++) {
      if (this.#words[this.at(number) + Index.STATE] === Index.FREE) return number;
    }
    return NIL;
  }

  /** As TmemIndex.findPool. */
  find(uuid: Uint8Array): TmemPool | Nil {
    const at = uuid.length === UUID_BYTES ? this.#withUuid(uuid) : NIL;
    if (at === NIL || this.#words[at + Index.STATE] === Index.DYING) return NIL;
    return this.#words[at + Index.POOL_ID]! as TmemPool;
  }

  /** As TmemIndex.destroyPool. */
  leave(pool: number): number | Errno {
    const words = this.#words;
    const at = this.at(pool);
    if (!this.isUsable(pool)) return this.refusal(pool);
    const users = add(words, at + Index.USERS, -1) - 1;
    if (users === 0) put(words, at + Index.STATE, Index.DYING);
    return users;
  }

  /** Whether a pool of this id exists and is not dying; every operation checks this. */
  isUsable(pool: number): boolean {
    // A number below POOLS_MAX is no id; FREE and DYING are such numbers.
    return pool >= Index.POOLS_MAX && this.#words[this.at(pool) + Index.STATE] === pool;
  }

  /** Whether the pool of this id is dying. */
  isDying(pool: number): boolean {
    const at = this.at(pool);
    return this.#words[at + Index.STATE] === Index.DYING && this.#idAt(at) === pool;
  }

  /**
   * The error for a pool that can't be used: EBUSY while it is dying, EINVAL if there is no such
   * pool.
   */
  refusal(pool: number): Errno {
    return this.isDying(pool) ? EBUSY : EINVAL;
  }

  /**
   * Frees the number of a dying pool that is empty; the next pool of that number gets another id.
   */
  release(pool: number): void {
    const words = this.#words;
    const at = this.at(pool);
    assert(words[at + Index.OBJECTS] === 0, "a pool is empty when its number is freed");
    const generation = ((pool >>> Index.NUMBER_BITS) + 1) % GENERATIONS || 1;
    const number = pool & Index.NUMBER_MASK;
    put(words, at + Index.POOL_ID, (generation << Index.NUMBER_BITS) | number);
    put(words, at + Index.STATE, Index.FREE);
  }

  /** As TmemIndex.kindOf. */
  kind(pool: number): 0 | typeof PERSISTENT | Nil {
    if (!this.isUsable(pool)) return NIL;
    return (this.#words[this.at(pool) + Index.FLAGS]! & PERSISTENT) !== 0 ? PERSISTENT : 0;
  }

  /** As TmemIndex.isShared. */
  isShared(pool: number): boolean {
    return this.isUsable(pool) && (this.#words[this.at(pool) + Index.FLAGS]! & SHARED) !== 0;
  }

  /** As TmemIndex.keepsOld. */
  keepsOld(pool: number): boolean {
    return this.isUsable(pool) && (this.#words[this.at(pool) + Index.FLAGS]! & KEEPS_OLD) !== 0;
  }

  /** Information on a pool, dying or not; null if there is no such pool. */
  info(pool: number): TmemPoolInfo | null {
    const words = this.#words;
    const at = this.at(pool);
    const dying = this.isDying(pool);
    if (!dying && !this.isUsable(pool)) return null;
    const flags = words[at + Index.FLAGS]!;
    return {
      id: pool as TmemPool,
      client: words[at + Index.CLIENT]!,
      persistent: (flags & PERSISTENT) !== 0,
      shared: (flags & SHARED) !== 0,
      users: words[at + Index.USERS]!,
      dying,
      pages: words[at + Index.PAGES]!,
      objects: words[at + Index.OBJECTS]!,
      firstPages: words[at + Index.FIRSTS]!,
    };
  }

  /** The id of the first pool, dying or not, whose number is at least `number`; or NIL. */
  from(number: number): TmemPool | Nil {
    for (let n = number; n < Index.POOLS_MAX; n++) {
      const at = this.at(n);
      if (this.#words[at + Index.STATE] !== Index.FREE) return this.#idAt(at) as TmemPool;
    }
    return NIL;
  }

  /** Pages of all pools. */
  get pages(): number {
    let pages = 0;
    for (let n = 0; n < Index.POOLS_MAX; n++) pages += this.#words[this.at(n) + Index.PAGES]!;
    return pages;
  }

  #join(at: number, flags: number): TmemPool | Errno {
    const words = this.#words;
    if (words[at + Index.STATE] === Index.DYING) return EBUSY;
    if (words[at + Index.FLAGS] !== flags) return EINVAL;
    add(words, at + Index.USERS, 1);
    return this.#idAt(at) as TmemPool;
  }

  #idAt(at: number): number {
    return this.#words[at + Index.POOL_ID]!;
  }

  /** Word index of the shared pool of this UUID, dying or not, or NIL. */
  #withUuid(uuid: Uint8Array): number {
    const words = this.#words;
    for (let number = 0; number < Index.POOLS_MAX; number++) {
      const at = this.at(number);
      if (words[at + Index.STATE] === Index.FREE) continue;
      if ((words[at + Index.FLAGS]! & SHARED) === 0) continue;
      let word = 0;
      while (word < UUID_WORDS && words[at + Index.UUID + word] === uuidWord(uuid, word)) word++;
      if (word === UUID_WORDS) return at;
    }
    return NIL;
  }

  /**
   * Checks the counts of the pools.
   * @param pages pages found, by the pool's number
   * @param objects objects found
   * @param firsts pages of index 0 found
   * @throws AssertionError naming what does not hold
   */
  verify(
    pages: ReadonlyMap<number, number>,
    objects: ReadonlyMap<number, number>,
    firsts: ReadonlyMap<number, number>,
  ): void {
    const words = this.#words;
    for (let number = 0; number < Index.POOLS_MAX; number++) {
      const at = this.at(number);
      const state = words[at + Index.STATE]!;
      const id = words[at + Index.POOL_ID]!;
      const count = objects.get(number) ?? 0;
      assert(words[at + Index.PAGES] === (pages.get(number) ?? 0), "a pool counts its pages");
      assert(words[at + Index.OBJECTS] === count, "a pool counts its objects");
      assert(words[at + Index.FIRSTS] === (firsts.get(number) ?? 0), "a pool counts first pages");
      assert(state !== Index.FREE || count === 0, "a free pool is empty");
      assert((id & Index.NUMBER_MASK) === number && id >= Index.POOLS_MAX, "a pool has its id");
      assert(state === Index.FREE || state === Index.DYING || state === id, "a pool has a state");
    }
  }
}

function uuidWord(uuid: Uint8Array, word: number): number {
  const i = word * 4;
  return uuid[i]! | (uuid[i + 1]! << 8) | (uuid[i + 2]! << 16) | (uuid[i + 3]! << 24);
}
