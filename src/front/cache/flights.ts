// Loads under way, of all threads: who wants a value that somebody is loading waits for that.
//
// A flight is a few words in the arena. Its key is locked (KeyedValues.lock) whenever it begins,
// ends, or somebody joins; so there is one flight for a key, and no one joins one that has ended.
// What a loader threw travels as a value of the cache's own, and only if somebody waits for it.
//
//  │ STATE │ HASH low │ HASH high │ OWNER │ TICKET │ WAITERS │ – │ – │
import { FLIGHTS_BYTES } from "../values/format.ts";
import type { KeyedValues } from "../values/values.ts";
import type { CachePlatform } from "./contract.ts";
import { INTERNAL } from "./keys.ts";

const STATE = 0; // atomic: 0 free, 1 under way
const HASH_LOW = 1; // with the next: guarded by the key's lock while under way
const HASH_HIGH = 2;
const OWNER = 3; // atomic: the thread that loads; 0 = not known yet, or no more
const TICKET = 4; // atomic: counts ends; those who wait sleep on it
const WAITERS = 5; // guarded by the key's lock
const FLIGHT_WORDS = 8;
const FLIGHTS = FLIGHTS_BYTES / FLIGHT_WORDS / 4;

/** Places that a key may take; where all are taken, it is loaded without anybody knowing. */
const PROBES = 8;
/** Between two looks at whether the thread that loads lives. */
const LOOK_EVERY_MS = 50;
/** An error is kept so long for those who wait for it. */
const ERROR_TTL_MS = 10_000;
const ERROR_KEY_BYTES = 13;

/** One that this thread has joined, or has begun. */
export interface Flight {
  readonly at: number;
  readonly ticket: number;
  readonly hashLow: number;
  readonly hashHigh: number;
}

export class Flights {
  readonly #values: KeyedValues;
  readonly #words: Int32Array;
  readonly #at: number;
  readonly #platform: CachePlatform;
  readonly #errorKey = new Uint8Array(ERROR_KEY_BYTES);
  readonly #noMeta = new Uint8Array(0);

  constructor(values: KeyedValues, platform: CachePlatform) {
    this.#values = values;
    this.#words = values.words;
    this.#at = values.flightsAt;
    this.#platform = platform;
  }

