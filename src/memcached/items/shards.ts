// The stores of the items as one thread sees them: one for each shard. An item is in the shard that
// the hash of its key names.
import type { Sampler } from "../../cache/engine.ts";
import type { ShardGroup } from "../../shard/shard_group.ts";
import { ScanCursor } from "../../tmem/scan_cursor.ts";
import type { EvictionListener } from "../../values/eviction_listener.ts";
import { KeyHash } from "../../values/key_hash.ts";
import type { Values } from "../../values/values.ts";

export interface ItemShards {
  /** What concerns all shards: statistics, the limit. */
  readonly group: ShardGroup;
  /** The most that the limit can be changed to, in bytes. */
  readonly limitMax: number;
  readonly values: readonly Values[];
  /** The hash of keys, which the values of several shards share. */
  readonly hash: ItemHash;
  /** Of each shard, in the thread that trains dictionaries. */
  readonly samplers: readonly (Sampler | undefined)[];
}

/** The hash of keys for all shards of a thread. */
export class ItemHash extends KeyHash {
  /** The key that is hashed next is the one that was hashed last: it was, to find its shard. */
  isKnown = false;

  override set(bytes: Uint8Array, count: number): void {
    if (this.isKnown) this.isKnown = false;
    else super.set(bytes, count);
  }
}

/** Items stored, including those that are gone and not yet removed. */
export function itemCount({ values }: ItemShards): number {
  return values.reduce((sum, { count }) => sum + count, 0);
}

/** A scan of all items goes through the shards one after the other. */
export class ItemScan {
  shard = 0;
  cursor = new ScanCursor();

  /** Goes on to the next shard. @param shards how many there are  @returns whether that was all */
  next(shards: number): boolean {
    this.shard++;
    this.cursor = new ScanCursor();
    return this.shard === shards;
  }
}

/** Listens to evictions in all shards. */
export class ItemEvictions {
  /** Of each shard. */
  readonly listeners: readonly EvictionListener[];

  /** @param turns for each shard, the words that the listeners of all threads share */
  constructor({ values }: ItemShards, turns: readonly Int32Array[]) {
    this.listeners = values.map((one, nth) => one.evictionListener(turns[nth]));
  }

  /** As `EvictionListener.begin`. */
  begin(): boolean {
    const begun = this.listeners.findIndex((listener) => !listener.begin());
    if (begun < 0) return true;
    for (const listener of this.listeners.slice(0, begun)) listener.end();
    return false;
  }

  end(): void {
    for (const listener of this.listeners) listener.end();
  }
}
