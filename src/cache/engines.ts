// The engines of all shards of a store of values, in the thread that created it; and what threads
// that attached have in their place, the logs of changes.
import { ZcacheError } from "../base/errors.ts";
import { type PersistStats, sumOfShards } from "../persist/statistics.ts";
import type { Takeover } from "../persist/takeover.ts";
import type { Values } from "../values/values.ts";
import type { BackgroundCounts } from "./background.ts";
import type { DictionaryReport } from "./dictionary.ts";
import {
  AttachedLog,
  closeEngines,
  Engine,
  type EngineEvents,
  type EngineOptions,
  type LogShare,
  type OpenedValues,
  type Sampler,
} from "./engine.ts";
import type { CacheListeners } from "./events.ts";
import { type CacheKey, INTERNAL } from "./keys.ts";
import type { ResolvedCacheOptions } from "./options.ts";

/** Starts the engines of a cache. @throws as `Engines` */
export function startEngines<K extends CacheKey>(
  opened: OpenedValues,
  shards: readonly Values[],
  { backgroundMs, dictionaryBytes, codec, codecOptions }: ResolvedCacheOptions,
  listeners: CacheListeners<K>,
): Engines {
  const background = backgroundMs > 0 ? { everyMs: backgroundMs } : undefined;
  const onFault = (error: ZcacheError) => listeners.emit("fault", error);
  return new Engines(
    opened,
    shards,
    { background, dictionaryBytes, codec, codecOptions },
    {
      isUnwanted: (prefixAt, values) => values.bytes[values.keyStart(prefixAt)] === INTERNAL,
      onFault,
      onDictionary: (report) => listeners.emit("dictionary", report),
      onError: (_, error) => {
        if (!(error instanceof ZcacheError)) throw error;
        onFault(error);
      },
    },
  );
}

/** The engines of all shards. */
export class Engines {
  readonly #engines: readonly Engine[];
  /** Serves all shards, with dictionaries for one thing. */
  readonly #first: Engine;
  /** The path of `persist`. */
  readonly #path: string | undefined;
  readonly #takeover: Takeover | undefined;
  /** The words that the front of the previous process wrote last to the logs. */
  readonly frontWords: readonly number[];

  /**
   * Recovers the values in the files, and starts all background work. If this fails, the caller
   * closes what it opened (`abandonValues`).
   * @param shards values of each shard
   * @throws ZcacheError ERR_IO, ERR_ARENA_FULL
   */
  constructor(
    opened: OpenedValues,
    shards: readonly Values[],
    options: EngineOptions,
    events: EngineEvents,
  ) {
    this.#path = opened.path;
    this.#takeover = opened.takeover;
    const { latestWords = firstWords } = events;
    this.#takeover?.recover(shards, { ...events, latestWords });
    this.#engines = opened.shards.map((shard, nth) => {
      const own = optionsOfShard(options, nth, shards);
      return new Engine(shard, shards[nth]!, own, events);
    });
    this.#first = this.#engines[0]!;
    this.frontWords = latestWords(this.#engines.map(({ frontWords }) => frontWords));
    this.#takeover?.complete();
    if (options.background !== undefined) {
      this.#first.followPressure(opened.group, events.onPressure);
    }
  }

  /** Takes new values of a shard; undefined: no dictionaries are trained. */
  samplerOf(values: Values): Sampler | undefined {
    return this.#first.samplerOf(values);
  }

  /** Undefined without background tasks. */
  get backgroundCounts(): Readonly<BackgroundCounts> | undefined {
    const all = this.#engines.flatMap(({ backgroundCounts }) => backgroundCounts ?? []);
    if (all.length === 0) return undefined;
    const sum = (of: (counts: BackgroundCounts) => number) =>
      all.reduce((total, counts) => total + of(counts), 0);
    return {
      rounds: sum(({ rounds }) => rounds),
      recompressed: sum(({ recompressed }) => recompressed),
      expired: sum(({ expired }) => expired),
      ms: sum(({ ms }) => ms),
    };
  }

  /** Undefined without `persist`. */
  get persistStats(): PersistStats | undefined {
    if (this.#path === undefined) return undefined;
    return sumOfShards(
      this.#path,
      this.#engines.flatMap(({ persistStats }) => persistStats ?? []),
      this.#takeover?.recovered ?? [],
    );
  }

  /** The logs of all shards, for threads that attach; undefined without `persist`. */
  share(): readonly LogShare[] | undefined {
    const logs = this.#engines.flatMap((engine) => engine.share() ?? []);
    return logs.length === 0 ? undefined : logs;
  }

  /** Trains a dictionary from recent values; undefined where none are trained. */
  train(): Promise<DictionaryReport> | undefined {
    return this.#first.train();
  }

  /** Writes all changes so far to the logs. @throws ZcacheError ERR_IO */
  flush(): void {
    for (const engine of this.#engines) engine.flush();
  }

  /** Ends the work of this thread; other threads go on using the store. */
  detach(): void {
    for (const engine of this.#engines) engine.detach();
  }

  /** Ends all work, and closes the store for all threads. */
  close(): void {
    closeEngines(this.#engines);
  }
}

/** The logs of changes of all shards, in a thread that attached. */
export class AttachedLogs {
  readonly #logs: readonly AttachedLog[];

  /** @param onFault told if the last changes can't be written when this thread closes the store */
  constructor(
    shards: readonly Values[],
    shares: readonly LogShare[],
    onFault?: (error: ZcacheError) => void,
  ) {
    if (shares.length !== shards.length) {
      throw new ZcacheError("ERR_STORE_SHARE", "a cache's share has a log for each shard");
    }
    this.#logs = shards.map((values, nth) => new AttachedLog(values, shares[nth]!, onFault));
  }

  share(): readonly LogShare[] {
    return this.#logs.map((log) => log.share());
  }

  /** Writes all changes so far. @throws ZcacheError ERR_IO */
  flush(): void {
    for (const log of this.#logs) log.flush();
  }

  /** Changes of this thread stay in the rings of the logs, which the other threads write. */
  detach(): void {
    for (const log of this.#logs) log.detach();
  }

  /** Writes all changes so far if possible, and closes the store for all threads. */
  close(): void {
    closeEngines(this.#logs);
  }
}

function firstWords([words = []]: readonly (readonly number[])[]): readonly number[] {
  return words;
}

/** What is done once for all shards is done by the first engine; the scans take turns. */
function optionsOfShard(
  options: EngineOptions,
  nth: number,
  shards: readonly Values[],
): EngineOptions {
  const { background } = options;
  return {
    ...options,
    background: background && { ...background, turn: { nth, shards: shards.length } },
    servedShards: nth === 0 ? shards : [],
  };
}
