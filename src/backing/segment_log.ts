// The write-back file as a log: objects are packed one behind the other into segments, a segment
// that is full goes to the file as a whole, and what is still wanted of a segment that holds little
// moves to the open one, so that the segment can be used again.
//
// Methods that end in `Locked` are called under the arena's lock; the others read and write the
// file, without it. A record names the page it belongs to and has a checksum, so that what is read
// while segments come and go is either the page that was asked for or known not to be it.
import { type Address, NIL, type Nil } from "../base/brand.ts";
import { EBUSY, ENOSPC, type Errno } from "../base/errno.ts";
import { assert, ZcacheError } from "../base/errors.ts";
import type { Arena } from "../memory/arena.ts";
import { add, put } from "../memory/journal.ts";
import type { BackingDevice, RecordKey } from "./contract.ts";
import * as Rec from "./record.layout.ts";
import { Records } from "./records.ts";
import * as Log from "./segment_log.layout.ts";
import { SegmentTable } from "./segments.ts";

/** Segments that only cleaning may open: without room to move records to, none could be freed. */
const RESERVED_SEGMENTS = 2;
/** Segments that are looked at to find one to clean: nearly as good as all (power of choices). */
const VICTIMS_LOOKED_AT = 256;
/** Cleaning begins when fewer segments are free, of all there are: an eighth. */
const CLEAN_BELOW_SHIFT = 3;
/** Calls that let a device rest that has failed. */
const HOLD_OFF_CALLS = 32;

/** What happened, as `stats()` names it. */
const COUNTERS = [
  "bytesWritten",
  "bytesRead",
  "segmentsWritten",
  "segmentsCleaned",
  "recordsMoved",
  "writeErrors",
  "readErrors",
  "mismatches",
] as const;
type Counter = (typeof COUNTERS)[number];

export interface SegmentLogStats extends Readonly<Record<Counter, number>> {
  /** Bytes that the file may grow to, and of records in it, or on their way, that are wanted. */
  readonly sizeBytesMax: number;
  readonly liveBytes: number;
  /** Segments that can be opened, and those in memory. */
  readonly freeSegments: number;
  readonly bufferedSegments: number;
}

/** What came of reading a record. A mismatch: other bytes, or another page's. */
export type ReadResult = "ok" | "mismatch" | ZcacheError;

/** Asked for each record of a segment that is cleaned: in a transaction of its own. */
export interface Cleaning {
  run(work: () => void): void;
  /** Moves the record at `place` if it is wanted; its data lies at `address`. */
  keep(pool: number, key: RecordKey, place: number, address: Address, sizeBytes: number): void;
}

export class SegmentLog {
  readonly device: BackingDevice;
  readonly #arena: Arena;
  readonly #words: Int32Array;
  readonly #at: number;
  readonly #table: SegmentTable;
  readonly #floats: Float64Array;
  readonly #records: Records;
  #segmentCopy: Uint8Array | undefined;

  /**
   * @param at word index of BACKING_WORDS words, even  @param owner number to take frames under
   */
  constructor(arena: Arena, at: number, owner: number, device: BackingDevice) {
    this.#arena = arena;
    this.#words = arena.words;
    this.#at = at;
    this.#table = new SegmentTable(arena, at, owner);
    this.device = device;
    this.#floats = new Float64Array(arena.memory.buffer, (at + Log.COUNTERS) * 4, Log.COUNTERS_MAX);
    this.#records = new Records(arena, at);
  }

