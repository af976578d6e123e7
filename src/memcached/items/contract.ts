// What a store of items must do for memcached: bytes under a key, with a few words beside them,
// and a lock for each key. What the words mean, when an item has expired and what a cas is, is not
// its business; see items.ts.
//
// One object for each thread; all objects of one store see the same items. Nothing is allocated
// for an operation: keys and values are ranges of the caller's buffers, results are fields.

/**
 * A store as one thread sees it.
 *
 * A key is worked on between `lock` and `unlock`, by one thread at a time; nothing else may be
 * locked meanwhile. In between there may be any number of calls of `find`, `read`, `writeMeta`,
 * `prepare`, `put` and `remove`. Compression takes place in `prepare` and decompression in `read`,
 * which a caller that can calls outside of the lock.
 */
export interface ItemStore {
  /** The longest value that `put` may take, in bytes: what is larger is refused before it comes. */
  readonly valueBytesMax: number;
  /**
   * META_WORDS words, always the same view. `find` fills it, `put` and `writeMeta` keep what is in
   * it. Its contents mean something from `find` until the next `lock`, also after `unlock`.
   */
  readonly meta: Uint32Array;
  /** Length of the value that `find` found, in bytes; until the next `lock`. */
  readonly valueBytes: number;

  /**
   * Takes the lock of a key, waiting for it as long as another thread has it.
   * @param key holds the key's 1 … 250 bytes at [from, to); must not change until `unlock`
   */
  lock(key: Uint8Array, from: number, to: number): void;
  unlock(): void;

  /**
   * Looks for the locked key's item, and counts as a use of it where the store chooses victims.
   * @returns whether there is one; then `meta` and `valueBytes` are its own
   */
  find(): boolean;
  /** As `find` where the value is not wanted, only `meta` and `valueBytes`: no use, no `read`. */
  look(): boolean;

  /**
   * Copies the value that `find` found, all `valueBytes` of it, to `target[at]`. May be called
   * after `unlock`, until the next `lock`, and gives what was there at `find`.
   * @returns whether it could be read: a value that is damaged, or that went while it was fetched
   *   from a file, counts as not there
   */
  read(target: Uint8Array, at: number): boolean;

  /**
   * Answers lines at [from, to) that are plain gets of items as they mostly are, by itself, without
   * a lock; the uses of the items are counted.
   * @param target takes the answers behind `at`, if it is what `makeBuffer` gave
   * @param now seconds since 1970  @param flushes as in the items' BITS
   * @returns bytes of the lines that were answered; `hits` says how many items with them
   */
  answerGets(
    lines: Uint8Array,
    from: number,
    to: number,
    target: AnswerBuffer,
    now: number,
    flushes: number,
  ): number;
  /** Items that the last `answerGets` has found. */
  readonly hits: number;

  /**
   * Makes a buffer of this thread's that `read` fills faster than others.
   * @returns undefined where there is none, or no room for it
   */
  makeBuffer(bytes: number): Uint8Array | undefined;

  /**
   * Keeps `meta` with the item that `find` found; its value stays as it is. Under the lock.
   * @returns whether it is there: one in a file comes to memory for this, which may have no room
   */
  writeMeta(): boolean;
  /** The same where all that has changed is when it was used: the next process may not know. */
  writeUse(): void;

  /**
   * Takes a value for the next `put`, compressing it into memory of its own; the caller's buffer is
   * free afterwards. Before the lock, or under it where the new value is made of the old one.
   * @param value holds at most valueBytesMax bytes at [from, to)
   */
  prepare(value: Uint8Array, from: number, to: number): void;

  /**
   * Puts the prepared value with `meta` in the place of what was under the locked key.
   * @returns whether there was room; if not, nothing is under the key any more
   */
  put(): boolean;

  /** Takes away what is under the locked key, if anything. */
  remove(): void;
  /**
   * Where `find` found nothing, and the client was told so: sees to it that what was evicted, and
   * is in a file yet from which the next process begins, does not come back from there.
   */
  forget(): void;

  /**
   * Keeps, for the next process, how often everything was flushed, and when it is to be the next
   * time; before it is done. One thread at a time: the caller has a key locked for that.
   */
  noteFlush(flushes: number, due: number): void;

  /** Figures of the whole store, of all threads. May be slow. */
  stats(): ItemStoreStats;
  /** A walk for `scan` that stands at the beginning. */
  beginScan(): ItemScan;
  /**
   * Shows some items, none or a few dozen, and goes on in an order of the store's own. What is
   * there from the first call to the last is shown; what comes or goes meanwhile, or is moved, may
   * be missed or shown again.
   * @param visit is given the key, in an array that is valid for the call; `meta` and `valueBytes`
   *   are the item's. It must not call the store. No lock of a key is held.
   * @returns whether all have been shown
   */
  scan(scan: ItemScan, visit: (key: Uint8Array) => void): boolean;
  /**
   * Begins or ends noting what is evicted, in all threads, for `hearEvicted`; it ends when all who
   * have begun have ended.
   * @param turns words that all threads share, zeros at first (values/eviction_listener.ts)
   * @returns whether they are noted: there may be no room for it
   */
  noteEvicted(turns: Int32Array, wanted: boolean): boolean;
  /**
   * Shows what was evicted since a thread heard of it last, as `scan` does; what one thread was
   * shown, no other is. The store is locked meanwhile: `visit` must not wait.
   * @param visit is given the key in a buffer of the store's, valid for the call
   * @returns false if there was more than was remembered
   */
  hearEvicted(
    turns: Int32Array,
    visit: (key: Uint8Array, from: number, to: number) => void,
  ): boolean;
  /** Changes the memory limit. @returns whether that many bytes are possible */
  limit(bytes: number): boolean;
}

/** A walk through all items, which the store alone knows the place of. */
export type ItemScan = object;

/** Bytes on their way out, up to `at`. */
export interface AnswerBuffer {
  readonly bytes: Uint8Array;
  at: number;
}

export interface ItemStoreStats {
  readonly items: number;
  /** Keys and values as they were given, bytes. */
  readonly logicalBytes: number;
  /** What holding them takes, bytes. */
  readonly usedBytes: number;
  readonly limitBytes: number;
  /** Items dropped for want of room, since the start. */
  readonly evictions: number;
  /** More, by the store's own names; shown by `stats zcache`. */
  readonly more: Readonly<Record<string, number | string>>;
}
