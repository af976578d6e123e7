// Replay: applies the records of a snapshot or a log (store/change_record.layout.ts) to a store, in
// their order. The last record of a key wins; the store evicts as with any other put. To which
// shards the values go, the destination decides (destination.ts).
//
// Damaged records are skipped. In a log that leaves a gap, which may have changed any key: all
// values before it are dropped. A damaged end of a log is no gap, because the log of a process that
// was killed ends so. In a snapshot a damaged record costs its own value only.
import type { Address } from "../base/brand.ts";
import { NOTE_WORDS } from "../store/change_log.layout.ts";
import * as Rec from "../store/change_record.layout.ts";
import * as Page from "../store/page.layout.ts";
import * as Value from "../store/value.layout.ts";
import { TmemKey } from "../tmem/key.ts";
import type { Values } from "../values/values.ts";
import type { Destination } from "./destination.ts";
import type { RecordBuffer } from "./snapshot.ts";

/** Counts of all files of a recovery. */
export interface ReplayCounts {
  /** Intact records. */
  records: number;
  /** Bytes of these records. */
  bytes: number;
  /** Values that had expired. */
  expired: number;
  /** Values that the store refused. */
  refused: number;
  /** Bytes that are not records, before other records. */
  damagedBytes: number;
  /** Bytes that are not records, at the ends of files. */
  tornBytes: number;
  /** Gaps in the logs; values before them were dropped. */
  gaps: number;
  /** Files that were missing, unreadable or incomplete. */
  lostFiles: number;
}

/** Reads from a file. @returns the number of bytes read; 0 at the end */
export type ReadAt = (offsetBytes: number, target: Uint8Array) => number;

/**
 * Tells whether a value is to be dropped.
 * @param prefixAt address of its prefix
 * @param key its tmem key, whose object is the hash of the value's key
 */
export type IsUnwanted = (prefixAt: number, key: TmemKey) => boolean;

/** After this many bytes without a record, some seconds, the rest of a file is given up. */
const LOST_BYTES_MAX = 1024 * 1024 * 1024;

/** The state of reading one file through the buffer. */
interface Reading {
  readonly read: ReadAt;
  readonly seed: number;
  readonly isSnapshot: boolean;
  /** Place in the file, in units, of the first byte of the buffer. */
  base: number;
  /** Bytes in the buffer. */
  filled: number;
  /** Offset in the buffer of the next record. */
  next: number;
  /** Bytes since the last intact record. */
  lost: number;
  /** Place in the file, in units, of the end of the last intact record. */
  good: number;
  /** OBJECT_LOW of a log's NEXT, NONE for a snapshot's END; undefined before that record. */
  end: number | undefined;
}

/** How a file ended. */
export interface FileEnd {
  /** Units up to the end of the last intact record, without NEXT. */
  readonly units: number;
  /** Generation of the next log or NONE; NONE for a snapshot. Undefined: the file has no end. */
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
  /** The words that the front wrote last (`ChangeLog.note`); zeros: none. */
  readonly frontWords = new Int32Array(NOTE_WORDS);
  /** Units of the log that was read last, or UNKNOWN. */
  unitsBefore: number = Rec.UNKNOWN;
  readonly #to: Destination;
  /** The values in whose memory the records are read. */
  readonly #values: Values;
  readonly #words: Int32Array;
  readonly #buffer: RecordBuffer;
  readonly #now: number;
  readonly #isUnwanted: IsUnwanted;
  readonly #key = new TmemKey();
  /** Whether no file has been read yet. */
  #isFirst = true;
  /** Incomplete dictionaries, by number. */
  readonly #pieces: Uint8Array[] = [];
  /** Object ids of values of several pages, two words each. */
  readonly #chunked: number[] = [];

  /** @param buffer of several pages @param nowMs the time, since 1970, for expiry */
  constructor(to: Destination, buffer: RecordBuffer, nowMs: number, isUnwanted: IsUnwanted) {
    this.#to = to;
    this.#values = to.reader;
    this.#words = to.reader.words;
    this.#buffer = buffer;
    this.#now = nowMs;
    this.#isUnwanted = isUnwanted;
  }

