// `watch`: what one thread tells of its items and connections to those who watch the server, and
// what its own watchers are told by all threads.
//
//   items ─┐                       ┌─► watchers of this thread ─► their sockets
//   store ─┼─► records ─► relay ───┤
//   conns ─┘  of a batch           └─► other threads with watchers ─► their sockets
//
// While nobody watches, all that is done is a look at one shared word for each read of a connection
// and one test in each command. Everything is bounded: records of a batch, bytes on their way to
// other threads, and what a watcher has not read; what is too much is dropped, and counted.

import type { InternalErrors } from "../../node/internal_errors.ts";
import type { EvictionListener } from "../../values/eviction_listener.ts";
import { C, type Counters } from "../items/counters.ts";
import type { ItemLog, Look, StoreFacts } from "../items/item_log.ts";
import type { Items } from "../items/items.ts";
import type { Outcome } from "../items/requests.ts";
import type { WatchBoard } from "./board.ts";
import * as Log from "./records.ts";

/** Records that wait to be told, some thousand; from half of that on they don't wait longer. */
const RECORDS_BYTES = 256 * 1024;
const RECORDS_WAIT_BYTES = RECORDS_BYTES / 2;
/** Or they wait so long: many lines in one write cost less than one write for each. */
const WAIT_MS = 5;
/** Records of one thread that others have not yet looked at. */
const RELAY_BYTES_MAX = 1024 * 1024;
/** Longer than what says how many lines were skipped. */
const SKIPPED_BYTES_MAX = 64;

/** Where a watcher's lines go. */
export interface WatchSink {
  /** Bytes that it has not taken yet. */
  waiting(): number;
  write(lines: string): void;
}

/** Why somebody may not watch. */
export type WatchRefusal = "too many" | "no room";

export interface WatchParts {
  readonly board: WatchBoard;
  readonly thread: number;
  readonly items: Items;
  readonly counters: Counters;
  /** Bytes that a watcher may leave unread before lines are skipped. */
  readonly watchBytesMax: number;
  /** Carries records to all other threads that have watchers. */
  readonly relay: (records: Uint8Array) => void;
  /** Tells the other threads to look at what is watched now. */
  readonly changed: () => void;
  /** Told of what nobody expected. */
  readonly errors: InternalErrors;
}

/** One connection that watches. */
export class Watcher {
  readonly flags: number;
  /** Lines up to this number are of before it came. */
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
    // Handing on what there is may make room: the system takes it at once, if it can.
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

  /** Hands on what there is, and sees how much more it may be. */
  flush(): void {
    const lines = this.#lines;
    this.#lines = "";
    if (lines !== "") this.#sink.write(lines);
    this.#room = this.#bytesMax - this.#sink.waiting();
  }
}

export class Watch implements ItemLog {
  /** Somebody, in whatever thread, watches what commands do to items: `items.log` is set then. */
  active = false;
  readonly #parts: WatchParts;
  readonly #board: WatchBoard;
  readonly #watchers = new Set<Watcher>();
  readonly #evictions: EvictionListener;
  /** What is watched in any thread, when it was last looked at. */
  #flags = 0;
  #records: Log.LogRecords | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: WatchParts) {
    this.#parts = parts;
    this.#board = parts.board;
    this.#evictions = parts.items.values.evictionListener(parts.board.turns);
  }

  /** Takes the room that is needed to hear of evictions: when memory is full there is none. */
  reserve(): void {
    if (this.#evictions.begin()) this.#evictions.end();
  }

  /** One more watcher, of this thread; or why there is none. */
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
    if ((watcher.flags & Log.EVICTIONS) !== 0) this.#evictions.end();
    this.#board.removeWatcher();
    this.#changed();
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

  /** Whether connections that come and go are watched. */
  get hasConnections(): boolean {
    return (this.#flags & Log.CONNEVENTS) !== 0;
  }

  /** Looks at what is watched. */
  refresh(): void {
    const { flags } = this.#board;
    if (flags !== this.#flags) this.#setFlags(flags);
  }

  /** The same; and what comes is done by commands of this connection. */
  begin(cfd: number): void {
    this.refresh();
    if (this.#records !== undefined) this.#records.cfd = cfd;
  }

  /** The batch is done: those who watch are told of it, soon. */
  end(): void {
    const records = this.#records;
    if (records === undefined) return;
    if ((this.#flags & Log.EVICTIONS) !== 0) this.#hearEvicted(records);
    if (records.bytes > RECORDS_WAIT_BYTES) this.tell();
    else if (records.bytes > 0)
      this.#timer ??= setTimeout(() => this.#tellLater(), WAIT_MS).unref();
  }

  #tellLater(): void {
    this.#parts.errors.run("memcached: log lines for watchers", () => this.tell());
  }

  /** Tells those who watch of what has happened until now. */
  tell(): void {
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

  /** Gives this thread's watchers what another has sent. */
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

  /** @param reason why it has ended; undefined for a new one */
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

  #hearEvicted(records: Log.LogRecords): void {
    const { items } = this.#parts;
    const isWhole = items.visitEvicted(this.#evictions, (key, from, to) => {
      this.#next()?.evicted(key, from, to, items.meta, items.valueBytes);
    });
    // How many they were is not known.
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
