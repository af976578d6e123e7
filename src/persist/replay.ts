// Brings back, in an empty store, what records of changes say (store/change_record.layout.ts): one
// after the other, as they were made. So whatever stands under a key at the end is what was put
// there last; how much there is of it is the store's eviction's business, as ever.
//
// What is damaged is passed over. In a log this leaves a gap, behind which nobody knows of which
// keys an older value is left: all that came before goes, unless nothing comes after, which is how
// the log of a process ends that was killed. In a snapshot a record is all there is of its value.
import type { Address } from "../base/brand.ts";
import { NOTE_WORDS } from "../store/change_log.layout.ts";
import * as Rec from "../store/change_record.layout.ts";
import * as Page from "../store/page.layout.ts";
import type { Store } from "../store/store.ts";
import * as Value from "../store/value.layout.ts";
import { TmemKey } from "../tmem/key.ts";
import { putStored } from "../values/stored.ts";
import type { Values } from "../values/values.ts";

/** What a replay has met. */
export interface ReplayCounts {
  records: number;
  bytes: number;
  /** Values whose time was over. */
  expired: number;
  /** Values that the store did not take. */
  refused: number;
  /** Bytes that were no records any more, within files and at the ends of logs. */
  damagedBytes: number;
  tornBytes: number;
  /** Gaps in the logs: what had come before them was dropped. */
  gaps: number;
  /** Files that were missing, not readable, or had no end. */
  lostFiles: number;
}

/** Reads on in a file. @returns the bytes read; 0 at its end */
export type ReadAt = (offsetBytes: number, target: Uint8Array) => number;

/** Tells whether a value is not to come back, whose prefix stands there. */
export type IsUnwanted = (prefixAt: number) => boolean;

/** More bytes without a record than this are not searched for another one: some seconds. */
const LOST_BYTES_MAX = 1024 * 1024 * 1024;

/** What is to be known of the file that is being read. */
interface Reading {
  readonly read: ReadAt;
  readonly seed: number;
  readonly isSnapshot: boolean;
  /** Place of the first record in the room; bytes in it; and which of them come next. */
  base: number;
  filled: number;
  next: number;
  /** Bytes since the last record that was one. */
  lost: number;
  /** Where the last record ended that was one, in units. */
  good: number;
  /** The last record: of a snapshot its end, of a log what NEXT says; undefined without one. */
  end: number | undefined;
}

/** How a file ended. */
export interface FileEnd {
  /** Units of whole records up to there, NEXT not included. */
  readonly units: number;
  /** Number of the log after this one, or NONE; of a snapshot 0. Undefined: it has no end. */
  readonly next: number | undefined;
}

export class Replay {
  readonly counts: ReplayCounts = {
    records: 0,
    bytes: 0,
    expired: 0,
    refused: 0,
    damagedBytes: 0,
    tornBytes: 0,
    gaps: 0,
    lostFiles: 0,
  };
  /** What the front noted last; zeros, if nothing. */
  readonly note = new Int32Array(NOTE_WORDS);
  /** Units of the log that was read last, or UNKNOWN. */
  unitsBefore: number = Rec.UNKNOWN;
  readonly #store: Store;
  readonly #values: Values;
  readonly #words: Int32Array;
  readonly #room: Address;
  readonly #roomBytes: number;
  readonly #now: number;
  readonly #isUnwanted: IsUnwanted;
  readonly #key = new TmemKey();
  /** Whether nothing has been read yet that a log may go on from. */
  #isFirst = true;
  /** Pieces of dictionaries, by number. */
  readonly #pieces: Uint8Array[] = [];
  /** Dictionaries that are whole, by number. */
  readonly #dictionaries: Uint8Array[] = [];
  /** Ids of the objects that have chunks, two words each. */
  readonly #chunked: number[] = [];

  /** @param room some pages of the arena  @param nowMs since 1970 */
  constructor(
    values: Values,
    room: { readonly at: Address; readonly sizeBytes: number },
    nowMs: number,
    isUnwanted: IsUnwanted,
  ) {
    this.#store = values.store;
    this.#values = values;
    this.#words = values.words;
    this.#room = room.at;
    this.#roomBytes = room.sizeBytes;
    this.#now = nowMs;
    this.#isUnwanted = isUnwanted;
  }

