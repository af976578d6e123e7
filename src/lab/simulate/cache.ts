// What every simulated cache is: a budget in bytes, a value for each key that it holds, and a count
// of what happened. What leaves and what may enter, its kind says.

/** What one cache did. */
export interface Tally {
  requests: number;
  hits: number;
  /** Bytes of the values asked for, and of those found. */
  bytes: number;
  hitBytes: number;
  evictions: number;
  /** Values that were not let in, because others were worth more. */
  refused: number;
  /** Values larger than the whole budget. */
  tooLarge: number;
  /** Values held, now and at most; bytes held at most. */
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
  /** Bytes that all values may take, with what each costs beside its bytes. */
  readonly budgetBytes: number;
  /** About how many values there will be at once: for tables of a fixed size. */
  readonly valuesExpected: number;
}

/**
 * A cache in which a miss is followed by a set, as an application's is. What a request costs in
 * room is given with it, since a value may have changed.
 */
export abstract class SimulatedCache {
  readonly tally = newTally();
  readonly budgetBytes: number;

  constructor({ budgetBytes }: CacheSpace) {
    this.budgetBytes = budgetBytes;
  }

  /**
   * @param sizeBytes of the value, for the rate of bytes
   * @param costBytes that it takes of the budget
   */
  request(key: number, sizeBytes: number, costBytes: number): void {
    const { tally } = this;
    tally.requests++;
    tally.bytes += sizeBytes;
    const found = this.access(key, costBytes);
    // After it: a kind may let one in before another goes.
    if (tally.values > tally.valuesMax) tally.valuesMax = tally.values;
    if (tally.usedBytes > tally.usedBytesMax) tally.usedBytesMax = tally.usedBytes;
    if (!found) return;
    tally.hits++;
    tally.hitBytes += sizeBytes;
  }

  /** Begins to count anew; what is held stays. */
  forget(): void {
    const { values, usedBytes } = this.tally;
    Object.assign(this.tally, newTally(), { values, valuesMax: values, usedBytes });
    this.tally.usedBytesMax = usedBytes;
  }

  /** Gives back what it holds outside of the heap. */
  close(): void {}

  /** @returns whether the key was there; afterwards it is, unless it was refused */
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
