// Reads the ring of sampled requests (request_sample.ts): one reader at a time, in any thread.
import * as Sample from "./request_sample.layout.ts";
import * as Store from "./store.layout.ts";

/** Where the ring of a store is: can be sent to another thread. */
export interface SampleShare {
  readonly memory: ArrayBufferLike;
  /** Word indexes of the store's root and of the pieces of the ring. */
  readonly root: number;
  readonly pieces: readonly number[];
}

/** A sampled request. */
export interface SampledRequest {
  /** An operation of request_sample.layout.ts. */
  operation: number;
  hash: number;
  /** Bytes as stored and before compression, 0 = not known. */
  storedBytes: number;
  plainBytes: number;
  /** In seconds since 1970, 0 = never. */
  expiresS: number;
}

/** A place that a thread has claimed and not written for so long will never be written. */
const WRITE_MS = 1000;

export class SampleReader {
  readonly #words: Int32Array;
  readonly #root: number;
  readonly #pieces: readonly number[];
  readonly #inPiece: number;
  readonly #request: SampledRequest = {
    operation: 0,
    hash: 0,
    storedBytes: 0,
    plainBytes: 0,
    expiresS: 0,
  };
  /** Requests that were claimed and never written. */
  #lost = 0;
  /** When this reader first met the place at which it stands unwritten. */
  #waitsSinceMs = Number.NaN;

  constructor({ memory, root, pieces }: SampleShare) {
    this.#words = new Int32Array(memory);
    this.#root = root;
    this.#pieces = pieces;
    this.#inPiece = Sample.SAMPLES_MAX / pieces.length;
  }

  /** Empties the ring. No request may be sampled meanwhile. */
  reset(): void {
    const words = this.#words;
    for (let nth = 0; nth < Sample.SAMPLES_MAX; nth++) {
      words[this.#placeOf(nth) + Sample.INFO] = 0;
    }
    const next = Atomics.load(words, this.#root + Store.SAMPLE_NEXT);
    Atomics.store(words, this.#root + Store.SAMPLE_READ, next);
    Atomics.store(words, this.#root + Store.SAMPLE_DROPPED, 0);
  }

  /** Requests that were not recorded since `reset`, because the ring was full. */
  get dropped(): number {
    return (Atomics.load(this.#words, this.#root + Store.SAMPLE_DROPPED) >>> 0) + this.#lost;
  }

  /**
   * Reads what has been recorded.
   * @param nowMs a clock that does not go back
   * @param take gets each request, in an object that is reused
   * @returns requests read
   */
  read(nowMs: number, take: (request: SampledRequest) => void): number {
    const words = this.#words;
    const counter = this.#root + Store.SAMPLE_READ;
    let count = 0;
    let read = Atomics.load(words, counter);
    for (; read !== Atomics.load(words, this.#root + Store.SAMPLE_NEXT); read = (read + 1) | 0) {
      const at = this.#placeOf(read & (Sample.SAMPLES_MAX - 1));
      const info = Atomics.load(words, at + Sample.INFO);
      if (info === 0 && !this.#isLost(nowMs)) break;
      this.#waitsSinceMs = Number.NaN;
      if (info !== 0) {
        this.#decode(at, info);
        Atomics.store(words, at + Sample.INFO, 0);
        count++;
        take(this.#request);
      }
      Atomics.store(words, counter, (read + 1) | 0);
    }
    return count;
  }

  #placeOf(nth: number): number {
    const inPiece = nth % this.#inPiece;
    return this.#pieces[(nth - inPiece) / this.#inPiece]! + inPiece * Sample.SAMPLE_WORDS;
  }

  #decode(at: number, info: number): void {
    const words = this.#words;
    const request = this.#request;
    request.operation = (info >>> Sample.OPERATION_SHIFT) & Sample.OPERATION_MASK;
    request.storedBytes = info >>> Sample.STORED_SHIFT;
    request.hash = words[at + Sample.HASH]!;
    request.plainBytes = words[at + Sample.PLAIN]!;
    request.expiresS = words[at + Sample.EXPIRES]! >>> 0;
  }

  /** Whether the place at which this reader stands was left unwritten. */
  #isLost(nowMs: number): boolean {
    if (Number.isNaN(this.#waitsSinceMs)) this.#waitsSinceMs = nowMs;
    if (nowMs - this.#waitsSinceMs < WRITE_MS) return false;
    this.#lost++;
    return true;
  }
}
