// The remote tier of a store, in the thread that owns it: sends pages from the outboxes of all
// shards, removes records, reads pages for itself and for other threads.
//
// Everything begins in `pump`, which never waits: it starts calls of the remote contract, whose
// answers come later, in any order. What is in flight is bounded: pages by the slots of the
// outboxes, the rest by the numbers below. Each node has calls of its own, so that a node that is
// slow or down delays its own pages only.
//
// The order of what happens to a key needs no queue: each version of a page has a record of its
// own. A page that was replaced while its put was in flight is cancelled, and its record is removed
// once the put has ended.
import * as Box from "../backing/outbox.layout.ts";
import type { Outbox } from "../backing/outbox.ts";
import type { RecordName } from "../backing/record_name.ts";
import type {
  Remote,
  RemoteGetResult,
  RemoteKey,
  RemotePutResult,
  RemoteRecord,
} from "../backing/remote_contract.ts";
import { type Address, NIL } from "../base/brand.ts";
import { ZcacheError } from "../base/errors.ts";
import * as Entry from "../tmem/entry.layout.ts";
import { Reason } from "./counters.ts";
import { KeptRecords } from "./kept_records.ts";
import * as Page from "./page.layout.ts";
import { remoteKeyOf } from "./remote_name.ts";
import { arrivedLocked, bringBackLocked, entryOfRecordLocked } from "./remote_page.ts";
import type { RemoteRead } from "./remote_reader.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";
import { transaction } from "./transaction.ts";
import * as Value from "./value.layout.ts";

/** Calls in flight to one node, at most. */
const PUTS_MAX = 2;
const GETS_MAX = 4;
/**
 * A call beside another one has so many items, at least: a server answers in order, so waiting for
 * more costs little time, and a call for a few costs as much as one for many.
 */
const BESIDE_MIN = 48;
/** Calls in flight to all nodes, at most. */
const REMOVES_MAX = 2;
/** After a failure or a refusal, nothing is sent for so long; doubled with each, up to the most. */
const PAUSE_MS = 100;
const PAUSE_MS_MAX = 5000;
const NS_PER_MS = 1e6;

/** A page on its way. */
interface Parcel {
  readonly state: StoreState;
  readonly slot: number;
  readonly name: RecordName;
  readonly key: RemoteKey;
}

/** A read that waits for its turn. */
interface Reading {
  readonly state: StoreState;
  readonly name: RecordName;
  readonly key: RemoteKey;
  readonly resolve: (read: RemoteRead) => void;
  isSecond: boolean;
}

/** What waits for one node, and the calls in flight to it. */
interface Lane {
  readonly parcels: Parcel[];
  /** Reads of ephemeral pages, not worth a long wait, and of persistent ones. */
  readonly readings: readonly [Reading[], Reading[]];
  puts: number;
  gets: number;
}

export class RemoteTier {
  readonly remote: Remote;
  readonly states: readonly StoreState[];
  /** Records that are not removed, because a file names them. */
  readonly kept = new KeptRecords();
  /** Whether no page comes back by itself. */
  isHeld = false;
  /** By the number of the node. */
  readonly #lanes: Lane[] = [];
  #putsInFlight = 0;
  #removesInFlight = 0;
  #isFlushing = false;
  #pausedUntilMs = 0;
  #pauseMs = PAUSE_MS;
  #isOver = false;

  constructor(states: readonly StoreState[], remote: Remote) {
    this.states = states;
    this.remote = remote;
    for (const state of states) state.remoteReader = (name) => this.read(state, name);
  }