  /**
   * Begins a flight for a key, or joins the one that is under way.
   * @returns the flight that was joined; or, with `begun`, the one that is this thread's now, or
   *   undefined where there is no place for it
   */
  begin(key: Uint8Array, keyBytes: number): { joined?: Flight; begun?: Flight } {
    const values = this.#values;
    values.lock(key, keyBytes);
    try {
      const under = this.#find(values.hashLow, values.hashHigh);
      if (under === undefined) {
        const begun = this.#take(values.hashLow, values.hashHigh);
        return begun === undefined ? {} : { begun };
      }
      if (values.store.ownerMayRun(this.#words[under.at + OWNER]!)) {
        Atomics.add(this.#words, under.at + WAITERS, 1);
        return { joined: under };
      }
      // Whoever began it has died: this thread goes on, and those who wait wait for it.
      Atomics.store(this.#words, under.at + OWNER, values.store.owner);
      return { begun: under };
    } finally {
      values.unlock();
    }
  }

  /** Ends a flight that this thread has begun. @param failure what the loader threw, in an array */
  end(key: Uint8Array, keyBytes: number, flight: Flight, failure: readonly unknown[]): void {
    const values = this.#values;
    values.lock(key, keyBytes);
    let isAwaited = false;
    try {
      isAwaited = Atomics.load(this.#words, flight.at + WAITERS) > 0;
    } finally {
      values.unlock();
    }
    // Before it ends: who wakes up looks for it. Its key has a lock of its own.
    if (isAwaited && failure.length > 0) this.#putError(flight, failure[0]);
    values.lock(key, keyBytes);
    try {
      Atomics.add(this.#words, flight.at + TICKET, 1);
      Atomics.store(this.#words, flight.at + OWNER, 0);
      Atomics.store(this.#words, flight.at + STATE, 0);
      Atomics.notify(this.#words, flight.at + TICKET);
    } finally {
      values.unlock();
    }
  }

  /**
   * Waits for a flight's end.
   * @returns what its loader threw, in an array; an empty one if it threw nothing, or died
   */
  async wait(flight: Flight): Promise<readonly unknown[]> {
    while (Atomics.load(this.#words, flight.at + TICKET) === flight.ticket) {
      const owner = Atomics.load(this.#words, flight.at + OWNER);
      if (owner !== 0 && !this.#values.store.ownerMayRun(owner)) return [];
      const waiting = Atomics.waitAsync(this.#words, flight.at + TICKET, flight.ticket);
      // What is asleep on shared memory does not keep the process alive, a timer does.
      const rest = this.#platform.sleep(LOOK_EVERY_MS);
      await (waiting.async ? Promise.race([waiting.value, rest]) : rest);
    }
    return this.#takeError(flight);
  }

  #find(hashLow: number, hashHigh: number): Flight | undefined {
    const words = this.#words;
    for (let probe = 0; probe < PROBES; probe++) {
      const at = this.#placeOf(hashLow, probe);
      if (Atomics.load(words, at + STATE) !== 1) continue;
      if (words[at + HASH_LOW] !== hashLow || words[at + HASH_HIGH] !== hashHigh) continue;
      return { at, ticket: Atomics.load(words, at + TICKET), hashLow, hashHigh };
    }
    return undefined;
  }

  #take(hashLow: number, hashHigh: number): Flight | undefined {
    const words = this.#words;
    for (let probe = 0; probe < PROBES; probe++) {
      const at = this.#placeOf(hashLow, probe);
      // Another key's flight may take the same place just now.
      if (Atomics.compareExchange(words, at + STATE, 0, 1) !== 0) {
        const owner = Atomics.load(words, at + OWNER);
        if (owner === 0 || this.#values.store.ownerMayRun(owner)) continue;
        if (Atomics.compareExchange(words, at + OWNER, owner, 0) !== owner) continue;
      }
      words[at + HASH_LOW] = hashLow;
      words[at + HASH_HIGH] = hashHigh;
      Atomics.store(words, at + WAITERS, 0);
      Atomics.store(words, at + OWNER, this.#values.store.owner);
      return { at, ticket: Atomics.load(words, at + TICKET), hashLow, hashHigh };
    }
    return undefined;
  }

  #placeOf(hashLow: number, probe: number): number {
    return this.#at + ((hashLow + probe) & (FLIGHTS - 1)) * FLIGHT_WORDS;
  }

  #putError(flight: Flight, error: unknown): void {
    const bytes = this.#platform.packError(error);
    const expires = this.#platform.now() + ERROR_TTL_MS;
    const key = this.#errorKeyOf(flight);
    this.#values.set(key, ERROR_KEY_BYTES, this.#noMeta, 0, bytes, bytes.length, expires);
  }

  #takeError(flight: Flight): readonly unknown[] {
    const values = this.#values;
    const key = this.#errorKeyOf(flight);
    if (!values.find(key, ERROR_KEY_BYTES)) return [];
    const { valueBytes } = values;
    const long = values.read(key, ERROR_KEY_BYTES);
    const bytes = long ?? values.bytes.slice(values.roomAt, values.roomAt + valueBytes);
    return [this.#platform.unpackError(bytes)];
  }

  #errorKeyOf({ ticket, hashLow, hashHigh }: Flight): Uint8Array {
    const key = this.#errorKey;
    key[0] = INTERNAL;
    for (const [nth, word] of [hashLow, hashHigh, ticket].entries()) {
      for (let i = 0; i < 4; i++) key[1 + nth * 4 + i] = word >>> (i * 8);
    }
    return key;
  }
}
