// An index in an arena of its own, a Map of what it should hold, and a list through the entries'
// links, as an eviction policy keeps it.
import assert from "node:assert/strict";
import type { WordIndex } from "../../src/base/brand.ts";
import { NIL } from "../../src/base/brand.ts";
import { Arena } from "../../src/memory/arena.ts";
import { put } from "../../src/memory/journal.ts";
import {
  LINK_WORDS,
  listAddTail,
  listCheck,
  listDel,
  listInit,
  listNext,
} from "../../src/memory/list.ts";
import * as Entry from "../../src/tmem/entry.layout.ts";
import { INDEX_WORDS } from "../../src/tmem/index.layout.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import type { TmemPool } from "../../src/tmem/pools.ts";
import { INDEX_OWNERS, TmemIndex } from "../../src/tmem/tmem.ts";

export type ObjectId = number | bigint | Uint8Array;

export interface Page {
  readonly pool: TmemPool;
  readonly id: ObjectId;
  readonly index: bigint;
  /** What VALUE and META are made of. */
  readonly stamp: number;
}

/** How an id is written as text; ids that are different are written differently. */
export function idText(id: ObjectId): string {
  return id instanceof Uint8Array ? `[${[...id]}]` : `${id}`;
}

export class Fixture {
  readonly arena: Arena;
  readonly index: TmemIndex;
  readonly key = new TmemKey();
  readonly pages = new Map<string, Page>();
  /** Dying pools that are not yet gone. */
  readonly dying = new Set<TmemPool>();
  readonly framesBefore: number;
  readonly #listAt: number;
  #stamp = 0;

  /** @param framesLeft page frames that the index finds free, where there are to be few */
  constructor(arena: Arena, seed = 1, framesLeft = Number.POSITIVE_INFINITY) {
    this.arena = arena;
    const { frames } = arena;
    const words = INDEX_WORDS + LINK_WORDS;
    const order = Math.max(0, Math.ceil(Math.log2((words * 4) / arena.pageSize)));
    const at = frames.frameToWord(frames.alloc(order, 1) as never);
    this.#listAt = at + INDEX_WORDS;
    while (frames.framesFree > framesLeft) frames.alloc(0, 1);
    this.framesBefore = frames.framesUsed;
    const owner = (nth: number) => {
      assert.ok(nth < INDEX_OWNERS);
      return 2 + nth;
    };
    this.index = new TmemIndex(arena, at, owner, (from, to) => this.#moved(from, to));
    this.index.format(seed);
    listInit(arena.words, this.#listAt);
  }

  setKey(id: ObjectId, index: number | bigint): TmemKey {
    return this.key.setObject(id).setIndex(index);
  }

  text(pool: TmemPool, id: ObjectId, index: bigint): string {
    return `${pool} ${idText(id)} ${index}`;
  }

  /** @returns the entry, or NIL */
  insert(pool: TmemPool, id: ObjectId, index: bigint): number {
    const entry = this.index.insert(pool, this.setKey(id, index));
    if (entry === NIL) return NIL;
    assert.ok(entry > 0, `insert gave ${entry}`);
    const { words } = this.arena;
    const text = this.text(pool, id, index);
    const is = this.pages.get(text);
    assert.equal(words[entry + Entry.META] !== 0, is !== undefined, "META says whether it is new");
    if (is === undefined) listAddTail(words, entry + Entry.LINKS, this.#listAt);
    const stamp = ++this.#stamp;
    put(words, entry + Entry.VALUE, stamp);
    put(words, entry + Entry.META, -stamp);
    this.pages.set(text, { pool, id, index, stamp });
    return entry;
  }

  /** @returns whether there was such a page */
  remove(pool: TmemPool, id: ObjectId, index: bigint): boolean {
    const entry = this.index.find(pool, this.setKey(id, index));
    if (entry === NIL) return false;
    this.removeEntry(entry as WordIndex);
    this.index.remove(entry as WordIndex);
    return true;
  }

  /** What an `onEntry` does: forgets the page. */
  readonly removeEntry = (entry: WordIndex): void => {
    const key = new TmemKey();
    const pool = this.index.keyOf(entry, key);
    const { object } = key;
    const text = this.text(pool, object, key.index);
    const page = this.pages.get(text);
    assert.ok(page, `a page that is removed was there: ${text}`);
    assert.equal(this.arena.words[entry + Entry.VALUE], page.stamp);
    listDel(this.arena.words, entry + Entry.LINKS);
    this.pages.delete(text);
  };

  /** All that can be asked agrees with the Map. */
  check(): void {
    const { words } = this.arena;
    this.index.verify();
    this.arena.frames.verify();
    assert.equal(this.index.pages, this.pages.size);
    const held = this.arena.frames.framesUsed - this.framesBefore;
    assert.equal(this.index.memoryFrames, held, "the index says what frames it holds");
    assert.equal(listCheck(words, this.#listAt, this.pages.size), this.pages.size, "list of all");
    for (const page of this.pages.values()) {
      if (this.dying.has(page.pool)) continue;
      const entry = this.index.find(page.pool, this.setKey(page.id, page.index));
      assert.ok(entry > 0, `${this.text(page.pool, page.id, page.index)} gave ${entry}`);
      assert.equal(words[entry + Entry.VALUE], page.stamp);
      assert.equal(words[entry + Entry.META], -page.stamp);
    }
    const key = new TmemKey();
    for (let link = listNext(words, this.#listAt); link !== this.#listAt; ) {
      const pool = this.index.keyOf((link - Entry.LINKS) as WordIndex, key);
      assert.ok(this.pages.has(this.text(pool, key.object, key.index)), "a listed page is one");
      link = listNext(words, link);
    }
  }

  /** Undoes what was done to the Map and the set. */
  goBackTo(before: ReturnType<typeof copyOf>): void {
    this.pages.clear();
    for (const [text, page] of before.pages) this.pages.set(text, page);
    this.dying.clear();
    for (const pool of before.dying) this.dying.add(pool);
  }

  /** Reads all pages of an object in order. */
  indexesOf(pool: TmemPool, id: ObjectId): bigint[] {
    const indexes: bigint[] = [];
    this.setKey(id, 0);
    while (this.index.nextPage(pool, this.key) > 0) {
      indexes.push(this.key.index);
      if (!this.key.nextIndex()) break;
    }
    return indexes;
  }

  #moved(from: WordIndex, to: WordIndex): void {
    const { words } = this.arena;
    const link = to + Entry.LINKS;
    const next = words[link]!;
    const prev = words[link + 1]!;
    // In no list.
    if (next === 0) return;
    assert.equal(
      words[next + 1],
      from + Entry.LINKS,
      "the neighbours still point to the old place",
    );
    assert.equal(words[prev], from + Entry.LINKS, "the neighbours still point to the old place");
    put(words, next + 1, link);
    put(words, prev, link);
  }
}

/** What the Map and the set hold, to compare and to go back to. */
export function copyOf(fixture: Fixture): { pages: Map<string, Page>; dying: Set<TmemPool> } {
  return { pages: new Map(fixture.pages), dying: new Set(fixture.dying) };
}

export function makeArena(sizeBytes: number, pageSize = 4096): Arena {
  return Arena.create({ sizeBytes, pageSize });
}
