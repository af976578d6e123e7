// The loads of one thread: a loader runs once for a key, and every `fetch` of that key meanwhile
// waits for it. single_flight.ts extends this to all threads.
//
// A loader may fetch other keys, and so wait for other loads. Which load waits for which is known:
// in this thread by `Load.waiting`, across threads by single_flight.ts. A fetch that would wait for
// itself is rejected (ERR_LOAD_CYCLE). AsyncLocalStorage tells from which loader a fetch comes.
import { AsyncLocalStorage } from "node:async_hooks";
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import type { Fleet } from "./fleet.ts";
import type { CacheKey, RequestedKey } from "./keys.ts";
import type { FetchPlan, Lifetime } from "./options.ts";
import type { Flight, SingleFlight } from "./single_flight.ts";
import type { LocalCounts } from "./statistics.ts";

/** What a loader gets beside the key. */
export interface LoadContext {
  /**
   * Aborted when all callers that waited for the load have given up, with the reason of the last
   * one. A load whose loader has read this property ends then: its value is not stored.
   */
  readonly signal: AbortSignal;
}

/** Returns the value of a key; its error reaches all callers that wait for the load. */
export type Loader<K, V> = (key: K, load: LoadContext) => V | PromiseLike<V>;

/** The part of a cache that loads use. */
export interface LoadHost<K extends CacheKey, V> {
  /** Where the flight of a key is. */
  singleFlightOf(key: K): SingleFlight;
  /** The value if there is a fresh one; counts as neither a hit nor a miss. */
  peek(key: K): V | undefined;
  /** Stores a loaded value if `mayStore`, asked under the store's lock, agrees and it fits. */
  store(key: K, value: V, lifetime: Lifetime, mayStore: () => boolean): void;
  /** What loads values that several machines share, in place of `store`; usually undefined. */
  shared(): Fleet<K, V> | undefined;
}

/** How often a fetch joins loads of other threads before it calls its own loader. */
const JOINS_MAX = 3;
/**
 * How often a load that others wait for checks on the load of another thread (every 50 ms, see
 * single_flight.ts) before it calls its own loader: ten seconds in all. This ends a cycle across
 * threads that was not detected.
 */
const CHECKS_MAX = 200;
const NO_FAILURE: readonly unknown[] = [];

/**
 * What AsyncLocalStorage keeps for calls that come from a loader. That may be for ever, as with a
 * connection which a loader opened; so the load is removed from it at its end.
 */
class Scope {
  load: unknown;
}

const scopes = new AsyncLocalStorage<Scope>();

/** One load, from the first fetch to its end. */
class Load<K, V> {
  readonly key: RequestedKey<K>;
  readonly singleFlight: SingleFlight;
  /** The value. Exists before the loader runs, which may cause other fetches of the key. */
  readonly promise: Promise<V | undefined>;
  resolve: (result: Promise<V | undefined>) => void = () => undefined;
  /** The flight that this load has begun (`hasBegun`) or has joined; undefined: neither. */
  flight: Flight | undefined;
  hasBegun = false;
  /** Whether the key was neither set nor deleted since the load began. */
  mayStore: () => boolean = () => false;
  isOver = false;
  readonly scope = new Scope();
  /** All callers have given up, and the signal of the loader is aborted. */
  isAbandoned = false;
  /** Number of callers that wait, and the reason for which the last one gave up. */
  callers = 0;
  reason: unknown;
  /** Loads whose loaders wait for this one. */
  readonly waiting: Load<K, V>[] = [];
  #aborting: AbortController | undefined;

  constructor(key: RequestedKey<K>, singleFlight: SingleFlight) {
    this.key = key;
    this.singleFlight = singleFlight;
    this.promise = new Promise((resolve) => {
      this.resolve = resolve;
    });
    // Without this a rejection after all callers have given up would be an unhandled one.
    this.promise.catch(() => undefined);
  }

  get context(): LoadContext {
    const load = this;
    return {
      get signal() {
        return load.#signal;
      },
    };
  }