  /**
   * Takes the lease, and serves from now on.
   * @throws ZcacheError ERR_REMOTE, ERR_REMOTE_OWNED
   */
  async acquire(): Promise<void> {
    const epoch = await this.remote.acquire();
    if (this.#putsInFlight === 0) for (const lane of this.#lanes) lane.parcels.length = 0;
    for (const state of this.states) {
      transaction(state.assertOpen(), () => {
        const outbox = outboxOf(state);
        outbox.setLocked(Box.EPOCH, epoch | 0);
        outbox.setLocked(Box.SERVER, state.arena.owner);
        if (this.#putsInFlight === 0) outbox.takeBackLocked();
      });
    }
    this.#unpause();
    this.pump();
  }

  /** Whether this owner has the lease. */
  get hasLease(): boolean {
    return this.remote.epoch !== 0;
  }

  get nowMs(): number {
    return this.states[0]!.platform.clock.nowNs() / NS_PER_MS;
  }

  /** Starts all calls that can be started. */
  pump(): void {
    if (this.isOver) return;
    if (!this.hasLease) this.#stopSending();
    else if (this.nowMs >= this.#pausedUntilMs) this.#send();
    this.#removeRecords();
    this.#serveFetches();
    this.#flushReads();
  }

  /** Whether the store has been closed, or this thread has detached from it. */
  get isOver(): boolean {
    return this.#isOver || this.states.some(isClosed);
  }

  /** Ends the tier: nothing is sent or read any more. */
  stop(): void {
    this.#isOver = true;
    const over = new ZcacheError("ERR_REMOTE", "the store has been closed");
    for (const waiting of this.#lanes.flatMap(({ readings }) => readings)) {
      for (const { resolve } of waiting.splice(0)) resolve(over);
    }
  }

  /** Reads a record; never rejects. */
  read(state: StoreState, name: RecordName): Promise<RemoteRead> {
    return new Promise((resolve) => {
      if (this.#isOver) resolve(new ZcacheError("ERR_REMOTE", "the store has been closed"));
      const key = remoteKeyOf(name);
      const lane = this.#laneOf(key);
      const kind = Page.kindOf(name.meta) as 0 | 1;
      lane.readings[kind].push({ state, name, key, resolve, isSecond: false });
      if (this.#isFlushing) return;
      // All reads that begin in this turn go together.
      this.#isFlushing = true;
      queueMicrotask(() => {
        this.#isFlushing = false;
        this.#flushReads();
      });
    });
  }

  /** After the lease was lost. */
  #stopSending(): void {
    for (const state of this.states) {
      if (outboxOf(state).epoch === 0) continue;
      transaction(state, () => outboxOf(state).setLocked(Box.EPOCH, 0));
    }
  }

  #pause(): void {
    this.#pausedUntilMs = this.nowMs + this.#pauseMs;
    this.#pauseMs = Math.min(PAUSE_MS_MAX, this.#pauseMs * 2);
    this.#setRefused(1);
  }

  #unpause(): void {
    this.#pausedUntilMs = 0;
    this.#pauseMs = PAUSE_MS;
    this.#setRefused(0);
  }

  #setRefused(refused: number): void {
    for (const state of this.states) {
      const outbox = outboxOf(state);
      if (outbox.get(Box.REFUSED) === refused) continue;
      transaction(state, () => outbox.setLocked(Box.REFUSED, refused));
    }
  }

  #laneOf(key: RemoteKey): Lane {
    const number = this.remote.nodeOf(key);
    for (let next = this.#lanes.length; next <= number; next++) {
      this.#lanes.push({ parcels: [], readings: [[], []], puts: 0, gets: 0 });
    }
    return this.#lanes[number]!;
  }

  #send(): void {
    for (;;) {
      const parcels: Parcel[] = [];
      for (const state of this.states) this.#collect(state, parcels);
      if (parcels.length === 0) break;
      for (const parcel of parcels) this.#laneOf(parcel.key).parcels.push(parcel);
    }
    for (const lane of this.#lanes) {
      while (mayCall(lane.parcels.length, lane.puts, PUTS_MAX)) {
        const next = lane.parcels.splice(0, this.remote.batchMax);
        const parcels = next.filter((parcel) => !dropCancelled(parcel));
        if (parcels.length === 0) continue;
        this.#putsInFlight++;
        lane.puts++;
        this.#put(parcels, lane);
      }
    }
    // After a pause, the next page tries.
    if (this.#pausedUntilMs !== 0 && this.#putsInFlight === 0) this.#setRefused(0);
  }

