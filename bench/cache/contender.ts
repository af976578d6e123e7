// What every cache is to the comparison: a small interface that an adapter fulfils, so that all run
// under the same loops. An adapter takes its peer's fastest sensible form.

export type Value = string | Uint8Array;

export interface Settings {
  /** Text is read and written as strings, bytes as Uint8Array. */
  readonly values: "text" | "bytes";
  /** How many values there will be, and their bytes together. */
  readonly count: number;
  readonly rawBytes: number;
  /** What the values may take; undefined: all are to be held. */
  readonly memoryBytes: number | undefined;
  /** A folder of its own, empty, that is removed afterwards. */
  readonly folder: string;
}

export interface Session {
  /** What is returned may be a promise: the caller keeps some in flight. */
  set(key: string, value: Value): unknown;
  /** @returns the value, undefined or null for none, or a promise of these */
  get(key: string): unknown;
  /** For a worker thread's `open`; only where threads are "shared". */
  share?(): unknown;
  /** Processes whose memory is the cache's too. */
  readonly helpers?: readonly number[];
  /** Waits until all that was set is settled. */
  settle?(): Promise<void>;
  close(): unknown;
}

export interface Contender {
  readonly name: string;
  /**
   * shared: all threads use one cache. copies: every thread has one of its own. one: no second
   * thread can open it.
   */
  readonly threads: "shared" | "copies" | "one";
  /** Whether it keeps to `memoryBytes` by letting values go. */
  readonly evicts: boolean;
  /** Whether what it returns equals what was set: a cache of objects gives back objects. */
  readonly returnsValue?: boolean;
  /** Whether it holds only text. */
  readonly textOnly?: boolean;
  /**
   * @param share what `share` returned in the thread that opened first, in others
   * @throws Missing if what it needs is not installed
   */
  open(settings: Settings, share?: unknown): Promise<Session>;
}

/** What a contender needs is not there: it is left out by name. */
export class Missing extends Error {}

/**
 * Loads a package that this one does not depend on.
 * @throws Missing naming it
 */
export async function importPeer<T>(name: string): Promise<T> {
  try {
    return (await import(name)) as T;
  } catch (cause) {
    throw new Missing(`${name} is not installed`, { cause });
  }
}
