// A hash of a page's key, by which policies and miss reasons know the page: 32 well-mixed bits.
import type { TmemKey } from "../tmem/key.ts";

/**
 * The seed of the hashes of a tmem pool's pages.
 * @param pool its id
 */
export function pageSeed(pool: number): number {
  return Math.imul(pool ^ 0x9e37_79b9, 0x85eb_ca6b);
}

/** @param pool the tmem pool's id */
export function hashOf(pool: number, key: TmemKey): number {
  let hash = pageSeed(pool);
  const id = key.id;
  // Most ids are short.
  const words = (id[2]! | id[3]! | id[4]! | id[5]!) === 0 ? 2 : 6;
  for (let i = 0; i < words; i++) hash = round(hash, id[i]!);
  hash = round(hash, key.indexLow);
  hash = round(hash, key.indexHigh);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35);
  return hash ^ (hash >>> 16);
}

/** One step of MurmurHash3. */
function round(hash: number, word: number): number {
  let mixed = Math.imul(word, 0xcc9e_2d51);
  mixed = Math.imul((mixed << 15) | (mixed >>> 17), 0x1b87_3593);
  const turned = hash ^ mixed;
  return (Math.imul((turned << 13) | (turned >>> 19), 5) + 0xe654_6b64) | 0;
}
