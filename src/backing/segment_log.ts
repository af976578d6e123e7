// The write-back file as a log. Objects are packed into segments; a full segment is written to the
// file as a whole. Cleaning moves the live records of a segment that holds few to the open segment,
// so that the segment can be reused.
//
// Methods that end in `Locked` are called under the arena's lock; the others read and write the
// file without it. A record names its page and has a checksum, so that a read while segments are
// reused returns either the requested page or a mismatch.
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
import { type LiveRecord, verifyLog } from "./verify.ts";

/**
 * Segments that only cleaning may open: without room to move records to, no segment could be freed.
 * The live records of any segment fit into one such segment; once they have moved, the segment that
 * they were in is free.
 */
const RESERVED_SEGMENTS = 2;
/** Segments to compare in one search for a victim. */
const VICTIMS_LOOKED_AT = 256;
/** Cleaning begins when less than this part of all segments is free: an eighth, as a shift. */
const CLEAN_BELOW_SHIFT = 3;
/** Calls of `beginFlushLocked` that do nothing after the device has failed. */
const HOLD_OFF_CALLS = 32;
/** System error codes that mean that there is no room. */
const NO_SPACE: readonly string[] = ["ENOSPC", "EDQUOT", "EFBIG"];
/** After so many searches without a victim, cleaning tries damaged segments again. */
const TRY_DAMAGED_AFTER = 64;
/** After so many calls that find another thread at work, the log checks that it is alive. */
const LOOK_FOR_DEAD_AFTER = 64;

/** Counters of events, by their names in `stats()`. */
const COUNTERS = [
  "bytesWritten",
  "bytesRead",
  "segmentsWritten",
  "segmentsCleaned",
  "recordsMoved",
  "writeErrors",
  "noSpaceErrors",
  "readErrors",
  "mismatches",
] as const;
type Counter = (typeof COUNTERS)[number];

export interface SegmentLogStats extends Readonly<Record<Counter, number>> {
  /** Maximum size of the file, and bytes of the live records in it or on their way to it. */
  readonly sizeBytesMax: number;
  readonly liveBytes: number;
  /** Segments that can be opened, and segments in memory. */
  readonly freeSegments: number;
  readonly bufferedSegments: number;
}

/** The result of a read; a mismatch means other bytes, or another page's record. */
export type ReadResult = "ok" | "mismatch" | ZcacheError;

/** The caller's part in cleaning a segment. */
export interface Cleaning {
  /**
   * Runs `work` under the lock, in a transaction of its own: once for each record, and at the end.
   */
  run(work: () => void): void;
  /** Moves the record at `place` if it is live; its data is at `address`. */
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
  readonly #places: Rec.Places;
  /** The sequence number of the segment that this thread has read from last. */
  #sequenceRead = 0;
  #callsInVain = 0;
  #searchesInVain = 0;
  #segmentCopy: Uint8Array | undefined;

  /**
   * @param at word index of BACKING_WORDS words, even
   * @param owner the owner number for its frames
   */
  constructor(arena: Arena, at: number, owner: number, device: BackingDevice) {
    this.#arena = arena;
    this.#words = arena.words;
    this.#at = at;
    this.#places = new Rec.Places(Rec.segmentBytesOf(arena.pageSize));
    this.#table = new SegmentTable(arena, at, owner, this.#places.segmentBytes);
    this.device = device;
    this.#floats = new Float64Array(arena.memory.buffer, (at + Log.COUNTERS) * 4, Log.COUNTERS_MAX);
    this.#records = new Records(arena, at);
  }

