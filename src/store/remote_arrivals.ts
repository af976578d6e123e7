// Records that one thread has read from the remote tier for requests that can't wait.
//
// A request that needs a value of the remote tier ends with ERR_REMOTE_PAGE, before it has had an
// effect, and the record is noted here as wanted. A `RemoteWait` reads all records that the request
// wants. Once they are here, the request is executed anew and finds the value as if it were in a
// file (load_arrived.ts). Its wait holds the bytes until then.
//
// Limits: a request begins anew at most READS_MAX times.
import type { RecordName } from "../backing/record_name.ts";
import { ZcacheError } from "../base/errors.ts";
import { TmemKey } from "../tmem/key.ts";
import { Latency } from "./counters.ts";
import * as Page from "./page.layout.ts";
import { type ArrivedRecords, READS_MAX, type RemoteRead } from "./remote_reader.ts";
import type { StoreState } from "./state.ts";
import { recordSince } from "./statistics.ts";

/** A record that has been read, or is being read, for some waits. */
interface Arrival {
  readonly state: StoreState;
  readonly name: RecordName;
  read: RemoteRead | undefined;
  /** Resolves when `read` is set; undefined: nobody has asked for the record. */
  asked: Promise<void> | undefined;
  /** Waits that hold it. */
  users: number;
}

/** What all requests of a thread wait for. */
export class RemoteArrivals implements ArrivedRecords {
  /** By shard and version. */
  readonly #arrivals = new Map<StoreState, Map<number, Arrival>>();
  readonly #wanted: Arrival[] = [];

  of(state: StoreState, name: RecordName): RemoteRead | undefined {
    const arrival = this.#arrivals.get(state)?.get(versionOf(name));
    return arrival?.name.epoch === name.epoch ? arrival.read : undefined;
  }

  want(state: StoreState, name: RecordName): void {
    const version = versionOf(name);
    const ofShard = this.#arrivals.get(state) ?? new Map<number, Arrival>();
    this.#arrivals.set(state, ofShard);
    let arrival = ofShard.get(version);
    if (arrival === undefined) {
      const own = { ...name, key: new TmemKey().copy(name.key) };
      arrival = { state, name: own, read: undefined, asked: undefined, users: 0 };
      ofShard.set(version, arrival);
    }
    arrival.users++;
    this.#wanted.push(arrival);
  }

  /** Takes the records that were noted since the last call; each is held until `release`. */
  takeWanted(): Arrival[] {
    return this.#wanted.splice(0);
  }

  release(arrival: Arrival): void {
    if (--arrival.users > 0) return;
    const ofShard = this.#arrivals.get(arrival.state)!;
    ofShard.delete(versionOf(arrival.name));
    if (ofShard.size === 0) this.#arrivals.delete(arrival.state);
  }
}

/** Unique in a shard: a version is never given twice. */
function versionOf({ versionHigh, versionLow }: RecordName): number {
  return versionHigh * 2 ** 32 + (versionLow >>> 0);
}

/** The wait of one request. */
export class RemoteWait {
  readonly #arrivals: RemoteArrivals;
  readonly #held: Arrival[] = [];
  #rounds = 0;
  /** Whether records are still to be read. */
  isPending = false;
  /** Bytes that its caller has counted, until `onRelease` is called. */
  countedBytes = 0;
  onRelease: (() => void) | undefined;

  constructor(arrivals: RemoteArrivals) {
    this.#arrivals = arrivals;
  }

  /** Bytes of the records that it holds, or will hold. */
  get bytes(): number {
    return this.#held.reduce((sum, { name }) => sum + Page.sizeOf(name.meta), 0);
  }

  /**
   * Adds what the request wants, which has ended with ERR_REMOTE_PAGE; `read` is to follow.
   * @returns false if it has ended so too often
   */
  addWanted(): boolean {
    this.#held.push(...this.#arrivals.takeWanted());
    this.isPending = ++this.#rounds < READS_MAX;
    return this.isPending;
  }

  /** Reads all records; never rejects. An error is for the request that meets it. */
  async read(): Promise<void> {
    await Promise.all(this.#held.map(readArrival));
    this.isPending = false;
  }

  /** Forgets the records. */
  release(): void {
    this.isPending = false;
    for (const arrival of this.#held.splice(0)) this.#arrivals.release(arrival);
    this.onRelease?.();
    this.onRelease = undefined;
  }
}

/** Reads a record once, for all waits that hold it. */
function readArrival(arrival: Arrival): Promise<void> {
  arrival.asked ??= ask(arrival);
  return arrival.asked;
}

async function ask(arrival: Arrival): Promise<void> {
  const { state, name } = arrival;
  const reader = state.remoteReader;
  const begin = state.platform.clock.nowNs();
  arrival.read =
    reader === undefined
      ? new ZcacheError("ERR_REMOTE", "this thread has no way to the remote tier")
      : await reader(name);
  const isRead = arrival.read instanceof Uint8Array;
  if (isRead && !state.isOver) recordSince(state, Latency.REMOTE, begin);
}
