// The engine of a store of values: what runs beside its callers. The cache and the memcached server
// both have one for each shard of their store.
//
// Its parts are background tasks (background.ts), the training of dictionaries (dictionary.ts) and
// the files of `persist` (src/persist). They run in the thread that created the store. A thread
// that attached has an AttachedLog only: its changes go to the same log.
import type { WordIndex } from "../base/brand.ts";
import { ZcacheError } from "../base/errors.ts";
import type { CodecOptions } from "../codec/contract.ts";
import { manageResidentMemory, type ReturnMemory } from "../node/give_back.ts";
import { followPressure } from "../node/memory_pressure.ts";
import { random32 } from "../node/platform.ts";
import { Scheduler } from "../node/scheduler.ts";
import { openGroup, renamedFile } from "../node/stores.ts";
import { flushLog } from "../persist/exit.ts";
import { logWriter } from "../persist/files.ts";
import type { ResolvedPersist } from "../persist/options.ts";
import type { Persistence } from "../persist/persistence.ts";
import { foreignError } from "../persist/recovery.ts";
import type { IsUnwanted } from "../persist/replay.ts";
import { openShards, type ShardChoice } from "../persist/shards.ts";
import type { PersistStats } from "../persist/statistics.ts";
import type { Takeover } from "../persist/takeover.ts";
import { isPossible, planShards } from "../shard/plan.ts";
import type { ShardGroup } from "../shard/shard_group.ts";
import { ChangeLog } from "../store/change_log.ts";
import { resolveOptions, type StoreOptions } from "../store/options.ts";
import type { Store } from "../store/store.ts";
import type { TmemKey } from "../tmem/key.ts";
import { formatValues } from "../values/format.ts";
import { logTo } from "../values/stored.ts";
import type { Values } from "../values/values.ts";
import { type BackgroundCounts, type BackgroundOptions, startBackground } from "./background.ts";
import { type DictionaryReport, DictionaryTrainer } from "./dictionary.ts";

/** The log of changes, for a thread that attaches. */
export interface LogShare {
  /** Word index of the log in the arena. */
  readonly at: number;
  /** Path of the files, for messages. */
  readonly path: string;
}

/** What a store of values is used for. */
export interface ValuesKind {
  /** Identifies the format of the meta bytes in the files: the cache's, or memcached's items. */
  readonly front: "" | "items";
  /** Whether values stay until they are deleted: a put that finds no room is refused. */
  readonly stays: boolean;
}

export interface EngineOptions {
  /** Undefined: no background tasks. */
  readonly background: BackgroundOptions | undefined;
  /** Maximum size of a dictionary; 0: none is trained. */
  readonly dictionaryBytes: number;
  /**
   * The shards for which this engine trains dictionaries, and returns and populates memory: all of
   * them for the first engine, none for the others (default: its own).
   */
  readonly servedShards?: readonly Values[];
  /** The codec for new values. */
  readonly codec: string;
  readonly codecOptions: CodecOptions;
}

export interface EngineEvents {
  /** Tells which recovered values of a shard are to be dropped. @param prefixAt as in IsUnwanted */
  readonly isUnwanted: (prefixAt: number, values: Values) => boolean;
  /** Background work has failed for a reason outside of the process; it goes on. */
  readonly onFault: (error: ZcacheError) => void;
  readonly onDictionary: (report: DictionaryReport) => void;
  /** Takes a line for each change of the limit under memory pressure (default: none is made). */
  readonly onPressure?: ((line: string) => void) | undefined;
  /** Of the words that the front wrote to the logs of all shards: those that count. */
  readonly latestWords?: (words: readonly (readonly number[])[]) => readonly number[];
  /**
   * Takes an unexpected error of a background task, which runs again at its next turn; without it
   * such an error is an uncaught exception.
   */
  readonly onError?: ((task: string, error: unknown) => void) | undefined;
}

/** Is called with the address and length of each new value of a shard. */
export interface Sampler {
  (at: number, count: number): void;
  /** Whether the next so many values are not sampled. */
  isIdle(values: number): boolean;
  /** Counts so many values that are not sampled. */
  skip(values: number): void;
}

/** A new store of values, before its front and its engines exist. */
export interface OpenedValues {
  readonly group: ShardGroup;
  /** The shards, in the order of the group. */
  readonly shards: readonly OpenedShard[];
  /** The path of `persist`. */
  readonly path: string | undefined;
  /** For files of `persist` of another number of shards. */
  readonly takeover: Takeover | undefined;
}

