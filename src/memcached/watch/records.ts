// Records of what happens to items and connections while a client watches, and the lines that
// watchers read, in memcached's words. A record is a few bytes in a buffer, because it is written
// under the lock of a key; the thread that has a watcher for it makes a line of it later.
import type { Look, StoreFacts } from "../items/item_log.ts";
import * as Item from "../items/items.layout.ts";
import * as Request from "../items/requests.ts";
import { encodeKey } from "../protocol/key_text.ts";

/** The events that can be watched, as bits. */
export const FETCHERS = 1;
export const MUTATIONS = 2;
export const DELETIONS = 4;
export const EVICTIONS = 8;
export const CONNEVENTS = 16;
/** Events of parts that only memcached has: may be asked for, and never happen. */
const SILENT = 32;
/** The events of commands that change or read items. */
export const ABOUT_ITEMS = FETCHERS | MUTATIONS | DELETIONS;

const FLAG_OF: Readonly<Record<string, number>> = {
  fetchers: FETCHERS,
  mutations: MUTATIONS,
  deletions: DELETIONS,
  evictions: EVICTIONS,
  connevents: CONNEVENTS,
  ...{ sysevents: SILENT, rawcmds: SILENT },
  ...{ proxyreqs: SILENT, proxyevents: SILENT, proxyuser: SILENT },
};

/** @returns the events that the words of `watch` ask for, undefined if a word is unknown */
export function watchFlagsOf(words: readonly string[]): number | undefined {
  if (words.length === 0) return FETCHERS;
  let flags = 0;
  for (const word of words) {
    const flag = Object.hasOwn(FLAG_OF, word) ? FLAG_OF[word] : undefined;
    if (flag === undefined) return undefined;
    flags |= flag;
  }
  return flags;
}

/** struct record: what becomes one line.
 *  0     2     3       4     5     6     8     16       24    28    32     36    40
 *  ┌─────┬─────┬───────┬─────┬─────┬─────┬─────┬────────┬─────┬─────┬──────┬─────┬──────
 *  │ all │ what│ detail│ more│ name│ port│ gid │ time ms│ cfd │ ttl │ size │ age │ name
 *  └─────┴─────┴───────┴─────┴─────┴─────┴─────┴────────┴─────┴─────┴──────┴─────┴──────
 * `all` is the length of the record, `name` that of the key or address; WHAT is one of the flags,
 * or CLOSED. Numbers are little-endian. */
const WHAT = 2;
const DETAIL = 3;
const MORE = 4;
const NAME_BYTES = 5;
const PORT = 6;
const GID = 8;
const TIME_MS = 16;
const CFD = 24;
const TTL = 28;
const SIZE = 32;
const AGE = 36;
const NAME = 40;
/** In MORE of a CONNEVENTS record: the connection has ended. */
const CLOSED = 1;

/** Why a connection has ended; DETAIL is the place in this list. */
const REASONS = ["error", "normal", "idle_timeout", "shutdown"] as const;
export type CloseReason = (typeof REASONS)[number];

const LOOKS = ["not_found", "found", "flushed", "expired"];
const OUTCOMES: Readonly<Record<number, string>> = {
  [Request.DONE]: "stored",
  [Request.NOT_STORED]: "not_stored",
  [Request.EXISTS]: "exists",
  [Request.NOT_FOUND]: "not_found",
  [Request.TOO_LARGE]: "too_large",
  [Request.NO_MEMORY]: "no_memory",
};
const CAS_MODE = 5;
const MODES: Readonly<Record<number, string>> = {
  [Request.SET]: "set",
  [Request.ADD]: "add",
  [Request.REPLACE]: "replace",
  [Request.APPEND]: "append",
  [Request.PREPEND]: "prepend",
  [CAS_MODE]: "cas",
};

/** What log lines say of a connection. */
export interface ConnectionFacts {
  /** Its descriptor, as in `stats conns`. */
  readonly cfd: number;
  /** Undefined for a unix socket. */
  readonly host: string | undefined;
  readonly port: number;
}

/** Records that wait to be sent. */
export class LogRecords {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #used = 0;
  /** Records for which there was no room, and others. */
  dropped = 0;
  written = 0;
  /** The descriptor of the connection whose command causes the next record. */
  cfd = -1;
  /** The number of the next record, and its time by the clock of the items, in s since 1970. */
  gid = 0;
  nowS = 0;

