// The log of changes: every value stored and every removal, in the order in which the store made
// them, in a file from which the next process restores the store (persist/).
//
// A change is written to a ring in the arena, under the lock and in the transaction in which it is
// made: there is one order, and a thread that dies loses both halves or neither. The ring is
// written to the file by the maker's timer, or by a thread that needs room to put a value. The
// arena's lock is not held meanwhile.
//
// If the file can't be written for so long that the ring fills up, the files would fall behind the
// store and one day restore what was deleted long ago. So the log breaks: it records nothing more
// until its maker removes the files and starts over.
import type { Address, WordIndex } from "../base/brand.ts";
import { assert, ZcacheError } from "../base/errors.ts";
import type { Arena } from "../memory/arena.ts";
import { add, put } from "../memory/journal.ts";
import { Mutex } from "../memory/mutex.ts";
import { TmemKey } from "../tmem/key.ts";
import * as Log from "./change_log.layout.ts";
import * as Rec from "./change_record.layout.ts";

/** Whether a write failed only because the file has reached its limit. */
export function isLogFull(error: unknown): boolean {
  return error instanceof ZcacheError && error.context["code"] === "EFBIG";
}

/** Writes all bytes to a file, or throws. */
export interface LogWriter {
  /** @throws ZcacheError ERR_IO */
  write(fd: number, offsetBytes: number, bytes: Uint8Array): void;
}

/** A file for the log to continue in. */
export interface LogFile {
  readonly fd: number;
  readonly generation: number;
  readonly seed: number;
  readonly sizeBytesMax: number;
  /**
   * Units in the preceding log, if another process wrote it: a restart then notices if its end is
   * missing.
   */
  readonly unitsBefore: number;
}

/** The value of the checksum before the first `prepare`. */
const NO_CHECK = 0;
/** The source of a record that has no data. */
const NO_DATA = 0 as Address;

export class ChangeLog {
  /** Word index of the log's words. */
  readonly at: WordIndex;
  /** The tmem pool whose changes are logged. */
  readonly pool: number;
  readonly #arena: Arena;
  readonly #words: Int32Array;
  readonly #writer: LogWriter;
  readonly #mutex: Mutex;
  readonly #ring: number;
  readonly #units: number;
  /** Called without a lock when the file has reached its limit: to switch to another file. */
  onFull: (() => void) | undefined;
  /** Checksum of the bytes that `prepare` was called for last. */
  #check = NO_CHECK;
  /** OBJECT and INDEX of a record that is not of one page; overwritten by the next such record. */
  readonly #fields = new TmemKey();

  /** @param at word index of words that are formatted */
  constructor(arena: Arena, at: WordIndex, pool: number, writer: LogWriter) {
    this.at = at;
    this.pool = pool;
    this.#arena = arena;
    this.#words = arena.words;
    this.#writer = writer;
    this.#ring = arena.words[at + Log.RING]! * 4;
    this.#units = arena.words[at + Log.RING_UNITS]!;
    const { kernels, owner, isDead, lock } = arena;
    this.#mutex = new Mutex(arena.words, kernels, at + Log.DRAIN, owner, isDead);
    this.#mutex.waits = lock.waits.other;
  }

  get isBroken(): boolean {
    return this.#words[this.at + Log.STATE] === Log.BROKEN;
  }

  get generation(): number {
    return this.#words[this.at + Log.GENERATION]!;
  }

  /** Failed writes, in all threads. */
  get errors(): number {
    return this.#words[this.at + Log.ERRORS]!;
  }

  /** Bytes in the ring that are not in the file yet. */
  get waitingBytes(): number {
    return this.#usedUnits * Rec.UNIT_BYTES;
  }

