// What the eviction policy of a kind knows of the store's pages.
//
// A value of more than a page has entries for its first page and for each chunk, and is of no use
// without any of them. So the policy compares it as one value: by the requests for the value, which
// are those for its first page, and by the size of the whole. While a thread stores its chunks, it
// holds the lock of the key (values/key_locks.ts), and none of them is compared with anything.
import type { WordIndex } from "../base/brand.ts";
import type { Arena } from "../memory/arena.ts";
import { holderOf } from "../memory/mutex.ts";
import { type PolicySpace, WHOLE_PAGES } from "../policy/contract.ts";
import * as Entry from "../tmem/entry.layout.ts";
import { TmemKey } from "../tmem/key.ts";
import type { TmemIndex } from "../tmem/tmem.ts";
import { hashOf } from "./hash.ts";
import type { ResolvedOptions } from "./options.ts";
import * as Page from "./page.layout.ts";
import * as Root from "./store.layout.ts";
import { isHead } from "./versions.ts";

/** What a policy's space is made of. */
export interface PolicySpaceParts {
  readonly arena: Arena;
  readonly root: WordIndex;
  readonly options: ResolvedOptions;
  /** Opened after the policies. */
  readonly index: () => TmemIndex;
  readonly kind: number;
  readonly owner: number;
  /** As `PolicySpace.ghosts`. */
  readonly ghosts: number;
}

export function policySpaceOf(parts: PolicySpaceParts): PolicySpace {
  const { arena, root, options, kind, owner, ghosts } = parts;
  const { words } = arena;
  const gauge = (what: number) => words[root + Root.KIND + kind * Root.KIND_WORDS + what]!;
  const common = {
    links: Entry.LINKS,
    meta: Entry.META,
    bit: Page.POLICY_SHIFT,
    owner,
    ghosts,
    heldBytes: () => {
      const pages = gauge(Root.IN_MEMORY) + gauge(Root.SAME);
      return (gauge(Root.BYTES) >>> 0) + pages * Page.ENTRY_BYTES;
    },
  };
  const key = new TmemKey();
  const sizeOf = (entry: WordIndex) => Page.sizeOf(words[entry + Entry.META]!) + Page.ENTRY_BYTES;
  if (options.content === "pages") {
    const { index } = parts;
    const hash = (entry: WordIndex) => hashOf(index().keyOf(entry, key), key);
    return { ...common, ...WHOLE_PAGES, hashOf: hash, sizeOf };
  }
  return { ...common, ...valuesOf(parts, key, sizeOf) };
}

/** The same for a store of values, whose chunks stand for their values. */
function valuesOf(
  { arena: { words }, root, index }: PolicySpaceParts,
  key: TmemKey,
  sizeOf: (entry: WordIndex) => number,
): Pick<PolicySpace, "hashOf" | "sizeOf" | "partsOf" | "isArriving"> {
  // The first chunk of a new value is alone for a moment.
  const partsOf = (entry: WordIndex) =>
    index().isInline(entry) ? 1 : Math.max(2, index().pagesAround(entry));
  return {
    partsOf,
    hashOf: (entry) => {
      const pool = index().keyOf(entry, key);
      key.indexLow = key.indexHigh = 0;
      return hashOf(pool, key);
    },
    // The chunks of a value are about equally large, compressed, too.
    sizeOf: (entry) => sizeOf(entry) * partsOf(entry),
    isArriving: (entry) => {
      if (index().isInline(entry)) return false;
      index().keyOf(entry, key);
      return !isHead(key) && keyHolderOf(words, root, key) !== 0;
    },
  };
}

/**
 * The thread that holds the lock of a value's key, or 0: a living or a dead thread, which may hold
 * it for another key with the same lock. Under the arena's lock, which a thread takes for each
 * chunk after that of the key.
 */
export function keyHolderOf(words: Int32Array, root: number, key: TmemKey): number {
  return holderOf(words, root + Root.STRIPES + (key.id[0]! & (Root.STRIPES_MAX - 1)));
}
