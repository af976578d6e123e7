// Takes the values over from files of another number of shards, before a store begins to work.
//
// The old files are read one after the other into all shards of the new store. Then each shard
// writes a snapshot of its own. A mark (shard_mark.ts) says until then that the old files are
// valid, and then that the new ones are, so a process that ends at any moment loses nothing: the
// next one removes the files that are not valid. The files of both numbers exist for a while.
import { ZcacheError } from "../base/errors.ts";
import { shardOfHash } from "../shard/route.ts";
import type { TmemKey } from "../tmem/key.ts";
import type { Values } from "../values/values.ts";
import { type AddedDictionary, Resharding } from "./destination.ts";
import { keepOnly } from "./found_shards.ts";
import type { FileIdentity } from "./header.ts";
import type { Persistence } from "./persistence.ts";
import { foreignError, type Recovered } from "./recovery.ts";
import type { IsUnwanted } from "./replay.ts";
import { writeMark } from "./shard_mark.ts";

/** What the front of a store has to say about old files. */
export interface TakeoverEvents {
  /** As `IsUnwanted`, for a prefix in the memory of these values. */
  readonly isUnwanted: (prefixAt: number, values: Values) => boolean;
  /** Told what the old files have lost. */
  readonly onFault: (error: ZcacheError) => void;
  /** Of the words that the front wrote to the logs of the old shards: those that count. */
  readonly latestWords: (words: readonly (readonly number[])[]) => readonly number[];
}

export class Takeover {
  readonly #path: string;
  readonly #old: readonly Persistence[];
  readonly #fresh: readonly Persistence[];
  readonly #identity: FileIdentity;
  #recovered: Recovered[] = [];
  #isComplete = false;

  /**
   * @param path of the whole store
   * @param old of the shards that there are files of
   * @param fresh of the shards of the store, without files
   * @throws ZcacheError ERR_OPTION, ERR_IO
   */
  constructor(
    path: string,
    old: readonly Persistence[],
    fresh: readonly Persistence[],
    identity: FileIdentity,
  ) {
    this.#path = path;
    this.#old = old;
    this.#fresh = fresh;
    this.#identity = identity;
    writeMark(path, old.length);
  }

  /** Of each old shard. */
  get recovered(): readonly Recovered[] {
    return this.#recovered;
  }

  /**
   * Recovers the values in the old files, before `Persistence.begin` of the shards.
   * @throws ZcacheError ERR_IO, ERR_ARENA_FULL
   */
  recover(shards: readonly Values[], events: TakeoverEvents): void {
    const targets = shards.map((values, nth) => ({
      values,
      buffer: this.#fresh[nth]!.prepare(values),
    }));
    const added: AddedDictionary[] = [];
    const shardIn = (count: number) => (key: TmemKey) => shardOfHash(key.id[0]!, key.id[1]!, count);
    const oldShardOf = shardIn(this.#old.length);
    const words: (readonly number[])[] = [];
    for (const [nth, one] of this.#old.entries()) {
      const isOwn = (key: TmemKey) => oldShardOf(key) === nth;
      const to = new Resharding(targets, shardIn(shards.length), isOwn, added);
      let foreign = 0;
      const isUnwanted: IsUnwanted = (prefixAt, key) => {
        if (events.isUnwanted(prefixAt, to.reader)) return true;
        if (isOwn(key)) return false;
        foreign++;
        return true;
      };
      const { recovery, losses } = one.recoverTo(to, targets[0]!.buffer, isUnwanted);
      this.#recovered.push(recovery.recovered);
      words.push(Array.from(recovery.frontWords));
      // Later, because the creator of the store has no listener yet.
      const others = foreign > 0 ? [foreignError(one.path, foreign)] : [];
      for (const loss of [...losses, ...others]) setImmediate(() => events.onFault(loss));
    }
    const taken = { frontWords: events.latestWords(words), dictionary: added.at(-1)?.bytes };
    for (const one of this.#fresh) one.taken = taken;
  }

  /**
   * Writes the new files, and removes the old ones; after `Persistence.begin` of all shards.
   * @throws ZcacheError ERR_IO: the old files are still valid
   */
  complete(): void {
    for (const one of this.#fresh) one.writeSnapshot();
    writeMark(this.#path, this.#fresh.length);
    this.#isComplete = true;
    try {
      keepOnly(this.#path, this.#fresh.length, this.#identity);
    } catch (error) {
      // The mark says what is valid: the next start removes what is left.
      if (!(error instanceof ZcacheError)) throw error;
    }
  }

  /** After a failure, before the shards are closed: removes new files that are not valid. */
  abandon(): void {
    if (this.#isComplete) return;
    for (const one of this.#fresh) one.removeFiles();
  }
}