/** One shard of it, for which an engine is made. */
export interface OpenedShard {
  readonly store: Store;
  /** Undefined without the option `persist`. */
  readonly persistence: Persistence | undefined;
  /** Whether values of an object, which is the hash of their key, belong to this shard. */
  owns(key: TmemKey): boolean;
}

/** A dictionary has to fit into one block of page frames. */
const DICTIONARY_PAGES_MAX = 16;

/**
 * Creates a store of values, of as many shards as the options or existing files of `persist` say,
 * and opens the files. `Engines` recovers the values.
 * @throws ZcacheError as `createStore`; for the files ERR_IO, ERR_FILE_LOCKED, ERR_OPTION
 */
export function openValues(
  settings: StoreOptions,
  persist: ResolvedPersist | undefined,
  { front, stays }: ValuesKind,
): OpenedValues {
  const { codec = "", recompress, pageSize = 0 } = settings;
  const identity = { codec, dense: recompress?.codec ?? "", pageSize, front };
  const choice = choiceOf(settings);
  const files = persist && openShards(persist, identity, choice);
  let group: ShardGroup | undefined;
  try {
    group = openGroup({ ...settings, shards: files?.shards.length ?? choice.wanted });
    const seeds = files?.shards[0]?.keySeeds ?? [random32(), random32()];
    for (const store of group.stores) formatValues(store, random32, stays, seeds);
    const shards = shardsOf(group, files?.shards);
    return { group, shards, path: persist?.path, takeover: files?.takeover };
  } catch (error) {
    group?.close();
    for (const one of files?.shards ?? []) one.close();
    throw error;
  }
}

/** @throws ZcacheError ERR_OPTION */
function choiceOf(settings: StoreOptions): ShardChoice {
  const { memoryMax, shards, threads, limitMax } = resolveOptions(settings);
  return {
    wanted: planShards(memoryMax, shards, threads, limitMax).shards,
    mayBe: (others) => shards === "auto" && isPossible(memoryMax, others, limitMax),
  };
}

function shardsOf(group: ShardGroup, files: readonly Persistence[] | undefined): OpenedShard[] {
  return group.stores.map((store, nth) => ({
    store,
    persistence: files?.[nth],
    owns: ({ id }) => group.shardOf(id[0]!, id[1]!) === nth,
  }));
}

/** Closes what `openValues` opened, if no engines could be made for it. */
export function abandonValues({ shards, takeover }: OpenedValues): void {
  takeover?.abandon();
  closeAll(shards.map((shard) => () => abandonShard(shard)));
}

/** Closes the engines, or logs, of all shards, and with them the store, for all threads. */
export function closeEngines(engines: readonly (Engine | AttachedLog)[]): void {
  closeAll(engines.map((engine) => () => engine.close()));
}

function abandonShard({ store, persistence }: OpenedShard): void {
  store.close(() => persistence?.close());
  // The callback is not called if the store was closed, or this thread had detached, before.
  persistence?.close();
}

