// The Huffman tree of a dictionary, in zstd's stored form (RFC 8878, 4.2.1).
import { encodeWeights } from "./fse.ts";

/** The longest code that zstd has for literals. */
const CODE_BITS_MAX = 11;
/** Size of the table for the weights, as a logarithm; the format allows no more. */
const WEIGHTS_LOG = 6;
/** The format's limit on encoded weights: their size is a byte below this. */
const ENCODED_BYTES_MAX = 127;

interface Package {
  readonly count: number;
  readonly symbols: readonly number[];
}

/**
 * Code lengths of the optimal prefix code with no length above CODE_BITS_MAX, by package-merge
 * (Larmore and Hirschberg, 1990).
 * @param counts all above 0
 */
export function codeLengths(counts: readonly number[]): number[] {
  const leaves: Package[] = counts
    .map((count, symbol) => ({ count, symbols: [symbol] }))
    .sort((a, b) => a.count - b.count);
  let row: readonly Package[] = leaves;
  for (let bits = 1; bits < CODE_BITS_MAX; bits++) {
    const pairs: Package[] = [];
    for (let n = 0; n + 1 < row.length; n += 2) {
      const [a, b] = [row[n]!, row[n + 1]!];
      pairs.push({ count: a.count + b.count, symbols: [...a.symbols, ...b.symbols] });
    }
    row = [...leaves, ...pairs].sort((a, b) => a.count - b.count);
  }
  const lengths = new Array<number>(counts.length).fill(0);
  for (const { symbols } of row.slice(0, 2 * counts.length - 2)) {
    for (const symbol of symbols) lengths[symbol]!++;
  }
  return lengths;
}

/**
 * The description of a tree for 256 symbols. All have a code: only then does zstd use the tree
 * without checking that it has the symbols of a block.
 * @param counts all above 0
 */
export function writeTree(counts: readonly number[]): number[] {
  let lengths = codeLengths(counts);
  // Equal weights can't be encoded. They come from uniform counts, without information to lose.
  if (new Set(lengths).size === 1) lengths = codeLengths(counts.map((_, n) => (n === 0 ? 256 : 1)));
  const longest = Math.max(...lengths);
  // The last symbol's weight follows from the others'.
  const weights = lengths.slice(0, -1).map((length) => longest + 1 - length);
  const encoded = encodeWeights(weights, WEIGHTS_LOG);
  if (encoded.length > ENCODED_BYTES_MAX) throw new RangeError("weights of too many kinds");
  return [encoded.length, ...encoded];
}
