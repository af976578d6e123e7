// Which shard a page or a key belongs to.
//
// The pages of an object are divided in runs of neighbours, and a run belongs to one shard.
import type { TmemKey } from "../tmem/key.ts";

/** Pages of a run: 2 to this, so that a MiB of a disk with pages of 4 KiB stays together. */
const RUN_SHIFT = 8;

/** The shard of a page. */
export function shardOfPage(pool: number, key: TmemKey, shards: number): number {
  const { id, indexLow, indexHigh } = key;
  let hash = Math.imul(pool, 0x9e37_79b9);
  for (let word = 0; word < 6; word++) hash = mix(hash, id[word]!);
  hash = mix(hash, (indexHigh << (32 - RUN_SHIFT)) | (indexLow >>> RUN_SHIFT));
  hash = mix(hash, indexHigh >>> RUN_SHIFT);
  return part(hash, shards);
}

/** The shard of a key, by the 64 bits of its hash, which also find it within the shard. */
export function shardOfHash(low: number, high: number, shards: number): number {
  return part(mix(low, high), shards);
}

function mix(hash: number, word: number): number {
  const mixed = Math.imul(hash ^ word, 0x85eb_ca6b);
  return Math.imul(mixed ^ (mixed >>> 15), 0xc2b2_ae35) ^ (mixed >>> 13);
}

/** Scales a hash to 0 … shards − 1. */
function part(hash: number, shards: number): number {
  return Math.floor((((hash ^ (hash >>> 16)) >>> 0) * shards) / 2 ** 32);
}
