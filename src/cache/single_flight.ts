// Loads under way, of all threads: a thread that wants a value that another one is loading waits
// for that load.
//
// A flight is the place of a watch (store/versions.ts), which says whether its key was set or
// removed since the load began, and five words behind it. The key is locked (KeyedValues.lock)
// whenever its flight begins, ends, or is joined; so of a key there is one flight that is not
// outdated, and nobody joins one that has ended. What a loader threw travels as a value of the
// cache's own, and only if somebody waits for it.
//
//  │ STATE │ HASH low │ HASH high │ OWNER │ TICKET │ WAITERS │ WAITS_FOR, two words │
import { ZcacheError } from "../base/errors.ts";
import type { Values } from "../store/values.ts";
import * as Watch from "../store/versions.ts";
import type { KeyedValues } from "../values/values.ts";
import type { CachePlatform } from "./contract.ts";
import { INTERNAL } from "./keys.ts";

const OWNER = Watch.WATCH_FRONT; // atomic: the thread that loads, 0 = the place is free
const TICKET = Watch.WATCH_FRONT + 1; // atomic: counts ends; those who wait sleep on it
const WAITERS = Watch.WATCH_FRONT + 2; // atomic: waits of other threads that have begun
const WAITS_FOR = Watch.WATCH_FRONT + 3; // atomic: flights that its loader waits for, 0 = none
const WAITS = 2;

// A flight as one word says it: 1 + its number, and as much of its ticket as there is room for.
const NUMBER_BITS = 10;
const NUMBER_MASK = (1 << NUMBER_BITS) - 1;

/** Between two looks at whether the thread that loads lives. */
const LOOK_EVERY_MS = 50;
/** An error is kept so long for those who wait for it. */
const ERROR_TTL_MS = 10_000;
const ERROR_KEY_BYTES = 17;

/** One that this thread has joined, or has begun. */
export interface Flight {
  /** Word index of its place. */
  readonly at: number;
  readonly ticket: number;
  readonly hashLow: number;
  readonly hashHigh: number;
}

/** What has come of a wait: the load has ended, and what it threw, if so; or it is not awaited. */
export interface Landing {
  readonly isOver: boolean;
  /** What the loader threw, in an array; an empty one if it threw nothing. */
  readonly failure: readonly unknown[];
}

const NOTHING: readonly unknown[] = [];

export class Flights {
  readonly #values: KeyedValues;
  readonly #stored: Values;
  readonly #words: Int32Array;
  readonly #platform: CachePlatform;
  /** Where the first of all stands: a word index. */
  readonly #first: number;
  readonly #errorKey = new Uint8Array(ERROR_KEY_BYTES);
  readonly #noMeta = new Uint8Array(0);

  constructor(values: KeyedValues, platform: CachePlatform) {
    this.#values = values;
    this.#stored = values.store.values!;
    this.#words = values.words;
    this.#platform = platform;
    this.#first = values.versions.watchAt(0, 0);
    this.#reap();
  }

