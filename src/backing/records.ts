// Writes records and segment headers, and checks records that were read.
import type { Address } from "../base/brand.ts";
import type { Arena } from "../memory/arena.ts";
import type { RecordKey } from "./contract.ts";
import * as Rec from "./record.layout.ts";
import * as Log from "./segment_log.layout.ts";

/** Odd, so that different sequence numbers have different seeds. */
const SEQUENCE_FACTOR = 0x9e37_79b1;

export class Records {
  /** This thread's buffer for one record read from the file. */
  readonly view: Uint8Array;
  /** Address of the record's data in that buffer. */
  readonly data: Address;
  readonly #arena: Arena;
  readonly #words: Int32Array;
  readonly #at: number;
  readonly #buffer: Address;

  /** @param at word index of the log's words, which hold the run id */
  constructor(arena: Arena, at: number) {
    this.#arena = arena;
    this.#words = arena.words;
    this.#at = at;
    const bufferBytes = Rec.recordBytes(arena.pageSize);
    this.#buffer = arena.reserve(bufferBytes);
    this.data = (this.#buffer + Rec.RECORD_HEADER_BYTES) as Address;
    this.view = arena.bytes.subarray(this.#buffer, this.#buffer + bufferBytes);
  }

  /** Writes the header of a segment at the address `start`. */
  writeHeader(start: number, segment: number, sequence: number, used: number): void {
    const at = start / 4;
    const words = this.#words;
    words[at + Rec.MAGIC] = Rec.SEGMENT_MAGIC;
    words[at + Rec.RUN_LOW] = words[this.#at + Log.RUN_LOW]!;
    words[at + Rec.RUN_HIGH] = words[this.#at + Log.RUN_HIGH]!;
    words[at + Rec.NUMBER] = segment;
    words[at + Rec.SEQUENCE] = sequence;
    words[at + Rec.USED] = used;
    words[at + Rec.USED + 1] = 0;
    const check = this.#arena.kernels.checksum(start, Rec.HEADER_CHECK * 4, this.#seed());
    words[at + Rec.HEADER_CHECK] = check;
  }

  /**
   * Writes a record without its checksum at the address `target`, a multiple of 4.
   * @param meta word with the size of the data at `source`
   */
  write(target: number, pool: number, key: RecordKey, meta: number, source: Address): void {
    const words = this.#words;
    const at = target / 4;
    words[at + Rec.META] = meta;
    words[at + Rec.POOL] = pool;
    words[at + Rec.ID_SHAPE] = key.idShape;
    for (let i = 0; i < Rec.ID_WORDS; i++) words[at + Rec.ID + i] = key.id[i]!;
    words[at + Rec.INDEX_LOW] = key.indexLow;
    words[at + Rec.INDEX_HIGH] = key.indexHigh;
    const { kernels } = this.#arena;
    kernels.copy(target + Rec.RECORD_HEADER_BYTES, source, meta & Rec.SIZE_MASK);
  }

  /**
   * Writes the checksum of the record at the address `target`.
   * @param sequence the sequence number of the segment that the record is in
   */
  seal(target: number, sequence: number): void {
    const words = this.#words;
    const at = target / 4;
    const sizeBytes = words[at + Rec.META]! & Rec.SIZE_MASK;
    words[at + Rec.CHECK] = this.#checksumOf(target, sequence, sizeBytes);
  }

  /**
   * Whether the record in the buffer is intact, has `sizeBytes` bytes of data, and was written
   * while its segment had the sequence number `sequence`.
   */
  isWhole(sequence: number, sizeBytes: number): boolean {
    const at = this.#buffer / 4;
    if ((this.#words[at + Rec.META]! & Rec.SIZE_MASK) !== sizeBytes) return false;
    return this.#words[at + Rec.CHECK] === this.#checksumOf(this.#buffer, sequence, sizeBytes);
  }

  /** Whether the record in the buffer is of this page. */
  isOf(pool: number, key: RecordKey): boolean {
    const words = this.#words;
    const at = this.#buffer / 4;
    for (let i = 0; i < Rec.ID_WORDS; i++) if (words[at + Rec.ID + i] !== key.id[i]) return false;
    return (
      words[at + Rec.POOL] === pool &&
      words[at + Rec.ID_SHAPE] === key.idShape &&
      words[at + Rec.INDEX_LOW] === key.indexLow &&
      words[at + Rec.INDEX_HIGH] === key.indexHigh
    );
  }

  /**
   * Sets `key` to the key of the record in the buffer.
   * @returns the tmem pool
   */
  keyOf(key: RecordKey): number {
    const words = this.#words;
    const at = this.#buffer / 4;
    for (let i = 0; i < Rec.ID_WORDS; i++) key.id[i] = words[at + Rec.ID + i]!;
    key.idShape = words[at + Rec.ID_SHAPE]!;
    key.indexLow = words[at + Rec.INDEX_LOW]!;
    key.indexHigh = words[at + Rec.INDEX_HIGH]!;
    return words[at + Rec.POOL]!;
  }

  #checksumOf(record: number, sequence: number, sizeBytes: number): number {
    const start = record + (Rec.CHECK + 1) * 4;
    const bytes = Rec.RECORD_HEADER_BYTES - 4 + sizeBytes;
    const seed = this.#seed() ^ Math.imul(sequence, SEQUENCE_FACTOR);
    return this.#arena.kernels.checksum(start, bytes, seed);
  }

  #seed(): number {
    return this.#words[this.#at + Log.RUN_LOW]! ^ this.#words[this.#at + Log.RUN_HIGH]!;
  }
}
