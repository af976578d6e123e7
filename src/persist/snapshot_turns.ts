// Turns, so that not all shards of a store write their snapshots at the same time.

/** Lets the shards of a store write their snapshots one after the other. */
export class SnapshotTurns {
  readonly shards: number;
  #writing: object | undefined;

  constructor(shards: number) {
    this.shards = shards;
  }

  /** Whether no other shard is writing a snapshot. */
  isFreeFor(one: object): boolean {
    return this.#writing === undefined || this.#writing === one;
  }

  /** A shard begins a snapshot; without its turn if its log is full. */
  begin(one: object): void {
    this.#writing ??= one;
  }

  end(one: object): void {
    if (this.#writing === one) this.#writing = undefined;
  }
}
