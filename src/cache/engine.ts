// What is done for a store of values while its front serves: idle values are recompressed, written
// to a file or expired, a dictionary is trained, changes are kept for the next process. The cache
// and the memcached server have the same.
//
// In the thread that made the store there is all of this. A thread that attached changes values
// too, so it has the log of changes, and nothing else.
import type { WordIndex } from "../base/brand.ts";
import type { ZcacheError } from "../base/errors.ts";
import type { CodecOptions } from "../codec/contract.ts";
import { random32 } from "../node/platform.ts";
import { Scheduler } from "../node/scheduler.ts";
import { openStore, renamedFile } from "../node/stores.ts";
import { flushLog } from "../persist/exit.ts";
import { restartWriter } from "../persist/files.ts";
import type { ResolvedPersist } from "../persist/options.ts";
import { type PersistStats, Restart } from "../persist/persistence.ts";
import type { IsUnwanted } from "../persist/replay.ts";
import { ChangeLog } from "../store/change_log.ts";
import type { StoreOptions } from "../store/options.ts";
import type { Store } from "../store/store.ts";
import { formatValues } from "../values/format.ts";
import { logTo } from "../values/stored.ts";
import type { Values } from "../values/values.ts";
import { type BackgroundCounts, type BackgroundOptions, startBackground } from "./background.ts";
import { DictionaryKeeper, type DictionaryReport } from "./dictionary.ts";

/** Where changes are kept, for a thread that attaches. */
export interface LogShare {
  readonly at: number;
  readonly path: string;
}

/** What is to be done beside serving. */
export interface UpkeepOptions {
  /** Undefined: nothing. */
  readonly background: BackgroundOptions | undefined;
  /** Bytes of a dictionary at most, 0: none is made. */
  readonly dictionaryBytes: number;
  readonly codec: string;
  readonly codecOptions: CodecOptions;
}

export interface UpkeepEvents {
  /** Of the values of the process before. */
  readonly isUnwanted: IsUnwanted;
  readonly onFault: (error: ZcacheError) => void;
  readonly onDictionary: (report: DictionaryReport) => void;
  /**
   * Takes an unexpected error of a background task, which runs again at its next turn; without it
   * such an error is an uncaught exception.
   */
  readonly onError?: ((task: string, error: unknown) => void) | undefined;
}

/** A store of values that its front is to be built on. */
export interface OpenedValues {
  readonly store: Store;
  readonly restart: Restart | undefined;
}

/** A dictionary lies in one block of frames. */
const PAGES_OF_DICTIONARY = 16;

/** What a front's values are like. */
export interface ValuesKind {
  /** By this name files know whose they are. */
  readonly front: "" | "items";
  /** Values stay until they are deleted: what has no room is refused. */
  readonly stays: boolean;
}

/**
 * Makes a store of values.
 * @throws ZcacheError what `createStore` does; of the files of `persist` ERR_IO, ERR_FILE_LOCKED
 *   and ERR_OPTION
 */
export function openValues(
  settings: StoreOptions,
  persist: ResolvedPersist | undefined,
  { front, stays }: ValuesKind,
): OpenedValues {
  const { codec = "", recompress, pageSize = 0 } = settings;
  const identity = { codec, dense: recompress?.codec ?? "", pageSize, front };
  const restart = persist && Restart.open(persist, identity);
  let store: Store | undefined;
  try {
    store = openStore(settings);
    formatValues(store, random32, stays, restart?.keySeeds);
    return { store, restart };
  } catch (error) {
    store?.close();
    restart?.close();
    throw error;
  }
}

/** Closes what `openValues` opened, where nothing has come of it. */
export function abandonValues({ store, restart }: OpenedValues): void {
  closeBoth(store, restart);
}

/** Closes a store, and with it the files that its last changes go to. */
function closeBoth(store: Store, restart: Restart | undefined): void {
  store.close(() => restart?.close());
  // Where the store was closed before, or its thread had detached.
  restart?.close();
}

