// Where replayed values go (replay.ts): to the one shard whose files are read, or, if the files are
// of another number of shards, each to the shard that its hash says.
import { type Address, NIL } from "../base/brand.ts";
import type { Errno } from "../base/errno.ts";
import { DICTIONARIES_MAX } from "../store/value.layout.ts";
import type { TmemKey } from "../tmem/key.ts";
import { putStored, scanStored } from "../values/stored.ts";
import type { Values } from "../values/values.ts";
import type { RecordBuffer } from "./snapshot.ts";

export interface Destination {
  /** The values in whose memory records are read. */
  readonly reader: Values;
  /** Values stored. */
  readonly count: number;
  /** @param source in the reader's memory */
  put(key: TmemKey, codec: number, source: Address, sizeBytes: number): 0 | Errno;
  removePage(key: TmemKey): void;
  removeObject(key: TmemKey): void;
  /** Removes all values that the files may have held so far. */
  clear(): void;
  /** As `Values.dropOrphans`. */
  dropOrphans(hashLow: number, hashHigh: number): void;
  /** A dictionary is complete, and values that need it follow. @param number in the files */
  addDictionary(number: number, bytes: Uint8Array): void;
  /** The number that a dictionary of the files has in the shard of a key; 0: it is not there. */
  dictionaryOf(number: number, key: TmemKey): number;
}

/** In place of a dictionary that was lost, or found no room: no value refers to it. */
const PLACEHOLDER = new Uint8Array(8);
/** Pages that are evicted at a time to make room for a dictionary. */
const EVICTED_PAGES = 32;

/**
 * Adds a dictionary. The values that need it come after it, and without it none of them could be
 * read, so earlier ones are evicted until there is a block of memory for it.
 * @returns its number, or NIL
 */
function addDictionary({ store, dictionaries }: Values, bytes: Uint8Array): number {
  for (;;) {
    const number = dictionaries.add(bytes);
    const isFull = dictionaries.count === DICTIONARIES_MAX;
    if (number !== NIL || isFull || store.shrink(EVICTED_PAGES) === 0) return number;
  }
}

/** The shard whose files are read, which keeps them: dictionaries keep their numbers too. */
export class OneShard implements Destination {
  readonly reader: Values;
  /** Those that are in the store, by number. */
  readonly #dictionaries: (Uint8Array | undefined)[] = [];

  constructor(values: Values) {
    this.reader = values;
  }

  get count(): number {
    return this.reader.count;
  }

  /** The dictionary that was made last. */
  get dictionary(): Uint8Array | undefined {
    return this.#dictionaries.findLast((bytes) => bytes !== undefined);
  }

  put(key: TmemKey, codec: number, source: Address, sizeBytes: number): 0 | Errno {
    return putStored(this.reader, key, codec, source, sizeBytes);
  }

  removePage(key: TmemKey): void {
    this.reader.store.flush(this.reader.pool, key);
  }

  removeObject(key: TmemKey): void {
    this.reader.store.flushObject(this.reader.pool, key);
  }

  clear(): void {
    this.reader.clear();
  }

  dropOrphans(hashLow: number, hashHigh: number): void {
    this.reader.dropOrphans(hashLow, hashHigh);
  }

  /** Adds it at once, under its number; a log may repeat those of the snapshot before it. */
  addDictionary(number: number, bytes: Uint8Array): void {
    const { dictionaries } = this.reader;
    const known = this.#dictionaries[number];
    if (known !== undefined && Buffer.compare(known, bytes) === 0) return;
    while (dictionaries.count < number - 1) {
      if (addDictionary(this.reader, PLACEHOLDER) === NIL) break;
    }
    const isNext = dictionaries.count === number - 1;
    const isAdded = isNext && addDictionary(this.reader, bytes) === number;
    if (isNext && !isAdded) dictionaries.add(PLACEHOLDER);
    this.#dictionaries[number] = isAdded ? bytes : undefined;
  }

  dictionaryOf(number: number): number {
    return this.#dictionaries[number] === undefined ? 0 : number;
  }
}

/** A shard of a store that takes over files of another number of shards. */
export interface Target {
  readonly values: Values;
  /** For one record. */
  readonly buffer: RecordBuffer;
}

/** A dictionary that was added to the shards. */
export interface AddedDictionary {
  readonly bytes: Uint8Array;
  /** Its number in each target; NIL where it found no room. */
  readonly numbers: readonly number[];
}

/** All shards of a store, for the files of one shard of another number of shards. */
export class Resharding implements Destination {
  readonly reader: Values;
  readonly #targets: readonly Target[];
  readonly #shardOf: (key: TmemKey) => number;
  readonly #isOwn: (key: TmemKey) => boolean;
  readonly #added: AddedDictionary[];
  /** By the number in the files. */
  readonly #dictionaries: AddedDictionary[] = [];

  /**
   * @param targets of which the first one reads the files
   * @param shardOf the target of a value
   * @param isOwn whether a value belongs to the shard whose files are read
   * @param added dictionaries of the shards whose files were read before
   */
  constructor(
    targets: readonly Target[],
    shardOf: (key: TmemKey) => number,
    isOwn: (key: TmemKey) => boolean,
    added: AddedDictionary[],
  ) {
    this.reader = targets[0]!.values;
    this.#targets = targets;
    this.#shardOf = shardOf;
    this.#isOwn = isOwn;
    this.#added = added;
  }

  get count(): number {
    return this.#targets.reduce((sum, { values }) => sum + values.count, 0);
  }

  put(key: TmemKey, codec: number, source: Address, sizeBytes: number): 0 | Errno {
    const { values, buffer } = this.#targets[this.#shardOf(key)]!;
    if (values === this.reader) return putStored(values, key, codec, source, sizeBytes);
    values.bytes.set(this.reader.bytes.subarray(source, source + sizeBytes), buffer.at);
    return putStored(values, key, codec, buffer.at, sizeBytes);
  }

  removePage(key: TmemKey): void {
    const { store, pool } = this.#valuesOf(key);
    store.flush(pool, key);
  }

  removeObject(key: TmemKey): void {
    const { store, pool } = this.#valuesOf(key);
    store.flushObject(pool, key);
  }

  /** The values of other files, which were read before, stay. */
  clear(): void {
    for (const { values } of this.#targets) {
      const cursor = values.beginScan();
      const remove = (key: TmemKey) => {
        if (this.#isOwn(key)) values.store.flushObject(values.pool, key);
      };
      while (!scanStored(values, cursor, remove));
    }
  }

  dropOrphans(hashLow: number, hashHigh: number): void {
    // Only the shard of the object has chunks of it.
    for (const { values } of this.#targets) values.dropOrphans(hashLow, hashHigh);
  }

  /** Adds it at once, unless other files had the same one. */
  addDictionary(number: number, bytes: Uint8Array): void {
    let known = this.#added.find((one) => Buffer.compare(one.bytes, bytes) === 0);
    if (known === undefined) {
      const numbers = this.#targets.map(({ values }) => addDictionary(values, bytes));
      known = { bytes, numbers };
      this.#added.push(known);
    }
    this.#dictionaries[number] = known;
  }

  dictionaryOf(number: number, key: TmemKey): number {
    return Math.max(0, this.#dictionaries[number]?.numbers[this.#shardOf(key)] ?? 0);
  }

  #valuesOf(key: TmemKey): Values {
    return this.#targets[this.#shardOf(key)]!.values;
  }
}
