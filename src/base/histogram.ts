// A log-linear histogram: 16 buckets per power of two, so that a percentile is off by at most 1/32
// of its value, in constant memory for any number of samples. For times in ns and sizes in bytes.

const SUB_BITS = 4;
const SUB = 1 << SUB_BITS;
/** Values up to 2⁴⁰ have buckets of their own; larger ones share the last. */
const VALUE_BITS = 40;
const BUCKETS = (VALUE_BITS - SUB_BITS + 1) * SUB;

function bucketOf(value: number): number {
  if (value < SUB) return Math.max(0, Math.floor(value));
  if (value < 2 ** 32) {
    const log2 = 31 - Math.clz32(value);
    return (log2 - SUB_BITS) * SUB + (value >>> (log2 - SUB_BITS));
  }
  // From 2³² on, where shifts wrap, the upper half of the number chooses the bucket.
  const log2 = 63 - Math.clz32(value / 2 ** 32);
  const top = Math.floor(value / 2 ** (log2 - SUB_BITS));
  return Math.min(BUCKETS - 1, (log2 - SUB_BITS) * SUB + top);
}

function bucketMiddle(bucket: number): number {
  if (bucket < 2 * SUB) return bucket;
  const log2 = Math.floor(bucket / SUB) + SUB_BITS - 1;
  const width = 2 ** (log2 - SUB_BITS);
  return (SUB + (bucket % SUB)) * width + width / 2;
}

export class Histogram {
  readonly #counts = new Float64Array(BUCKETS);
  count = 0;
  sum = 0;
  max = 0;

  /** Adds one sample, ≥ 0. */
  record(value: number): void {
    this.#counts[bucketOf(value)]!++;
    this.count++;
    this.sum += value;
    if (value > this.max) this.max = value;
  }

  get mean(): number {
    return this.count === 0 ? 0 : this.sum / this.count;
  }

  /**
   * @param share 0 … 1, such as 0.99
   * @returns the value below which that share of the samples is
   */
  percentile(share: number): number {
    const rank = Math.max(1, Math.ceil(share * this.count));
    let seen = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      seen += this.#counts[bucket]!;
      if (seen >= rank) return Math.min(this.max, bucketMiddle(bucket));
    }
    return this.max;
  }
}