/** In the thread that made the store. */
export class Upkeep {
  readonly #store: Store;
  readonly #restart: Restart | undefined;
  readonly #scheduler: Scheduler;
  readonly #counts: (() => BackgroundCounts) | undefined;
  readonly #keeper: DictionaryKeeper | undefined;

  /**
   * Recovers what there is to be recovered, and begins. If that fails, who has opened them closes
   * the store and the files (`abandonValues`).
   * @throws ZcacheError ERR_IO, ERR_ARENA_FULL
   */
  constructor(
    { store, restart }: OpenedValues,
    values: Values,
    options: UpkeepOptions,
    { isUnwanted, onFault, onDictionary, onError }: UpkeepEvents,
  ) {
    this.#store = store;
    this.#restart = restart;
    const onTaskError =
      onError && ((task: string, error: unknown) => onError(`the background task ${task}`, error));
    this.#scheduler = Scheduler.of(store, onTaskError);
    // Before anything that has to be stopped: this may fail.
    if (restart !== undefined) restart.onError = onError;
    const used = restart?.begin(values, isUnwanted, onFault, this.#scheduler);
    const renamed = renamedFile(store);
    // Whoever makes the store has no listener yet.
    if (renamed !== undefined) setImmediate(() => onFault(renamed));
    const { background, dictionaryBytes, codec, codecOptions } = options;
    if (background !== undefined) {
      this.#counts = startBackground(this.#scheduler, store, background);
    }
    if (dictionaryBytes > 0 && values.dictionaries.isUsable(false)) {
      const bytes = Math.min(dictionaryBytes, store.pageSize * PAGES_OF_DICTIONARY);
      const keeper = new DictionaryKeeper(
        values,
        bytes,
        codec,
        codecOptions,
        onDictionary,
        onFault,
      );
      if (used !== undefined) keeper.adopt(used);
      this.#keeper = keeper;
    }
  }

  /** Takes samples of what comes in: called with where a value stands. Undefined: wants none. */
  get sampler(): ((at: number, count: number) => void) | undefined {
    const keeper = this.#keeper;
    return keeper && ((at, count) => keeper.offer(at, count));
  }

  get backgroundCounts(): Readonly<BackgroundCounts> | undefined {
    return this.#counts?.();
  }

  get persistStats(): PersistStats | undefined {
    return this.#restart?.stats();
  }

  /** What the front of the process before noted last (store/change_log.ts); zeros, if nothing. */
  get note(): readonly number[] {
    return this.#restart?.note ?? [];
  }

  share(): LogShare | undefined {
    return this.#restart?.share();
  }

  /** Makes a dictionary of what has come in lately; undefined where none are made. */
  train(): Promise<DictionaryReport> | undefined {
    return this.#keeper?.train();
  }

  /** Moves all that waits to the log. @throws ZcacheError ERR_IO */
  flush(): void {
    this.#restart?.flush();
  }

  /** Ends this thread's work; others go on with the store. */
  detach(): void {
    this.#stop();
    this.#restart?.detach();
  }

  /** Ends it all, and closes the store for all threads. */
  close(): void {
    this.#stop();
    this.#restart?.settle();
    closeBoth(this.#store, this.#restart);
  }

  #stop(): void {
    this.#keeper?.stop();
    this.#scheduler.stop();
  }
}

/** In a thread that attached: its changes go to the same log. */
export class SharedLog {
  readonly #log: ChangeLog;
  readonly #share: LogShare;

  constructor(values: Values, share: LogShare) {
    this.#share = share;
    const writer = restartWriter(share.path);
    this.#log = new ChangeLog(values.store.arena, share.at as WordIndex, values.pool, writer);
    logTo(values, this.#log);
  }

  share(): LogShare {
    return this.#share;
  }

  /** @throws ZcacheError ERR_IO */
  flush(): void {
    flushLog(this.#log, this.#share.path);
  }

  /** Writes what waits. @throws ZcacheError ERR_IO */
  drain(): void {
    this.#log.drain();
  }
}
