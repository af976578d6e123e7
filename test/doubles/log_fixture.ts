// A segment log over a file that fails on demand, beside a Map of the stored objects. The content
// of an object depends on its number, so a byte of another, an old or a torn object is detected.
import assert from "node:assert/strict";
import type { RecordKey } from "../../src/backing/contract.ts";
import { BACKING_WORDS, COUNTERS, CURSOR } from "../../src/backing/segment_log.layout.ts";
import { type ReadResult, SegmentLog } from "../../src/backing/segment_log.ts";
import { type Address, NIL } from "../../src/base/brand.ts";
import { ZcacheError } from "../../src/base/errors.ts";
import { Xorshift32 } from "../../src/base/random.ts";
import type { Threads } from "../../src/base/threads.ts";
import { KIB } from "../../src/base/units.ts";
import { ARENA_OWNER, Arena } from "../../src/memory/arena.ts";
import { FaultyDevice } from "./faulty_device.ts";

const LOG_OWNER = 5000;
/** The tmem pool of all objects. */
export const POOL = 3;

interface Stored {
  place: number;
  readonly sizeBytes: number;
  readonly number: number;
}

/** Simulated threads: numbered in order of arrival, ended by the test. */
export class ToldThreads implements Threads {
  readonly dead = new Set<number>();
  readonly processors = 2;
  #last = 0;

  self(): number {
    return ++this.#last;
  }

  mayRun(name: number): boolean {
    return !this.dead.has(name);
  }

  /** The name of the thread that came last. */
  get last(): number {
    return this.#last;
  }
}

export interface LogFixtureOptions {
  readonly pageSize?: number;
  readonly segments?: number;
  readonly memoryKib?: number;
}

export class LogFixture {
  readonly stored = new Map<number, Stored>();
  readonly threads = new ToldThreads();
  readonly arena: Arena;
  readonly device: FaultyDevice;
  readonly log: SegmentLog;
  readonly segmentBytes: number;
  readonly #at: number;
  readonly #source: Address;
  readonly #target: Address;
  #serial = 0;