  /**
   * Initializes an empty log; called once.
   * @param low the run id, with `high`: 64 random bits
   * @param high see `low`
   * @throws ZcacheError ERR_ARENA_FULL
   */
  format(low: number, high: number): void {
    const { segmentBytes, segmentsMax } = this.#places;
    const segments = Math.floor(this.device.sizeBytesMax / segmentBytes);
    this.#words[this.#at + Log.RUN_LOW] = low;
    this.#words[this.#at + Log.RUN_HIGH] = high;
    if (this.#table.format(Math.min(segments, segmentsMax))) return;
    throw new ZcacheError("ERR_ARENA_FULL", "no room in the arena for the write-back file's table");
  }

  /**
   * Stores an object in the open segment. After a refusal the caller rolls the transaction back.
   * @param meta the page's META in the store, which has the size of the data at `source`
   * @param cleaning whether the object comes from the segment being cleaned
   * @returns its place, > 0; ENOSPC (the file is full), EBUSY (too many segments wait to be
   *   written)
   */
  appendLocked(
    pool: number,
    key: RecordKey,
    meta: number,
    source: Address,
    cleaning = false,
  ): number | Errno {
    const words = this.#words;
    const sizeBytes = meta & Rec.SIZE_MASK;
    const bytes = Rec.recordBytes(sizeBytes);
    assert(sizeBytes <= this.#arena.pageSize, "an object is at most a page");
    // While cleaning uses the reserved segment, nothing else may: cleaning must not run out of room
    // before the segment that it cleans is free.
    if (!cleaning && this.#table.free < RESERVED_SEGMENTS) return ENOSPC;
    let segment = words[this.#at + Log.OPEN_SEGMENT]!;
    const { segmentBytes } = this.#places;
    if (segment === 0 || words[this.#at + Log.OPEN_USED]! + bytes > segmentBytes) {
      const opened = this.#openLocked(cleaning);
      if (opened < 0) return opened as Errno;
      segment = opened;
    }
    const offset = words[this.#at + Log.OPEN_USED]!;
    const target = (this.#table.bufferOf(segment) as number) + offset;
    this.#records.write(target, pool, key, meta, source);
    this.#records.seal(target, this.#table.sequenceOf(segment));
    put(words, this.#at + Log.OPEN_USED, offset + bytes);
    this.#table.account(segment, bytes);
    return this.#places.placeOf(segment, offset);
  }

  /** Marks the record at `place` as dead. */
  releaseLocked(place: number, sizeBytes: number): void {
    const segment = this.#places.segmentOf(place);
    this.#table.account(segment, -Rec.recordBytes(sizeBytes));
    this.#table.releaseIfEmpty(segment);
  }

  /**
   * Copies an object to `target` if its segment is in memory: under the lock, or as a reader.
   * @returns whether the segment is in memory
   */
  readBuffered(place: number, sizeBytes: number, target: Address): boolean {
    const buffer = this.#table.bufferOf(this.#places.segmentOf(place));
    if (buffer === NIL) return false;
    const source = buffer + this.#places.offsetOf(place) + Rec.RECORD_HEADER_BYTES;
    this.#arena.kernels.copy(target, source, sizeBytes);
    return true;
  }

  /**
   * Reads an object from the file to `target`, and checks that it is intact and the requested one.
   * Runs without a lock: if the segment is reused meanwhile, the result is a mismatch, or the old
   * content. `hasStayedLocked` tells whether the segment was reused.
   */
  read(
    place: number,
    pool: number,
    key: RecordKey,
    sizeBytes: number,
    target: Address,
  ): ReadResult {
    const bytes = Rec.recordBytes(sizeBytes);
    const segment = this.#places.segmentOf(place);
    const sequence = this.#table.sequenceOf(segment);
    this.#sequenceRead = sequence;
    const offset = segment * this.#places.segmentBytes + this.#places.offsetOf(place);
    try {
      this.device.read(offset, this.#records.view.subarray(0, bytes));
    } catch (error) {
      if (!(error instanceof ZcacheError)) throw error;
      this.#count("readErrors");
      return error;
    }
    this.#count("bytesRead", bytes);
    if (!this.#records.isWhole(sequence, sizeBytes) || !this.#records.isOf(pool, key)) {
      this.#count("mismatches");
      return "mismatch";
    }
    this.#arena.kernels.copy(target, this.#records.data, sizeBytes);
    return "ok";
  }

  /**
   * Whether the segment of `place`, which this thread has read last, was not reused since then. If
   * it was, the place may now hold another page, or other bytes of the same page.
   */
  hasStayedLocked(place: number): boolean {
    return this.#table.sequenceOf(this.#places.segmentOf(place)) === this.#sequenceRead;
  }

  /**
   * Assigns the oldest full segment to this thread, which then writes it.
   * @returns the segment; NIL if there is none, or if the device has failed lately
   */
  beginFlushLocked(): number | Nil {
    const words = this.#words;
    if (words[this.#at + Log.HOLD_OFF]! > 0) {
      add(words, this.#at + Log.HOLD_OFF, -1);
      return NIL;
    }
    // Takes back segments that this thread began to write and did not end, because the device threw
    // an error that was no ZcacheError.
    this.#table.takeBack((owner) => owner === this.#arena.owner);
    let oldest = this.#table.oldestFull();
    if (oldest === NIL && this.isBusyLocked(() => true)) {
      if (this.#lookForDeadLocked()) oldest = this.#table.oldestFull();
    }
    if (oldest === NIL) return NIL;
    this.#table.setFlushing(oldest, this.#arena.owner);
    return oldest;
  }

  /**
   * Writes a segment that `beginFlushLocked` has returned.
   * @throws ZcacheError ERR_IO
   */
  flush(segment: number): void {
    const { segmentBytes } = this.#places;
    const buffer = this.#table.bufferOf(segment) as number;
    const bytes = this.#arena.bytes.subarray(buffer, buffer + segmentBytes);
    this.device.write(segment * segmentBytes, bytes);
  }

  /** Ends a write. If it failed, the segment stays in memory, to be tried again. */
  endFlushLocked(segment: number, failure: ZcacheError | undefined): void {
    const table = this.#table;
    const isOurs =
      table.state(segment) === Log.FLUSHING && table.flusherOf(segment) === this.#arena.owner;
    assert(isOurs, "the owner that ends a write has begun it");
    if (failure !== undefined) {
      this.#count("writeErrors");
      if (NO_SPACE.includes(String(failure.context["code"]))) this.#count("noSpaceErrors");
      table.setState(segment, Log.FULL);
      put(this.#words, this.#at + Log.HOLD_OFF, HOLD_OFF_CALLS);
      table.releaseIfEmpty(segment);
    } else {
      this.#count("segmentsWritten");
      this.#count("bytesWritten", this.#places.segmentBytes);
      table.setState(segment, Log.ON_FILE);
      table.dropBuffer(segment);
      table.releaseIfEmpty(segment);
    }
  }

  /**
   * Closes the open segment, however full it is, so that it can be written, and ends the pause
   * after a failure.
   */
  sealLocked(): void {
    put(this.#words, this.#at + Log.HOLD_OFF, 0);
    this.#sealLocked();
  }

  /** Whether a thread whose owner `isOf` accepts is writing or cleaning a segment. */
  isBusyLocked(isOf: (owner: number) => boolean): boolean {
    const cleaner = this.#words[this.#at + Log.CLEANER]!;
    if (cleaner !== 0 && isOf(cleaner)) return true;
    return this.#table.isFlushing(isOf);
  }

  /**
   * Takes over from dead threads: the segments that they were writing are written again, and the
   * segment that they were cleaning can be cleaned again.
   */
  recoverLocked(): void {
    const { isDead } = this.#arena;
    this.#table.takeBack(isDead);
    const cleaner = this.#words[this.#at + Log.CLEANER]!;
    if (cleaner !== 0 && isDead(cleaner)) this.#endCleaningLocked(false);
  }

  /**
   * If segments run short, chooses a victim, and marks it as being cleaned by this thread; one
   * thread cleans at a time. The victim is the segment with the fewest live bytes ("greedy"), which
   * moves the least for what it frees. Weighing in a segment's age pays where cold data is mixed
   * with hot data; here, all pages are cold, and pages that become hot return to memory.
   * @param mayDrop whether the caller may drop records instead of moving them when the file is
   *   full: only then can a segment of only live records be a victim
   * @returns the segment, or NIL if there is nothing to clean or nothing to gain
   */
  pickVictimLocked(mayDrop = true): number | Nil {
    const words = this.#words;
    const table = this.#table;
    // After a failure of the device, nothing can be moved.
    if (words[this.#at + Log.HOLD_OFF]! > 0) return NIL;
    const eighth = words[this.#at + Log.SEGMENTS]! >>> CLEAN_BELOW_SHIFT;
    if (table.free >= Math.max(RESERVED_SEGMENTS + 1, eighth)) return NIL;
    if (words[this.#at + Log.CLEANER] === this.#arena.owner) this.#endCleaningLocked(false);
    if (words[this.#at + Log.CLEANER] !== 0 && !this.#lookForDeadLocked()) return NIL;
    if (words[this.#at + Log.CLEANER] !== 0) return NIL;
    const lookedAt = Math.min(words[this.#at + Log.NEXT_FRESH]! - 1, VICTIMS_LOOKED_AT);
    let victim = table.pickSparse(lookedAt, false);
    if (victim === NIL && mayDrop && this.isFullLocked) victim = table.pickNext(lookedAt);
    if (victim === NIL && ++this.#searchesInVain % TRY_DAMAGED_AFTER === 0) {
      victim = table.pickSparse(lookedAt, true);
    }
    if (victim === NIL) return NIL;
    table.setState(victim, Log.CLEANING);
    put(words, this.#at + Log.CLEANER, this.#arena.owner);
    put(words, this.#at + Log.CLEANED, victim);
    return victim;
  }

  /** Whether only cleaning may open a segment. Then cleaning drops records that may be dropped. */
  get isFullLocked(): boolean {
    return this.#table.free <= RESERVED_SEGMENTS;
  }

  /**
   * Reads the segment that this thread cleans, and passes each record to `cleaning.keep`.
   * @returns whether the segment is free now
   */
  clean(segment: number, cleaning: Cleaning): boolean {
    const { segmentBytes } = this.#places;
    this.#segmentCopy ??= new Uint8Array(segmentBytes);
    let isWhole = false;
    try {
      this.device.read(segment * segmentBytes, this.#segmentCopy);
      this.#count("bytesRead", segmentBytes);
      isWhole = this.#offerAll(segment, this.#segmentCopy, cleaning);
    } catch (error) {
      if (!(error instanceof ZcacheError)) throw error;
      this.#count("readErrors");
    }
    let isFree = false;
    cleaning.run(() => {
      isFree = this.#table.liveOf(segment) === 0;
      this.#endCleaningLocked(!isWhole);
    });
    if (isFree) this.#count("segmentsCleaned");
    return isFree;
  }

  stats(): SegmentLogStats {
    return {
      ...(Object.fromEntries(COUNTERS.map((name, nth) => [name, this.#floats[nth]!])) as Record<
        Counter,
        number
      >),
      sizeBytesMax: this.device.sizeBytesMax,
      liveBytes: this.#table.liveBytes,
      freeSegments: this.#table.free,
      bufferedSegments: this.#table.bufferedCount,
    };
  }

  get memoryFrames(): number {
    return this.#table.framesHeld;
  }

  /**
   * Checks the log against the live records.
   * @param live their places and sizes
   */
  verify(live: readonly LiveRecord[]): void {
    verifyLog(this.#words, this.#at, this.#table, this.#places, live);
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
    this.#records.writeHeader(buffer, segment, this.#table.sequenceOf(segment), used);
    put(words, this.#at + Log.OPEN_SEGMENT, 0);
    this.#table.setState(segment, Log.FULL);
    this.#table.setFilled(segment, used);
    this.#table.releaseIfEmpty(segment);
  }

  /**
   * Checks whether the threads that write and clean are alive. A thread that was terminated while
   * it wrote, without the lock, is found in no other way. Only one in LOOK_FOR_DEAD_AFTER calls
   * makes the check, because the check asks the operating system.
   * @returns whether this call has made the check
   */
  #lookForDeadLocked(): boolean {
    if (++this.#callsInVain < LOOK_FOR_DEAD_AFTER) return false;
    this.#callsInVain = 0;
    this.recoverLocked();
    return true;
  }

  #endCleaningLocked(isDamaged: boolean): void {
    const words = this.#words;
    const segment = words[this.#at + Log.CLEANED]!;
    put(words, this.#at + Log.CLEANER, 0);
    this.#table.setState(segment, Log.ON_FILE);
    if (isDamaged) this.#table.setDamaged(segment);
    this.#table.releaseIfEmpty(segment);
  }

  /** @returns whether all records of the segment were intact */
  #offerAll(segment: number, copy: Uint8Array, cleaning: Cleaning): boolean {
    const view = new DataView(copy.buffer, copy.byteOffset);
    // No other thread changes the segment that this thread cleans.
    const sequence = this.#table.sequenceOf(segment);
    const used = this.#table.filledOf(segment);
    const { pageSize } = this.#arena;
    const key: RecordKey = {
      id: new Int32Array(Rec.ID_WORDS),
      idShape: 0,
      indexLow: 0,
      indexHigh: 0,
    };
    let isWhole = true;
    for (let at = Rec.HEADER_BYTES; at < used; ) {
      const sizeBytes = view.getInt32(at + Rec.META * 4, true) & Rec.SIZE_MASK;
      const bytes = Rec.recordBytes(sizeBytes);
      if (sizeBytes > pageSize || at + bytes > used) return false;
      this.#records.view.set(copy.subarray(at, at + bytes));
      // A damaged record is skipped: a later get of its page reports it.
      if (this.#records.isWhole(sequence, sizeBytes)) {
        const pool = this.#records.keyOf(key);
        const place = this.#places.placeOf(segment, at);
        cleaning.run(() => cleaning.keep(pool, key, place, this.#records.data, sizeBytes));
      } else isWhole = false;
      at += bytes;
    }
    return isWhole;
  }

  #count(counter: Counter, by = 1): void {
    this.#floats[COUNTERS.indexOf(counter)]! += by;
  }
}