  get #signal(): AbortSignal {
    if (this.#aborting === undefined) {
      this.#aborting = new AbortController();
      if (this.callers === 0) this.#aborting.abort(this.reason);
    }
    return this.#aborting.signal;
  }

  /** Whether the loader has read its signal. */
  get isAbortable(): boolean {
    return this.#aborting !== undefined;
  }

  abort(): void {
    this.#aborting?.abort(this.reason);
  }

  /** Whether the loader of that load waits for this one, directly or through other loads. */
  isAwaitedBy({ singleFlight, key }: Load<K, V>): boolean {
    const seen = new Set<Load<K, V>>();
    const open: Load<K, V>[] = [this];
    for (let load = open.pop(); load !== undefined; load = open.pop()) {
      if (seen.has(load)) continue;
      seen.add(load);
      if (load.key.name === key.name && load.singleFlight.isSame(singleFlight)) return true;
      open.push(...load.waiting);
    }
    return false;
  }

  /** Whether the key was set or deleted since the load began. */
  get isOutdated(): boolean {
    const { flight } = this;
    return flight === undefined ? !this.mayStore() : !this.singleFlight.isCurrent(flight);
  }

  /**
   * Replaces the flight of this load.
   * @returns false if the new flight waits, in other threads, for a load that waits for this one
   */
  setFlight(flight: Flight | undefined, hasBegun: boolean): boolean {
    for (const load of this.waiting) this.#removeWait(load);
    this.flight = flight;
    this.hasBegun = hasBegun;
    return this.waiting.every((load) => this.#addWait(load));
  }

  /** @returns false if this load waits, in other threads, for that one */
  addWaiting(load: Load<K, V>): boolean {
    this.waiting.push(load);
    return this.#addWait(load);
  }

  removeWaiting(load: Load<K, V>): void {
    this.#removeWait(load);
    const nth = this.waiting.indexOf(load);
    if (nth >= 0) this.waiting.splice(nth, 1);
  }

  /** Publishes to other threads that a load waits for this one. */
  #addWait(load: Load<K, V>): boolean {
    if (this.flight === undefined || !load.#isPublished(this.singleFlight)) return true;
    return load.singleFlight.addWait(load.flight!, this.flight, this.singleFlight);
  }

  #removeWait(load: Load<K, V>): void {
    if (this.flight === undefined || !load.#isPublished(this.singleFlight)) return;
    load.singleFlight.removeWait(load.flight!, this.flight, this.singleFlight);
  }

  #isPublished(singleFlight: SingleFlight): boolean {
    return this.hasBegun && !this.isOver && this.singleFlight.isSame(singleFlight);
  }
}

export class Loads<K extends CacheKey, V> {
  readonly #host: LoadHost<K, V>;
  readonly #counts: LocalCounts;
  /** Loads in progress, by the name of the key. */
  readonly #loads = new Map<string, Load<K, V>>();

  constructor(host: LoadHost<K, V>, counts: LocalCounts) {
    this.#host = host;
    this.#counts = counts;
  }

  /**
   * Waits for the load of a key that is in progress, or begins one.
   * @throws as a rejection: the loader's error, the signal's reason, ZcacheError ERR_LOAD_CYCLE
   */
  async request(
    key: RequestedKey<K>,
    loader: Loader<K, V | undefined>,
    plan: FetchPlan,
  ): Promise<V | undefined> {
    const { signal } = plan;
    const joined = this.#joinable(key.name);
    const load = joined ?? this.#newLoad(key);
    const caller = scopes.getStore()?.load as Load<K, V> | undefined;
    if (caller?.isAwaitedBy(load)) throw cycleError(key.own);
    load.callers++;
    try {
      if (caller !== undefined && !load.addWaiting(caller)) throw cycleError(key.own);
      if (joined === undefined) this.#start(load, loader, plan);
      else this.#counts.joined++;
      return await (signal === undefined ? load.promise : abortable(load.promise, signal));
    } finally {
      if (caller !== undefined) load.removeWaiting(caller);
      if (--load.callers === 0 && !load.isOver) this.#abandon(load, signal?.reason);
    }
  }

  /** Begins a load that no caller waits for, unless one is in progress. */
  refresh(key: RequestedKey<K>, loader: Loader<K, V | undefined>, plan: FetchPlan): void {
    if (this.#joinable(key.name) !== undefined) return;
    const load = this.#newLoad(key);
    load.callers++;
    this.#start(load, loader, plan);
  }

  #newLoad(key: RequestedKey<K>): Load<K, V> {
    return new Load<K, V>(key, this.#host.singleFlightOf(key.own));
  }

  /** The load of a key in progress, unless the key was set or deleted since. */
  #joinable(name: string): Load<K, V> | undefined {
    const load = this.#loads.get(name);
    return load === undefined || load.isOutdated ? undefined : load;
  }

