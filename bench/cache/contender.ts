// The contract of a cache that the benchmark measures: all contenders run in the same loops. An
// adapter uses the fastest sensible configuration of its cache.

export type Value = string | Uint8Array;

export interface Settings {
  /** Text is read and written as strings, bytes as Uint8Array. */
  readonly values: "text" | "bytes";
  /** Number of values, and their bytes together. */
  readonly count: number;
  readonly rawBytes: number;
  /** Limit of memory for values; undefined: all values must fit. */
  readonly memoryBytes: number | undefined;
  /** An empty folder that is removed afterwards. */
  readonly folder: string;
}

export interface Session {
  /** May return a promise; the caller keeps several promises in flight. */
  set(key: string, value: Value): unknown;
  /** @returns the value, undefined or null for none, or a promise of these */
  get(key: string): unknown;
  /** The argument of `open` in a worker thread; only where threads are "shared". */
  share?(): unknown;
  /** Ids of processes whose memory belongs to the cache. */
  readonly helpers?: readonly number[];
  /** Waits until all sets are complete. */
  settle?(): Promise<void>;
  close(): unknown;
}

export interface Contender {
  readonly name: string;
  /**
   * shared: all threads use one cache. copies: every thread has its own cache. one: no second
   * thread can open it.
   */
  readonly threads: "shared" | "copies" | "one";
  /** Whether it evicts values to stay within `memoryBytes`. */
  readonly evicts: boolean;
  /** Whether a get returns an equal value: a cache of objects returns objects. */
  readonly returnsValue?: boolean;
  /** Whether it holds only text. */
  readonly textOnly?: boolean;
  /**
   * @param share in further threads: the result of `share` in the first thread
   * @throws Missing if what it needs is not installed
   */
  open(settings: Settings, share?: unknown): Promise<Session>;
}

/** A package or program that a contender needs is missing: the contender is left out. */
export class Missing extends Error {}

/**
 * Loads a package that zcache does not depend on.
 * @throws Missing naming the package
 */
export async function importPeer<T>(name: string): Promise<T> {
  try {
    return (await import(name)) as T;
  } catch (cause) {
    throw new Missing(`${name} is not installed`, { cause });
  }
}
