// What a stored page is, without reading or using it.
import { NIL, type WordIndex } from "../base/brand.ts";
import * as Entry from "../tmem/entry.layout.ts";
import type { TmemKey } from "../tmem/key.ts";
import * as Page from "./page.layout.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";
import { readTransaction } from "./transaction.ts";

export interface StoredPage {
  readonly entry: WordIndex;
  /** VALUE and META of the entry when it was looked at. */
  readonly value: number;
  readonly meta: number;
}

/** @returns undefined if the page is not stored */
export function storedPage(state: StoreState, pool: number, key: TmemKey): StoredPage | undefined {
  const { words } = state.assertOpen();
  return readTransaction(state, () => {
    const entry = state.findLocked(pool, key);
    if (entry === NIL) return undefined;
    return { entry, value: words[entry + Entry.VALUE]!, meta: words[entry + Entry.META]! };
  });
}

/** Ticks of the store's clock. */
export function ticksOf({ words, root }: StoreState): number {
  return words[root + Store.TICK]!;
}

/** Ticks since a page was last used, modulo AGES. */
export function ageOf(state: StoreState, meta: number): number {
  return (ticksOf(state) - Page.tickOf(meta)) & (Page.AGES - 1);
}
