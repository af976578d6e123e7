// The 64-bit hash of a key: two runs of MurmurHash3 (A. Appleby, public domain) in one loop. Each
// store has random seeds of its own, so that nobody can choose keys that collide.

/** Holds the result of the last call, so that a call allocates nothing. */
export class KeyHash {
  low = 0;
  high = 0;
  readonly #seedLow: number;
  readonly #seedHigh: number;

  constructor(seedLow: number, seedHigh: number) {
    this.#seedLow = seedLow;
    this.#seedHigh = seedHigh;
  }

  /** Hashes `bytes[0 … count − 1]`. */
  set(bytes: Uint8Array, count: number): void {
    let low = this.#seedLow;
    let high = this.#seedHigh;
    const whole = count & ~3;
    for (let at = 0; at < whole; at += 4) {
      const word =
        bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
      low = round(low, word);
      high = round(high, Math.imul(word, 0x85eb_ca77));
    }
    let rest = 0;
    for (let at = whole; at < count; at++) rest = (rest << 8) | bytes[at]!;
    low = finish(round(low, rest) ^ count);
    high = finish(round(high, Math.imul(rest, 0x85eb_ca77)) ^ count);
    this.low = low;
    this.high = high;
  }
}

function round(hash: number, word: number): number {
  let mixed = Math.imul(word, 0xcc9e_2d51);
  mixed = Math.imul((mixed << 15) | (mixed >>> 17), 0x1b87_3593);
  const turned = hash ^ mixed;
  return (Math.imul((turned << 13) | (turned >>> 19), 5) + 0xe654_6b64) | 0;
}

function finish(hash: number): number {
  let mixed = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2_ae35);
  return mixed ^ (mixed >>> 16);
}
