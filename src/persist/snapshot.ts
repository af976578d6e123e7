// Snapshots: writes all values of a store as records (store/change_record.layout.ts), step by step,
// while threads go on changing them. Changes meanwhile are in the log that was begun before.
import type { Address } from "../base/brand.ts";
import * as Rec from "../store/change_record.layout.ts";
import * as Page from "../store/page.layout.ts";
import * as Value from "../store/value.layout.ts";
import type { TmemKey } from "../tmem/key.ts";
import { copyStored, scanStored } from "../values/stored.ts";
import type { Values } from "../values/values.ts";

/** A buffer in the arena in which records are assembled or read. */
export interface RecordBuffer {
  readonly at: Address;
  readonly sizeBytes: number;
}

/** Size of the buffer, in page frames. */
const BUFFER_FRAMES = 8;

/** Allocates a buffer for all snapshots of this thread. @throws ZcacheError ERR_ARENA_FULL */
export function allocateBuffer(values: Values): RecordBuffer {
  const sizeBytes = BUFFER_FRAMES * values.store.pageSize;
  return { at: values.store.reserve(sizeBytes), sizeBytes };
}

export class Snapshot {
  /** Bytes of records written so far. */
  bytes = 0;
  /** Values left out because of `limitBytes`. */
  unsaved = 0;
  readonly #values: Values;
  readonly #words: Int32Array;
  readonly #buffer: RecordBuffer;
  readonly #seed: number;
  readonly #limitBytes: number;
  readonly #write: (bytes: Uint8Array) => void;
  readonly #cursor;
  /** Bytes of records in the buffer. */
  #filled = 0;
  /** Place of the next record in the file, in units. */
  #place = 0;
  #records = 0;
  /** Dictionaries that have been written, from 1 on. */
  #dictionaries = 0;

  /**
   * @param seed of the checksums of records
   * @param limitBytes maximum size of the file
   * @param write appends to the file
   */
  constructor(
    values: Values,
    buffer: RecordBuffer,
    seed: number,
    limitBytes: number,
    write: (bytes: Uint8Array) => void,
  ) {
    this.#values = values;
    this.#words = values.words;
    this.#buffer = buffer;
    this.#seed = seed;
    this.#limitBytes = limitBytes;
    this.#write = write;
    this.#cursor = values.beginScan();
  }

  /** Writes some tens of values. @returns whether the snapshot is complete */
  step(): boolean {
    const ended = scanStored(this.#values, this.#cursor, (key) => this.#writeValue(key));
    if (!ended) return false;
    this.#reserve(0);
    this.#setKey(this.#records, 0, 0, 0);
    this.#finishRecord(Rec.END, 0);
    this.#flush();
    return true;
  }

  #writeValue(key: TmemKey): void {
    if (this.bytes + this.#filled + this.#values.store.pageSize > this.#limitBytes) {
      this.unsaved++;
      return;
    }
    this.#reserve(this.#values.store.pageSize);
    const data = (this.#recordAt + Rec.UNIT_BYTES) as Address;
    const meta = copyStored(this.#values, key, data);
    if (meta === 0) return;
    const dictionary = Value.dictionaryOf(this.#words[data / 4]!);
    if (dictionary > this.#dictionaries) {
      // A dictionary comes before the values that need it: the value is copied again behind it.
      const { count } = this.#values.dictionaries;
      while (this.#dictionaries < count) this.#writeDictionary(++this.#dictionaries);
      this.#writeValue(key);
      return;
    }
    const { id, indexLow, indexHigh } = key;
    this.#setKey(id[0]!, id[1]!, indexLow, indexHigh);
    this.#finishRecord(Rec.makeKind(Rec.PUT, Page.codecOf(meta)), Page.sizeOf(meta));
    this.#records++;
  }

  #writeDictionary(number: number): void {
    const { bytes, dictionaries } = this.#values;
    const { at, sizeBytes } = dictionaries.at(number);
    for (let from = 0; from < sizeBytes; from += Rec.PIECE_BYTES) {
      const count = Math.min(Rec.PIECE_BYTES, sizeBytes - from);
      this.#reserve(count);
      bytes.copyWithin(this.#recordAt + Rec.UNIT_BYTES, at + from, at + from + count);
      this.#setKey(sizeBytes, 0, number, from);
      this.#finishRecord(Rec.DICTIONARY, count);
      this.#records++;
    }
  }

  /** Address of the record that is being assembled. */
  get #recordAt(): number {
    return this.#buffer.at + this.#filled;
  }

  /** Writes the words OBJECT and INDEX of the record. */
  #setKey(objectLow: number, objectHigh: number, indexLow: number, indexHigh: number): void {
    const word = this.#recordAt / 4;
    this.#words[word + Rec.OBJECT_LOW] = objectLow;
    this.#words[word + Rec.OBJECT_HIGH] = objectHigh;
    this.#words[word + Rec.INDEX_LOW] = indexLow;
    this.#words[word + Rec.INDEX_HIGH] = indexHigh;
  }

  /** Finishes the record, whose key and data are written. */
  #finishRecord(kind: number, sizeBytes: number): void {
    const seed = Rec.seedOf(this.#seed, this.#place);
    sealRecord(this.#values, this.#recordAt, seed, kind, sizeBytes);
    const units = Rec.unitsOf(sizeBytes);
    this.#filled += units * Rec.UNIT_BYTES;
    this.#place += units;
  }

  /** Makes space in the buffer for a record with so many bytes of data. */
  #reserve(sizeBytes: number): void {
    const needed = Rec.unitsOf(sizeBytes) * Rec.UNIT_BYTES;
    if (this.#filled + needed > this.#buffer.sizeBytes) this.#flush();
  }

  #flush(): void {
    const { at } = this.#buffer;
    this.#write(this.#values.bytes.subarray(at, at + this.#filled));
    this.bytes += this.#filled;
    this.#filled = 0;
  }
}

/**
 * Writes kind, size and checksums to a record, whose key and data are written.
 * @param at address of the record
 */
function sealRecord(
  values: Values,
  at: number,
  seed: number,
  kind: number,
  sizeBytes: number,
): void {
  const { words } = values;
  const { kernels } = values.store.arena;
  const word = at / 4;
  const data = at + Rec.UNIT_BYTES;
  words[word + Rec.KIND] = kind;
  words[word + Rec.SIZE] = sizeBytes;
  words[word + Rec.DATA_CHECK] = sizeBytes === 0 ? 0 : kernels.checksum(data, sizeBytes, 0);
  words[word + Rec.CHECK] = kernels.checksum(at + 4, Rec.UNIT_BYTES - 4, seed);
}

/**
 * Makes the last record of a log, which names the next log.
 * @param buffer address of a buffer for one record
 * @param seed of the log's checksums
 * @param place of the record in the log, in units
 * @param next generation of the next log
 */
export function makeNextRecord(
  values: Values,
  buffer: Address,
  seed: number,
  place: number,
  next: number,
): Uint8Array {
  const { words, bytes } = values;
  words.fill(0, buffer / 4, (buffer + Rec.UNIT_BYTES) / 4);
  words[buffer / 4 + Rec.OBJECT_LOW] = next;
  sealRecord(values, buffer, Rec.seedOf(seed, place), Rec.NEXT, 0);
  return bytes.slice(buffer, buffer + Rec.UNIT_BYTES);
}
