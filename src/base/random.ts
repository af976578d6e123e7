// A seeded random generator: the same seed gives the same run. xorshift32 (Marsaglia 2003), as in
// the trace files.

export class Xorshift32 {
  #state: number;

  /** @param seed any integer; 0 is replaced, because xorshift would stay at 0 */
  constructor(seed: number) {
    this.#state = seed >>> 0 || 0x9e3779b9;
  }

  /** @returns the next 32-bit unsigned number */
  next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x >>> 0;
    return this.#state;
  }

  /** @returns a whole number, 0 ≤ n < bound (bound ≤ 2³²; the modulo's bias is accepted) */
  below(bound: number): number {
    return this.next() % bound;
  }
}