  #collect(state: StoreState, parcels: Parcel[]): void {
    const outbox = outboxOf(state);
    if (outbox.get(Box.READY_FIRST) === 0 || parcels.length === this.remote.batchMax) return;
    transaction(state, () => {
      while (parcels.length < this.remote.batchMax) {
        const slot = outbox.beginLocked();
        if (slot === NIL) return;
        const name = outbox.nameOf(slot);
        parcels.push({ state, slot, name, key: remoteKeyOf(name) });
        // Each slot by itself: a transaction is short.
        state.arena.lock.commit();
      }
    });
  }

  async #put(parcels: readonly Parcel[], lane: Lane): Promise<void> {
    const results = await this.remote.put(parcels.map(recordOf));
    this.#putsInFlight--;
    lane.puts--;
    if (this.isOver) return;
    let isRefused = false;
    for (const [nth, parcel] of parcels.entries()) {
      const result = results[nth]!;
      if (result !== "stored") isRefused = true;
      transaction(parcel.state, () => endPutLocked(parcel, result));
      outboxOf(parcel.state).slotEnded();
    }
    if (isRefused) this.#pause();
    else this.#unpause();
    this.pump();
  }

  #removeRecords(): void {
    if (!this.hasLease) return;
    for (const state of this.states) {
      const outbox = outboxOf(state);
      while (outbox.removalsWaiting > 0 && this.#removesInFlight < REMOVES_MAX) {
        const take = () => outbox.takeRemovalsLocked(this.remote.batchMax);
        const names = transaction(state, take).filter((name) => !this.kept.has(name));
        if (names.length === 0) continue;
        this.#removesInFlight++;
        this.#remove(state, names);
      }
    }
  }

  async #remove(state: StoreState, names: readonly RecordName[]): Promise<void> {
    const results = await this.remote.remove(names.map(remoteKeyOf));
    this.#removesInFlight--;
    if (this.isOver) return;
    const failed = results.filter((result) => result !== "done").length;
    transaction(state, () => {
      state.count("remote_pages_flushed", results.length - failed);
      if (failed === 0) return;
      state.count("remote_page_flushes_failed", failed);
      outboxOf(state).suspectLocked(failed);
    });
    this.pump();
  }

  #flushReads(): void {
    for (const lane of this.#lanes) {
      for (const [kind, waiting] of lane.readings.entries()) {
        while (mayCall(waiting.length, lane.gets, GETS_MAX)) {
          lane.gets++;
          this.#get(lane, waiting.splice(0, this.remote.batchMax), kind === Store.PERSISTENT);
        }
      }
    }
  }

  async #get(lane: Lane, readings: readonly Reading[], isPatient: boolean): Promise<void> {
    const keys = readings.map(({ key }) => key);
    const results = await this.remote.get(keys, isPatient);
    lane.gets--;
    for (const [nth, reading] of readings.entries()) {
      const read = checked(reading.state, reading.name, results[nth]!);
      // Bytes may be damaged on their way: the record itself is damaged if it is so twice.
      if (read === "corrupt" && !reading.isSecond && !this.#isOver) {
        reading.isSecond = true;
        lane.readings[isPatient ? Store.PERSISTENT : Store.EPHEMERAL].push(reading);
      } else reading.resolve(read);
    }
    this.#flushReads();
  }

  /** Reads what other threads have asked for. */
  #serveFetches(): void {
    for (const state of this.states) {
      const { fetches } = outboxOf(state);
      for (let fetch = 0; fetch < fetches.count; fetch++) {
        if (!fetches.take(fetch)) continue;
        this.read(state, fetches.nameOf(fetch)).then((read) => {
          if (!this.isOver) fetches.answer(fetch, read);
        });
      }
    }
  }
}

/** Whether a call for what waits for a node is made, beside those in flight. */
function mayCall(waiting: number, inFlight: number, max: number): boolean {
  return waiting >= (inFlight === 0 ? 1 : BESIDE_MIN) && inFlight < max;
}

function isClosed({ isOver, words, root }: StoreState): boolean {
  return isOver || words[root + Store.CLOSED] !== 0;
}

export function outboxOf(state: StoreState): Outbox {
  return state.outbox!;
}

/** The record of a page on its way. */
function recordOf({ state, slot, name, key }: Parcel): RemoteRecord {
  const outbox = outboxOf(state);
  const header = headerOf(state, state.words[outbox.addressOf(slot) / 4]!);
  return {
    key,
    prefixBytes: Value.prefixOf(header),
    codec: codecNameOf(state, name.meta),
    dictionary: Value.dictionaryOf(header),
    plainBytes: Value.sizeOf(header),
    data: outbox.dataOf(slot),
    isPersistent: Page.kindOf(name.meta) === Store.PERSISTENT,
  };
}

/** The header of a page (`unpack`). @param first the first word of the page as it is stored */
function headerOf({ options, pageSize }: StoreState, first: number): number {
  return options.content === "values" ? first : pageSize;
}

