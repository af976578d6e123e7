// One put, in a record that a thread reuses: its steps share it instead of many parameters.
import type { Address } from "../base/brand.ts";
import { TmemKey } from "../tmem/key.ts";

export class PutRequest {
  /** The tmem pool's id. */
  pool = 0;
  key = new TmemKey();
  /** `StoreState.hash` of pool and key. */
  hash = 0;
  /** 0 for an ephemeral, 1 for a persistent page; known once the lock is held. */
  kind = 0;
  /** CODEC and SIZE of META (page.layout.ts); 0 for a same-filled page. */
  packed = 0;
  /** Bytes at `source` to store: SIZE of `packed`. */
  sizeBytes = 0;
  source = 0 as Address;
  /** The pattern of a same-filled page. */
  low = 0;
  high = 0;
  /** Attempts that found no room, each followed by `makeRoomOutside` (store_page.ts). */
  attempts = 0;
  /** Whether this put has asked the other shards for room (room.ts). */
  hasAskedShards = false;
  /** Segments that this put has written so far, because they were in the way of evictions. */
  flushes = 0;
}
