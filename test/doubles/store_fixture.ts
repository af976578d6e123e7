// A store beside its model, a Map of the pages that were put. A persistent page must read back byte
// for byte; an ephemeral page must read back so or be missing.
import assert from "node:assert/strict";
import { MIB, parseSize } from "../../src/base/units.ts";
import { nodePlatform } from "../../src/node/platform.ts";
import { ShardedStore } from "../../src/shard/sharded_store.ts";
import type { StoreOptions } from "../../src/store/options.ts";
import type { StorePlatform } from "../../src/store/platform.ts";
import type { Store } from "../../src/store/store.ts";
import { TmemKey } from "../../src/tmem/key.ts";

/** Kinds of pages; the seed makes each page different. */
export type PageKind = "same" | "text" | "sparse" | "noise";

/** Fills a page that compresses as its kind says; equal arguments give equal pages. */
export function fillPage(page: Uint8Array, kind: PageKind, seed: number): Uint8Array {
  let state = (seed * 2654435761 + 12345) >>> 0;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 8;
  };
  const words = new Uint32Array(page.buffer, page.byteOffset, page.length / 4);
  if (kind === "same") words.fill(seed);
  else if (kind === "noise") for (let i = 0; i < words.length; i++) words[i] = next() * 263;
  else if (kind === "sparse") {
    words.fill(0);
    for (let i = 0; i < words.length; i += 1 + (next() % 64)) words[i] = next();
  } else {
    const vocabulary = Array.from({ length: 40 }, () => next());
    for (let i = 0; i < words.length; i++) words[i] = vocabulary[next() % 40]!;
  }
  // Whatever its kind, a page says whose it is.
  if (kind !== "same") words[0] = seed;
  return page;
}

export interface ModelPage {
  readonly kind: PageKind;
  readonly seed: number;
}

/** Shards of stores that `openStore` opens; test/shard/suites.test.ts runs suites with three. */
const shards = Number(process.env["ZCACHE_TEST_SHARDS"] ?? 1);

export function openStore(
  options: StoreOptions = {},
  platform: Partial<StorePlatform> = {},
): Store {
  const { memoryMax = "2MiB" } = options;
  const bytes = Math.max(parseSize(memoryMax, "memoryMax"), shards * MIB);
  const all = { ...options, memoryMax: bytes, shards };
  return ShardedStore.create(all, { ...nodePlatform(), ...platform });
}

/** The model of one tmem pool. */
export class StoreModel {
  readonly pages = new Map<string, ModelPage>();
  readonly store: Store;
  readonly pool: number;
  readonly persistent: boolean;
  readonly #key = new TmemKey();
  readonly #page: Uint8Array;
  readonly #expected: Uint8Array;
  #seed = 1;

  constructor(store: Store, persistent: boolean) {
    this.store = store;
    this.persistent = persistent;
    this.pool = store.createPool({ persistent });
    assert.ok(this.pool > 0);
    this.#page = new Uint8Array(store.pageSize);
    this.#expected = new Uint8Array(store.pageSize);
  }

  key(object: number, index: number): TmemKey {
    return this.#key.setObject(object).setIndex(index);
  }

  put(object: number, index: number, kind: PageKind): number {
    const seed = this.#seed++;
    fillPage(this.#page, kind, seed);
    const result = this.store.put(this.pool, this.key(object, index), this.#page);
    if (result === 0) this.pages.set(`${object}/${index}`, { kind, seed });
    else this.pages.delete(`${object}/${index}`);
    return result;
  }

  /** Gets a page and compares it. @returns whether it was there */
  get(object: number, index: number, exclusive = false): boolean {
    const name = `${object}/${index}`;
    const found = this.store.get(this.pool, this.key(object, index), this.#page, exclusive);
    const expected = this.pages.get(name);
    if (found) {
      assert.ok(expected, `page ${name} was never stored, or flushed, and is there`);
      fillPage(this.#expected, expected.kind, expected.seed);
      assert.deepEqual(this.#page, this.#expected, `page ${name} is another one`);
      if (exclusive) this.pages.delete(name);
    } else if (expected !== undefined) {
      assert.ok(!this.persistent, `the persistent page ${name} is gone`);
      this.pages.delete(name);
    }
    return found;
  }

  flush(object: number, index: number): void {
    const found = this.store.flush(this.pool, this.key(object, index));
    const expected = this.pages.delete(`${object}/${index}`);
    assert.ok(found ? expected : !expected || !this.persistent);
  }

  flushObject(object: number): void {
    const removed = this.store.flushObject(this.pool, this.key(object, 0));
    const names = [...this.pages.keys()].filter((name) => name.startsWith(`${object}/`));
    for (const name of names) this.pages.delete(name);
    if (this.persistent) assert.equal(removed, names.length);
    else assert.ok(removed <= names.length);
  }

  /** Everything that can be said after any step. */
  checkAll(): void {
    this.store.verify();
    for (const name of [...this.pages.keys()]) {
      const [object, index] = name.split("/").map(Number);
      this.get(object!, index!);
    }
  }
}