  /** Replays a file. @param seed of its checksums @throws what `read` does */
  file(read: ReadAt, seed: number, isSnapshot: boolean): FileEnd {
    const reading: Reading = {
      ...{ read, seed, isSnapshot },
      ...{ base: 0, filled: 0, next: 0, lost: 0, good: 0, end: undefined },
    };
    while (reading.end === undefined && this.#step(reading));
    // Even if the file has no record: its process may have been killed at once.
    this.#isFirst = false;
    // NEXT is not counted: the next process may have written it.
    const units = reading.good - (reading.end === undefined ? 0 : 1);
    this.unitsBefore = isSnapshot ? Rec.UNKNOWN : units;
    this.counts.tornBytes += reading.lost;
    if (reading.lost > LOST_BYTES_MAX && !isSnapshot) this.gap();
    return { units, next: reading.end };
  }

  countLostFile(): void {
    this.counts.lostFiles++;
  }

  /** There is a gap in the logs: drops all values so far. */
  gap(): void {
    this.counts.gaps++;
    this.#isFirst = false;
    this.unitsBefore = Rec.UNKNOWN;
    this.#to.clear();
  }

  /** The first record of a log. @param units of the previous log when it ended */
  #begin(units: number): void {
    if (this.#isFirst) {
      // There was a previous log, or a snapshot that replaced it, and both are missing.
      if (units !== Rec.UNKNOWN) this.gap();
      return;
    }
    // After a loss of power the end of the previous log may be missing.
    if (this.unitsBefore < units && this.unitsBefore !== Rec.UNKNOWN) this.gap();
  }

  /** After the last file: removes chunks without a head. */
  end(): void {
    for (let nth = 0; nth < this.#chunked.length; nth += 2) {
      this.#to.dropOrphans(this.#chunked[nth]!, this.#chunked[nth + 1]!);
    }
    this.#chunked.length = 0;
  }

