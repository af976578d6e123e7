// The idle scan: recompresses idle pages with the denser codec, writes them to the file before room
// is short, and removes expired values. As zram's recompression and writeback.
//
// A walk through the index picks entries to work on, some at a time under one hold of the lock;
// each is then handled in a transaction of its own. Compression runs without the lock: afterwards,
// under the lock, the entry is checked to still stand for the same page. VALUE tells of any change
// but an overwrite in place (overwrite.ts), so the bytes are compared.
import { type Address, type Handle, NIL, type WordIndex } from "../base/brand.ts";
import { put } from "../memory/journal.ts";
import * as Entry from "../tmem/entry.layout.ts";
import type { TmemKey } from "../tmem/key.ts";
import { ScanCursor } from "../tmem/scan_cursor.ts";
import { type EntrySnapshot, snapshotEntry, unchangedMetaLocked } from "./entry_snapshot.ts";
import { evictLocked } from "./evict.ts";
import { expireLocked, readHead } from "./expiry.ts";
import * as Page from "./page.layout.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";
import { transaction } from "./transaction.ts";
import * as Value from "./value.layout.ts";

/** Selects idle pages. */
export interface Idle {
  /** Minimum of ticks of the store's clock since the page was last used, 0 … 127. */
  readonly idleTicks: number;
  /**
   * "huge" selects only pages stored raw, "normal" only others (default both); "incompressible"
   * those stored raw, and those that the denser codec was tried on in vain.
   */
  readonly only?: "huge" | "normal" | "incompressible";
}

export interface IdleScanOptions {
  /** Entries to visit, at about. */
  readonly entries: number;
  readonly recompress?: Idle | undefined;
  /** Recompress values that were compressed with another dictionary than the current one. */
  readonly redictionary?: boolean | undefined;
  readonly writeBack?: Idle | undefined;
  /** Remove values that expired before this time, in ms since 1970. */
  readonly nowMs?: number | undefined;
}

export interface IdleScanResult {
  /** Whether the scan has visited all entries; the next call starts over. */
  readonly ended: boolean;
  readonly recompressed: number;
  readonly writtenBack: number;
  readonly expired: number;
}

/** Entries visited under one hold of the lock, at about. */
const STEP_ENTRIES = 128;
const PICKED_MAX = 2 * STEP_ENTRIES;
/**
 * A recompressed page must be smaller by so many bytes and by this part of its size, so that it
 * moves to another size class of the pool.
 */
const GAIN_BYTES = 16;
const GAIN_PART = 16;
const NO_LIMIT = 2 ** 30;

const RECOMPRESS = 1;
const WRITE_BACK = 2;
const EXPIRED = 3;
const REDICTIONARY = 4;

export class IdleScan {
  readonly #state: StoreState;
  readonly #cursor = new ScanCursor();
  /** For each picked entry: what to do, the entry, its VALUE. */
  readonly #picked = new Int32Array(PICKED_MAX * 3);
  #count = 0;

  constructor(state: StoreState) {
    this.#state = state;
  }

