// The loads of one thread: one loader runs for a key, and all who ask for it meanwhile wait for
// that. What other threads load, flights.ts knows.
//
// Loaders may ask for other keys, and so wait for other loads. Who waits for whom is kept, in this
// thread by the loads themselves and across threads in the flights: a request that would wait for
// itself is refused. Which load a request comes from, the platform says (CachePlatform.loading).
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import type { CachePlatform } from "./contract.ts";
import type { CacheKey } from "./keys.ts";
import type { FetchPlan, Lifetime } from "./options.ts";
import type { Flight, Flights } from "./single_flight.ts";

/** What a loader is told beside the key. */
export interface LoadContext {
  /**
   * Is aborted when all who waited for the load have given up, for the reason of the last one. A
   * load whose loader has asked for this signal is over then: what it still gives is not stored.
   */
  readonly signal: AbortSignal;
}

/** Makes the value of a key; what it throws reaches all who wait for it. */
export type Loader<K, V> = (key: K, load: LoadContext) => V | PromiseLike<V>;

/** The cache as a load needs it. */
export interface LoadHost<K, V> {
  /** The value if there is a fresh one; nobody's request. */
  peek(key: K): V | undefined;
  /** Stores what a loader gave if `mayStore` says so; where that fails, the value is not stored. */
  store(key: K, value: V, lifetime: Lifetime, mayStore: () => boolean): void;
}

/** A request: a key as its caller gave it, and as it can't be changed any more. */
export interface Requested<K> {
  readonly given: K;
  readonly own: K;
  /** The key's bytes, and those as a text that no other key has. */
  readonly bytes: Uint8Array;
  readonly name: string;
}

/** How often a load of another thread is waited for before this one loads by itself. */
const JOINS_MAX = 3;
/**
 * Looks (flights.ts) for which another load waits for that of another thread: ten seconds. Two that
 * wait for each other are not always seen to.
 */
const LOOKS_MAX = 200;
const NOTHING: readonly unknown[] = [];

/** What the platform keeps for calls that come from a loader: a connection, say, for ever. */
class Scope {
  /** The load, as long as it is under way: its value is not to be kept for ever too. */
  load: unknown;
}

/** One load, from the first request to its end. */
class Load<K, V> {
  readonly key: Requested<K>;
  readonly flights: Flights;
  /** What it gives; there before its loader runs, which may lead to others that wait for it. */
  readonly promise: Promise<V | undefined>;
  settle: (result: Promise<V | undefined>) => void = () => undefined;
  /** The flight that is this load's, or that it has joined. */
  flight: Flight | undefined;
  hasBegun = false;
  /** Without a flight: whether nobody has set the key since. */
  mayStore: () => boolean = () => false;
  isOver = false;
  readonly scope = new Scope();
  /** Nobody waits for it, and its loader knows. */
  isAbandoned = false;
  /** Requests that wait for it, and why the last one has given up. */
  callers = 0;
  reason: unknown;
  /** Loads whose loaders wait for this one. */
  readonly waiting: Load<K, V>[] = [];
  #aborting: AbortController | undefined;

  constructor(key: Requested<K>, flights: Flights) {
    this.key = key;
    this.flights = flights;
    this.promise = new Promise((resolve) => {
      this.settle = resolve;
    });
    // Those who waited may all have given up.
    this.promise.catch(() => undefined);
  }

  /** What the loader is given. */
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

  /** Whether the loader has asked for its signal. */
  get isAbortable(): boolean {
    return this.#aborting !== undefined;
  }

  abort(): void {
    this.#aborting?.abort(this.reason);
  }

  /** Whether a request for this key would wait for this load, by way of those that wait for it. */
  isAwaitedBy({ flights, key }: Load<K, V>): boolean {
    const seen = new Set<Load<K, V>>();
    const open: Load<K, V>[] = [this];
    for (let load = open.pop(); load !== undefined; load = open.pop()) {
      if (seen.has(load)) continue;
      seen.add(load);
      if (load.key.name === key.name && load.flights.isOf(flights)) return true;
      open.push(...load.waiting);
    }
    return false;
  }