  /** Applies the next record, or skips a unit. @returns false at the end of the file */
  #step(reading: Reading): boolean {
    if (reading.lost > LOST_BYTES_MAX || !this.#fill(reading, Rec.UNIT_BYTES)) return false;
    const at = this.#buffer.at + reading.next;
    const place = reading.base + reading.next / Rec.UNIT_BYTES;
    if (!this.#isHeader(at, Rec.seedOf(reading.seed, place))) return skipUnit(reading);
    const sizeBytes = this.#words[at / 4 + Rec.SIZE]! >>> 0;
    const bytes = Rec.unitsOf(sizeBytes) * Rec.UNIT_BYTES;
    if (!this.#fill(reading, bytes)) return false;
    // #fill may have moved the record.
    const start = this.#buffer.at + reading.next;
    const word = start / 4;
    const data = start + Rec.UNIT_BYTES;
    const { kernels } = this.#values.store.arena;
    const check = sizeBytes === 0 ? 0 : kernels.checksum(data, sizeBytes, 0);
    const isWhole = check === this.#words[word + Rec.DATA_CHECK];
    if (!isWhole && reading.lost > 0) return skipUnit(reading);
    this.#endGap(reading);
    this.counts.records++;
    this.counts.bytes += bytes;
    reading.next += bytes;
    reading.good = reading.base + reading.next / Rec.UNIT_BYTES;
    if (isWhole) this.#apply(reading, word, data, sizeBytes);
    else {
      this.counts.damagedBytes += bytes;
      // The header is intact: it names the key whose older value is outdated.
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
    if (sizeBytes > this.#buffer.sizeBytes - 2 * Rec.UNIT_BYTES) return false;
    const { kernels } = this.#values.store.arena;
    const check = kernels.checksum(at + 4, Rec.UNIT_BYTES - 4, seed);
    return check === this.#words[word + Rec.CHECK];
  }

  /** Reads until the buffer has so many bytes. @returns false if the file ends before */
  #fill(reading: Reading, bytes: number): boolean {
    while (reading.filled - reading.next < bytes) {
      const { at, sizeBytes } = this.#buffer;
      const buffer = this.#values.bytes.subarray(at, at + sizeBytes);
      buffer.copyWithin(0, reading.next, reading.filled);
      reading.base += reading.next / Rec.UNIT_BYTES;
      reading.filled -= reading.next;
      reading.next = 0;
      const offset = Rec.FILE_HEADER_BYTES + reading.base * Rec.UNIT_BYTES + reading.filled;
      const got = reading.read(offset, buffer.subarray(reading.filled));
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
    else if (which === Rec.REMOVE) this.#to.removePage(this.#keyAt(word));
    else if (which === Rec.REMOVE_OBJECT) this.#remove(word);
    else if (which === Rec.CLEAR) this.#to.clear();
    else if (which === Rec.DICTIONARY) this.#addPiece(word, data, sizeBytes);
    else if (which === Rec.END) reading.end = Rec.NONE;
    else if (which === Rec.NEXT) reading.end = this.#words[word + Rec.OBJECT_LOW]!;
    else if (which === Rec.NOTE) this.#setFrontWords(word);
    else this.#begin(this.#words[word + Rec.OBJECT_LOW]!);
  }

  #put(word: number, data: number, codec: number, sizeBytes: number): void {
    const { bytes } = this.#values;
    const header = this.#words[data / 4]!;
    const key = this.#keyAt(word);
    const isHead = (key.indexLow | key.indexHigh) === 0;
    const dictionary = this.#dictionaryOf(header, key);
    if (!this.#isReadable(header, dictionary, codec, sizeBytes)) {
      this.counts.refused++;
      this.#remove(word);
    } else if (isHead && Value.expiryOf(bytes, data) <= this.#now) {
      this.counts.expired++;
      this.#remove(word);
    } else if (!isHead || !this.#isUnwanted(data, key)) {
      this.#words[data / 4] = Value.withDictionary(header, dictionary);
      const result = this.#to.put(key, codec, data as Address, sizeBytes);
      if (result < 0) this.counts.refused++;
      if (!isHead) this.#addChunked(key.id[0]!, key.id[1]!);
    }
  }

  /** Whether this store can decode a value. */
  #isReadable(header: number, dictionary: number, codec: number, sizeBytes: number): boolean {
    const { sizeMax, dictionaries } = this.#values;
    const prefix = Value.prefixOf(header);
    if (sizeBytes > sizeMax || prefix > sizeBytes || codec > Page.TRIED) return false;
    if (Value.sizeOf(header) > this.#values.store.pageSize || prefix < Value.FIXED_BYTES)
      return false;
    if (Value.dictionaryOf(header) === 0) return true;
    return dictionary !== 0 && dictionaries.isUsable(codec === Page.DENSE);
  }

  /** The number in its shard of the dictionary of a value; 0: none, or it is not there. */
  #dictionaryOf(header: number, key: TmemKey): number {
    const dictionary = Value.dictionaryOf(header);
    return dictionary === 0 ? 0 : this.#to.dictionaryOf(dictionary, key);
  }

  #remove(word: number): void {
    this.#to.removeObject(this.#keyAt(word));
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

  #setFrontWords(word: number): void {
    const from = word + Rec.OBJECT_LOW;
    this.frontWords.set(this.#words.subarray(from, from + NOTE_WORDS));
  }

  #addPiece(word: number, data: number, sizeBytes: number): void {
    const total = this.#words[word + Rec.OBJECT_LOW]! >>> 0;
    const number = this.#words[word + Rec.INDEX_LOW]!;
    const from = this.#words[word + Rec.INDEX_HIGH]! >>> 0;
    if (number < 1 || number > Value.DICTIONARIES_MAX || from + sizeBytes > total) return;
    if (from === 0) this.#pieces[number] = new Uint8Array(Math.min(total, DICTIONARY_BYTES_MAX));
    const bytes = this.#pieces[number];
    if (bytes?.length !== total) return;
    bytes.set(this.#values.bytes.subarray(data, data + sizeBytes), from);
    if (from + sizeBytes === total) this.#to.addDictionary(number, bytes);
  }
}

/** Above the limit of the option `dictionary`. */
const DICTIONARY_BYTES_MAX = 128 * 1024;

/** @returns true */
function skipUnit(reading: Reading): true {
  reading.next += Rec.UNIT_BYTES;
  reading.lost += Rec.UNIT_BYTES;
  return true;
}
