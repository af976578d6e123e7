// Ring buffer of eviction events: values that the store removed, because they were evicted or had
// expired, rather than a caller. Any thread can read it (values/eviction_listener.ts). The store
// does not wait for readers: a reader that falls behind misses events, and learns that it did.
//
//  record: bytes of the rest × 256 + reason (counters.ts) │ HEADER and the prefix, as they were
//  stored, up to a multiple of four bytes
//
// The root's word EVICTION_BYTES counts their bytes since the ring was made, modulo 2³²; one that
// would stand across the end stands at the beginning, behind a word 0.
import type { Handle, WordIndex } from "../base/brand.ts";
import { put } from "../memory/journal.ts";
import * as Entry from "../tmem/entry.layout.ts";
import * as Page from "./page.layout.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";
import * as Value from "./value.layout.ts";

export const RING_BYTES = 64 * 1024;
export const RECORD_HEAD_BYTES = 4;

/** Notes that a value goes. Called before its entry lets go of it, under the lock. */
export function recordEvictionLocked(
  state: StoreState,
  entry: WordIndex,
  reason: number,
  address?: number,
): void {
  const { words, root } = state;
  const ring = words[root + Store.EVICTION_RING]!;
  const meta = words[entry + Entry.META]!;
  if (ring === 0) return;
  let from = address;
  if (from === undefined) {
    if (Page.whereOf(meta) !== Page.MEMORY) return;
    const bytes = Math.min(Page.sizeOf(meta), Value.PREFIX_MAX);
    const handle = words[entry + Entry.VALUE]! as Handle;
    state.zpools[Page.kindOf(meta)]!.readShared(handle, state.evicted, bytes);
    from = state.evicted;
  }
  // Of a value that has parts, the first speaks for all.
  const prefix = Value.prefixOf(words[from / 4]!);
  if (prefix <= Value.FIXED_BYTES) return;
  const bytes = RECORD_HEAD_BYTES + Math.ceil(prefix / 4) * 4;
  let head = words[root + Store.EVICTION_BYTES]! >>> 0;
  if ((head % RING_BYTES) + bytes > RING_BYTES) {
    words[ring + (head % RING_BYTES) / 4] = 0;
    head += RING_BYTES - (head % RING_BYTES);
  }
  const at = ring + (head % RING_BYTES) / 4;
  words[at] = prefix * 256 + reason;
  state.arena.kernels.copy((at + 1) * 4, from, prefix);
  put(words, root + Store.EVICTION_BYTES, (head + bytes) | 0);
}