  /** Whether somebody has set or removed the key since the load began. */
  get isOutdated(): boolean {
    const { flight } = this;
    return flight === undefined ? !this.mayStore() : !this.flights.isCurrent(flight);
  }

  /**
   * Takes a flight, or none, in place of the one before.
   * @returns false if that one waits for a load that waits for this one
   */
  take(flight: Flight | undefined, hasBegun: boolean): boolean {
    for (const load of this.waiting) this.#untell(load);
    this.flight = flight;
    this.hasBegun = hasBegun;
    return this.waiting.every((load) => this.#tell(load));
  }

  /** @returns false if this load waits for that one: in another thread, that is */
  addWaiting(load: Load<K, V>): boolean {
    this.waiting.push(load);
    return this.#tell(load);
  }

  removeWaiting(load: Load<K, V>): void {
    this.#untell(load);
    const nth = this.waiting.indexOf(load);
    if (nth >= 0) this.waiting.splice(nth, 1);
  }

  /** Tells other threads that a load waits for this one. */
  #tell(load: Load<K, V>): boolean {
    if (this.flight === undefined || !load.#isKnownTo(this.flights)) return true;
    return this.flights.addWait(load.flight!, this.flight);
  }

  #untell(load: Load<K, V>): void {
    if (this.flight === undefined || !load.#isKnownTo(this.flights)) return;
    this.flights.removeWait(load.flight!, this.flight);
  }

  #isKnownTo(flights: Flights): boolean {
    return this.hasBegun && !this.isOver && this.flights.isOf(flights);
  }
}

export class Loads<K extends CacheKey, V> {
  readonly #host: LoadHost<K, V>;
  readonly #flights: Flights;
  readonly #platform: CachePlatform;
  readonly #counts: { loads: number; joined: number };
  readonly #under = new Map<string, Load<K, V>>();

  constructor(
    host: LoadHost<K, V>,
    flights: Flights,
    platform: CachePlatform,
    counts: { loads: number; joined: number },
  ) {
    this.#host = host;
    this.#flights = flights;
    this.#platform = platform;
    this.#counts = counts;
  }

