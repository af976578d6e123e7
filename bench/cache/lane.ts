// The loops of one thread: fills a cache, then measures gets, sets and a mix of both. The loops
// yield to the event loop at intervals, as a service does, so that background work runs.
// Synchronous methods are called in a plain loop; of asynchronous methods, several calls are in
// flight at a time.
import { setImmediate as nextTurn } from "node:timers/promises";
import { Histogram } from "../../src/base/histogram.ts";
import type { Session, Value } from "./contender.ts";
import { drawOrder, type Values } from "./data.ts";

const IN_FLIGHT = 64;
/** Operations between two readings of the clock. */
const BATCH = 512;
/** One operation in this many is a set. */
const SET_EVERY = 20;
/** Maximum number of requests drawn beforehand; then the sequence repeats. */
const ORDER_MAX = 1 << 18;
/** Values made beforehand for sets. */
const PREPARED = 512;
/** Values that are compared after filling. */
const COMPARED = 200;

export interface Speed {
  readonly getsPerSecond: number;
  readonly setsPerSecond: number;
  /** 95 % gets, without reading the clock. */
  readonly mixedPerSecond: number;
  /** Latencies in the same mix, one operation at a time, in µs. */
  readonly getP50Us: number;
  readonly getP99Us: number;
  readonly setP50Us: number;
  readonly setP99Us: number;
}

function isPromise(value: unknown): value is Promise<unknown> {
  return typeof (value as Promise<unknown> | undefined)?.then === "function";
}

/** Keeps a limited number of promises in flight. */
class InFlight {
  #pending: Promise<unknown>[] = [];

  get isFull(): boolean {
    return this.#pending.length >= IN_FLIGHT;
  }

  add(promise: Promise<unknown>): void {
    this.#pending.push(promise);
  }

  async settle(): Promise<void> {
    const pending = this.#pending;
    this.#pending = [];
    await Promise.all(pending);
  }
}

/** Sets every value once. */
export async function fill(session: Session, values: Values): Promise<void> {
  const pending = new InFlight();
  for (let nth = 0; nth < values.count; nth++) {
    if (nth % BATCH === 0) await nextTurn();
    const set = session.set(values.keys[nth]!, values.at(nth));
    if (isPromise(set)) pending.add(set);
    if (pending.isFull) await pending.settle();
  }
  await pending.settle();
  await session.settle?.();
}

/** Compares some values with the originals. @throws Error naming the first that differs */
export async function compare(session: Session, values: Values): Promise<void> {
  for (let one = 0; one < COMPARED; one++) {
    const nth = Math.floor((one * values.count) / COMPARED);
    const got = (await session.get(values.keys[nth]!)) as Value | undefined | null;
    const expected = values.at(nth);
    const same =
      typeof expected === "string"
        ? got === expected
        : got instanceof Uint8Array && Buffer.compare(got, expected) === 0;
    if (!same) throw new Error(`value ${nth} is not what was set`);
  }
}

export class Lane {
  readonly #session: Session;
  readonly #keys: readonly string[];
  readonly #order: Uint32Array;
  readonly #prepared: Value[];
  #at = 0;

  constructor(session: Session, values: Values, seed: number) {
    this.#session = session;
    this.#keys = values.keys;
    this.#order = drawOrder(values.count, Math.min(ORDER_MAX, 64 * values.count), seed);
    this.#prepared = Array.from({ length: Math.min(PREPARED, values.count) }, (_, nth) =>
      values.at(nth),
    );
  }

  /** @param ms for each of the four measurements */
  async speed(ms: number): Promise<Speed> {
    const get = () => this.#get();
    const set = () => this.#set();
    await this.#run(ms / 4, get);
    const getsPerSecond = await this.#run(ms, get);
    const setsPerSecond = await this.#run(ms, set);
    const mixedPerSecond = await this.mixed(ms);
    return { getsPerSecond, setsPerSecond, mixedPerSecond, ...(await this.#latencies(ms)) };
  }

  /** @returns operations per second, 95 % gets */
  mixed(ms: number): Promise<number> {
    let nth = 0;
    return this.#run(ms, () => (++nth % SET_EVERY === 0 ? this.#set() : this.#get()));
  }

  #key(): string {
    if (++this.#at === this.#order.length) this.#at = 0;
    return this.#keys[this.#order[this.#at]!]!;
  }

  #get(): unknown {
    return this.#session.get(this.#key());
  }

  #set(): unknown {
    return this.#session.set(this.#key(), this.#prepared[this.#at % this.#prepared.length]!);
  }

  async #run(ms: number, operation: () => unknown): Promise<number> {
    const pending = new InFlight();
    const begin = performance.now();
    let done = 0;
    let now = begin;
    for (; now < begin + ms; now = performance.now()) {
      for (let nth = 0; nth < BATCH; nth++) {
        const result = operation();
        if (!isPromise(result)) continue;
        pending.add(result);
        if (pending.isFull) await pending.settle();
      }
      done += BATCH;
      await nextTurn();
    }
    await pending.settle();
    await this.#session.settle?.();
    return (1000 * done) / (performance.now() - begin);
  }

  async #latencies(ms: number): Promise<Omit<Speed, `${string}PerSecond`>> {
    const gets = new Histogram();
    const sets = new Histogram();
    const end = performance.now() + ms;
    for (let nth = 1; performance.now() < end; nth++) {
      const isSet = nth % SET_EVERY === 0;
      const begin = performance.now();
      const result = isSet ? this.#set() : this.#get();
      if (isPromise(result)) await result;
      (isSet ? sets : gets).record((performance.now() - begin) * 1e6);
    }
    const us = (histogram: Histogram, share: number) => histogram.percentile(share) / 1000;
    return {
      getP50Us: us(gets, 0.5),
      getP99Us: us(gets, 0.99),
      setP50Us: us(sets, 0.5),
      setP99Us: us(sets, 0.99),
    };
  }
}

/**
 * Gets values in the drawn order, and sets each value that is missing.
 * @returns share of hits in the second half
 */
export async function hitRate(session: Session, values: Values, requests: number): Promise<number> {
  const order = drawOrder(values.count, requests, 99);
  let hits = 0;
  const settle = (nth: number, got: unknown): unknown => {
    if (got !== undefined && got !== null) {
      if (2 * nth >= requests) hits++;
      return undefined;
    }
    return session.set(values.keys[order[nth]!]!, values.at(order[nth]!));
  };
  for (let from = 0; from < requests; from += IN_FLIGHT) {
    const pending = new InFlight();
    await nextTurn();
    for (let nth = from; nth < Math.min(requests, from + IN_FLIGHT); nth++) {
      const got = session.get(values.keys[order[nth]!]!);
      const rest = isPromise(got) ? got.then((value) => settle(nth, value)) : settle(nth, got);
      if (isPromise(rest)) pending.add(rest);
    }
    await pending.settle();
  }
  return hits / (requests - Math.ceil(requests / 2));
}
