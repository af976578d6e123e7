// Single flight among all threads: for a key that a thread is loading, the other threads wait.
//
// A flight is one load in progress. It has a slot in the table of watches (store/versions.ts): a
// watch tells whether the key was set or deleted since, and the rest of the slot belongs to the
// flight. A flight begins, ends and is joined only while its key is locked (Values.lock). So a
// key has at most one flight that is not outdated, and no thread joins a flight that has ended. An
// error of the loader is passed on as an internal entry of the cache, if other threads wait.
//
// With several shards, a flight is in the table of its key's shard, and may wait for flights in the
// tables of other shards.
//
//  │ STATE │ HASH low │ HASH high │ OWNER │ TICKET │ WAITERS │ WAITS_FOR, two words │
import { ZcacheError } from "../base/errors.ts";
import * as Watch from "../store/versions.ts";
import { SetRequest } from "../values/request.ts";
import type { Values } from "../values/values.ts";
import { INTERNAL } from "./keys.ts";
import { packError, unpackError } from "./packed_error.ts";

const OWNER = Watch.WATCH_FRONT; // atomic: the thread that loads, 0 = the slot is free
const TICKET = Watch.WATCH_FRONT + 1; // atomic: number of flights that ended; waiters sleep on it
const WAITERS = Watch.WATCH_FRONT + 2; // atomic: waits of other threads, and low bits of TICKET
const WAITS_FOR = Watch.WATCH_FRONT + 3; // atomic: flights that the loader waits for, 0 = none
const WAITS = 2;

// A waiter that gives up while the flight ends must not be taken off the next flight's count.
const WAITER_BITS = 12;
const WAITER_MASK = (1 << WAITER_BITS) - 1;

// A flight in one word: 1 + the number of its slot among those of all shards, and the low bits of
// its ticket.
const NUMBER_BITS = 16;
const NUMBER_MASK = (1 << NUMBER_BITS) - 1;

/** Interval at which a waiter checks that the loading thread is alive. */
const CHECK_EVERY_MS = 50;
/** Lifetime of an error that waiters are to read. */
const ERROR_TTL_MS = 10_000;
const ERROR_KEY_BYTES = 17;

/** A flight that this thread has joined or begun. */
export interface Flight {
  /** Word index of its slot. */
  readonly at: number;
  readonly ticket: number;
  readonly hashLow: number;
  readonly hashHigh: number;
}

/** How a wait for a flight has ended. */
export interface FlightResult {
  /** Whether the flight has ended; if not, its thread died or the wait was given up. */
  readonly isOver: boolean;
  /** The loader's error as the only element; empty: the loader returned. */
  readonly failure: readonly unknown[];
}

const NO_FAILURE: readonly unknown[] = [];

export class SingleFlight {
  readonly #values: Values;
  readonly #words: Int32Array;
  /** Word index of the first slot. */
  readonly #first: number;
  readonly #errorKey = new Uint8Array(ERROR_KEY_BYTES);
  readonly #request = new SetRequest();

  /** The tables of all shards, and which of them this is. */
  readonly #tables: readonly SingleFlight[];
  readonly #nth: number;

  constructor(values: Values, nth = 0, tables?: readonly SingleFlight[]) {
    this.#values = values;
    this.#nth = nth;
    this.#tables = tables ?? [this];
    this.#words = values.words;
    this.#first = values.versions.watchAt(0, 0);
    this.#freeDeadSlots();
  }

  /** The tables of a cache with these shards. */
  static ofShards(shards: readonly Values[]): readonly SingleFlight[] {
    const tables: SingleFlight[] = [];
    for (const [nth, values] of shards.entries()) {
      tables.push(new SingleFlight(values, nth, tables));
    }
    return tables;
  }