  /**
   * Waits for the load of a key that is under way, or begins one.
   * @throws as a rejection: what the loader throws, the signal's reason, ZcacheError ERR_LOAD_CYCLE
   */
  async request(
    key: Requested<K>,
    loader: Loader<K, V | undefined>,
    plan: FetchPlan,
  ): Promise<V | undefined> {
    const { signal } = plan;
    const under = this.#joinable(key.name);
    const load = under ?? new Load<K, V>(key, this.#flights);
    const from = this.#current();
    if (from?.isAwaitedBy(load)) throw cycle(key.own);
    load.callers++;
    try {
      if (from !== undefined && !load.addWaiting(from)) throw cycle(key.own);
      if (under === undefined) this.#start(load, loader, plan);
      else this.#counts.joined++;
      return await (signal === undefined ? load.promise : abortable(load.promise, signal));
    } finally {
      if (from !== undefined) load.removeWaiting(from);
      if (--load.callers === 0 && !load.isOver) this.#giveUp(load, signal?.reason);
    }
  }

  /** Begins a load that nobody waits for, if none is under way. */
  refresh(key: Requested<K>, loader: Loader<K, V | undefined>, plan: FetchPlan): void {
    if (this.#joinable(key.name) !== undefined) return;
    const load = new Load<K, V>(key, this.#flights);
    load.callers++;
    this.#start(load, loader, plan);
  }

  /** The load of a key that is under way, unless somebody has set or removed the key since. */
  #joinable(name: string): Load<K, V> | undefined {
    const load = this.#under.get(name);
    return load === undefined || load.isOutdated ? undefined : load;
  }

  /** The load from whose loader the call comes that is being answered. */
  #current(): Load<K, V> | undefined {
    const scope = this.#platform.loading.current();
    return scope instanceof Scope ? (scope.load as Load<K, V> | undefined) : undefined;
  }

  #start(load: Load<K, V>, loader: Loader<K, V | undefined>, plan: FetchPlan): void {
    this.#under.set(load.key.name, load);
    load.scope.load = load;
    const result = this.#fly(load, loader, plan).finally(() => {
      load.isOver = true;
      load.scope.load = undefined;
      this.#forget(load);
    });
    load.settle(result);
  }

  /** From here on a request for the key begins another load. */
  #forget(load: Load<K, V>): void {
    if (this.#under.get(load.key.name) === load) this.#under.delete(load.key.name);
  }

  /** All who waited for a load in this thread have given up. */
  #giveUp(load: Load<K, V>, reason: unknown): void {
    load.reason = reason;
    if (!load.isAbortable) return;
    if (load.hasBegun && load.flights.isAwaited(load.flight!)) return;
    load.isAbandoned = true;
    this.#forget(load);
    this.#end(load, NOTHING);
    load.abort();
  }

  async #fly(
    load: Load<K, V>,
    loader: Loader<K, V | undefined>,
    plan: FetchPlan,
  ): Promise<V | undefined> {
    const { own, bytes } = load.key;
    for (let joins = 0, looks = 0; joins < JOINS_MAX && looks <= LOOKS_MAX; joins++) {
      const { joined, begun } = this.#flights.begin(bytes, bytes.length);
      if (joined === undefined)
        return this.#run(load, loader, plan, begun, joins === 0 && !plan.forceRefresh);
      this.#counts.joined++;
      const isPossible = load.take(joined, false);
      const goesOn = () => {
        const isPatient = load.waiting.length === 0 || ++looks <= LOOKS_MAX;
        return isPossible && isPatient && load.callers > 0;
      };
      const { isOver, failure } = await this.#flights.wait(joined, goesOn);
      load.take(undefined, false);
      if (!isPossible) throw cycle(own);
      if (failure.length > 0) throw failure[0];
      const value = isOver ? this.#host.peek(own) : undefined;
      if (value !== undefined) return value;
      if (load.callers > 0) continue;
      this.#forget(load);
      throw load.reason;
    }
    return this.#run(load, loader, plan, undefined, false);
  }

  /** @param looks whether another thread may have loaded the value before the flight has begun */
  async #run(
    load: Load<K, V>,
    loader: Loader<K, V | undefined>,
    plan: FetchPlan,
    begun: Flight | undefined,
    looks: boolean,
  ): Promise<V | undefined> {
    const { own, given, bytes } = load.key;
    load.mayStore =
      begun === undefined
        ? this.#flights.watchVersion(bytes, bytes.length)
        : () => this.#flights.isCurrent(begun);
    load.take(begun, begun !== undefined);
    let failure = NOTHING;
    try {
      const there = looks ? this.#host.peek(own) : undefined;
      if (there !== undefined) return there;
      this.#counts.loads++;
      const value = await this.#platform.loading.run(load.scope, () => loader(given, load.context));
      const isWanted = value !== undefined && !load.isAbandoned;
      if (isWanted) this.#host.store(own, value, plan, load.mayStore);
      return value;
    } catch (error) {
      failure = [error];
      throw error;
    } finally {
      if (!load.isAbandoned) this.#end(load, failure);
    }
  }

  #end({ key, flight, hasBegun }: Load<K, V>, failure: readonly unknown[]): void {
    if (hasBegun) this.#flights.end(key.bytes, key.bytes.length, flight!, failure);
  }
}

/** What a promise gives, or the reason of a signal that is aborted before that. */
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

function cycle(key: CacheKey): ZcacheError {
  const what = typeof key === "string" ? describe(key) : "a key of bytes";
  return new ZcacheError(
    "ERR_LOAD_CYCLE",
    `the loader of ${what} asks, itself or by way of other loaders, for the key that it loads`,
    { context: { key } },
  );
}