  /** Frees the places of threads that have died: each cache that is opened clears up. */
  #reap(): void {
    for (let nth = 0; nth < Watch.WATCHES; nth++) {
      const at = this.#values.versions.watchAt(nth, 0);
      const owner = Atomics.load(this.#words, at + OWNER);
      if (owner === 0 || this.#mayRun(owner) || !this.#claim(at, owner)) continue;
      this.#stored.unwatch(at);
      Atomics.store(this.#words, at + OWNER, 0);
      this.#wake(at);
    }
  }

  /**
   * Begins a flight for a key, or joins the one that is under way.
   * @returns the flight that was joined; or, with `begun`, the one that is this thread's now; or
   *   neither where there is no place for it, or the cache is closed
   */
  begin(key: Uint8Array, keyBytes: number): { joined?: Flight; begun?: Flight } {
    if (this.#isClosed) return {};
    const values = this.#values;
    values.lock(key, keyBytes);
    try {
      const under = this.#find(values.hashLow, values.hashHigh);
      const owner = under === undefined ? 0 : Atomics.load(this.#words, under.at + OWNER);
      if (under !== undefined && this.#mayRun(owner)) {
        Atomics.add(this.#words, under.at + WAITERS, 1);
        return { joined: under };
      }
      const begun =
        // Whoever began it has died: this thread goes on, and those who wait wait for it.
        under !== undefined && this.#claim(under.at, owner)
          ? this.#open(under.at)
          : this.#take(values.hashLow);
      return begun === undefined ? {} : { begun };
    } finally {
      values.unlock();
    }
  }

  /** Whether nobody has set or removed the key of a flight since it began. */
  isCurrent({ at, ticket, hashLow, hashHigh }: Flight): boolean {
    const words = this.#words;
    return (
      words[at + Watch.STATE] === Watch.UNCHANGED &&
      words[at + Watch.HASH_LOW] === hashLow &&
      words[at + Watch.HASH_HIGH] === hashHigh &&
      Atomics.load(words, at + TICKET) === ticket
    );
  }

  /** Whether these are flights of the same cache: one that is attached twice in a thread, say. */
  isOf(other: Flights): boolean {
    return this.#words.buffer === other.#words.buffer;
  }

  /**
   * For a load without a flight.
   * @returns what says later whether nobody has set or removed the key since; if it says no, that
   *   may have been another key
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
    return Atomics.load(this.#words, flight.at + WAITERS) > 0;
  }

  /** Ends a flight that this thread has begun. @param failure what the loader threw, in an array */
  end(key: Uint8Array, keyBytes: number, flight: Flight, failure: readonly unknown[]): void {
    if (this.#isClosed) return;
    // Before it ends: who wakes up looks for it. Its key has a lock of its own.
    if (failure.length > 0 && this.isAwaited(flight)) this.#putError(flight, failure[0]);
    if (this.#isClosed) return;
    const values = this.#values;
    values.lock(key, keyBytes);
    try {
      this.#stored.unwatch(flight.at);
      Atomics.store(this.#words, flight.at + OWNER, 0);
      this.#wake(flight.at);
    } finally {
      values.unlock();
    }
  }

  /**
   * Waits for the end of a flight that was joined.
   * @param isWanted asked from time to time whether to go on waiting
   */
  async wait(flight: Flight, isWanted: () => boolean): Promise<Landing> {
    const words = this.#words;
    const { at, ticket } = flight;
    while (Atomics.load(words, at + TICKET) === ticket) {
      if (this.#isClosed || !this.#mayRun(Atomics.load(words, at + OWNER)) || !isWanted()) {
        Atomics.sub(words, at + WAITERS, 1);
        return { isOver: false, failure: NOTHING };
      }
      const waiting = Atomics.waitAsync(words, at + TICKET, ticket, LOOK_EVERY_MS);
      // What is asleep on shared memory does not keep the process alive, a timer does.
      const rest = this.#platform.sleep(LOOK_EVERY_MS);
      await (waiting.async ? Promise.race([waiting.value, rest]) : rest);
    }
    return { isOver: true, failure: this.#takeError(flight) };
  }

  /**
   * Notes that the loader of a flight of this thread's waits for another flight.
   * @returns false if that one waits, itself or by others, for this one: nothing is noted then
   */
  addWait(from: Flight, to: Flight): boolean {
    const word = this.#wordOf(to);
    for (let nth = 0; nth < WAITS; nth++) {
      const at = from.at + WAITS_FOR + nth;
      if (Atomics.compareExchange(this.#words, at, 0, word) === 0) break;
    }
    // Of all who do so at once, the last one sees what the others have noted.
    if (!this.#leadsTo(word, this.#wordOf(from))) return true;
    this.removeWait(from, to);
    return false;
  }

  removeWait(from: Flight, to: Flight): void {
    const word = this.#wordOf(to);
    for (let nth = 0; nth < WAITS; nth++) {
      const at = from.at + WAITS_FOR + nth;
      if (Atomics.compareExchange(this.#words, at, word, 0) === word) return;
    }
  }

  /** Nothing of the cache's is to be used any more. */
  get #isClosed(): boolean {
    return this.#stored.stored.isClosed;
  }

  #mayRun(owner: number): boolean {
    if (owner === 0) return false;
    return owner === this.#values.store.owner || this.#values.store.ownerMayRun(owner);
  }

  /** The flight of a key that somebody has begun and that is not outdated. */
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

  /** Takes a place for a key: a free one, or one whose owner has died. */
  #take(hashLow: number): Flight | undefined {
    const { versions } = this.#values;
    for (const isWanted of [
      (owner: number) => owner === 0,
      (owner: number) => !this.#mayRun(owner),
    ]) {
      for (let probe = 0; probe < Watch.WATCH_PROBES; probe++) {
        const at = versions.watchAt(hashLow, probe);
        const owner = Atomics.load(this.#words, at + OWNER);
        if (!isWanted(owner) || !this.#claim(at, owner)) continue;
        // Those who waited for a load that has died look again.
        this.#wake(at);
        return this.#open(at);
      }
    }
    return undefined;
  }

  /** Another key's flight may take the same place just now. @returns whether it is this thread's */
  #claim(at: number, owner: number): boolean {
    const own = this.#values.store.owner;
    return Atomics.compareExchange(this.#words, at + OWNER, owner, own) === owner;
  }

  /** Begins the flight of the key that is locked, in a place that this thread has. */
  #open(at: number): Flight {
    const { hashLow, hashHigh } = this.#values;
    for (let nth = 0; nth < WAITS; nth++) Atomics.store(this.#words, at + WAITS_FOR + nth, 0);
    this.#stored.watch(at, hashLow, hashHigh);
    return { at, ticket: Atomics.load(this.#words, at + TICKET), hashLow, hashHigh };
  }

  /** Ends the waits for what was loaded in a place. */
  #wake(at: number): void {
    Atomics.store(this.#words, at + WAITERS, 0);
    Atomics.add(this.#words, at + TICKET, 1);
    Atomics.notify(this.#words, at + TICKET);
  }

  #wordOf({ at, ticket }: Flight): number {
    return (ticket << NUMBER_BITS) | ((at - this.#first) / Watch.WATCH_WORDS + 1) | 0;
  }

  /** Whether a flight waits for another, or is that one. Both as #wordOf says them. */
  #leadsTo(from: number, to: number): boolean {
    const words = this.#words;
    const open = [from];
    const seen = new Set<number>([0]);
    for (let word = open.pop(); word !== undefined; word = open.pop()) {
      if (word === to) return true;
      if (seen.has(word)) continue;
      seen.add(word);
      const at = this.#first + ((word & NUMBER_MASK) - 1) * Watch.WATCH_WORDS;
      const isOf = Atomics.load(words, at + TICKET) << NUMBER_BITS === (word & ~NUMBER_MASK);
      // Whoever waits for a thread that has died waits for nothing.
      if (!isOf || !this.#mayRun(Atomics.load(words, at + OWNER))) continue;
      for (let nth = 0; nth < WAITS; nth++) open.push(Atomics.load(words, at + WAITS_FOR + nth));
    }
    return false;
  }

  #putError(flight: Flight, error: unknown): void {
    const bytes = this.#platform.packError(error);
    if (this.#isClosed) return;
    const expires = this.#platform.now() + ERROR_TTL_MS;
    const key = this.#errorKeyOf(flight);
    try {
      this.#values.set(key, ERROR_KEY_BYTES, this.#noMeta, 0, bytes, bytes.length, expires);
    } catch (failure) {
      // Those who wait load by themselves.
      if (!(failure instanceof ZcacheError)) throw failure;
    }
  }

  #takeError(flight: Flight): readonly unknown[] {
    if (this.#isClosed) return NOTHING;
    let bytes: Uint8Array | undefined;
    try {
      bytes = this.#readError(this.#errorKeyOf(flight));
    } catch (failure) {
      if (!(failure instanceof ZcacheError)) throw failure;
    }
    return bytes === undefined ? NOTHING : [this.#platform.unpackError(bytes)];
  }

  #readError(key: Uint8Array): Uint8Array | undefined {
    const values = this.#values;
    const isFound = values.find(key, ERROR_KEY_BYTES);
    this.#stored.countNothing(isFound);
    if (!isFound) return undefined;
    const { valueBytes, roomAt } = values;
    const long = values.read(key, ERROR_KEY_BYTES);
    return long === null ? undefined : (long ?? values.bytes.slice(roomAt, roomAt + valueBytes));
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
