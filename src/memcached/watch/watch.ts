// `watch` in one thread: records of what happens to its items and connections, which it sends to
// the watchers of all threads, and the log lines that its own watchers read.
//
//   items ─┐                       ┌─► watchers of this thread ─► their sockets
//   store ─┼─► records ─► relay ───┤
//   conns ─┘                       └─► other threads with watchers ─► their sockets
//
// Without watchers, the cost is a look at one shared word for each read of a connection, and one
// test in each command. Everything is bounded: records that wait, bytes on their way to other
// threads, and lines that a watcher has not read. What exceeds a bound is dropped, and counted.

import type { InternalErrors } from "../../node/internal_errors.ts";
import { C, type Counters } from "../items/counters.ts";
import type { ItemLog, Look, StoreFacts } from "../items/item_log.ts";
import type { Items } from "../items/items.ts";
import type { Outcome } from "../items/requests.ts";
import { ItemEvictions } from "../items/shards.ts";
import type { WatchBoard } from "./board.ts";
import * as Log from "./records.ts";

/** Room for some thousand records that wait to be sent. */
const RECORDS_BYTES = 256 * 1024;
/** Records are sent when there are so many. */
const RECORDS_WAIT_BYTES = RECORDS_BYTES / 2;
/** Or after this time: many lines in one write cost less than a write for each. */
const WAIT_MS = 5;
/** Records of one thread that others have not yet received. */
const RELAY_BYTES_MAX = 1024 * 1024;
/** Longer than the line that says how many were skipped. */
const SKIPPED_BYTES_MAX = 64;

/** The connection of a watcher. */
export interface WatchSink {
  /** Bytes that the connection has not accepted yet. */
  waiting(): number;
  write(lines: string): void;
}

/** Why a connection can't watch. */
export type WatchRefusal = "too many" | "no room";

export interface WatchParts {
  readonly board: WatchBoard;
  readonly thread: number;
  readonly items: Items;
  readonly counters: Counters;
  /** Bytes that a watcher may leave unread before lines are skipped. */
  readonly watchBytesMax: number;
  /** Sends records to all other threads that have watchers. */
  readonly relay: (records: Uint8Array) => void;
  /** Tells the other threads that what is watched has changed. */
  readonly changed: () => void;
  /** Takes unexpected errors. */
  readonly errors: InternalErrors;
}

/** One connection that watches. */
export class Watcher {
  readonly flags: number;
  /** The number of the last line before this watcher began. */
  readonly #after: number;
  readonly #sink: WatchSink;
  readonly #bytesMax: number;
  readonly #counters: Float64Array;
  #lines = "";
  #room = 0;
  #skipped = 0;

  constructor(
    flags: number,
    after: number,
    sink: WatchSink,
    bytesMax: number,
    counters: Float64Array,
  ) {
    this.flags = flags;
    this.#after = after;
    this.#sink = sink;
    this.#bytesMax = bytesMax;
    this.#counters = counters;
  }

  wants({ what, gid }: Log.RecordReader): boolean {
    return (this.flags & what) !== 0 && gid > this.#after;
  }

  take(line: string): void {
    // A flush may make room: the system accepts the lines at once, if it can.
    const most = line.length + SKIPPED_BYTES_MAX;
    if (this.#room < most) this.flush();
    if (this.#room < most) {
      this.#skipped++;
      this.#counters[C.log_watcher_skipped]!++;
      return;
    }
    const before = this.#skipped > 0 ? `skipped=${this.#skipped}\n` : "";
    this.#skipped = 0;
    this.#lines += before + line;
    this.#room -= before.length + line.length;
    this.#counters[C.log_watcher_sent]!++;
  }

  /** Writes the lines, and finds how much room there is for others. */
  flush(): void {
    const lines = this.#lines;
    this.#lines = "";
    if (lines !== "") this.#sink.write(lines);
    this.#room = this.#bytesMax - this.#sink.waiting();
  }
}

export class Watch implements ItemLog {
  /** A watcher, in any thread, watches what commands do to items; `items.log` is set then. */
  active = false;
  readonly #parts: WatchParts;
  readonly #board: WatchBoard;
  readonly #watchers = new Set<Watcher>();
  readonly #evictions: ItemEvictions;
  /** What is watched in any thread, as of the last `refresh`. */
  #flags = 0;
  #records: Log.LogRecords | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: WatchParts) {
    this.#parts = parts;
    this.#board = parts.board;
    this.#evictions = new ItemEvictions(parts.items.shards, parts.board.turns);
  }

