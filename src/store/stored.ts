// Values as they are stored, compressed: for who copies them to a file, and brings them back from
// one into an empty store, without the work of compressing them again.
import { type Address, NIL, type WordIndex } from "../base/brand.ts";
import type { Errno } from "../base/errno.ts";
import { ZcacheError } from "../base/errors.ts";
import * as Entry from "../tmem/entry.layout.ts";
import { TmemKey } from "../tmem/key.ts";
import { ScanCursor } from "../tmem/scan_cursor.ts";
import * as Log from "./change_log.layout.ts";
import { ChangeLog, type LogWriter } from "./change_log.ts";
import * as Rec from "./change_record.layout.ts";
import * as Page from "./page.layout.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";
import { transaction } from "./transaction.ts";
import type { Values } from "./values.ts";
import { maintain } from "./write_back.ts";

/** Page frames of the ring of changes: the largest block that an arena gives. */
const RING_FRAMES = 16;
/** In an arena that is so small, half of it. */
const SMALL_ARENA_BYTES = 16 * 1024 * 1024;
/** Entries that are looked at under one hold of the lock. */
const SCANNED = 64;
/** How often a value may move while it is read from the write-back file. */
const READS_MAX = 16;

export class StoredValues {
  readonly #state: StoreState;
  readonly #values: Values;

  constructor(state: StoreState, values: Values) {
    this.#state = state;
    this.#values = values;
  }

  /**
   * Makes a log of the changes of a tmem pool, which is off.
   * @throws ZcacheError ERR_ARENA_FULL
   */
  makeLog(pool: number, writer: LogWriter): ChangeLog {
    const { arena, words } = this.#state;
    const frames = arena.sizeBytes < SMALL_ARENA_BYTES ? RING_FRAMES / 2 : RING_FRAMES;
    const at = this.#values.allocate(Log.WORDS * 4);
    const ring = this.#values.allocate(frames * arena.pageSize);
    if (at === NIL || ring === NIL) {
      throw new ZcacheError("ERR_ARENA_FULL", "no room in the arena for a log of changes");
    }
    words[at + Log.RING] = ring;
    words[at + Log.RING_UNITS] = (frames * arena.pageSize) / Rec.UNIT_BYTES;
    return this.openLog(at, pool, writer);
  }

  /** Opens, in another thread, the log that stands at that word. */
  openLog(at: number, pool: number, writer: LogWriter): ChangeLog {
    return new ChangeLog(this.#state.arena, at as WordIndex, pool, writer);
  }

  /** From here on, what this thread changes is kept in a log. */
  use(log: ChangeLog): void {
    this.#state.changes = log;
  }

  /** @throws ZcacheError ERR_STORE_CLOSED */
  assertOpen(): void {
    this.#state.assertOpen();
  }

  /** Whether somebody has closed the store, or this thread its use. */
  get isClosed(): boolean {
    const { isOver, words, root } = this.#state;
    return isOver || words[root + Store.CLOSED] !== 0;
  }

  /** Scratch of this thread. */
  reserve(sizeBytes: number): Address {
    return this.#state.arena.reserve(sizeBytes);
  }

  checksum(at: number, sizeBytes: number, seed: number): number {
    return this.#state.arena.kernels.checksum(at, sizeBytes, seed);
  }

  /** Bytes of what is stored, about: those in the write-back file are as long as the others. */
  get storedBytes(): number {
    return this.#storedBytesOf(Store.EPHEMERAL) + this.#storedBytesOf(Store.PERSISTENT);
  }

  #storedBytesOf(kind: number): number {
    const gauge = (what: number) => this.#state.words[this.#state.gaugeAt(kind, what)]!;
    const bytes = gauge(Store.BYTES) >>> 0;
    return bytes * (1 + gauge(Store.IN_FILE) / Math.max(1, gauge(Store.IN_MEMORY)));
  }

  /** Values that have been evicted, ever. */
  get evicted(): number {
    return this.#state.counter("evicted_ephemeral_pages");
  }

  /** A walk for `scan` that stands at the beginning. */
  beginScan(): ScanCursor {
    return new ScanCursor();
  }

  /**
   * Walks on through all pages of a tmem pool: what stays is met at least once, whatever else
   * comes and goes meanwhile.
   * @param visit called without any lock
   * @returns whether that was all
   */
  scan(cursor: ScanCursor, pool: number, visit: (key: TmemKey) => void): boolean {
    const state = this.#state.assertOpen();
    const found: TmemKey[] = [];
    const ended = transaction(state, () =>
      state.index.scan(cursor, SCANNED, (entry) => {
        const key = new TmemKey();
        if (state.index.keyOf(entry, key) === pool) found.push(key);
      }),
    );
    for (const key of found) visit(key);
    return ended;
  }

  /**
   * Copies a value with its prefix; does not count as a use.
   * @param target room for a page, in the arena
   * @returns its META (page.layout.ts), or 0 if it is not there, or can't be read
   */
  copy(pool: number, key: TmemKey, target: Address): number {
    const state = this.#state.assertOpen();
    for (let reads = 0; reads < READS_MAX; reads++) {
      let meta = 0;
      let place = NIL as number;
      transaction(state, () => {
        const entry = state.findLocked(pool, key);
        if (entry === NIL) return;
        meta = state.words[entry + Entry.META]!;
        if (Page.whereOf(meta) === Page.MEMORY) state.readObject(entry, meta, target);
        else {
          const value = state.words[entry + Entry.VALUE]!;
          const isBuffered = state.backing!.readBuffered(value, Page.sizeOf(meta), target);
          if (!isBuffered) place = value;
        }
      });
      if (place === NIL) return meta;
      // The record names its page, and what was this page's when it was looked for is good here.
      const result = state.backing!.read(place, pool, key, Page.sizeOf(meta), target);
      if (result === "ok") return meta;
    }
    return 0;
  }

  /**
   * Stores what `copy` gave. Where there is a file for what memory has no room for, does all the
   * work that waits too: who puts faster than that loses values.
   * @returns as `Store.put`
   */
  put(pool: number, key: TmemKey, codec: number, source: Address, sizeBytes: number): 0 | Errno {
    const result = this.#values.putPacked(pool, key, codec, sizeBytes, source);
    if (this.#state.backing !== undefined) while (maintain(this.#state));
    return result;
  }

  /** How many dictionaries there are. */
  get dictionaries(): number {
    return this.#state.words[this.#state.root + Store.DICTIONARIES]!;
  }

  /** Where a dictionary stands, 1 … dictionaries. */
  dictionaryAt(number: number): { readonly at: Address; readonly sizeBytes: number } {
    const { words, root } = this.#state;
    return {
      at: (words[root + Store.DICTIONARY_AT + number - 1]! * 4) as Address,
      sizeBytes: words[root + Store.DICTIONARY_BYTES + number - 1]!,
    };
  }
}
