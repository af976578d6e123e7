// Ring buffer of eviction events: values that the store removed, because they were evicted or had
// expired, rather than a caller. Any thread can read it (values/eviction_listener.ts). The store
// does not wait for readers: a reader that falls behind misses events, and learns that it did.
//
// record: bytes of the rest × 256 + reason (counters.ts) │ HEADER and prefix as stored, padded to
// a multiple of four bytes
//
// The root's word EVICTION_BYTES counts the bytes of all records ever written, modulo 2³². A record
// that would cross the end of the ring is written at its beginning, and a word 0 marks the gap.
import type { Handle, WordIndex } from "../base/brand.ts";
import { put } from "../memory/journal.ts";
import * as Entry from "../tmem/entry.layout.ts";
import * as Page from "./page.layout.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";
import * as Value from "./value.layout.ts";

export const RING_BYTES = 64 * 1024;
export const RECORD_HEAD_BYTES = 4;

/**
 * Records the eviction of a value, before it is detached from its entry.
 * @param reason as in counters.ts
 * @param address where a copy of its prefix is; without it, the prefix is read from the pool
 */
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
  // Only the first chunk of a chunked value has a key in its prefix.
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
