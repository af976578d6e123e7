// What the next stored page of an object is, without reading it.

import * as Entry from "../tmem/entry.layout.ts";
import type { TmemKey } from "../tmem/key.ts";
import * as Page from "./page.layout.ts";
import type { StoreState } from "./state.ts";

/** There is none. */
export const MISS = 0;
/** A page of zeros. */
export const ZERO = 1;
export const DATA = 2;

/** As `Store.nextPage`: under the lock, or as a reader. */
export function nextPage(
  { index, words }: StoreState,
  pool: number,
  key: TmemKey,
): typeof MISS | typeof ZERO | typeof DATA {
  const entry = index.nextPage(pool, key);
  if (entry < 0) return MISS;
  const meta = words[entry + Entry.META]!;
  if (Page.whereOf(meta) !== Page.SAME_FILLED) return DATA;
  return (words[entry + Entry.VALUE]! | Page.highOf(words, entry, meta)) === 0 ? ZERO : DATA;
}
