// The hash of an object's name: its pool, and the kind and the words of its id. Each word goes
// through a full mix, the finalizer of MurmurHash3, in which each input bit changes each output bit
// with about even odds. The seed differs between indexes, so that keys that collide in one index do
// not collide in all. This does not protect against an attacker who can observe which keys are
// slow.

function mix(word: number): number {
  let h = word;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/**
 * Hashes the words that every name has.
 * @param name pool and kind of id: the bits NAME_MASK of SHAPE (object.layout.ts)
 * @param low bits 0 … 31 of the id
 * @param high bits 32 … 63 of the id
 * @returns 32 bits
 */
export function hashName(seed: number, name: number, low: number, high: number): number {
  return mix(mix(mix(seed ^ name) ^ low) ^ high);
}

/** Continues the hash of a name with a longer id: its four other words, from `at` on. */
export function hashMore(hash: number, words: Int32Array, at: number): number {
  const first = mix(mix(hash ^ words[at]!) ^ words[at + 1]!);
  return mix(mix(first ^ words[at + 2]!) ^ words[at + 3]!);
}
