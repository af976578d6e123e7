// Finite state entropy, as far as a dictionary needs it (RFC 8878, 4.1): tables of probabilities in
// their stored form, and an encoder for the weights of a Huffman tree.

/** Writes bits from the lowest on, as in all of zstd's streams. */
export class BitWriter {
  readonly #bytes: number[] = [];
  #bits = 0;
  #count = 0;

  /** @param bits 0 … 16 */
  put(value: number, bits: number): void {
    this.#bits |= value << this.#count;
    this.#count += bits;
    for (; this.#count >= 8; this.#count -= 8) {
      this.#bytes.push(this.#bits & 255);
      this.#bits >>>= 8;
    }
  }

  /** @returns the bytes, the last one padded with zeros */
  end(): number[] {
    if (this.#count > 0) this.#bytes.push(this.#bits & 255);
    return this.#bytes;
  }
}

/** Means "less than one part": the symbol gets one state, after which all bits are read anew. */
const LOW = -1;

/**
 * Divides 2^log parts in proportion to the counts. Each symbol that occurs gets at least one.
 * @param counts fewer symbols than parts
 * @returns parts by symbol: LOW for less than one, 0 for symbols that do not occur
 */
export function normalize(counts: readonly number[], log: number): number[] {
  const parts = 2 ** log;
  const total = counts.reduce((sum, count) => sum + count, 0);
  const exact = counts.map((count) => (count * parts) / total);
  const shares = exact.map((share) => {
    if (share === 0) return 0;
    return share < 1 ? LOW : Math.round(share);
  });
  let left = parts - shares.reduce((sum, share) => sum + Math.abs(share), 0);
  // Corrects the rounding where that changes least.
  for (; left !== 0; left -= Math.sign(left)) {
    let best = -1;
    let bestCost = Number.POSITIVE_INFINITY;
    shares.forEach((share, symbol) => {
      if (share < (left > 0 ? 1 : 2)) return;
      const cost = exact[symbol]! * Math.log2(share / (share + Math.sign(left)));
      if (cost >= bestCost) return;
      bestCost = cost;
      best = symbol;
    });
    shares[best]! += Math.sign(left);
  }
  return shares;
}

/** The description of such a table, as it precedes the data encoded with it. */
export function writeTable(shares: readonly number[], log: number): number[] {
  const out = new BitWriter();
  out.put(log - 5, 4);
  let remaining = 2 ** log + 1;
  let threshold = 2 ** log;
  let bits = log + 1;
  for (let symbol = 0; symbol < shares.length && remaining > 1; ) {
    const share = shares[symbol++]!;
    const spare = 2 * threshold - 1 - remaining;
    remaining -= Math.abs(share);
    let value = share + 1;
    if (value >= threshold) value += spare;
    out.put(value, value < spare ? bits - 1 : bits);
    for (; remaining < threshold; threshold /= 2) bits--;
    if (share !== 0) continue;
    // A symbol that does not occur is followed by the number of further such symbols.
    let more = 0;
    while (shares[symbol + more] === 0) more++;
    symbol += more;
    for (; more >= 3; more -= 3) out.put(3, 2);
    out.put(more, 2);
  }
  return out.end();
}

/** A state of the decoder: its symbol, and its possible successors. */
interface State {
  readonly symbol: number;
  /** Bits that the decoder reads and adds to `base` for the next state. */
  readonly bits: number;
  readonly base: number;
}

function makeStates(shares: readonly number[], log: number): State[] {
  const size = 2 ** log;
  const symbols = new Array<number>(size);
  let high = size - 1;
  shares.forEach((share, symbol) => {
    if (share === LOW) symbols[high--] = symbol;
  });
  const step = (size >> 1) + (size >> 3) + 3;
  let at = 0;
  shares.forEach((share, symbol) => {
    for (let n = 0; n < share; n++) {
      symbols[at] = symbol;
      do at = (at + step) & (size - 1);
      while (at > high);
    }
  });
  const next = shares.map((share) => Math.abs(share));
  return symbols.map((symbol) => {
    const number = next[symbol]!++;
    const bits = log - (31 - Math.clz32(number));
    return { symbol, bits, base: (number << bits) - size };
  });
}

/**
 * Encodes symbols with two alternating states, as for the weights of Huffman trees (4.2.1.2).
 * @param symbols at least two, of at least two kinds
 * @returns the table's description and the bits after it
 */
export function encodeWeights(symbols: readonly number[], log: number): number[] {
  const counts = new Array<number>(Math.max(...symbols) + 1).fill(0);
  for (const symbol of symbols) counts[symbol]!++;
  const shares = normalize(counts, log);
  const states = makeStates(shares, log);
  const out = new BitWriter();
  // From the last symbol on, because the decoder reads from the end. A symbol's first state is one
  // that needs bits: if none are left, the decoder knows that it is at the end.
  const current: number[] = [];
  for (let n = symbols.length - 1; n >= 0; n--) {
    const target = current[n & 1];
    const isNext = ({ symbol, bits, base }: State) =>
      symbol === symbols[n] &&
      (target === undefined || (base <= target && target < base + 2 ** bits));
    const state = states.findIndex(isNext);
    if (target !== undefined) out.put(target - states[state]!.base, states[state]!.bits);
    current[n & 1] = state;
  }
  out.put(current[1]!, log);
  out.put(current[0]!, log);
  out.put(1, 1);
  return [...writeTable(shares, log), ...out.end()];
}