  /** Frees the slots of threads that have died. */
  #freeDeadSlots(): void {
    for (let nth = 0; nth < Watch.WATCHES; nth++) {
      const at = this.#values.versions.watchAt(nth, 0);
      const owner = Atomics.load(this.#words, at + OWNER);
      if (owner === 0 || this.#mayRun(owner) || !this.#claim(at, owner)) continue;
      this.#values.unwatch(at);
      this.#wake(at);
      Atomics.store(this.#words, at + OWNER, 0);
    }
  }

  /**
   * Joins the flight of a key, or begins one.
   * @returns `joined`, or `begun`; neither where no slot is free or the cache is closed
   */
  begin(key: Uint8Array, keyBytes: number): { joined?: Flight; begun?: Flight } {
    if (this.#isClosed) return {};
    const values = this.#values;
    values.lock(key, keyBytes);
    try {
      const flight = this.#find(values.hashLow, values.hashHigh);
      const owner = flight === undefined ? 0 : Atomics.load(this.#words, flight.at + OWNER);
      if (flight !== undefined && this.#mayRun(owner)) {
        Atomics.add(this.#words, flight.at + WAITERS, 1);
        return { joined: flight };
      }
      const begun =
        // The owner has died: this thread takes the flight over, and the waiters go on waiting.
        flight !== undefined && this.#claim(flight.at, owner)
          ? this.#open(flight.at)
          : this.#allocate(values.hashLow);
      return begun === undefined ? {} : { begun };
    } finally {
      values.unlock();
    }
  }

  /** Whether a flight's key was neither set nor deleted since it began. */
  isCurrent({ at, ticket, hashLow, hashHigh }: Flight): boolean {
    const words = this.#words;
    return (
      words[at + Watch.STATE] === Watch.UNCHANGED &&
      words[at + Watch.HASH_LOW] === hashLow &&
      words[at + Watch.HASH_HIGH] === hashHigh &&
      Atomics.load(words, at + TICKET) === ticket
    );
  }

  /** Whether both are of the same cache, which a thread may have attached twice. */
  isSame(other: SingleFlight): boolean {
    return this.#tables[0]!.#words.buffer === other.#tables[0]!.#words.buffer;
  }

  /**
   * Watches a key for a load without a flight.
   * @returns a function that tells whether the key was neither set nor deleted since; false may
   *   also mean that another key with the same version counter was
   */
  watchVersion(key: Uint8Array, keyBytes: number): () => boolean {
    if (this.#isClosed) return () => false;
    const values = this.#values;
    values.lock(key, keyBytes);
    const hash = values.hashLow;
    values.unlock();
    const version = values.versions.of(hash);
    return () => values.versions.of(hash) === version;
  }

  /** Whether other threads wait for a flight. */
  isAwaited(flight: Flight): boolean {
    return (Atomics.load(this.#words, flight.at + WAITERS) & WAITER_MASK) > 0;
  }

  /** Ends a flight of this thread. @param failure the loader's error as the only element, or [] */
  end(key: Uint8Array, keyBytes: number, flight: Flight, failure: readonly unknown[]): void {
    if (this.#isClosed) return;
    // Before the end, which wakes those who read it; and without the lock: it has its own key.
    if (failure.length > 0 && this.isAwaited(flight)) this.#storeError(flight, failure[0]);
    if (this.#isClosed) return;
    const values = this.#values;
    values.lock(key, keyBytes);
    try {
      this.#values.unwatch(flight.at);
      // The end first: a waiter takes a flight that has neither ended nor an owner for one whose
      // thread has died.
      this.#wake(flight.at);
      Atomics.store(this.#words, flight.at + OWNER, 0);
    } finally {
      values.unlock();
    }
  }

  /**
   * Waits for the end of a flight that was joined.
   * @param isWanted asked at intervals: false ends the wait
   */
  async wait(flight: Flight, isWanted: () => boolean): Promise<FlightResult> {
    const words = this.#words;
    const { at, ticket } = flight;
    // The words of a closed cache may be gone.
    while (this.#isClosed || Atomics.load(words, at + TICKET) === ticket) {
      if (this.#isClosed || !this.#mayRun(Atomics.load(words, at + OWNER)) || !isWanted()) {
        this.#removeWaiter(flight);
        return { isOver: false, failure: NO_FAILURE };
      }
      const waiting = Atomics.waitAsync(words, at + TICKET, ticket, CHECK_EVERY_MS);
      // Unlike waitAsync, a timer keeps the process alive.
      const timer = new Promise<void>((resolve) => {
        setTimeout(resolve, CHECK_EVERY_MS);
      });
      await (waiting.async ? Promise.race([waiting.value, timer]) : timer);
    }
    return { isOver: true, failure: this.#readFailure(flight) };
  }

  /**
   * Records that the loader of a flight waits for another flight.
   * @param table where the other flight is
   * @returns false, and records nothing, if that would close a cycle of waits
   */
  addWait(from: Flight, to: Flight, table: SingleFlight): boolean {
    const word = table.#wordOf(to);
    for (let nth = 0; nth < WAITS; nth++) {
      const at = from.at + WAITS_FOR + nth;
      if (Atomics.compareExchange(this.#words, at, 0, word) === 0) break;
    }
    // First recorded, then checked: of several threads that close a cycle, the last one sees it.
    if (!this.#leadsTo(word, this.#wordOf(from))) return true;
    this.removeWait(from, to, table);
    return false;
  }

  removeWait(from: Flight, to: Flight, table: SingleFlight): void {
    const word = table.#wordOf(to);
    for (let nth = 0; nth < WAITS; nth++) {
      const at = from.at + WAITS_FOR + nth;
      if (Atomics.compareExchange(this.#words, at, word, 0) === word) return;
    }
  }

  /** Whether the memory of the cache must not be used any more. */
  get #isClosed(): boolean {
    return this.#values.store.isClosed;
  }

  #mayRun(owner: number): boolean {
    if (owner === 0) return false;
    return owner === this.#values.store.owner || this.#values.store.ownerMayRun(owner);
  }

  /** The flight of a key that is not outdated. */
  #find(hashLow: number, hashHigh: number): Flight | undefined {
    const words = this.#words;
    for (let probe = 0; probe < Watch.WATCH_PROBES; probe++) {
      const at = this.#values.versions.watchAt(hashLow, probe);
      if (Atomics.load(words, at + OWNER) === 0) continue;
      const flight = { at, ticket: Atomics.load(words, at + TICKET), hashLow, hashHigh };
      if (this.isCurrent(flight)) return flight;
    }
    return undefined;
  }

  /** Allocates a slot for the key that is locked: a free one, or one whose owner has died. */
  #allocate(hashLow: number): Flight | undefined {
    const { versions } = this.#values;
    for (const isUsable of [
      (owner: number) => owner === 0,
      (owner: number) => !this.#mayRun(owner),
    ]) {
      for (let probe = 0; probe < Watch.WATCH_PROBES; probe++) {
        const at = versions.watchAt(hashLow, probe);
        const owner = Atomics.load(this.#words, at + OWNER);
        if (!isUsable(owner) || !this.#claim(at, owner)) continue;
        // Waiters of a load whose thread has died start again.
        this.#wake(at);
        return this.#open(at);
      }
    }
    return undefined;
  }

  /** Takes a slot, in a race with threads that want it for other keys. @returns whether it won */
  #claim(at: number, owner: number): boolean {
    const own = this.#values.store.owner;
    return Atomics.compareExchange(this.#words, at + OWNER, owner, own) === owner;
  }

  /** Begins the flight of the key that is locked, in a slot that this thread owns. */
  #open(at: number): Flight {
    const { hashLow, hashHigh } = this.#values;
    for (let nth = 0; nth < WAITS; nth++) Atomics.store(this.#words, at + WAITS_FOR + nth, 0);
    this.#values.watch(at, hashLow, hashHigh);
    return { at, ticket: Atomics.load(this.#words, at + TICKET), hashLow, hashHigh };
  }

  /** Ends all waits for the flight in a slot. */
  #wake(at: number): void {
    const next = (Atomics.load(this.#words, at + TICKET) + 1) | 0;
    Atomics.store(this.#words, at + WAITERS, next << WAITER_BITS);
    Atomics.add(this.#words, at + TICKET, 1);
    Atomics.notify(this.#words, at + TICKET);
  }

  /** Takes a wait off a flight, unless the flight has ended, and its waits with it. */
  #removeWaiter({ at, ticket }: Flight): void {
    const words = this.#words;
    for (;;) {
      const waiters = Atomics.load(words, at + WAITERS);
      if ((waiters & ~WAITER_MASK) !== ticket << WAITER_BITS) return;
      const fewer = waiters - 1;
      if (Atomics.compareExchange(words, at + WAITERS, waiters, fewer) === waiters) return;
    }
  }

  #wordOf({ at, ticket }: Flight): number {
    const slot = this.#nth * Watch.WATCHES + (at - this.#first) / Watch.WATCH_WORDS;
    return (ticket << NUMBER_BITS) | (slot + 1);
  }

  /** Whether a flight is another one or waits for it, through others too. Both as #wordOf. */
  #leadsTo(from: number, to: number): boolean {
    const open = [from];
    const seen = new Set<number>([0]);
    for (let word = open.pop(); word !== undefined; word = open.pop()) {
      if (word === to) return true;
      if (seen.has(word)) continue;
      seen.add(word);
      const slot = (word & NUMBER_MASK) - 1;
      const table = this.#tables[Math.floor(slot / Watch.WATCHES)]!;
      open.push(...table.#waitsOf(slot % Watch.WATCHES, word & ~NUMBER_MASK));
    }
    return false;
  }

  /** What the flight with these ticket bits in a slot waits for. */
  #waitsOf(slot: number, ticketBits: number): number[] {
    const words = this.#words;
    const at = this.#first + slot * Watch.WATCH_WORDS;
    // A load whose thread has died waits for nothing.
    if (Atomics.load(words, at + TICKET) << NUMBER_BITS !== ticketBits) return [];
    if (this.#isClosed || !this.#mayRun(Atomics.load(words, at + OWNER))) return [];
    return Array.from({ length: WAITS }, (_, nth) => Atomics.load(words, at + WAITS_FOR + nth));
  }

  #storeError(flight: Flight, error: unknown): void {
    const bytes = packError(error);
    if (this.#isClosed) return;
    const request = this.#request;
    request.key = this.#errorKeyOf(flight);
    request.keyBytes = ERROR_KEY_BYTES;
    request.value = bytes;
    request.valueBytes = bytes.length;
    request.expiresMs = Date.now() + ERROR_TTL_MS;
    try {
      this.#values.set(request);
    } catch (failure) {
      // Without the error the waiters call their own loaders.
      if (!(failure instanceof ZcacheError)) throw failure;
    }
  }

  #readFailure(flight: Flight): readonly unknown[] {
    if (this.#isClosed) return NO_FAILURE;
    let bytes: Uint8Array | undefined;
    try {
      bytes = this.#readError(this.#errorKeyOf(flight));
    } catch (failure) {
      if (!(failure instanceof ZcacheError)) throw failure;
    }
    return bytes === undefined ? NO_FAILURE : [unpackError(bytes)];
  }

  #readError(key: Uint8Array): Uint8Array | undefined {
    const values = this.#values;
    const isFound = values.find(key, ERROR_KEY_BYTES);
    this.#values.countNothing(isFound);
    if (!isFound) return undefined;
    const { valueBytes, bufferAt } = values;
    const long = values.read(key, ERROR_KEY_BYTES);
    return long === null
      ? undefined
      : (long ?? values.bytes.slice(bufferAt, bufferAt + valueBytes));
  }

  #errorKeyOf({ at, ticket, hashLow, hashHigh }: Flight): Uint8Array {
    const key = this.#errorKey;
    key[0] = INTERNAL;
    for (const [nth, word] of [hashLow, hashHigh, ticket, at].entries()) {
      for (let i = 0; i < 4; i++) key[1 + nth * 4 + i] = word >>> (i * 8);
    }
    return key;
  }
}
