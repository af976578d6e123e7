// Turns, so that not all shards of a store write their snapshots at the same time, and the room for
// snapshots, which all shards share.
//
// The snapshot of a shard stays until the next one is complete. While one shard at a time writes,
// the files of n shards need room for n + 1 snapshots. A shard whose log is full begins without its
// turn; where the room does not suffice for that, the snapshots in progress are finished first.
import * as Policy from "./snapshot_policy.ts";

/** A shard, as its turns see it. */
export interface SnapshotWriter {
  /** Bytes of its last complete snapshot. */
  readonly snapshotBytes: number;
  /** Completes the snapshot in progress at once, or gives it up. */
  finishSnapshot(): void;
}

/** Lets the shards of a store write their snapshots one after the other. */
export class SnapshotTurns {
  readonly shards: number;
  readonly #writers = new Set<SnapshotWriter>();
  readonly #writing = new Set<SnapshotWriter>();

  constructor(shards: number) {
    this.shards = shards;
  }

  add(writer: SnapshotWriter): void {
    this.#writers.add(writer);
  }

  /** Whether no other shard is writing a snapshot. */
  isFreeFor(one: SnapshotWriter): boolean {
    return this.#writing.size === 0 || this.#writing.has(one);
  }

  /**
   * A shard begins a snapshot; without its turn if its log is full.
   * @param maxBytes of all files of a shard
   * @returns bytes that the snapshot may take
   */
  begin(one: SnapshotWriter, maxBytes: number): number {
    const most = Policy.snapshotBytesMax(maxBytes, this.shards);
    for (const other of [...this.#writing]) {
      if (this.#room(maxBytes, most) >= most) break;
      other.finishSnapshot();
    }
    this.#writing.add(one);
    return most;
  }

  end(one: SnapshotWriter): void {
    this.#writing.delete(one);
  }

  /** What the complete snapshots and those in progress, of `most` bytes each, leave. */
  #room(maxBytes: number, most: number): number {
    let room = Policy.snapshotBytesOfAll(maxBytes, this.shards) - this.#writing.size * most;
    for (const { snapshotBytes } of this.#writers) room -= snapshotBytes;
    return room;
  }
}
