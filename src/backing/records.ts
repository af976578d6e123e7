// Records and headers of segments, byte by byte: how they are written, and how it is found out that
// one is not what it should be.
import type { Address } from "../base/brand.ts";
import type { Arena } from "../memory/arena.ts";
import type { RecordKey } from "./contract.ts";
import * as Rec from "./record.layout.ts";
import * as Log from "./segment_log.layout.ts";

/** Odd, so that no two sequence numbers make the same seed. */
const SEQUENCE_FACTOR = 0x9e37_79b1;

export class Records {
  /** Room of this thread for one record that was read, as bytes. */
  readonly view: Uint8Array;
  /** Where the page begins in it. */
  readonly data: Address;
  readonly #arena: Arena;
  readonly #words: Int32Array;
  readonly #at: number;
  readonly #room: Address;

  /** @param at word index of the log's own words: they hold the run id */
  constructor(arena: Arena, at: number) {
    this.#arena = arena;
    this.#words = arena.words;
    this.#at = at;
    const roomBytes = Rec.recordBytes(arena.pageSize);
    this.#room = arena.reserve(roomBytes);
    this.data = (this.#room + Rec.RECORD_HEADER_BYTES) as Address;
    this.view = arena.bytes.subarray(this.#room, this.#room + roomBytes);
  }

  /** Writes the header of a segment that lies at the address `start`. */
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

  /** Writes a record of the segment of that sequence number at `target`: a multiple of 4. */
  write(
    target: number,
    sequence: number,
    pool: number,
    key: RecordKey,
    meta: number,
    source: Address,
    sizeBytes: number,
  ): void {
    const words = this.#words;
    const at = target / 4;
    words[at + Rec.META] = meta;
    words[at + Rec.POOL] = pool;
    words[at + Rec.ID_SHAPE] = key.idShape;
    for (let i = 0; i < Rec.ID_WORDS; i++) words[at + Rec.ID + i] = key.id[i]!;
    words[at + Rec.INDEX_LOW] = key.indexLow;
    words[at + Rec.INDEX_HIGH] = key.indexHigh;
    const { kernels } = this.#arena;
    kernels.copy(target + Rec.RECORD_HEADER_BYTES, source, sizeBytes);
    words[at + Rec.CHECK] = this.#checksumOf(target, sequence, sizeBytes);
  }

  /**
   * Whether the record in this thread's room has so many bytes, all of them right, and was written
   * to the segment when it had that sequence number.
   */
  isWhole(sequence: number, sizeBytes: number): boolean {
    const at = this.#room / 4;
    if ((this.#words[at + Rec.META]! & Rec.SIZE_MASK) !== sizeBytes) return false;
    return this.#words[at + Rec.CHECK] === this.#checksumOf(this.#room, sequence, sizeBytes);
  }

  /** Whether it is that of this page. */
  isOf(pool: number, key: RecordKey): boolean {
    const words = this.#words;
    const at = this.#room / 4;
    for (let i = 0; i < Rec.ID_WORDS; i++) if (words[at + Rec.ID + i] !== key.id[i]) return false;
    return (
      words[at + Rec.POOL] === pool &&
      words[at + Rec.ID_SHAPE] === key.idShape &&
      words[at + Rec.INDEX_LOW] === key.indexLow &&
      words[at + Rec.INDEX_HIGH] === key.indexHigh
    );
  }

  /** Fills in the key of its page. @returns the tmem pool */
  keyOf(key: RecordKey): number {
    const words = this.#words;
    const at = this.#room / 4;
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
