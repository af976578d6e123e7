// The reads that threads of a store ask for of the thread that owns the remote tier: a table of
// names and pages in the arena. A thread claims a fetch, writes a name and passes it on; the
// serving thread reads the record to the fetch's page and passes it back. FETCH_STATE says whose
// it is.
import type { Arena } from "../memory/arena.ts";
import type { Blocks } from "./blocks.ts";
import * as Box from "./outbox.layout.ts";
import { nameAt, type RecordName, writeName } from "./record_name.ts";

export class Fetches {
  readonly count: number;
  readonly #arena: Arena;
  readonly #words: Int32Array;
  readonly #heads: Blocks;
  readonly #pages: Blocks;

  constructor(
    arena: Arena,
    parts: { readonly count: number; readonly heads: Blocks; readonly pages: Blocks },
  ) {
    this.#arena = arena;
    this.#words = arena.words;
    this.count = parts.count;
    this.#heads = parts.heads;
    this.#pages = parts.pages;
  }

  /** Word index of FETCH_STATE of a fetch. */
  stateAt(fetch: number): number {
    return this.#heads.at(fetch) + Box.FETCH_STATE;
  }

  /** Claims an unused fetch for this thread and asks for a record. @returns −1: all are used */
  ask(name: RecordName): number {
    const words = this.#words;
    for (let fetch = 0; fetch < this.count; fetch++) {
      const at = this.stateAt(fetch);
      if (Atomics.compareExchange(words, at, Box.UNUSED, Box.CLAIMED) !== Box.UNUSED) continue;
      Atomics.store(words, this.#heads.at(fetch) + Box.FETCH_OWNER, this.#arena.owner);
      this.write(fetch, name);
      Atomics.store(words, at, Box.ASKED);
      return fetch;
    }
    return -1;
  }

  /** Takes the answer to a fetch of this thread, and frees it. @returns undefined: not there yet */
  takeAnswer(fetch: number, sizeBytes: number): Uint8Array | number | undefined {
    const at = this.stateAt(fetch);
    const state = Atomics.load(this.#words, at);
    if (state === Box.ASKED || state === Box.TAKEN) return undefined;
    const answer = state === Box.FOUND ? this.page(fetch).slice(0, sizeBytes) : state;
    Atomics.store(this.#words, at, Box.UNUSED);
    return answer;
  }

  /** Does not wait for the answer any more. */
  abandon(fetch: number): void {
    const at = this.stateAt(fetch);
    const words = this.#words;
    if (Atomics.compareExchange(words, at, Box.ASKED, Box.UNUSED) === Box.ASKED) return;
    if (Atomics.compareExchange(words, at, Box.TAKEN, Box.ABANDONED) === Box.TAKEN) return;
    Atomics.store(words, at, Box.UNUSED);
  }

  /** The page of a fetch. */
  page(fetch: number): Uint8Array {
    const start = this.#pages.at(fetch) * 4;
    return this.#arena.bytes.subarray(start, start + this.#arena.pageSize);
  }

  /** The name in a fetch that was asked for. */
  nameOf(fetch: number): RecordName {
    return nameAt(this.#words, this.#heads.at(fetch));
  }

  /** Writes the name of a fetch that this thread has claimed. */
  write(fetch: number, { pool, key, meta, ...record }: RecordName): void {
    const at = this.#heads.at(fetch);
    writeName(this.#words, at, pool, key, meta);
    this.#words[at + Box.RECORD_LOW] = record.versionLow;
    this.#words[at + Box.RECORD_HIGH] = record.versionHigh;
    this.#words[at + Box.RECORD_EPOCH] = record.epoch;
  }

  /** Takes a fetch that a thread has asked for. @returns whether there was one */
  take(fetch: number): boolean {
    const at = this.#heads.at(fetch) + Box.FETCH_STATE;
    return Atomics.compareExchange(this.#words, at, Box.ASKED, Box.TAKEN) === Box.ASKED;
  }

  /** Passes the answer to a fetch on to the thread that has asked. */
  answer(fetch: number, answer: Uint8Array | "missing" | "corrupt" | Error): void {
    const at = this.#heads.at(fetch) + Box.FETCH_STATE;
    let state: number = Box.FAILED;
    if (answer === "missing") state = Box.MISSING;
    else if (answer === "corrupt") state = Box.DAMAGED;
    else if (answer instanceof Uint8Array) {
      this.page(fetch).set(answer);
      state = Box.FOUND;
    }
    if (Atomics.compareExchange(this.#words, at, Box.TAKEN, state) !== Box.TAKEN) {
      // The thread does not wait any more.
      Atomics.store(this.#words, at, Box.UNUSED);
    }
    Atomics.notify(this.#words, at);
  }

  /** Frees the fetches of threads that have died. */
  freeDead(): void {
    for (let fetch = 0; fetch < this.count; fetch++) {
      const at = this.#heads.at(fetch);
      const state = Atomics.load(this.#words, at + Box.FETCH_STATE);
      if (state === Box.UNUSED || state === Box.TAKEN || state === Box.ABANDONED) continue;
      const owner = Atomics.load(this.#words, at + Box.FETCH_OWNER);
      if (owner === 0 || !this.#arena.isDead(owner)) continue;
      Atomics.compareExchange(this.#words, at + Box.FETCH_STATE, state, Box.UNUSED);
    }
  }
}