/** Closes shards, the first one last; if one fails, the others are closed all the same. */
function closeAll(closes: readonly (() => void)[]): void {
  const errors: unknown[] = [];
  for (const close of closes.toReversed()) {
    try {
      close();
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
}

/** The engine of one shard, in the thread that created the store. */
export class Engine {
  readonly #opened: OpenedShard;
  readonly #scheduler: Scheduler;
  readonly #backgroundCounts: (() => BackgroundCounts) | undefined;
  readonly #returnMemory: ReturnMemory | undefined;
  readonly #trainer: DictionaryTrainer | undefined;

  /**
   * Recovers the values in the files of a shard, and starts its background work. If this fails, the
   * caller closes what it opened (`abandonValues`).
   * @throws ZcacheError ERR_IO, ERR_ARENA_FULL
   */
  constructor(
    opened: OpenedShard,
    values: Values,
    options: EngineOptions,
    { isUnwanted, onFault, onDictionary, onError }: EngineEvents,
  ) {
    const { store, persistence } = opened;
    this.#opened = opened;
    const onTaskError =
      onError && ((task: string, error: unknown) => onError(`the background task ${task}`, error));
    const { servedShards: served = [values] } = options;
    // Another thread closes the shards one after the other.
    const isOver = () => store.isClosed || served.some((shard) => shard.store.isClosed);
    this.#scheduler = new Scheduler(isOver, onTaskError);
    store.background = this.#scheduler;
    if (persistence !== undefined) persistence.onError = onError;
    // Recovery may fail: before anything starts that would have to be stopped.
    let foreign = 0;
    const isDropped: IsUnwanted = (prefixAt, key) => {
      if (isUnwanted(prefixAt, values)) return true;
      if (opened.owns(key)) return false;
      foreign++;
      return true;
    };
    const recovered = persistence?.begin(values, isDropped, onFault, this.#scheduler);
    // Later, because the creator of the store has no listener yet.
    if (foreign > 0) setImmediate(() => onFault(foreignError(persistence!.share().path, foreign)));
    const renamed = renamedFile(store);
    if (renamed !== undefined) setImmediate(() => onFault(renamed));
    const { background, dictionaryBytes, codec, codecOptions } = options;
    if (background !== undefined) {
      this.#backgroundCounts = startBackground(this.#scheduler, store, background);
      const stores = served.map((shard) => shard.store);
      if (stores.length > 0) this.#returnMemory = manageResidentMemory(stores, this.#scheduler);
    }
    if (dictionaryBytes === 0 || served.length === 0 || !values.dictionaries.isUsable(false))
      return;
    this.#trainer = new DictionaryTrainer(
      served,
      {
        sizeBytes: Math.min(dictionaryBytes, store.pageSize * DICTIONARY_PAGES_MAX),
        ...{ codec, codecOptions },
      },
      onDictionary,
      onFault,
    );
    if (recovered !== undefined) this.#trainer.adopt(recovered);
  }

  /**
   * To be called with the address and length of each new value of a shard; undefined: no training.
   */
  samplerOf({ bytes }: Values): Sampler | undefined {
    const trainer = this.#trainer;
    if (trainer === undefined) return undefined;
    const sample = (at: number, count: number) => trainer.sample(bytes, at, count);
    return Object.assign(sample, {
      isIdle: (values: number) => trainer.isIdle(values),
      skip: (values: number) => trainer.skip(values),
    });
  }

  /** Lowers and raises the limit of all shards under memory pressure. */
  followPressure(group: ShardGroup, log: ((line: string) => void) | undefined): void {
    followPressure(group, this.#opened.store, this.#scheduler, {
      ...(this.#returnMemory === undefined ? {} : { returnMemory: this.#returnMemory }),
      ...(log === undefined ? {} : { log }),
    });
  }

  /** Undefined without background tasks. */
  get backgroundCounts(): Readonly<BackgroundCounts> | undefined {
    return this.#backgroundCounts?.();
  }

  /** Undefined without `persist`. */
  get persistStats(): PersistStats | undefined {
    return this.#opened.persistence?.stats();
  }

  /** The words that the front of the previous process wrote last to the log; empty: none. */
  get frontWords(): readonly number[] {
    return this.#opened.persistence?.frontWords ?? [];
  }

  /** For threads that attach; undefined without `persist`. */
  share(): LogShare | undefined {
    return this.#opened.persistence?.share();
  }

  /** Trains a dictionary from recent values; undefined where none are trained. */
  train(): Promise<DictionaryReport> | undefined {
    return this.#trainer?.train();
  }

  /** Writes all changes so far to the log. @throws ZcacheError ERR_IO */
  flush(): void {
    this.#opened.persistence?.flush();
  }

  /** Ends the work of this thread; other threads go on using the store. */
  detach(): void {
    this.#stop();
    this.#opened.persistence?.detach();
  }

  /** Ends all work, and closes the shard for all threads. */
  close(): void {
    this.#stop();
    this.#opened.persistence?.writeLastSnapshot();
    abandonShard(this.#opened);
  }

  #stop(): void {
    this.#trainer?.stop();
    this.#scheduler.stop();
  }
}

/** The log of changes, in a thread that attached. */
export class AttachedLog {
  readonly #values: Values;
  readonly #log: ChangeLog;
  readonly #share: LogShare;
  readonly #onFault: (error: ZcacheError) => void;

  /** @param onFault told if the last changes can't be written when this thread closes the store */
  constructor(values: Values, share: LogShare, onFault: (error: ZcacheError) => void = () => {}) {
    this.#values = values;
    this.#share = share;
    this.#onFault = onFault;
    const writer = logWriter(share.path);
    this.#log = new ChangeLog(values.store.arena, share.at as WordIndex, values.pool, writer);
    logTo(values, this.#log);
  }

  share(): LogShare {
    return this.#share;
  }

  /** Writes all changes so far. @throws ZcacheError ERR_IO */
  flush(): void {
    flushLog(this.#log, this.#share.path);
  }

  /** The thread's changes stay in the ring of the log, which the other threads write. */
  detach(): void {}

  /** Writes all changes so far if possible, and closes the store for all threads. */
  close(): void {
    this.#values.store.close(() => {
      try {
        this.#log.drain();
      } catch (error) {
        if (!(error instanceof ZcacheError)) throw error;
        this.#onFault(error);
      }
    });
  }
}
