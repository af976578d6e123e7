// The base of all simulated caches: a budget in bytes, a value per key, and counts. Subclasses
// decide what to evict and what to admit.

/** The counts of one cache. */
export interface Tally {
  requests: number;
  hits: number;
  /** Bytes of the requested values, and of those found. */
  bytes: number;
  hitBytes: number;
  evictions: number;
  /** Values refused because others were worth more. */
  refused: number;
  /** Values larger than the whole budget. */
  tooLarge: number;
  /** Values stored now, and the most values and bytes ever stored. */
  values: number;
  valuesMax: number;
  usedBytes: number;
  usedBytesMax: number;
}

function newTally(): Tally {
  return {
    requests: 0,
    hits: 0,
    bytes: 0,
    hitBytes: 0,
    evictions: 0,
    refused: 0,
    tooLarge: 0,
    values: 0,
    valuesMax: 0,
    usedBytes: 0,
    usedBytesMax: 0,
  };
}

export interface CacheSpace {
  /** Budget of all values in bytes, including what each costs besides its content. */
  readonly budgetBytes: number;
  /** Expected number of values stored at once, for tables of a fixed size. */
  readonly valuesExpected: number;
}

/**
 * A cache in which a set follows each miss, as in an application. Each request states its cost,
 * because a value may have changed.
 */
export abstract class SimulatedCache {
  readonly tally = newTally();
  readonly budgetBytes: number;

  constructor({ budgetBytes }: CacheSpace) {
    this.budgetBytes = budgetBytes;
  }

  /**
   * @param sizeBytes bytes of the value, for the byte hit rate
   * @param costBytes bytes of the budget that it takes
   */
  request(key: number, sizeBytes: number, costBytes: number): void {
    const { tally } = this;
    tally.requests++;
    tally.bytes += sizeBytes;
    const found = this.access(key, costBytes);
    // Afterwards, because a subclass may admit a value before it evicts another.
    if (tally.values > tally.valuesMax) tally.valuesMax = tally.values;
    if (tally.usedBytes > tally.usedBytesMax) tally.usedBytesMax = tally.usedBytes;
    if (!found) return;
    tally.hits++;
    tally.hitBytes += sizeBytes;
  }

  /** Resets the counts; values stay. */
  forget(): void {
    const { values, usedBytes } = this.tally;
    Object.assign(this.tally, newTally(), { values, valuesMax: values, usedBytes });
    this.tally.usedBytesMax = usedBytes;
  }

  /** Frees what the cache has allocated outside of the heap. */
  close(): void {}

  /** @returns whether the key was stored; afterwards it is stored, unless it was refused */
  protected abstract access(key: number, costBytes: number): boolean;

  protected entered(costBytes: number): void {
    this.tally.usedBytes += costBytes;
    this.tally.values++;
  }

  protected left(costBytes: number): void {
    this.tally.usedBytes -= costBytes;
    this.tally.values--;
  }
}