  /**
   * Makes an empty log; once.
   * @param low @param high the run id: 64 bits of chance
   * @throws ZcacheError ERR_ARENA_FULL
   */
  format(low: number, high: number): void {
    const segments = Math.floor(this.device.sizeBytesMax / Rec.SEGMENT_BYTES);
    this.#words[this.#at + Log.RUN_LOW] = low;
    this.#words[this.#at + Log.RUN_HIGH] = high;
    if (this.#table.format(Math.min(segments, Rec.SEGMENTS_MAX))) return;
    throw new ZcacheError("ERR_ARENA_FULL", "no room in the arena for the write-back file's table");
  }

  /**
   * Stores an object in the open segment. After a refusal the transaction is to be undone.
   * @param meta what the store wants to have back with it
   * @param cleaning whether it is moved from a segment that is cleaned
   * @returns its place, > 0; ENOSPC (the file is full), EBUSY (too much waits to be written)
   */
  appendLocked(
    pool: number,
    key: RecordKey,
    meta: number,
    source: Address,
    sizeBytes: number,
    cleaning = false,
  ): number | Errno {
    const words = this.#words;
    const bytes = Rec.recordBytes(sizeBytes);
    let segment = words[this.#at + Log.OPEN_SEGMENT]!;
    if (segment === 0 || words[this.#at + Log.OPEN_USED]! + bytes > Rec.SEGMENT_BYTES) {
      const opened = this.#openLocked(cleaning);
      if (opened < 0) return opened as Errno;
      segment = opened;
    }
    const offset = words[this.#at + Log.OPEN_USED]!;
    const buffer = this.#table.bufferOf(segment) as number;
    this.#records.write(buffer + offset, pool, key, meta, source, sizeBytes);
    put(words, this.#at + Log.OPEN_USED, offset + bytes);
    this.#weighLocked(segment, bytes);
    return Rec.placeOf(segment, offset);
  }

  /** The record at `place` is not wanted any more. */
  releaseLocked(place: number, sizeBytes: number): void {
    const segment = Rec.segmentOf(place);
    this.#weighLocked(segment, -Rec.recordBytes(sizeBytes));
    if (this.#words[this.#table.at(segment) + Log.LIVE] !== 0) return;
    const state = this.#table.state(segment);
    // One in memory that nobody writes just now need not be written at all.
    if (state === Log.FULL) this.#table.dropBuffer(segment);
    if (state === Log.FULL || state === Log.ON_FILE) this.#table.release(segment);
  }

  /**
   * Copies an object to `target` if its segment is in memory: under the lock, or as a reader.
   * @returns whether it is
   */
  readBuffered(place: number, sizeBytes: number, target: Address): boolean {
    const buffer = this.#table.bufferOf(Rec.segmentOf(place));
    if (buffer === NIL) return false;
    const source = buffer + Rec.offsetOf(place) + Rec.RECORD_HEADER_BYTES;
    this.#arena.kernels.copy(target, source, sizeBytes);
    return true;
  }

  /**
   * Reads an object from the file to `target`, and checks that it is whole and the one that was
   * meant. Without a lock: where the segment has been used again meanwhile, it is a mismatch.
   */
  read(
    place: number,
    pool: number,
    key: RecordKey,
    sizeBytes: number,
    target: Address,
  ): ReadResult {
    const bytes = Rec.recordBytes(sizeBytes);
    const offset = Rec.segmentOf(place) * Rec.SEGMENT_BYTES + Rec.offsetOf(place);
    try {
      this.device.read(offset, this.#records.view.subarray(0, bytes));
    } catch (error) {
      if (!(error instanceof ZcacheError)) throw error;
      this.#count("readErrors");
      return error;
    }
    this.#count("bytesRead", bytes);
    if (!this.#records.isWhole(sizeBytes) || !this.#records.isOf(pool, key)) {
      this.#count("mismatches");
      return "mismatch";
    }
    this.#arena.kernels.copy(target, this.#records.data, sizeBytes);
    return "ok";
  }

  /**
   * Takes the oldest full segment to be written by this thread, or NIL: there is none, or not yet.
   */
  beginFlushLocked(): number | Nil {
    const words = this.#words;
    if (words[this.#at + Log.HOLD_OFF]! > 0) {
      add(words, this.#at + Log.HOLD_OFF, -1);
      return NIL;
    }
    let oldest: number = NIL;
    for (let nth = 0; nth < Log.BUFFERS_MAX; nth++) {
      const segment = this.#table.buffered(nth);
      if (segment === 0 || this.#table.state(segment) !== Log.FULL) continue;
      if (oldest === NIL || this.#sequenceOf(segment) < this.#sequenceOf(oldest)) oldest = segment;
    }
    if (oldest === NIL) return NIL;
    const state = Log.FLUSHING | (this.#arena.thread << Log.THREAD_SHIFT);
    put(words, this.#table.at(oldest) + Log.STATE, state);
    return oldest;
  }

  /** Writes a segment that this thread has taken. @throws ZcacheError ERR_IO */
  flush(segment: number): void {
    const buffer = this.#table.bufferOf(segment) as number;
    const bytes = this.#arena.bytes.subarray(buffer, buffer + Rec.SEGMENT_BYTES);
    this.device.write(segment * Rec.SEGMENT_BYTES, bytes);
  }

  /** It is written, or not: then it stays in memory, to be tried again. */
  endFlushLocked(segment: number, failure: ZcacheError | undefined): void {
    const words = this.#words;
    const at = this.#table.at(segment);
    if (failure !== undefined) {
      this.#count("writeErrors");
      put(words, at + Log.STATE, Log.FULL);
      put(words, this.#at + Log.HOLD_OFF, HOLD_OFF_CALLS);
      return;
    }
    this.#count("segmentsWritten");
    this.#count("bytesWritten", Rec.SEGMENT_BYTES);
    put(words, at + Log.STATE, Log.ON_FILE);
    this.#table.dropBuffer(segment);
    if (words[at + Log.LIVE] === 0) this.#table.release(segment);
  }

  /** Makes the open segment one to be written, however full it is; and asks for no rest. */
  sealLocked(): void {
    put(this.#words, this.#at + Log.HOLD_OFF, 0);
    this.#sealLocked();
  }

  /** Whether one of the threads that `isOf` names writes or cleans a segment just now. */
  isBusyLocked(isOf: (thread: number) => boolean): boolean {
    const cleaner = this.#words[this.#at + Log.CLEANER]!;
    if (cleaner !== 0 && isOf(cleaner)) return true;
    for (let nth = 0; nth < Log.BUFFERS_MAX; nth++) {
      const segment = this.#table.buffered(nth);
      if (segment === 0 || this.#table.state(segment) !== Log.FLUSHING) continue;
      if (isOf(this.#threadOf(segment))) return true;
    }
    return false;
  }

  /** Takes up what dead threads had begun: the same bytes are written again. */
  recoverLocked(mayRun: (thread: number) => boolean): void {
    const words = this.#words;
    for (let nth = 0; nth < Log.BUFFERS_MAX; nth++) {
      const segment = this.#table.buffered(nth);
      if (segment === 0 || this.#table.state(segment) !== Log.FLUSHING) continue;
      if (!mayRun(this.#threadOf(segment))) {
        put(words, this.#table.at(segment) + Log.STATE, Log.FULL);
      }
    }
    const cleaner = words[this.#at + Log.CLEANER]!;
    if (cleaner !== 0 && !mayRun(cleaner)) this.#endCleaningLocked();
  }

  /**
   * Where segments run short, chooses the one with the least in it among some, and marks it as
   * being cleaned by this thread; one thread cleans at a time.
   * @returns it, or NIL: nothing to clean, or nothing to gain
   */
  pickVictimLocked(): number | Nil {
    const words = this.#words;
    const { free } = this.#table;
    const enough = Math.max(
      RESERVED_SEGMENTS + 1,
      words[this.#at + Log.SEGMENTS]! >>> CLEAN_BELOW_SHIFT,
    );
    if (words[this.#at + Log.CLEANER] !== 0 || free >= enough) return NIL;
    const used = words[this.#at + Log.NEXT_FRESH]! - 1;
    let victim: number = NIL;
    let segment = words[this.#at + Log.CURSOR]!;
    for (let looked = Math.min(used, VICTIMS_LOOKED_AT); looked > 0; looked--) {
      segment = segment >= used ? 1 : segment + 1;
      if (this.#table.state(segment) !== Log.ON_FILE) continue;
      if (victim === NIL || this.#liveOf(segment) < this.#liveOf(victim)) victim = segment;
    }
    put(words, this.#at + Log.CURSOR, segment);
    if (victim === NIL) return NIL;
    put(words, this.#table.at(victim) + Log.STATE, Log.CLEANING);
    put(words, this.#at + Log.CLEANER, this.#arena.thread);
    put(words, this.#at + Log.CLEANED, victim);
    return victim;
  }

  /** Whether nothing but cleaning may open a segment: what is not worth moving has to go. */
  get isFullLocked(): boolean {
    return this.#table.free <= RESERVED_SEGMENTS;
  }

  /**
   * Reads a segment that this thread cleans, and offers its records one by one.
   * @returns whether it could be read
   */
  clean(segment: number, cleaning: Cleaning): boolean {
    this.#segmentCopy ??= new Uint8Array(Rec.SEGMENT_BYTES);
    let isRead = true;
    try {
      this.device.read(segment * Rec.SEGMENT_BYTES, this.#segmentCopy);
      this.#offerAll(segment, this.#segmentCopy, cleaning);
    } catch (error) {
      if (!(error instanceof ZcacheError)) throw error;
      this.#count("readErrors");
      isRead = false;
    }
    cleaning.run(() => this.#endCleaningLocked());
    if (isRead) this.#count("segmentsCleaned");
    return isRead;
  }

  stats(): SegmentLogStats {
    let bufferedSegments = 0;
    for (let nth = 0; nth < Log.BUFFERS_MAX; nth++) {
      if (this.#table.buffered(nth) !== 0) bufferedSegments++;
    }
    return {
      ...(Object.fromEntries(COUNTERS.map((name, nth) => [name, this.#floats[nth]!])) as Record<
        Counter,
        number
      >),
      sizeBytesMax: this.device.sizeBytesMax,
      liveBytes: this.#liveBytes(),
      freeSegments: this.#table.free,
      bufferedSegments,
    };
  }

  get memoryFrames(): number {
    return this.#table.framesHeld;
  }

  /**
   * Checks that each segment holds as much as the records that are wanted say.
   * @param wanted their places and sizes
   */
  verify(wanted: readonly (readonly [place: number, sizeBytes: number])[]): void {
    const words = this.#words;
    const live = new Map<number, number>();
    for (const [place, sizeBytes] of wanted) {
      const segment = Rec.segmentOf(place);
      assert(this.#table.has(segment), "a place is in a segment that was used");
      assert(this.#table.state(segment) !== Log.FREE, "what is wanted is in no free segment");
      live.set(segment, (live.get(segment) ?? 0) + Rec.recordBytes(sizeBytes));
    }
    let free = 0;
    let total = 0;
    for (let segment = 1; this.#table.has(segment); segment++) {
      const state = this.#table.state(segment);
      assert(this.#liveOf(segment) === (live.get(segment) ?? 0), "a segment knows what it holds");
      const inMemory = state === Log.OPEN || state === Log.FULL || state === Log.FLUSHING;
      assert((this.#table.bufferOf(segment) !== NIL) === inMemory, "what is not written is here");
      if (state === Log.FREE) free++;
      total += this.#liveOf(segment);
    }
    assert(free === words[this.#at + Log.FREE_COUNT], "free segments are counted");
    assert(total === this.#liveBytes(), "the bytes that are wanted are counted");
  }

  #openLocked(cleaning: boolean): number | Errno {
    if (!cleaning && this.#table.free <= RESERVED_SEGMENTS) return ENOSPC;
    this.#sealLocked();
    const segment = this.#table.open();
    if (segment === NIL) return this.#table.free === 0 ? ENOSPC : EBUSY;
    put(this.#words, this.#at + Log.OPEN_SEGMENT, segment);
    put(this.#words, this.#at + Log.OPEN_USED, Rec.HEADER_BYTES);
    return segment;
  }

  #sealLocked(): void {
    const words = this.#words;
    const segment = words[this.#at + Log.OPEN_SEGMENT]!;
    if (segment === 0) return;
    const buffer = this.#table.bufferOf(segment) as number;
    const used = words[this.#at + Log.OPEN_USED]!;
    this.#records.writeHeader(buffer, segment, this.#sequenceOf(segment), used);
    put(words, this.#at + Log.OPEN_SEGMENT, 0);
    put(words, this.#table.at(segment) + Log.STATE, Log.FULL);
    if (this.#liveOf(segment) !== 0) return;
    this.#table.dropBuffer(segment);
    this.#table.release(segment);
  }

  #endCleaningLocked(): void {
    const words = this.#words;
    const segment = words[this.#at + Log.CLEANED]!;
    put(words, this.#at + Log.CLEANER, 0);
    put(words, this.#table.at(segment) + Log.STATE, Log.ON_FILE);
    if (this.#liveOf(segment) === 0) this.#table.release(segment);
  }

  #offerAll(segment: number, copy: Uint8Array, cleaning: Cleaning): void {
    const view = new DataView(copy.buffer, copy.byteOffset);
    const used = Math.min(view.getInt32(Rec.USED * 4, true), Rec.SEGMENT_BYTES);
    const { pageSize } = this.#arena;
    const key: RecordKey = {
      id: new Int32Array(Rec.ID_WORDS),
      idShape: 0,
      indexLow: 0,
      indexHigh: 0,
    };
    for (let at = Rec.HEADER_BYTES; at + Rec.RECORD_HEADER_BYTES <= used; ) {
      const sizeBytes = view.getInt32(at + Rec.META * 4, true) & Rec.SIZE_MASK;
      const bytes = Rec.recordBytes(sizeBytes);
      if (sizeBytes > pageSize || at + bytes > used) return;
      this.#records.view.set(copy.subarray(at, at + bytes));
      // A record that is not whole is passed over: whoever asks for it will be told.
      if (this.#records.isWhole(sizeBytes)) {
        const pool = this.#records.keyOf(key);
        const place = Rec.placeOf(segment, at);
        cleaning.run(() => cleaning.keep(pool, key, place, this.#records.data, sizeBytes));
      }
      at += bytes;
    }
  }

  /** Adds to what is wanted of a segment, and of all. */
  #weighLocked(segment: number, bytes: number): void {
    const words = this.#words;
    add(words, this.#table.at(segment) + Log.LIVE, bytes);
    const live = this.#liveBytes() + bytes;
    put(words, this.#at + Log.LIVE_LOW, live | 0);
    put(words, this.#at + Log.LIVE_HIGH, Math.floor(live / 2 ** 32));
  }

  #liveBytes(): number {
    const low = this.#words[this.#at + Log.LIVE_LOW]! >>> 0;
    return this.#words[this.#at + Log.LIVE_HIGH]! * 2 ** 32 + low;
  }

  #liveOf(segment: number): number {
    return this.#words[this.#table.at(segment) + Log.LIVE]!;
  }

  #sequenceOf(segment: number): number {
    return this.#words[this.#table.at(segment) + Log.LINK]!;
  }

  #threadOf(segment: number): number {
    return this.#words[this.#table.at(segment) + Log.STATE]! >>> Log.THREAD_SHIFT;
  }

  #count(counter: Counter, by = 1): void {
    this.#floats[COUNTERS.indexOf(counter)]! += by;
  }
}