  constructor({ pageSize = 4 * KIB, segments = 16, memoryKib = 4096 }: LogFixtureOptions = {}) {
    this.segmentBytes = pageSize > 16 * KIB ? 128 * KIB : 64 * KIB;
    this.arena = Arena.create({ sizeBytes: memoryKib * KIB, pageSize }, this.threads);
    const { frames } = this.arena;
    const frame = frames.alloc(0, ARENA_OWNER);
    assert.notEqual(frame, NIL);
    this.#at = frames.frameToWord(frame as never);
    this.arena.words.fill(0, this.#at, this.#at + BACKING_WORDS);
    this.device = new FaultyDevice(segments * this.segmentBytes, new Xorshift32(7));
    this.log = new SegmentLog(this.arena, this.#at, LOG_OWNER, this.device);
    this.log.format(0x1234_5678, -2);
    this.#source = this.arena.reserve(pageSize);
    this.#target = this.arena.reserve(pageSize);
    this.arena.keepJournal();
  }

  /** The log as another thread sees it, which dies when its name is put to the dead. */
  attach(): { log: SegmentLog; arena: Arena; name: number } {
    const arena = Arena.attach(this.arena.share(), this.threads);
    return {
      arena,
      log: new SegmentLog(arena, this.#at, LOG_OWNER, this.device),
      name: this.threads.last,
    };
  }

  locked<T>(work: () => T, arena = this.arena): T {
    arena.lock.lock();
    try {
      const result = work();
      arena.lock.commit();
      return result;
    } finally {
      arena.lock.unlock();
    }
  }

  keyOf(number: number): RecordKey {
    const id = Int32Array.of(number % 7, 0, 0, 0, 0, number % 3);
    return { id, idShape: number % 2, indexLow: number, indexHigh: -number };
  }

  /** Stores a new object. @returns its number, or the refusal, < 0 */
  append(sizeBytes: number): number {
    const number = ++this.#serial;
    const place = this.locked(() => {
      const result = this.appendLocked(number, sizeBytes);
      if (result < 0) this.arena.lock.rollBack();
      return result;
    });
    if (place < 0) return place;
    assert.ok(place > 0);
    this.stored.set(number, { place, sizeBytes, number });
    return number;
  }

  /** Only the part of the log: the caller has the lock and tracks the stored objects. */
  appendLocked(number: number, sizeBytes: number): number {
    fillObject(this.arena.bytes, this.#source, sizeBytes, number);
    const meta = sizeBytes | (number << 24);
    return this.log.appendLocked(POOL, this.keyOf(number), meta, this.#source);
  }

  release(number: number): void {
    const { place, sizeBytes } = this.stored.get(number)!;
    this.locked(() => this.log.releaseLocked(place, sizeBytes));
    this.stored.delete(number);
  }

  /** Reads an object from memory or file; after "ok" the bytes are those that were stored. */
  read(number: number): ReadResult {
    const { place, sizeBytes } = this.stored.get(number)!;
    this.arena.bytes.fill(0, this.#target, this.#target + sizeBytes);
    const isHere = this.locked(() => this.log.readBuffered(place, sizeBytes, this.#target));
    const result = isHere
      ? "ok"
      : this.log.read(place, POOL, this.keyOf(number), sizeBytes, this.#target);
    if (result === "ok") this.#checkTarget(number, sizeBytes);
    return result;
  }

  /** Writes one segment. @returns whether there was one and it was written */
  flush(): boolean {
    const segment = this.locked(() => this.log.beginFlushLocked());
    if (segment === NIL) return false;
    let failure: ZcacheError | undefined;
    try {
      this.log.flush(segment);
    } catch (error) {
      assert.ok(error instanceof ZcacheError);
      failure = error;
    }
    this.locked(() => this.log.endFlushLocked(segment, failure));
    return failure === undefined;
  }

  /**
   * Cleans one segment. @param meanwhile called after each record: here others may go on
   * @returns whether one is free now that was not
   */
  clean(meanwhile: () => void = () => {}): boolean {
    const segment = this.locked(() => this.log.pickVictimLocked(false));
    if (segment === NIL) return false;
    return this.log.clean(segment, {
      run: (work) => {
        this.locked(work);
        meanwhile();
      },
      keep: (pool, key, place, address, sizeBytes) => {
        const object = this.stored.get(key.indexLow);
        if (object?.place !== place) return;
        assert.equal(pool, POOL);
        assert.equal(sizeBytes, object.sizeBytes);
        assert.deepEqual(key, this.keyOf(object.number));
        const meta = sizeBytes | (object.number << 24);
        const next = this.log.appendLocked(pool, key, meta, address, true);
        if (next < 0) {
          this.arena.lock.rollBack();
          return;
        }
        this.log.releaseLocked(place, sizeBytes);
        object.place = next;
      },
    });
  }

  /** The log's own words but for the cursor and the counters, to be compared. */
  snapshot(): number[] {
    const words = [...this.arena.words.subarray(this.#at, this.#at + COUNTERS)];
    words[CURSOR] = 0;
    return words;
  }

  seal(): void {
    this.locked(() => this.log.sealLocked());
  }

  /** Writes all there is. */
  flushAll(): void {
    this.seal();
    while (this.flush());
    assert.equal(this.log.stats().bufferedSegments, 0);
  }

  verify(): void {
    this.locked(() =>
      this.log.verify([...this.stored.values()].map((o) => [o.place, o.sizeBytes])),
    );
    this.arena.frames.verify();
  }

  /** Lets everything go: nothing is left but the table and the spare buffers. */
  empty(): void {
    for (const number of [...this.stored.keys()]) this.release(number);
    this.flushAll();
    this.verify();
    const { liveBytes, freeSegments, sizeBytesMax } = this.log.stats();
    assert.equal(liveBytes, 0);
    assert.equal(freeSegments, sizeBytesMax / this.segmentBytes - 1, "segment 0 is the header");
  }

  #checkTarget(number: number, sizeBytes: number): void {
    const expected = new Uint8Array(sizeBytes);
    fillObject(expected, 0, sizeBytes, number);
    const found = this.arena.bytes.slice(this.#target, this.#target + sizeBytes);
    assert.deepEqual(found, expected, `object ${number} came back with other bytes`);
  }
}

/** Bytes that only the object of this number has. */
function fillObject(bytes: Uint8Array, at: number, sizeBytes: number, number: number): void {
  const random = new Xorshift32(number * 2_654_435_761);
  for (let i = 0; i < sizeBytes; i += 4) {
    const word = random.next();
    for (let j = i; j < Math.min(i + 4, sizeBytes); j++) bytes[at + j] = word >>> ((j - i) * 8);
  }
}