/** Name of the codec of a page, as in its record. */
export function codecNameOf({ options }: StoreState, meta: number): string {
  const codec = Page.codecOf(meta);
  if (codec === Page.RAW) return "none";
  return codec === Page.DENSE ? options.recompress!.codec : options.codec;
}

/** Checks that an answer can be the page that was asked for. */
function checked(state: StoreState, { meta }: RecordName, result: RemoteGetResult): RemoteRead {
  if (typeof result === "string" || result instanceof ZcacheError) return result;
  const { data, plainBytes, prefixBytes, dictionary, codec } = result;
  if (data.length !== Page.sizeOf(meta)) return "corrupt";
  const first = data[0]! | (data[1]! << 8) | (data[2]! << 16) | (data[3]! << 24);
  const header = headerOf(state, first);
  const isPage =
    plainBytes === Value.sizeOf(header) &&
    prefixBytes === Value.prefixOf(header) &&
    dictionary === Value.dictionaryOf(header) &&
    codec === codecNameOf(state, meta);
  return isPage ? data : "corrupt";
}

/** Frees the slot of a page that was replaced or removed before it was sent. */
function dropCancelled({ state, slot }: Parcel): boolean {
  const outbox = outboxOf(state);
  if (!outbox.isCancelled(slot)) return false;
  transaction(state, () => outbox.endLocked(slot, outbox.wasSent(slot)));
  outbox.slotEnded();
  return true;
}

/** Ends the put of one page. */
function endPutLocked({ state, slot, name }: Parcel, result: RemotePutResult): void {
  const outbox = outboxOf(state);
  const isPersistent = Page.kindOf(name.meta) === Store.PERSISTENT;
  const maySent = result !== "full" || outbox.wasSent(slot);
  if (result instanceof ZcacheError) {
    state.count(isPersistent ? "pers_pages_remote_failed" : "eph_pages_remote_failed");
    // A put that failed may still arrive, also after a removal.
    if (isPersistent) outbox.suspectLocked(1);
  } else if (result === "full") {
    state.count(isPersistent ? "pers_pages_remote_nomem" : "eph_pages_remote_nomem");
  } else {
    state.count(isPersistent ? "pers_pages_remoted" : "eph_pages_remoted");
    state.count("remoted_bytes", Page.sizeOf(name.meta));
  }
  if (outbox.isCancelled(slot)) {
    outbox.endLocked(slot, maySent);
    return;
  }
  const entry = entryOfRecordLocked(state, name);
  if (entry === NIL) {
    // The page is still there, but its pool is being destroyed.
    if (result === "stored") outbox.keepStoredLocked(slot);
    else outbox.retryLocked(slot, maySent);
  } else if (result === "stored") {
    arrivedLocked(state, entry);
    outbox.endLocked(slot, false);
  } else if (stayLocked(state, slot, name)) outbox.endLocked(slot, maySent);
  else outbox.retryLocked(slot, maySent);
}

/**
 * Keeps a page here that the remote tier did not take: in the file, else in memory; an ephemeral
 * page is dropped. Then the slot is cancelled.
 * @returns false if there is no room: the page stays in its slot
 */
function stayLocked(state: StoreState, slot: number, name: RecordName): boolean {
  const entry = entryOfRecordLocked(state, name);
  if (entry === NIL) return false;
  const { words } = state;
  const meta = words[entry + Entry.META]!;
  const pool = state.index.keyOf(entry, state.victimKey);
  const hash = state.hash(pool, state.victimKey);
  if (Page.kindOf(meta) === Store.EPHEMERAL) {
    state.removeLocked(entry, hash, Reason.EVICTED);
    state.count("evicted_ephemeral_pages");
    return true;
  }
  const source = (state.evicted + state.headerBytes) as Address;
  outboxOf(state).readSlot(slot, Page.sizeOf(meta), source);
  const place = state.backing?.appendLocked(pool, state.victimKey, meta, source) ?? NIL;
  if (place > 0) {
    state.detachLocked(entry);
    state.attachLocked(entry, place, Page.withWhere(meta, Page.FILE), hash);
    state.commitLocked();
    state.count("written_back_pages");
    state.count("written_back_bytes", Page.sizeOf(meta));
    return true;
  }
  state.arena.lock.rollBack();
  return bringBackLocked(state, entry, source);
}