  constructor(bytes: number) {
    this.#bytes = new Uint8Array(bytes);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** Takes all records out; they are valid until the next one is written. */
  take(): Uint8Array {
    const used = this.#used;
    this.#used = 0;
    return this.#bytes.subarray(0, used);
  }

  /** Bytes of all records. */
  get bytes(): number {
    return this.#used;
  }

  fetched(key: Uint8Array, from: number, to: number, look: Look, size: number): void {
    const at = this.#begin(FETCHERS, look, key, from, to);
    if (at >= 0) this.#view.setUint32(at + SIZE, size, true);
  }

  stored(
    key: Uint8Array,
    from: number,
    to: number,
    outcome: Request.Outcome,
    how: StoreFacts,
  ): void {
    const at = this.#begin(MUTATIONS, outcome, key, from, to);
    if (at < 0) return;
    const replaces = how.mode === Request.SET || how.mode === Request.REPLACE;
    const ttl = how.expires === 0 ? 0 : how.expires - this.nowS;
    this.#view.setUint8(at + MORE, how.hasCas && replaces ? CAS_MODE : how.mode);
    this.#view.setInt32(at + TTL, ttl, true);
    this.#view.setUint32(at + SIZE, how.itemBytes, true);
  }

  removed(key: Uint8Array, from: number, to: number, byMeta: boolean, size: number): void {
    const at = this.#begin(DELETIONS, byMeta ? 1 : 0, key, from, to);
    if (at >= 0) this.#view.setUint32(at + SIZE, size, true);
  }

  /** @param meta the words of the item (items.layout.ts) */
  evicted(key: Uint8Array, from: number, to: number, meta: Uint32Array, size: number): void {
    const wasFetched = (meta[Item.BITS]! & Item.FETCHED) !== 0;
    const at = this.#begin(EVICTIONS, wasFetched ? 1 : 0, key, from, to);
    if (at < 0) return;
    const expires = meta[Item.EXPIRES]!;
    this.#view.setInt32(at + TTL, expires === 0 ? -1 : expires - this.nowS, true);
    this.#view.setUint32(at + AGE, Math.max(0, this.nowS - meta[Item.ACCESSED]!), true);
    this.#view.setUint32(at + SIZE, size, true);
  }

  /** @param reason why the connection has ended; undefined for a new one */
  connection(facts: ConnectionFacts, reason: CloseReason | undefined): void {
    const name = Buffer.from(facts.host ?? "", "latin1");
    const detail = reason === undefined ? 0 : REASONS.indexOf(reason);
    const at = this.#begin(CONNEVENTS, detail, name, 0, name.length);
    if (at < 0) return;
    this.#view.setUint8(at + MORE, reason === undefined ? 0 : CLOSED);
    this.#view.setUint16(at + PORT, facts.port, true);
    this.#view.setInt32(at + CFD, facts.cfd, true);
  }

  /** Begins a record, with MORE and SIZE 0. @returns where it stands, −1 without room */
  #begin(what: number, detail: number, name: Uint8Array, from: number, to: number): number {
    const at = this.#used;
    const all = NAME + to - from;
    if (at + all > this.#bytes.length) {
      this.dropped++;
      return -1;
    }
    const view = this.#view;
    view.setUint16(at, all, true);
    view.setUint8(at + WHAT, what);
    view.setUint8(at + DETAIL, detail);
    view.setUint8(at + MORE, 0);
    view.setUint8(at + NAME_BYTES, to - from);
    view.setFloat64(at + GID, this.gid, true);
    view.setFloat64(at + TIME_MS, Date.now(), true);
    view.setInt32(at + CFD, this.cfd, true);
    view.setUint32(at + SIZE, 0, true);
    for (let i = from; i < to; i++) this.#bytes[at + NAME + i - from] = name[i]!;
    this.#used = at + all;
    this.written++;
    return at;
  }
}

/** Reads the records of `LogRecords.take` one after the other, in any thread. */
export class RecordReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;
  #next = 0;

  constructor(records: Uint8Array) {
    this.#bytes = records;
    this.#view = new DataView(records.buffer, records.byteOffset, records.length);
  }

  /** Moves to the next record, at first to the first one. @returns whether there is one */
  next(): boolean {
    if (this.#next >= this.#bytes.length) return false;
    this.#at = this.#next;
    this.#next += this.#view.getUint16(this.#at, true);
    return true;
  }

  /** The event, as one of the flags. */
  get what(): number {
    return this.#view.getUint8(this.#at + WHAT);
  }

  get gid(): number {
    return this.#view.getFloat64(this.#at + GID, true);
  }

  /** The line of the record, with its end. */
  line(): string {
    const view = this.#view;
    const at = this.#at;
    const timeMs = view.getFloat64(at + TIME_MS, true);
    const seconds = Math.floor(timeMs / 1000);
    const micros = String((timeMs - seconds * 1000) * 1000).padStart(6, "0");
    return `ts=${seconds}.${micros} gid=${this.gid} ${this.#facts(view, at)}\n`;
  }

  #facts(view: DataView, at: number): string {
    const detail = view.getUint8(at + DETAIL);
    const more = view.getUint8(at + MORE);
    const cfd = view.getInt32(at + CFD, true);
    const size = view.getUint32(at + SIZE, true);
    const ttl = view.getInt32(at + TTL, true);
    const name = this.#bytes.subarray(at + NAME, at + NAME + view.getUint8(at + NAME_BYTES));
    switch (this.what) {
      case FETCHERS: {
        const clsid = detail === 1 ? 1 : 0;
        const status = LOOKS[detail];
        const what = `type=item_get key=${encodeKey(name)} status=${status}`;
        return `${what} clsid=${clsid} cfd=${cfd} size=${size}`;
      }
      case MUTATIONS:
        return (
          `type=item_store key=${encodeKey(name)} status=${OUTCOMES[detail]} cmd=${MODES[more]} ` +
          `ttl=${ttl >>> 0} clsid=1 cfd=${cfd} size=${size}`
        );
      case DELETIONS: {
        const command = detail === 1 ? "md" : "delete";
        return `type=deleted key=${encodeKey(name)} cmd=${command} clsid=1 size=${size}`;
      }
      case EVICTIONS: {
        const fetched = detail === 1 ? "yes" : "no";
        const age = view.getUint32(at + AGE, true);
        const what = `type=eviction key=${encodeKey(name)} fetch=${fetched}`;
        return `${what} ttl=${ttl} la=${age} clsid=1 size=${size}`;
      }
      default: {
        const isUnix = name.length === 0;
        const host = isUnix ? "unix" : Buffer.from(name).toString("latin1");
        const where = `rip=${host} rport=${view.getUint16(at + PORT, true)}`;
        const transport = `transport=${isUnix ? "local" : "tcp"}`;
        return more === CLOSED
          ? `type=conn_close ${where} ${transport} reason=${REASONS[detail]} cfd=${cfd}`
          : `type=conn_new ${where} ${transport} cfd=${cfd}`;
      }
    }
  }
}