  #start(load: Load<K, V>, loader: Loader<K, V | undefined>, plan: FetchPlan): void {
    this.#loads.set(load.key.name, load);
    load.scope.load = load;
    const result = this.#load(load, loader, plan).finally(() => {
      load.isOver = true;
      load.scope.load = undefined;
      this.#forget(load);
    });
    load.resolve(result);
  }

  /** From here on a fetch of the key begins another load. */
  #forget(load: Load<K, V>): void {
    if (this.#loads.get(load.key.name) === load) this.#loads.delete(load.key.name);
  }

  /** Aborts a load for which no caller of any thread waits, if its loader has read the signal. */
  #abandon(load: Load<K, V>, reason: unknown): void {
    load.reason = reason;
    if (!load.isAbortable) return;
    if (load.hasBegun && load.singleFlight.isAwaited(load.flight!)) return;
    load.isAbandoned = true;
    this.#forget(load);
    this.#endFlight(load, NO_FAILURE);
    load.abort();
  }

  /** Waits for a load of another thread, or calls the loader. */
  async #load(
    load: Load<K, V>,
    loader: Loader<K, V | undefined>,
    plan: FetchPlan,
  ): Promise<V | undefined> {
    const { own, bytes } = load.key;
    for (let joins = 0, checks = 0; joins < JOINS_MAX && checks <= CHECKS_MAX; joins++) {
      const { joined, begun } = load.singleFlight.begin(bytes, bytes.length);
      if (joined === undefined) {
        const mayBeStored = joins === 0 && !plan.forceRefresh;
        return this.#callLoader(load, loader, plan, begun, mayBeStored);
      }
      this.#counts.joined++;
      const isNoCycle = load.setFlight(joined, false);
      const isWanted = () => {
        const isPatient = load.waiting.length === 0 || ++checks <= CHECKS_MAX;
        return isNoCycle && isPatient && load.callers > 0;
      };
      const { isOver, failure } = await load.singleFlight.wait(joined, isWanted);
      load.setFlight(undefined, false);
      if (!isNoCycle) throw cycleError(own);
      if (failure.length > 0) throw failure[0];
      const value = isOver ? this.#host.peek(own) : undefined;
      if (value !== undefined) return value;
      if (load.callers > 0) continue;
      this.#forget(load);
      throw load.reason;
    }
    return this.#callLoader(load, loader, plan, undefined, false);
  }

  /** @param mayBeStored whether another thread may have stored the value just before the flight */
  async #callLoader(
    load: Load<K, V>,
    loader: Loader<K, V | undefined>,
    plan: FetchPlan,
    begun: Flight | undefined,
    mayBeStored: boolean,
  ): Promise<V | undefined> {
    const { own, given, bytes } = load.key;
    load.mayStore =
      begun === undefined
        ? load.singleFlight.watchVersion(bytes, bytes.length)
        : () => load.singleFlight.isCurrent(begun);
    load.setFlight(begun, begun !== undefined);
    let failure = NO_FAILURE;
    try {
      const stored = mayBeStored ? this.#host.peek(own) : undefined;
      if (stored !== undefined) return stored;
      const call = async () => {
        this.#counts.loads++;
        const value = await scopes.run(load.scope, () => loader(given, load.context));
        // Nobody waits for the value of an abandoned load, and nothing stores it.
        return load.isAbandoned ? undefined : value;
      };
      const fleet = this.#host.shared();
      if (fleet !== undefined) return await fleet.load(load.key, call, plan, load.mayStore);
      const value = await call();
      if (value !== undefined) this.#host.store(own, value, plan, load.mayStore);
      return value;
    } catch (error) {
      failure = [error];
      throw error;
    } finally {
      if (!load.isAbandoned) this.#endFlight(load, failure);
    }
  }

  #endFlight(
    { key, singleFlight, flight, hasBegun }: Load<K, V>,
    failure: readonly unknown[],
  ): void {
    if (hasBegun) singleFlight.end(key.bytes, key.bytes.length, flight!, failure);
  }
}

/** A promise that also rejects when a signal is aborted, with the signal's reason. */
function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) {
      abort();
      return;
    }
    signal.addEventListener("abort", abort, { once: true });
    const end = () => signal.removeEventListener("abort", abort);
    promise.then(
      (value) => {
        end();
        resolve(value);
      },
      (error) => {
        end();
        reject(error);
      },
    );
  });
}

function cycleError(key: CacheKey): ZcacheError {
  const what = typeof key === "string" ? describe(key) : "a key of bytes";
  return new ZcacheError(
    "ERR_LOAD_CYCLE",
    `the loader of ${what} fetches, itself or through other loaders, the key that it loads`,
    { context: { key } },
  );
}