  /**
   * Replays a file.
   * @param seed of its records' checks
   */
  file(read: ReadAt, seed: number, isSnapshot: boolean): FileEnd {
    const reading: Reading = {
      ...{ read, seed, isSnapshot },
      ...{ base: 0, filled: 0, next: 0, lost: 0, good: 0, end: undefined },
    };
    while (reading.end === undefined && this.#step(reading));
    // A log of a process that was killed at once has not even a beginning.
    this.#isFirst = false;
    // A log's NEXT may have been written by the process after.
    const units = reading.good - (reading.end === undefined ? 0 : 1);
    this.unitsBefore = isSnapshot ? Rec.UNKNOWN : units;
    this.counts.tornBytes += reading.lost;
    if (reading.lost > LOST_BYTES_MAX && !isSnapshot) this.gap();
    return { units, next: reading.end };
  }

  /** A file is missing, or can't be read. */
  lose(): void {
    this.counts.lostFiles++;
  }

  /** There is a gap: all that came so far goes. */
  gap(): void {
    this.counts.gaps++;
    this.#isFirst = false;
    this.unitsBefore = Rec.UNKNOWN;
    this.#values.clear();
  }

  /** A log begins, and says how long the one before it was. */
  #begin(units: number): void {
    if (this.#isFirst) {
      // There was a log before, or the snapshot that has taken its place.
      if (units !== Rec.UNKNOWN) this.gap();
      return;
    }
    // The end of the log before may be missing though it was there: after a loss of power.
    if (this.unitsBefore < units && this.unitsBefore !== Rec.UNKNOWN) this.gap();
  }

  /** Ends it: makes the dictionaries, and removes chunks that belong to no value. */
  end(): void {
    const { dictionaries } = this.#values;
    for (let number = dictionaries.count + 1; ; number++) {
      const bytes = this.#dictionaries[number];
      if (bytes === undefined || dictionaries.add(bytes) !== number) break;
    }
    for (let nth = 0; nth < this.#chunked.length; nth += 2) {
      this.#values.dropOrphans(this.#chunked[nth]!, this.#chunked[nth + 1]!);
    }
    this.#chunked.length = 0;
  }

  /** The dictionary that was used last. */
  get dictionary(): Uint8Array | undefined {
    return this.#dictionaries.at(-1);
  }

  /** One record, or what is none. @returns false at the end of the file */
  #step(reading: Reading): boolean {
    if (reading.lost > LOST_BYTES_MAX || !this.#has(reading, Rec.UNIT_BYTES)) return false;
    const at = this.#room + reading.next;
    const place = reading.base + reading.next / Rec.UNIT_BYTES;
    if (!this.#isHeader(at, Rec.seedOf(reading.seed, place))) return pass(reading);
    const sizeBytes = this.#words[at / 4 + Rec.SIZE]! >>> 0;
    const bytes = Rec.unitsOf(sizeBytes) * Rec.UNIT_BYTES;
    // The room may have been moved up.
    if (!this.#has(reading, bytes)) return false;
    const start = this.#room + reading.next;
    const word = start / 4;
    const data = start + Rec.UNIT_BYTES;
    const check = sizeBytes === 0 ? 0 : this.#store.arena.kernels.checksum(data, sizeBytes, 0);
    const isWhole = check === this.#words[word + Rec.DATA_CHECK];
    if (!isWhole && reading.lost > 0) return pass(reading);
    this.#endGap(reading);
    this.counts.records++;
    this.counts.bytes += bytes;
    reading.next += bytes;
    reading.good = reading.base + reading.next / Rec.UNIT_BYTES;
    if (isWhole) this.#apply(reading, word, data, sizeBytes);
    else {
      this.counts.damagedBytes += bytes;
      // Whatever it was: what there was before is not the last of this key.
      if (!reading.isSnapshot) this.#remove(word);
    }
    return true;
  }

  #endGap(reading: Reading): void {
    if (reading.lost === 0) return;
    this.counts.damagedBytes += reading.lost;
    reading.lost = 0;
    if (!reading.isSnapshot) this.gap();
  }

  #isHeader(at: number, seed: number): boolean {
    const word = at / 4;
    const kind = Rec.kindOf(this.#words[word + Rec.KIND]!);
    if (kind < Rec.PUT || kind > Rec.NEXT) return false;
    const sizeBytes = this.#words[word + Rec.SIZE]! >>> 0;
    if (sizeBytes > this.#roomBytes - 2 * Rec.UNIT_BYTES) return false;
    const check = this.#store.arena.kernels.checksum(at + 4, Rec.UNIT_BYTES - 4, seed);
    return check === this.#words[word + Rec.CHECK];
  }

  /** Sees to it that so many bytes are in the room. @returns false if the file has no more */
  #has(reading: Reading, bytes: number): boolean {
    while (reading.filled - reading.next < bytes) {
      const room = this.#values.bytes.subarray(this.#room, this.#room + this.#roomBytes);
      room.copyWithin(0, reading.next, reading.filled);
      reading.base += reading.next / Rec.UNIT_BYTES;
      reading.filled -= reading.next;
      reading.next = 0;
      const offset = Rec.FILE_HEADER_BYTES + reading.base * Rec.UNIT_BYTES + reading.filled;
      const got = reading.read(offset, room.subarray(reading.filled));
      if (got === 0) {
        reading.lost += reading.filled;
        return false;
      }
      reading.filled += got;
    }
    return true;
  }

  #apply(reading: Reading, word: number, data: number, sizeBytes: number): void {
    const kind = this.#words[word + Rec.KIND]!;
    const which = Rec.kindOf(kind);
    if (which === Rec.PUT) this.#put(word, data, Rec.codecOf(kind), sizeBytes);
    else if (which === Rec.REMOVE) this.#store.flush(this.#values.pool, this.#keyAt(word));
    else if (which === Rec.REMOVE_OBJECT) this.#remove(word);
    else if (which === Rec.CLEAR) this.#values.clear();
    else if (which === Rec.DICTIONARY) this.#takePiece(word, data, sizeBytes);
    else if (which === Rec.END) reading.end = Rec.NONE;
    else if (which === Rec.NEXT) reading.end = this.#words[word + Rec.OBJECT_LOW]!;
    else if (which === Rec.NOTE) this.#takeNote(word);
    else this.#begin(this.#words[word + Rec.OBJECT_LOW]!);
  }

