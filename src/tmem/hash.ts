// The hash of an object's name. Each word goes through a full mix (the finaliser of MurmurHash3,
// which lets each bit of the input change each of the output with about even odds), begun with a
// seed that only this index has, so that keys which meet in one bucket are not the same everywhere.
// No protection against one who can watch which keys are slow.

function mix(word: number): number {
  let h = word;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/** Of the words that every name has. @returns 32 bits */
export function hashName(seed: number, name: number, low: number, high: number): number {
  return mix(mix(mix(seed ^ name) ^ low) ^ high);
}

/** Goes on with the four words from `at` on. */
export function hashMore(hash: number, words: Int32Array, at: number): number {
  const first = mix(mix(hash ^ words[at]!) ^ words[at + 1]!);
  return mix(mix(first ^ words[at + 2]!) ^ words[at + 3]!);
}
