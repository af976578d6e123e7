// Generates traces from a seed: Zipf distributions, with or without scans, loops, and shifting
// popularity. The size of a value is derived from its key, so that it is the same in every request.
import { Xorshift32 } from "../../base/random.ts";
import { keyHash, type Visit } from "./request.ts";

/** Draws keys by a Zipf distribution: the k-th most frequent in proportion to 1 / k^exponent. */
export class Zipf {
  readonly #cumulative: Float64Array;
  readonly #random: Xorshift32;

  constructor(keys: number, exponent: number, random: Xorshift32) {
    let sum = 0;
    this.#cumulative = Float64Array.from({ length: keys }, (_, k) => {
      sum += (k + 1) ** -exponent;
      return sum;
    });
    this.#random = random;
  }

  /** @returns a rank, 0 the most frequent */
  draw(): number {
    const at = (this.#random.next() / 2 ** 32) * this.#cumulative.at(-1)!;
    let low = 0;
    let high = this.#cumulative.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#cumulative[middle]! > at) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

export const TRACE_SHAPES = ["zipf", "scan", "loop", "shift"] as const;

export interface GeneratedTrace {
  /**
   * zipf: independent draws. scan: 70 parts of such draws, then 30 parts of keys that are requested
   * only once, in turn. loop: all keys in order, again and again. shift: draws whose ranks move, so
   * that by the end each key has been the most popular twice.
   */
  readonly shape: (typeof TRACE_SHAPES)[number];
  readonly exponent: number;
  readonly keys: number;
  readonly requests: number;
  readonly seed: number;
  /** Sizes are uniform between these two, inclusive. */
  readonly sizeMin: number;
  readonly sizeMax: number;
}

/** Requests between two yields. */
const TURN = 16_384;

/** Passes all requests on; yields the number of those done now and then. */
export function* generate(trace: GeneratedTrace, visit: Visit): Generator<number, void> {
  const next = drawer(trace);
  const { requests, sizeMin, sizeMax, seed } = trace;
  const sizes = sizeMax - sizeMin + 1;
  for (let nth = 0; nth < requests; nth++) {
    const key = next(nth);
    visit(key, sizeMin + Math.floor(((keyHash(key + seed) >>> 0) * sizes) / 2 ** 32));
    if (nth % TURN === TURN - 1) yield nth;
  }
}

function drawer({
  shape,
  exponent,
  keys,
  requests,
  seed,
}: GeneratedTrace): (nth: number) => number {
  if (shape === "loop") return (nth) => nth % keys;
  const zipf = new Zipf(keys, exponent, new Xorshift32(seed));
  if (shape === "zipf") return () => zipf.draw();
  if (shape === "shift") {
    const every = Math.max(1, Math.floor(requests / (2 * keys)));
    return (nth) => (zipf.draw() + Math.floor(nth / every)) % keys;
  }
  const part = Math.max(1, Math.floor(keys / 10));
  let scanned = 0;
  return (nth) => (nth % part < 0.7 * part ? zipf.draw() : keys + scanned++);
}