  /** Bytes of the file, including those still in the ring. */
  get fileBytes(): number {
    const units = (this.#words[this.at + Log.HEAD]! - this.#words[this.at + Log.START]!) >>> 0;
    return Rec.FILE_HEADER_BYTES + units * Rec.UNIT_BYTES;
  }

  /** Whether the ring still has records for the preceding file, which must stay open until then. */
  get needsOld(): boolean {
    return ((this.#words[this.at + Log.START]! - this.#words[this.at + Log.TAIL]!) | 0) > 0;
  }

  /** The ring, as scratch memory while nothing is logged yet. */
  get room(): { readonly at: Address; readonly sizeBytes: number } {
    return { at: this.#ring as Address, sizeBytes: this.#units * Rec.UNIT_BYTES };
  }

  /**
   * Called before a put, without a lock: computes the checksum of the value and makes room for it.
   */
  prepare(source: Address, sizeBytes: number): void {
    this.#check = this.#arena.kernels.checksum(source, sizeBytes, 0);
    this.makeRoom(sizeBytes);
  }

  /**
   * Makes room for a change with so many bytes, called without a lock; writes to the file if need
   * be.
   */
  makeRoom(sizeBytes: number): void {
    const needed = Rec.unitsOf(sizeBytes) + Log.RESERVE_UNITS;
    const used = this.#usedUnits;
    if (used + needed <= this.#units >>> 1 || !this.#isOn) return;
    if (used + needed > this.#units) {
      if (this.#units - this.#usedUnits < needed && this.#isFileFull) this.onFull?.();
      this.#drainOrBreak(needed);
    }
    // Half full: one thread writes the ring to the file, others go on.
    else if (this.#mutex.tryLock()) {
      try {
        this.#write();
      } catch (error) {
        if (!(error instanceof ZcacheError)) throw error;
      } finally {
        this.#mutex.unlock();
      }
    }
  }

  /** Whether the room that `prepare` made is still there; other threads may have taken it. */
  hasRoomLocked(sizeBytes: number): boolean {
    const needed = Rec.unitsOf(sizeBytes) + Log.RESERVE_UNITS;
    return !this.#isOn || this.#usedUnits + needed <= this.#units;
  }

  /** Logs the put that `prepare` was called for, in its transaction. */
  putLocked(pool: number, key: TmemKey, codec: number, source: Address, sizeBytes: number): void {
    if (pool !== this.pool) return;
    this.#appendLocked(Rec.makeKind(Rec.PUT, codec), key, source, sizeBytes);
  }

  /** Logs the removal of a key. `makeRoom(0)` was called before the lock was taken. */
  removeLocked(pool: number, key: TmemKey): void {
    if (pool !== this.pool) return;
    this.#appendLocked(Rec.REMOVE, key, NO_DATA, 0);
  }

  /** Logs the removal of an object. `makeRoom(0)` was called before the lock was taken. */
  removeObjectLocked(pool: number, key: TmemKey): void {
    if (pool !== this.pool) return;
    this.#appendLocked(Rec.REMOVE_OBJECT, this.#setFields(key.id[0]!, key.id[1]!), NO_DATA, 0);
  }

  /** Logs the removal of all values. */
  clear(): void {
    this.makeRoom(0);
    this.#beside(() => this.#appendLocked(Rec.CLEAR, this.#setFields(0), NO_DATA, 0));
  }

  /** The words that were logged last by `note`. */
  get lastNote(): readonly number[] {
    const at = this.at + Log.NOTE;
    return [...this.#words.subarray(at, at + Log.NOTE_WORDS)];
  }

  /** Logs four words of the caller's; a restart gets those that were logged last. */
  note(words: ArrayLike<number>): void {
    this.makeRoom(0);
    this.#beside(() => {
      for (let nth = 0; nth < Log.NOTE_WORDS; nth++) {
        put(this.#words, this.at + Log.NOTE + nth, words[nth]!);
      }
      this.#appendNoteLocked();
    });
  }

  #appendNoteLocked(): void {
    const words = this.#words;
    const at = this.at + Log.NOTE;
    const note = this.#setFields(words[at]!, words[at + 1]!, words[at + 2]!, words[at + 3]!);
    this.#appendLocked(Rec.NOTE, note, NO_DATA, 0);
  }

  /** Logs a dictionary, before any value is compressed with it. */
  dictionary(number: number, start: Address, sizeBytes: number): void {
    for (let from = 0; from < sizeBytes; from += Rec.PIECE_BYTES) {
      const count = Math.min(Rec.PIECE_BYTES, sizeBytes - from);
      const source = (start + from) as Address;
      for (let done = false; !done; ) {
        this.prepare(source, count);
        this.#beside(() => {
          done = this.hasRoomLocked(count);
          if (!done) return;
          const piece = this.#setFields(sizeBytes, 0, number, from);
          this.#appendLocked(Rec.DICTIONARY, piece, source, count);
        });
      }
    }
  }

  /**
   * Writes the ring to the file.
   * @throws ZcacheError ERR_IO
   */
  drain(): void {
    if (this.#usedUnits === 0) return;
    this.#mutex.lock();
    try {
      this.#write();
    } finally {
      this.#mutex.unlock();
    }
  }

  /**
   * Continues the log in another file.
   * @returns the descriptor of the preceding file, or −1
   */
  switchTo(file: LogFile): number {
    const { at } = this;
    const words = this.#words;
    this.#mutex.lock();
    try {
      // A file has room for one ring beyond its limit.
      this.#write(true);
      const before = words[at + Log.STATE] === Log.ON ? words[at + Log.FD]! : -1;
      this.#beside(() => {
        const own = (words[at + Log.HEAD]! - words[at + Log.START]!) | 0;
        if (before >= 0) {
          this.#appendLocked(Rec.NEXT, this.#setFields(file.generation), NO_DATA, 0);
        }
        put(words, at + Log.OLD_FD, before);
        put(words, at + Log.OLD_START, words[at + Log.START]!);
        put(words, at + Log.START, words[at + Log.HEAD]!);
        put(words, at + Log.FD, file.fd);
        put(words, at + Log.GENERATION, file.generation);
        put(words, at + Log.SEED, file.seed);
        const units = Math.floor(file.sizeBytesMax / Rec.UNIT_BYTES);
        put(words, at + Log.LIMIT, units - this.#units);
        put(words, at + Log.STATE, Log.ON);
        const unitsBefore = before < 0 ? file.unitsBefore : own;
        this.#appendLocked(Rec.BEGIN, this.#setFields(unitsBefore), NO_DATA, 0);
        // A snapshot replaces the files that had these words before.
        if (this.lastNote.some((word) => word !== 0)) this.#appendNoteLocked();
      });
      return before;
    } finally {
      this.#mutex.unlock();
    }
  }

  /** Logs that no change follows: a file that ends without this record was cut. */
  finish(): void {
    if (!this.#isOn) return;
    this.makeRoom(0);
    this.#beside(() => this.#appendLocked(Rec.NEXT, this.#setFields(Rec.NONE), NO_DATA, 0));
  }

  /**
   * Stops logging, and drops what is in the ring.
   * @param state OFF or BROKEN
   */
  end(state: typeof Log.OFF | typeof Log.BROKEN): void {
    this.#mutex.lock();
    try {
      this.#endHeld(state);
    } finally {
      this.#mutex.unlock();
    }
  }

  get #isOn(): boolean {
    return this.#words[this.at + Log.STATE] === Log.ON;
  }

  /** Whether the file has no room for what is in the ring. */
  get #isFileFull(): boolean {
    const words = this.#words;
    const units = (words[this.at + Log.HEAD]! - words[this.at + Log.START]!) >>> 0;
    return units > words[this.at + Log.LIMIT]! >>> 0;
  }

  get #usedUnits(): number {
    return (this.#words[this.at + Log.HEAD]! - this.#words[this.at + Log.TAIL]!) >>> 0;
  }

  #endHeld(state: number): void {
    const words = this.#words;
    this.#beside(() => {
      put(words, this.at + Log.STATE, state);
      put(words, this.at + Log.TAIL, words[this.at + Log.HEAD]!);
    });
  }

  #drainOrBreak(needed: number): void {
    this.#mutex.lock();
    try {
      this.#write();
    } catch (error) {
      if (!(error instanceof ZcacheError)) throw error;
      if (this.#usedUnits + needed > this.#units) this.#endHeld(Log.BROKEN);
    } finally {
      this.#mutex.unlock();
    }
  }

  /**
   * Writes the ring to the file, under DRAIN.
   * @param isLast whether this file gets no more records
   */
  #write(isLast = false): void {
    const { at } = this;
    const words = this.#words;
    if (!this.#isOn) return;
    let head = 0;
    // Reads HEAD under the lock: an uncommitted HEAD may be rolled back.
    this.#beside(() => {
      head = words[at + Log.HEAD]!;
    });
    for (let tail = words[at + Log.TAIL]!; tail !== head; ) {
      const isOld = ((words[at + Log.START]! - tail) | 0) > 0;
      const end = isOld ? words[at + Log.START]! : head;
      const inRing = tail & (this.#units - 1);
      const count = Math.min((end - tail) >>> 0, this.#units - inRing);
      try {
        this.#writeUnits(isOld || isLast, isOld, tail, inRing, count);
      } catch (error) {
        // A full log is no failure: its maker begins another one.
        if (!isLogFull(error)) this.#beside(() => add(words, at + Log.ERRORS, 1));
        throw error;
      }
      tail = (tail + count) | 0;
      this.#beside(() => put(words, at + Log.TAIL, tail));
    }
  }

  #writeUnits(isFree: boolean, isOld: boolean, place: number, inRing: number, count: number): void {
    const { at } = this;
    const words = this.#words;
    const start = words[at + (isOld ? Log.OLD_START : Log.START)]!;
    const fd = words[at + (isOld ? Log.OLD_FD : Log.FD)]!;
    const units = (place - start) >>> 0;
    if (!isFree && units + count > words[at + Log.LIMIT]! >>> 0) {
      const max = (words[at + Log.LIMIT]! >>> 0) * Rec.UNIT_BYTES;
      throw new ZcacheError("ERR_IO", `the log of changes is full: ${max} bytes`, {
        context: { code: "EFBIG", max },
      });
    }
    const from = this.#ring + inRing * Rec.UNIT_BYTES;
    const bytes = this.#arena.bytes.subarray(from, from + count * Rec.UNIT_BYTES);
    this.#writer.write(fd, Rec.FILE_HEADER_BYTES + units * Rec.UNIT_BYTES, bytes);
  }

  /** Sets the words of a record that is not of one page. */
  #setFields(objectLow: number, objectHigh = 0, indexLow = 0, indexHigh = 0): TmemKey {
    return this.#fields.setWords(objectLow, objectHigh, indexLow, indexHigh);
  }

  /**
   * Appends a record to the ring.
   * @param key the words of OBJECT and INDEX
   */
  #appendLocked(kind: number, key: TmemKey, source: Address, sizeBytes: number): void {
    if (!this.#isOn) return;
    const { at } = this;
    const words = this.#words;
    const units = Rec.unitsOf(sizeBytes);
    assert(this.#usedUnits + units <= this.#units, "there is room for a change");
    const head = words[at + Log.HEAD]!;
    const target = this.#ring + (head & (this.#units - 1)) * Rec.UNIT_BYTES;
    const { kernels } = this.#arena;
    const word = target / 4;
    words[word + Rec.KIND] = kind;
    words[word + Rec.SIZE] = sizeBytes;
    words[word + Rec.DATA_CHECK] = sizeBytes === 0 ? 0 : this.#check;
    words[word + Rec.OBJECT_LOW] = key.id[0]!;
    words[word + Rec.OBJECT_HIGH] = key.id[1]!;
    words[word + Rec.INDEX_LOW] = key.indexLow;
    words[word + Rec.INDEX_HIGH] = key.indexHigh;
    const place = head - words[at + Log.START]!;
    const seed = Rec.seedOf(words[at + Log.SEED]!, place);
    words[word] = kernels.checksum(target + 4, Rec.UNIT_BYTES - 4, seed);
    if (sizeBytes > 0) this.#copyIn(target + Rec.UNIT_BYTES, source, sizeBytes);
    put(words, at + Log.HEAD, (head + units) | 0);
  }

  /** Copies to a place that may cross the end of the ring. */
  #copyIn(target: number, source: Address, sizeBytes: number): void {
    const { kernels } = this.#arena;
    const end = this.#ring + this.#units * Rec.UNIT_BYTES;
    const first = Math.min(sizeBytes, end - target);
    if (first > 0) kernels.copy(target, source, first);
    if (first < sizeBytes) kernels.copy(this.#ring, source + first, sizeBytes - first);
  }

  /** Runs `work` under the arena's lock, beside readers, which do not look at these words. */
  #beside(work: () => void): void {
    const { lock } = this.#arena;
    lock.lockBeside();
    try {
      work();
      lock.commitBeside();
    } finally {
      lock.unlock();
    }
  }
}