  run(options: IdleScanOptions): IdleScanResult {
    const done = { ended: false, recompressed: 0, writtenBack: 0, expired: 0 };
    for (let left = options.entries; left > 0 && !done.ended; left -= STEP_ENTRIES) {
      const entries = Math.min(left, STEP_ENTRIES);
      this.#count = 0;
      const { index } = this.#state;
      done.ended = transaction(this.#state, () =>
        index.scan(this.#cursor, entries, (entry) => this.#pickLocked(entry, options)),
      );
      for (let nth = 0; nth < this.#count; nth++) {
        const entry = this.#picked[nth * 3 + 1]! as WordIndex;
        const value = this.#picked[nth * 3 + 2]!;
        const todo = this.#picked[nth * 3]!;
        if (todo === RECOMPRESS && recompressEntry(this.#state, entry, value)) done.recompressed++;
        if (todo === REDICTIONARY && recompress(this.#state, entry, value, todo, NO_LIMIT)) {
          done.recompressed++;
        }
        if (todo === WRITE_BACK && writeBackEntry(this.#state, entry, value)) done.writtenBack++;
        if (todo === EXPIRED && expire(this.#state, entry, value, options.nowMs!)) done.expired++;
      }
    }
    return done;
  }

  #pickLocked(entry: WordIndex, options: IdleScanOptions): void {
    if (this.#count === PICKED_MAX) return;
    const todo = todoLocked(this.#state, entry, options);
    if (todo === 0) return;
    const at = this.#count++ * 3;
    this.#picked[at] = todo;
    this.#picked[at + 1] = entry;
    this.#picked[at + 2] = this.#state.words[entry + Entry.VALUE]!;
  }
}

/** What to do with an entry; 0 = nothing. */
function todoLocked(state: StoreState, entry: WordIndex, options: IdleScanOptions): number {
  const meta = state.words[entry + Entry.META]!;
  if (Page.whereOf(meta) !== Page.MEMORY) return 0;
  const isOfValues = state.options.content === "values";
  const readsHead = isOfValues && (options.nowMs !== undefined || options.redictionary === true);
  if (readsHead) readHead(state, entry, meta);
  if (readsHead && options.nowMs !== undefined) {
    if (Value.expiryOf(state.arena.bytes, state.evicted) <= options.nowMs) return EXPIRED;
  }
  const age = (state.words[state.root + Store.TICK]! - Page.tickOf(meta)) & (Page.AGES - 1);
  const isSelected = (idle: Idle | undefined) => {
    if (idle === undefined || age < idle.idleTicks) return false;
    if (idle.only === undefined) return true;
    if (idle.only === "incompressible") return isIncompressible(meta);
    return (idle.only === "huge") === (Page.codecOf(meta) === Page.RAW);
  };
  if (isSelected(options.writeBack) && state.mayLeave(Page.kindOf(meta))) return WRITE_BACK;
  const codec = Page.codecOf(meta);
  const isNew = codec === Page.FAST || codec === Page.RAW;
  if (isNew && state.codecs.hasDense && isSelected(options.recompress)) return RECOMPRESS;
  return readsHead && options.redictionary === true && isOutdated(state, codec) ? REDICTIONARY : 0;
}

/** Whether no codec makes a page smaller than it is, as far as codecs have been tried. */
export function isIncompressible(meta: number): boolean {
  const codec = Page.codecOf(meta);
  return codec === Page.RAW || codec === Page.TRIED;
}

/**
 * Whether the value whose head is in `evicted` would be compressed with another dictionary today.
 */
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

/**
 * Recompresses a page in memory with the denser codec.
 * @param value the entry's VALUE when it was picked
 * @param below bytes that the page must then be smaller than
 * @returns whether the page became smaller
 */
export function recompressEntry(
  state: StoreState,
  entry: WordIndex,
  value: number,
  below: number = NO_LIMIT,
): boolean {
  return recompress(state, entry, value, RECOMPRESS, below);
}

/** Moves a page to the file. @returns whether it is there now */
export function writeBackEntry(state: StoreState, entry: WordIndex, value: number): boolean {
  return transaction(state, () => {
    const meta = unchangedMetaLocked(state, entry, value);
    return meta !== 0 && Page.isListed(meta) && evictLocked(state, entry, true);
  });
}

function expire(state: StoreState, entry: WordIndex, value: number, nowMs: number): boolean {
  return transaction(state, () => {
    const meta = unchangedMetaLocked(state, entry, value);
    if (meta === 0) return false;
    readHead(state, entry, meta);
    if (Value.expiryOf(state.arena.bytes, state.evicted) > nowMs) return false;
    expireLocked(state, entry);
    return true;
  });
}

/**
 * Removes a value that this thread has loaded to the packed scratch, if it is still stored and has
 * expired. Another thread may have set a new value since.
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
      // The value is in the file where it was read from: the packed scratch has its prefix.
      expireLocked(state, entry, state.packed);
    }
  });
}

/**
 * Recompresses a page: with the denser codec, or with its own codec and the current dictionary.
 * @returns whether the page became smaller
 */
function recompress(
  state: StoreState,
  entry: WordIndex,
  value: number,
  todo: number,
  below: number,
): boolean {
  const snapshot = snapshotEntry(state, entry, value);
  if (snapshot === undefined) return false;
  const { meta, source, prefix, plainBytes } = snapshot;
  const isOfValues = state.options.content === "values";
  const stored = Page.sizeOf(meta);
  // The copy as it is stored stays, to be compared with the page.
  const made = (source + state.pageSize) as Address;
  const current = state.words[state.root + Store.DICTIONARY]!;
  const to = todo === RECOMPRESS ? Page.DENSE : Page.codecOf(meta);
  const helps = isOfValues && plainBytes <= Value.DICTIONARY_HELPS_BYTES;
  const dictionary = helps && state.codecs.takesDictionary(to === Page.DENSE) ? current : 0;
  const gain = Math.max(GAIN_BYTES, Math.floor(stored / GAIN_PART));
  // The page must leave the size class of raw pages.
  const most = isOfValues ? stored : state.packedMax[Page.kindOf(meta)]!;
  const limit = Math.min(stored - gain, most, below - 1) - prefix;
  const codec = state.codecOf(to, dictionary);
  const target = (made + prefix) as Address;
  const packed = limit > 0 ? codec.compress(state.plain, plainBytes, target, limit) : 0;
  if (packed === 0) {
    state.count("recompress_in_vain");
    // The page may still become smaller than it is.
    if (todo === REDICTIONARY || below <= Math.min(stored - gain, most)) return false;
    return transaction(state, () => markTriedLocked(state, snapshot));
  }
  if (isOfValues) {
    state.arena.kernels.copy(made, source, prefix);
    state.words[made / 4] = Value.makeHeader(plainBytes, prefix, dictionary);
  }
  const next = Page.withSize(0, to, prefix + packed);
  return transaction(state, () => exchangeLocked(state, snapshot, next, made));
}

/**
 * Returns META of the entry if its page is still as it was copied. The prefix of a value, except
 * for the header, may have been rewritten meanwhile (values/pages.ts).
 * @returns 0 if not
 */
function sameMetaLocked(state: StoreState, snapshot: EntrySnapshot): number {
  const { entry, value, meta, source, prefix } = snapshot;
  const now = unchangedMetaLocked(state, entry, value);
  const size = Page.sizeOf(meta);
  if (now === 0 || Page.sizeOf(now) !== size || Page.codecOf(now) !== Page.codecOf(meta)) return 0;
  const copy = (state.evicted + state.headerBytes) as Address;
  state.readObject(entry, now, copy);
  if (prefix > 0 && state.words[copy / 4] !== state.words[source / 4]) return 0;
  const { kernels } = state.arena;
  return kernels.equal(copy + prefix, source + prefix, size - prefix) === 0 ? 0 : now;
}

/**
 * Copies the prefix of the old object to the new one: it may have been rewritten meanwhile
 * (values/pages.ts).
 */
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

/**
 * Marks a page that the denser codec does not make smaller.
 * @returns false
 */
function markTriedLocked(state: StoreState, snapshot: EntrySnapshot): false {
  const { entry } = snapshot;
  const meta = sameMetaLocked(state, snapshot);
  if (meta === 0) return false;
  const size = Page.sizeOf(meta);
  const isRaw = Page.codecOf(meta) === Page.RAW;
  // A raw page stays marked as raw: another scan may try it again.
  if (!isRaw) put(state.words, entry + Entry.META, Page.withSize(meta, Page.TRIED, size));
  return false;
}

/**
 * Replaces the object of an entry by a smaller one; its place in the policy stays.
 * @param packed CODEC and SIZE of the new object, as in META
 */
function exchangeLocked(
  state: StoreState,
  snapshot: EntrySnapshot,
  packed: number,
  source: Address,
): boolean {
  const { entry, value } = snapshot;
  const meta = sameMetaLocked(state, snapshot);
  if (meta === 0) return false;
  const kind = Page.kindOf(meta);
  const sizeBytes = Page.sizeOf(packed);
  const handle = state.remakeObjectLocked(kind, entry, source, sizeBytes);
  if (handle < 0) {
    state.arena.lock.rollBack();
    return false;
  }
  if (state.options.content === "values") keepPrefixLocked(state, handle, value, kind, source);
  state.detachLocked(entry);
  state.reattachLocked(entry, handle, Page.withSize(meta, Page.codecOf(packed), sizeBytes));
  state.commitLocked();
  state.count("recompressed_pages");
  state.count("recompressed_bytes_in", Page.sizeOf(meta));
  state.count("recompressed_bytes_out", sizeBytes);
  return true;
}
