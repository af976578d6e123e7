// What is done to pages that lie idle: recompressed with the denser codec, written to the file
// before room is short, or, once they have expired, removed. As zram's recompression and writeback.
//
// A walk through the index, some entries at a time, under one hold of the lock, notes which of them
// there is something to be done about; then each is done by itself. Compressing is done without the
// lock: whoever has the lock next looks whether the page is still what it was.
import { type Address, type Handle, NIL, type WordIndex } from "../base/brand.ts";
import { put } from "../memory/journal.ts";
import * as Entry from "../tmem/entry.layout.ts";
import type { TmemKey } from "../tmem/key.ts";
import { ScanCursor } from "../tmem/scan_cursor.ts";
import { snapshotEntry, unchangedMetaLocked } from "./entry_snapshot.ts";
import { evictLocked } from "./evict.ts";
import { expireLocked, readHead } from "./expiry.ts";
import * as Page from "./page.layout.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";
import { transaction } from "./transaction.ts";
import * as Value from "./value.layout.ts";

/** Which pages something is done about. */
export interface Idle {
  /** Ticks of the store's clock since a page was last used, 0 … 127: so many, or more. */
  readonly idleTicks: number;
  /** "huge": only those stored raw; "normal": only others (default both). */
  readonly only?: "huge" | "normal";
}

export interface IdleScanOptions {
  /** Entries to look at, at about. */
  readonly entries: number;
  readonly recompress?: Idle | undefined;
  /** Compress values anew that were compressed with another dictionary than the current one. */
  readonly redictionary?: boolean | undefined;
  readonly writeBack?: Idle | undefined;
  /** Remove values that expired before this time, in ms since 1970. */
  readonly nowMs?: number | undefined;
}

export interface IdleScanResult {
  /** Whether all entries have been looked at since the last time that this was said. */
  readonly ended: boolean;
  readonly recompressed: number;
  readonly writtenBack: number;
  readonly expired: number;
}

/** Entries that are looked at under one hold of the lock, at about; and noted: all, if need be. */
const LOOKED_MAX = 128;
const NOTED_MAX = 2 * LOOKED_MAX;
/** A page must become so many bytes smaller, and this part of it: another class of the pool. */
const GAIN_BYTES = 16;
const GAIN_PART = 16;

const RECOMPRESS = 1;
const WRITE_BACK = 2;
const EXPIRED = 3;
const REDICTIONARY = 4;

export class IdleScan {
  readonly #state: StoreState;
  readonly #cursor = new ScanCursor();
  /** Of each: what is to be done, the entry and its VALUE. */
  readonly #noted = new Int32Array(NOTED_MAX * 3);
  #count = 0;

  constructor(state: StoreState) {
    this.#state = state;
  }

