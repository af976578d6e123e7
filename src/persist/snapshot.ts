// Writes all values of a store as records (store/change_record.layout.ts), step by step, while
// others go on changing them: what changes meanwhile is in the log, which was begun before.
import type { Address } from "../base/brand.ts";
import * as Rec from "../store/change_record.layout.ts";
import * as Page from "../store/page.layout.ts";
import * as Value from "../store/value.layout.ts";
import type { TmemKey } from "../tmem/key.ts";
import { copyStored, scanStored } from "../values/stored.ts";
import type { Values } from "../values/values.ts";

/** Page frames of the room in which records are put together. */
const ROOM_FRAMES = 8;

/** The room of a thread, that it needs once. */
export function snapshotRoom(values: Values): { at: Address; sizeBytes: number } {
  const sizeBytes = ROOM_FRAMES * values.store.pageSize;
  return { at: values.store.reserve(sizeBytes), sizeBytes };
}

export class Snapshot {
  /** Bytes written, and values that `limitBytes` had no room for. */
  bytes = 0;
  unsaved = 0;
  readonly #values: Values;
  readonly #words: Int32Array;
  readonly #room: Address;
  readonly #roomBytes: number;
  readonly #seed: number;
  readonly #limitBytes: number;
  readonly #write: (bytes: Uint8Array) => void;
  readonly #cursor;
  #filled = 0;
  #place = 0;
  #records = 0;
  #dictionaries = 0;

  /** @param write takes the next bytes of the file */
  constructor(
    values: Values,
    room: { readonly at: Address; readonly sizeBytes: number },
    seed: number,
    limitBytes: number,
    write: (bytes: Uint8Array) => void,
  ) {
    this.#values = values;
    this.#words = values.words;
    this.#room = room.at;
    this.#roomBytes = room.sizeBytes;
    this.#seed = seed;
    this.#limitBytes = limitBytes;
    this.#write = write;
    this.#cursor = values.beginScan();
  }

  /** Some tens of values. @returns whether that was all, and all is written */
  step(): boolean {
    const ended = scanStored(this.#values, this.#cursor, (key) => this.#take(key));
    if (!ended) return false;
    this.#makeRoom(0);
    this.#seal(Rec.END, this.#records, 0, 0, 0, 0);
    this.#flush();
    return true;
  }

  #take(key: TmemKey): void {
    if (this.bytes + this.#filled + this.#values.store.pageSize > this.#limitBytes) {
      this.unsaved++;
      return;
    }
    this.#makeRoom(this.#values.store.pageSize);
    const data = (this.#room + this.#filled + Rec.UNIT_BYTES) as Address;
    const meta = copyStored(this.#values, key, data);
    if (meta === 0) return;
    const dictionary = Value.dictionaryOf(this.#words[data / 4]!);
    if (dictionary > this.#dictionaries) {
      // Before all that needs them; the value is copied once more, behind them.
      const { count } = this.#values.dictionaries;
      while (this.#dictionaries < count) this.#writeDictionary(++this.#dictionaries);
      this.#take(key);
      return;
    }
    const kind = Rec.makeKind(Rec.PUT, Page.codecOf(meta));
    const { id, indexLow, indexHigh } = key;
    this.#seal(kind, id[0]!, id[1]!, indexLow, indexHigh, Page.sizeOf(meta));
    this.#records++;
  }

  #writeDictionary(number: number): void {
    const { bytes, dictionaries } = this.#values;
    const { at, sizeBytes } = dictionaries.at(number);
    for (let from = 0; from < sizeBytes; from += Rec.PIECE_BYTES) {
      const count = Math.min(Rec.PIECE_BYTES, sizeBytes - from);
      this.#makeRoom(count);
      const data = this.#room + this.#filled + Rec.UNIT_BYTES;
      bytes.copyWithin(data, at + from, at + from + count);
      this.#seal(Rec.DICTIONARY, sizeBytes, 0, number, from, count);
      this.#records++;
    }
  }

  /** Writes the header of the record whose data stands behind it. */
  #seal(
    kind: number,
    objectLow: number,
    objectHigh: number,
    indexLow: number,
    indexHigh: number,
    sizeBytes: number,
  ): void {
    const at = this.#room + this.#filled;
    const word = at / 4;
    this.#words[word + Rec.OBJECT_LOW] = objectLow;
    this.#words[word + Rec.OBJECT_HIGH] = objectHigh;
    this.#words[word + Rec.INDEX_LOW] = indexLow;
    this.#words[word + Rec.INDEX_HIGH] = indexHigh;
    seal(this.#values, at, Rec.seedOf(this.#seed, this.#place), kind, sizeBytes);
    const units = Rec.unitsOf(sizeBytes);
    this.#filled += units * Rec.UNIT_BYTES;
    this.#place += units;
  }

  #makeRoom(sizeBytes: number): void {
    const needed = Rec.unitsOf(sizeBytes) * Rec.UNIT_BYTES;
    if (this.#filled + needed > this.#roomBytes) this.#flush();
  }

  #flush(): void {
    this.#write(this.#values.bytes.subarray(this.#room, this.#room + this.#filled));
    this.bytes += this.#filled;
    this.#filled = 0;
  }
}

/**
 * Finishes the header of a record whose four words of key, and data behind the header, are there.
 * @param at address of the header
 */
function seal(values: Values, at: number, seed: number, kind: number, sizeBytes: number): void {
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
 * Makes the record that ends a log.
 * @param room for one record  @param seed of the log  @param place of the record, in units
 * @param next number of the log that follows
 */
export function logEnd(
  values: Values,
  room: Address,
  seed: number,
  place: number,
  next: number,
): Uint8Array {
  const { words, bytes } = values;
  words.fill(0, room / 4, (room + Rec.UNIT_BYTES) / 4);
  words[room / 4 + Rec.OBJECT_LOW] = next;
  seal(values, room, Rec.seedOf(seed, place), Rec.NEXT, 0);
  return bytes.slice(room, room + Rec.UNIT_BYTES);
}