  /** Allocates the ring buffers of eviction events: when memory is full there is no room for it. */
  reserve(): void {
    if (this.#evictions.begin()) this.#evictions.end();
  }

  /** Adds a watcher of this thread. @returns the watcher, or why there can't be one */
  add(flags: number, sink: WatchSink): Watcher | WatchRefusal {
    const { counters, watchBytesMax } = this.#parts;
    const board = this.#board;
    if (!board.addWatcher()) return "too many";
    if ((flags & Log.EVICTIONS) !== 0 && !this.#evictions.begin()) {
      board.removeWatcher();
      return "no room";
    }
    const watcher = new Watcher(flags, board.gid, sink, watchBytesMax, counters.own);
    this.#watchers.add(watcher);
    this.#changed();
    return watcher;
  }

  remove(watcher: Watcher): void {
    if (!this.#watchers.delete(watcher)) return;
    // The listener is this thread's: it serves the other watchers too.
    if (watcher.flags & Log.EVICTIONS && !this.#watches(Log.EVICTIONS)) this.#evictions.end();
    this.#board.removeWatcher();
    this.#changed();
  }

  /** Whether a watcher of this thread watches these events. */
  #watches(flags: number): boolean {
    for (const watcher of this.#watchers) if ((watcher.flags & flags) !== 0) return true;
    return false;
  }

  #changed(): void {
    const { counters, changed } = this.#parts;
    const board = this.#board;
    let flags = 0;
    for (const watcher of this.#watchers) flags |= watcher.flags;
    board.setFlags(flags);
    counters.own[C.log_watchers] = this.#watchers.size;
    changed();
  }

  /** Whether opened and closed connections are watched. */
  get hasConnections(): boolean {
    return (this.#flags & Log.CONNEVENTS) !== 0;
  }

  /** Looks up what is watched in any thread. */
  refresh(): void {
    const { flags } = this.#board;
    if (flags !== this.#flags) this.#setFlags(flags);
  }

  /** `refresh`, before commands of a connection with this descriptor are executed. */
  begin(cfd: number): void {
    this.refresh();
    if (this.#records !== undefined) this.#records.cfd = cfd;
  }

  /** To be called after those commands: their records are sent soon. */
  end(): void {
    const records = this.#records;
    if (records === undefined) return;
    if ((this.#flags & Log.EVICTIONS) !== 0) this.#recordEvictions(records);
    if (records.bytes > RECORDS_WAIT_BYTES) this.flush();
    else if (records.bytes > 0)
      this.#timer ??= setTimeout(() => this.#flushLater(), WAIT_MS).unref();
  }

  #flushLater(): void {
    this.#parts.errors.run("memcached: log lines for watchers", () => this.flush());
  }

  /** Sends all records to watchers. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const records = this.#records;
    if (records === undefined) return;
    const { own } = this.#parts.counters;
    own[C.log_worker_written]! += records.written;
    records.written = 0;
    if (records.bytes > 0) this.#send(records.take(), records);
    own[C.log_worker_dropped]! += records.dropped;
    records.dropped = 0;
  }

  /** Gives records of another thread to the watchers of this one. */
  receive(records: Uint8Array, from: number): void {
    this.#deliver(records);
    this.#board.sent(from, -records.length);
  }

  fetched(key: Uint8Array, from: number, to: number, look: Look, valueBytes: number): void {
    if ((this.#flags & Log.FETCHERS) === 0) return;
    this.#next()?.fetched(key, from, to, look, valueBytes);
  }

  stored(key: Uint8Array, from: number, to: number, outcome: Outcome, how: StoreFacts): void {
    if ((this.#flags & Log.MUTATIONS) === 0) return;
    this.#next()?.stored(key, from, to, outcome, how);
  }

  removed(key: Uint8Array, from: number, to: number, byMeta: boolean, valueBytes: number): void {
    if ((this.#flags & Log.DELETIONS) === 0) return;
    this.#next()?.removed(key, from, to, byMeta, valueBytes);
  }

  /** @param reason why the connection has ended; undefined for a new one */
  connection(facts: Log.ConnectionFacts, reason?: Log.CloseReason): void {
    if (!this.hasConnections) return;
    this.#next()?.connection(facts, reason);
  }

  /** The records, with the number and the time of the next one. */
  #next(): Log.LogRecords | undefined {
    const records = this.#records;
    if (records === undefined) return undefined;
    records.gid = this.#board.nextGid();
    records.nowS = this.#parts.items.now;
    return records;
  }

  #setFlags(flags: number): void {
    this.#flags = flags;
    this.active = (flags & Log.ABOUT_ITEMS) !== 0;
    this.#parts.items.log = this.active ? this : undefined;
    if (flags === 0) this.#records = undefined;
    else this.#records ??= new Log.LogRecords(RECORDS_BYTES);
  }

  #send(bytes: Uint8Array, records: Log.LogRecords): void {
    const { thread, relay } = this.#parts;
    const board = this.#board;
    this.#deliver(bytes);
    if (board.flagsElsewhere === 0) return;
    if (board.onTheWay(thread) + bytes.length > RELAY_BYTES_MAX) {
      for (const reader = new Log.RecordReader(bytes); reader.next(); ) records.dropped++;
      return;
    }
    board.sent(thread, bytes.length);
    relay(bytes.slice());
  }

  #recordEvictions(records: Log.LogRecords): void {
    const { items } = this.#parts;
    const isWhole = items.visitEvicted(this.#evictions, (key, from, to) => {
      this.#next()?.evicted(key, from, to, items.meta, items.valueBytes);
    });
    // How many are lost is not known.
    if (!isWhole) records.dropped++;
  }

  #deliver(bytes: Uint8Array): void {
    if (this.#watchers.size === 0) return;
    for (const reader = new Log.RecordReader(bytes); reader.next(); ) {
      let line: string | undefined;
      for (const watcher of this.#watchers) {
        if (!watcher.wants(reader)) continue;
        line ??= reader.line();
        watcher.take(line);
      }
    }
    for (const watcher of this.#watchers) watcher.flush();
  }
}