  run(options: IdleScanOptions): IdleScanResult {
    const done = { ended: false, recompressed: 0, writtenBack: 0, expired: 0 };
    for (let left = options.entries; left > 0 && !done.ended; left -= LOOKED_MAX) {
      const look = Math.min(left, LOOKED_MAX);
      this.#count = 0;
      const { index } = this.#state;
      done.ended = transaction(this.#state, () =>
        index.scan(this.#cursor, look, (entry) => this.#noteLocked(entry, options)),
      );
      for (let nth = 0; nth < this.#count; nth++) {
        const entry = this.#noted[nth * 3 + 1]! as WordIndex;
        const value = this.#noted[nth * 3 + 2]!;
        const todo = this.#noted[nth * 3]!;
        const isFor = todo === RECOMPRESS || todo === REDICTIONARY;
        if (isFor && recompress(this.#state, entry, value, todo)) done.recompressed++;
        if (todo === WRITE_BACK && writeBack(this.#state, entry, value)) done.writtenBack++;
        if (todo === EXPIRED && expire(this.#state, entry, value)) done.expired++;
      }
    }
    return done;
  }

  #noteLocked(entry: WordIndex, options: IdleScanOptions): void {
    if (this.#count === NOTED_MAX) return;
    const todo = todoLocked(this.#state, entry, options);
    if (todo === 0) return;
    const at = this.#count++ * 3;
    this.#noted[at] = todo;
    this.#noted[at + 1] = entry;
    this.#noted[at + 2] = this.#state.words[entry + Entry.VALUE]!;
  }
}

/** What is to be done about a page, 0 = nothing. */
function todoLocked(state: StoreState, entry: WordIndex, options: IdleScanOptions): number {
  const meta = state.words[entry + Entry.META]!;
  if (Page.whereOf(meta) !== Page.MEMORY) return 0;
  const isOfValues = state.options.content === "values";
  const looksIn = isOfValues && (options.nowMs !== undefined || options.redictionary === true);
  if (looksIn) readHead(state, entry, meta);
  if (looksIn && options.nowMs !== undefined) {
    if (Value.expiryOf(state.arena.bytes, state.evicted) <= options.nowMs) return EXPIRED;
  }
  const age = (state.words[state.root + Store.TICK]! - Page.tickOf(meta)) & (Page.AGES - 1);
  const isMeant = (idle: Idle | undefined) => {
    if (idle === undefined || age < idle.idleTicks) return false;
    return idle.only === undefined || (idle.only === "huge") === (Page.codecOf(meta) === Page.RAW);
  };
  if (isMeant(options.writeBack) && state.backing !== undefined) return WRITE_BACK;
  const codec = Page.codecOf(meta);
  const isNew = codec === Page.FAST || codec === Page.RAW;
  if (isNew && state.codecs.hasDense && isMeant(options.recompress)) return RECOMPRESS;
  return looksIn && options.redictionary === true && isOutdated(state, codec) ? REDICTIONARY : 0;
}

/** Whether the value whose head was read would be compressed with another dictionary today. */
function isOutdated(state: StoreState, codec: number): boolean {
  const header = state.words[state.evicted / 4]!;
  const current = state.words[state.root + Store.DICTIONARY]!;
  return (
    codec !== Page.RAW &&
    Value.sizeOf(header) <= Value.DICTIONARY_HELPS_BYTES &&
    Value.dictionaryOf(header) !== current &&
    state.codecs.takesDictionary(codec === Page.DENSE)
  );
}

function writeBack(state: StoreState, entry: WordIndex, value: number): boolean {
  return transaction(state, () => {
    const meta = unchangedMetaLocked(state, entry, value);
    return meta !== 0 && Page.isListed(meta) && evictLocked(state, entry, true);
  });
}

function expire(state: StoreState, entry: WordIndex, value: number): boolean {
  return transaction(state, () => {
    if (unchangedMetaLocked(state, entry, value) === 0) return false;
    expireLocked(state, entry);
    return true;
  });
}

/**
 * Removes the value of a key that this thread has fetched to the packed scratch, if the value is
 * still there and has expired by now. Another thread may have set a new one since.
 */
export function removeExpired(state: StoreState, pool: number, key: TmemKey, nowMs: number): void {
  transaction(state, () => {
    const entry = state.findLocked(pool, key);
    if (entry === NIL) return;
    const meta = state.words[entry + Entry.META]!;
    if (Page.whereOf(meta) === Page.MEMORY) {
      readHead(state, entry, meta);
      if (Value.expiryOf(state.arena.bytes, state.evicted) <= nowMs) expireLocked(state, entry);
    } else if (state.words[entry + Entry.VALUE] === state.foundValue) {
      // It is in the file where it was read from: what was fetched is what stands there.
      expireLocked(state, entry, state.packed);
    }
  });
}

/**
 * Compresses a page with the denser codec, or with the one that it has and another dictionary.
 * @returns whether that has paid
 */
function recompress(state: StoreState, entry: WordIndex, value: number, todo: number): boolean {
  const noted = snapshotEntry(state, entry, value);
  if (noted === undefined) return false;
  const { meta, source, prefix, plainBytes } = noted;
  const isOfValues = state.options.content === "values";
  const stored = Page.sizeOf(meta);
  const from = (source + prefix) as Address;
  const current = state.words[state.root + Store.DICTIONARY]!;
  const to = todo === RECOMPRESS ? Page.DENSE : Page.codecOf(meta);
  const helps = isOfValues && plainBytes <= Value.DICTIONARY_HELPS_BYTES;
  const next = helps && state.codecs.takesDictionary(to === Page.DENSE) ? current : 0;
  const gain = Math.max(GAIN_BYTES, Math.floor(stored / GAIN_PART));
  // A page must not stay in the class of those that take the most room.
  const most = isOfValues ? stored : state.packedMax[Page.kindOf(meta)]!;
  const limit = Math.min(stored - gain, most) - prefix;
  const codec = state.codecOf(to, next);
  const packed = limit > 0 ? codec.compress(state.plain, plainBytes, from, limit) : 0;
  if (packed === 0) {
    state.count("recompress_in_vain");
    if (todo === REDICTIONARY) return false;
    return transaction(state, () => markTriedLocked(state, entry, value));
  }
  if (isOfValues) state.words[source / 4] = Value.makeHeader(plainBytes, prefix, next);
  return transaction(state, () => exchangeLocked(state, entry, value, to, source, prefix + packed));
}

/** The front may have written another prefix meanwhile (values.ts): the new object gets that. */
function keepPrefixLocked(
  state: StoreState,
  made: number,
  old: number,
  kind: number,
  source: Address,
): void {
  const zpool = state.zpools[kind]!;
  const header = state.words[source / 4]!;
  const prefix = Value.prefixOf(header);
  zpool.readShared(old as Handle, state.evicted, prefix);
  state.words[state.evicted / 4] = header;
  zpool.writeShared(made as Handle, state.evicted, prefix);
}

/** Remembers that the denser codec does not pay for a page. @returns false */
function markTriedLocked(state: StoreState, entry: WordIndex, value: number): false {
  const meta = unchangedMetaLocked(state, entry, value);
  if (meta === 0) return false;
  const size = Page.sizeOf(meta);
  const isRaw = Page.codecOf(meta) === Page.RAW;
  // One that is stored raw stays marked so: it is tried again where that is asked for.
  if (!isRaw) put(state.words, entry + Entry.META, Page.withSize(meta, Page.TRIED, size));
  return false;
}

/** Lets an entry stand for a smaller object of the same page; where the policy has it, it stays. */
function exchangeLocked(
  state: StoreState,
  entry: WordIndex,
  value: number,
  codec: number,
  source: Address,
  sizeBytes: number,
): boolean {
  const meta = unchangedMetaLocked(state, entry, value);
  if (meta === 0) return false;
  const kind = Page.kindOf(meta);
  const handle = state.remakeObjectLocked(kind, entry, source, sizeBytes);
  if (handle < 0) {
    state.arena.lock.rollBack();
    return false;
  }
  if (state.options.content === "values") keepPrefixLocked(state, handle, value, kind, source);
  state.detachLocked(entry);
  state.reattachLocked(entry, handle, Page.withSize(meta, codec, sizeBytes));
  state.commitLocked();
  state.count("recompressed_pages");
  state.count("recompressed_bytes_in", Page.sizeOf(meta));
  state.count("recompressed_bytes_out", sizeBytes);
  return true;
}
