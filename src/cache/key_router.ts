// Which shard of a cache a key belongs to. A key is written as bytes and hashed to find its shard;
// the shard uses both again.
import { isBytes, plainBytes } from "../base/bytes.ts";
import type { ShardGroup } from "../shard/shard_group.ts";
import { KeyHash } from "../values/key_hash.ts";
import { type CacheKey, KeyWriter } from "./keys.ts";

/** The key writer of a cache with several shards. */
export class KeyRouter extends KeyWriter {
  readonly #group: ShardGroup;
  readonly #hash: KeyHash;
  /** The text in `bytes`. Byte arrays are written each time: their owner may have changed them. */
  #text: string | undefined;
  #isHashed = false;

  /** @param seeds of the hash, the same in all shards */
  constructor(group: ShardGroup, seeds: readonly [number, number]) {
    super();
    this.#group = group;
    this.#hash = new KeyHash(...seeds);
  }

  /** Writes a key. @returns the number of its shard @throws ZcacheError ERR_KEY */
  shardOf(key: CacheKey): number {
    this.#write(key);
    const hash = this.#hash;
    hash.set(this.bytes, this.count);
    this.#isHashed = true;
    return this.#group.shardOf(hash.low, hash.high);
  }

  /** Writes a key, unless it is the text that was written last. @throws ZcacheError ERR_KEY */
  override write(key: CacheKey): void {
    if (typeof key !== "string" || key !== this.#text) this.#write(key);
  }

  /** The hash of the key in `bytes`; undefined if another key is hashed, or none. */
  hashOf(bytes: Uint8Array): KeyHash | undefined {
    return this.#isHashed && bytes === this.bytes ? this.#hash : undefined;
  }

  #write(key: CacheKey): void {
    // A key that is refused may have overwritten the one before.
    this.#text = undefined;
    this.#isHashed = false;
    super.write(key);
    if (typeof key === "string") this.#text = key;
  }
}

/** A key that its owner can't change: the shard that is found for it stays the right one. */
export function ownKey<K extends CacheKey>(key: K): K {
  return isBytes(key) ? (plainBytes(key).slice() as CacheKey as K) : key;
}

/** The hash of a shard's keys: that of the router for the key that the router has hashed. */
export class RoutedHash extends KeyHash {
  readonly #router: KeyRouter;

  constructor(router: KeyRouter, seeds: readonly [number, number]) {
    super(...seeds);
    this.#router = router;
  }

  override set(bytes: Uint8Array, count: number): void {
    const hash = this.#router.hashOf(bytes);
    if (hash === undefined) {
      super.set(bytes, count);
      return;
    }
    this.low = hash.low;
    this.high = hash.high;
  }
}
