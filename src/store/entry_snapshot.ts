// Uncompressed copies of entries that a walk through the index has picked. When an entry's turn
// comes, another page may have taken its place, or none: the entry's VALUE tells.
import type { Address, WordIndex } from "../base/brand.ts";
import * as Entry from "../tmem/entry.layout.ts";
import { unpack } from "./load_page.ts";
import * as Page from "./page.layout.ts";
import type { StoreState } from "./state.ts";
import { transaction } from "./transaction.ts";
import * as Value from "./value.layout.ts";

/** A copy of a page or value. */
export interface EntrySnapshot {
  readonly entry: WordIndex;
  /** The entry's VALUE when it was picked. */
  readonly value: number;
  readonly meta: number;
  /** Address of a copy as it is stored. A value begins with its prefix of `prefix` bytes. */
  readonly source: Address;
  readonly prefix: number;
  /** Bytes at `state.plain`: of a page, or of a value without its prefix. */
  readonly plainBytes: number;
}

/** @returns META of the entry if it still stands for the same page in memory, else 0 */
export function unchangedMetaLocked(state: StoreState, entry: WordIndex, value: number): number {
  if (!state.index.holds(entry) || state.words[entry + Entry.VALUE] !== value) return 0;
  const meta = state.words[entry + Entry.META]!;
  return Page.whereOf(meta) === Page.MEMORY ? meta : 0;
}

/**
 * Copies the page of an entry to the packed scratch and decompresses it to `state.plain`; does not
 * count as a hit.
 * @param value the entry's VALUE when it was picked
 * @returns undefined if the entry does not stand for the same page any more
 */
export function snapshotEntry(
  state: StoreState,
  entry: WordIndex,
  value: number,
): EntrySnapshot | undefined {
  const source = (state.packed + state.headerBytes) as Address;
  let meta = 0;
  transaction(state, () => {
    meta = unchangedMetaLocked(state, entry, value);
    if (meta !== 0) state.readObject(entry, meta, source);
  });
  if (meta === 0) return undefined;
  const isOfValues = state.options.content === "values";
  const header = isOfValues ? state.words[source / 4]! : state.pageSize;
  unpack(state, meta, header, source, state.plain);
  const [prefix, plainBytes] = [Value.prefixOf(header), Value.sizeOf(header)];
  return { entry, value, meta, source, prefix, plainBytes };
}