  #put(word: number, data: number, codec: number, sizeBytes: number): void {
    const { bytes } = this.#values;
    const header = this.#words[data / 4]!;
    const key = this.#keyAt(word);
    const isHead = (key.indexLow | key.indexHigh) === 0;
    if (!this.#isReadable(header, codec, sizeBytes)) {
      this.counts.refused++;
      this.#remove(word);
    } else if (isHead && Value.expiryOf(bytes, data) <= this.#now) {
      this.counts.expired++;
      this.#remove(word);
    } else if (!isHead || !this.#isUnwanted(data)) {
      const result = putStored(this.#values, key, codec, data as Address, sizeBytes);
      if (result < 0) this.counts.refused++;
      if (!isHead) this.#addChunked(key.id[0]!, key.id[1]!);
    }
  }

  /** Whether this store could ever make sense of a value. */
  #isReadable(header: number, codec: number, sizeBytes: number): boolean {
    const { sizeMax, dictionaries } = this.#values;
    const prefix = Value.prefixOf(header);
    if (sizeBytes > sizeMax || prefix > sizeBytes || codec > Page.TRIED) return false;
    if (Value.sizeOf(header) > this.#store.pageSize || prefix < Value.FIXED_BYTES) return false;
    const dictionary = Value.dictionaryOf(header);
    if (dictionary === 0) return true;
    return (
      this.#dictionaries[dictionary] !== undefined && dictionaries.isUsable(codec === Page.DENSE)
    );
  }

  #remove(word: number): void {
    this.#store.flushObject(this.#values.pool, this.#keyAt(word));
  }

  #addChunked(low: number, high: number): void {
    const chunked = this.#chunked;
    if (chunked.at(-1) === high && chunked.at(-2) === low) return;
    chunked.push(low, high);
  }

  #keyAt(word: number): TmemKey {
    const words = this.#words;
    const low = words[word + Rec.OBJECT_LOW]!;
    const high = words[word + Rec.OBJECT_HIGH]!;
    return this.#key.setWords(
      low,
      high,
      words[word + Rec.INDEX_LOW]!,
      words[word + Rec.INDEX_HIGH]!,
    );
  }

  #takeNote(word: number): void {
    const from = word + Rec.OBJECT_LOW;
    this.note.set(this.#words.subarray(from, from + NOTE_WORDS));
  }

  #takePiece(word: number, data: number, sizeBytes: number): void {
    const total = this.#words[word + Rec.OBJECT_LOW]! >>> 0;
    const number = this.#words[word + Rec.INDEX_LOW]!;
    const from = this.#words[word + Rec.INDEX_HIGH]! >>> 0;
    if (number < 1 || number > Value.DICTIONARIES_MAX || from + sizeBytes > total) return;
    if (from === 0) this.#pieces[number] = new Uint8Array(Math.min(total, DICTIONARY_BYTES_MAX));
    const bytes = this.#pieces[number];
    if (bytes?.length !== total) return;
    bytes.set(this.#values.bytes.subarray(data, data + sizeBytes), from);
    if (from + sizeBytes === total) this.#dictionaries[number] = bytes;
  }
}

/** The longest dictionary that there is. */
const DICTIONARY_BYTES_MAX = 128 * 1024;

/** What stands here is no record. @returns true */
function pass(reading: Reading): true {
  reading.next += Rec.UNIT_BYTES;
  reading.lost += Rec.UNIT_BYTES;
  return true;
}
