// A store as one thread sees it: its parts, scratch memory, and the steps that several operations
// share. Methods that end in `Locked` are called under the arena's lock.
//
// The object of an entry is freed in two transactions: the first detaches it from the entry and
// records it as pending (PENDING_FREE_KIND), the second frees it. A free may move other objects
// into the hole, which the journal cannot undo word by word; if a thread dies during the free, the
// pending free is repeated.
import type { Outbox } from "../backing/outbox.ts";
import type { SegmentLog } from "../backing/segment_log.ts";
import { type Address, type Handle, NIL, type Nil, type WordIndex } from "../base/brand.ts";
import { assert, ZcacheError } from "../base/errors.ts";
import type { Codec } from "../codec/contract.ts";
import { ARENA_OWNER, type Arena } from "../memory/arena.ts";
import { MAX_ORDER } from "../memory/frame.layout.ts";
import { add, put } from "../memory/journal.ts";
import type { EvictionPolicy } from "../policy/contract.ts";
import type { Zpool } from "../pool/contract.ts";
import * as Entry from "../tmem/entry.layout.ts";
import { TmemKey } from "../tmem/key.ts";
import type { TmemIndex } from "../tmem/tmem.ts";
import type { ChangeLog } from "./change_log.ts";
import type { ReadDictionary, StoreCodecs } from "./codecs.ts";
import type { CounterName } from "./counters.ts";
import { Count } from "./counters.ts";
import { ExpirySearch, lowerBoundsLocked } from "./expiry_bounds.ts";
import { hashOf } from "./hash.ts";
import type { ResolvedOptions } from "./options.ts";
import * as Page from "./page.layout.ts";
import type { StoreContext, StoreParts } from "./parts.ts";
import type { StorePlatform } from "./platform.ts";
import { noPressure, type PressureStats } from "./pressure_stats.ts";
import { PutRequest } from "./put_request.ts";
import { ReadBuffer } from "./read_buffer.ts";
import { releaseRecordLocked } from "./record.ts";
import type { ArrivedRecords, RemoteReader, RoomSigns } from "./remote_reader.ts";
import { RepackRound } from "./repack_round.ts";
import type { RoomSource } from "./room.ts";
import * as Store from "./store.layout.ts";
import * as Value from "./value.layout.ts";
import { Versions } from "./versions.ts";

/** Bytes of the header that names the entry of an object, where reclaim goes by frames. */
export const HEADER_BYTES = 4;

/** Of `findContext` and `putContext`. */
export const FIND_CONTEXT_BYTES = 256;
export const PUT_CONTEXT_BYTES = 256;

/** One in so many operations is timed: reading a clock costs as much as a list operation. */
const TIMED_EVERY = 16;

export class StoreState implements StoreContext {
  readonly arena: Arena;
  readonly words: Int32Array;
  readonly root: WordIndex;
  readonly options: ResolvedOptions;
  readonly platform: StorePlatform;
  readonly zpools: readonly Zpool[];
  readonly policies: readonly EvictionPolicy[];
  readonly index: TmemIndex;
  readonly codecs: StoreCodecs;
  readonly backing: SegmentLog | undefined;
  readonly outbox: Outbox | undefined;
  /** How this thread reads pages of the remote tier, and waits for room while pages leave. */
  remoteReader: RemoteReader | undefined;
  roomSigns: RoomSigns | undefined;
  arrivals: ArrivedRecords | undefined;
  readonly pageSize: number;
  /** Bytes of the header before an object's data: HEADER_BYTES if reclaim goes by frames, or 0. */
  readonly headerBytes: number;
  /** By kind, the largest compressed size; a page that compresses to more is stored raw. */
  readonly packedMax: readonly number[];
  /**
   * Scratch of this thread: an uncompressed page; a header and a compressed page; the same once
   * more, for evictions.
   */
  readonly plain: Address;
  readonly packed: Address;
  readonly evicted: Address;
  /** Bytes of `packed`. */
  readonly packedBytes: number;
  /** Words of a kernel that finds values (values/find.layout.ts), behind what an eviction uses. */
  readonly findContext: Address;
  /** Words of a kernel that stores values (values/put.layout.ts), before those. */
  readonly putContext: Address;
  /** Scratch for the head of a value while an eviction uses `evicted`. */
  readonly evictedHead: Address;
  /** The keys of a page that is being evicted, and of one in the remote tier. */
  readonly victimKey = new TmemKey();
  readonly recordKey = new TmemKey();
  /** The tmem pool of the page that was evicted last, whose key is `victimKey`. */
  victimPool = 0;
  /** Set while values of an earlier process are loaded: those that came first are evicted. */
  keepsNewest = false;
  /** The put of this thread; there is one at a time. */
  readonly putRequest = new PutRequest();
  /**
   * META and VALUE of the entry that a search has found, for use after the lock is released
   * (load_page.ts).
   */
  foundMeta = 0;
  foundValue = 0;
  /** If that page is same-filled, the high half of its pattern; if it is remote, of its version. */
  foundHigh = 0;
  /** If that page is remote, the epoch in its record's key. */
  foundEpoch = 0;
  /** Whether this thread has detached. */
  isOver = false;
  /** Whether the object of the page that was stored last has, or had, other pages. */
  hasOthers = false;
  /** A place in the file that has returned other bytes once (load_page.ts). */
  doubtedPlace: number = NIL;
  /**
   * When the value whose prefix is at an address expires, in ms since 1970, where the owner of the
   * values knows better than the prefix; undefined: the prefix tells.
   */
  expiryIn: ((at: number) => number) | undefined;
  /** The time, in ms since 1970, that decides which values have expired. */
  nowMs: (() => number) | undefined;
  readonly expirySearch = new ExpirySearch();
  readonly repacking = new RepackRound();
  /** By kind, the store's version when compaction last freed nothing. */
  readonly compactedInVain = new Int32Array(Store.KINDS).fill(-0x4000_0000);
  /** Set if the store is one of several shards, which share one limit. */
  room: RoomSource | undefined;
  /** Why memory is not returned to the system, as far as this thread knows. */
  giveBackFailure: string | undefined;
  /** What memory pressure did to the limit, in the thread that made the store. */
  readonly pressure: PressureStats = noPressure();
  /** Why there are no huge pages, as far as this thread knows. */
  hugePagesFailure: string | undefined;
  /** The log of changes for a later process, if the store keeps one. */
  changes: ChangeLog | undefined;
  /** Versions of keys, in a store of values. */
  readonly versions: Versions | undefined;
  /**
   * While set, a value is stored or removed only if this returns true, under the arena's lock
   * (values/values.ts).
   */
  condition: (() => boolean) | undefined;
  /** Hits and counts of this thread that the store does not know yet. */
  readonly readBuffer: ReadBuffer;
  readonly #floats: Float64Array;
  /** Finds a dictionary in the arena, by its number. */
  readonly #readDictionary: ReadDictionary = (dictionary) => {
    const { words, root } = this;
    if (dictionary > words[root + Store.DICTIONARIES]!) return undefined;
    const start = words[root + Store.DICTIONARY_AT + dictionary - 1]! * 4;
    const size = words[root + Store.DICTIONARY_BYTES + dictionary - 1]!;
    return this.arena.bytes.subarray(start, start + size);
  };
  #operations = 0;

  constructor(parts: StoreParts) {
    this.arena = parts.arena;
    this.words = parts.arena.words;
    this.root = parts.root;
    this.options = parts.options;
    this.platform = parts.platform;
    this.zpools = parts.zpools;
    this.policies = parts.policies;
    this.index = parts.index;
    this.codecs = parts.codecs;
    this.backing = parts.backing;
    this.outbox = parts.outbox;
    this.pageSize = parts.arena.pageSize;
    this.headerBytes = parts.options.reclaim === "frames" ? HEADER_BYTES : 0;
    this.packedMax = parts.zpools.map(({ hugeSizeBytes }) =>
      Math.min(this.pageSize - this.pageSize / 64, hugeSizeBytes - 1 - this.headerBytes),
    );
    this.#floats = new Float64Array(
      parts.arena.memory.buffer,
      (parts.root + Store.COUNTERS) * 4,
      Store.COUNTERS_MAX,
    );
    this.readBuffer = new ReadBuffer(this);
    const hasVersions = parts.options.content === "values";
    this.versions = hasVersions ? new Versions(this.words, parts.root) : undefined;
    this.plain = parts.arena.reserve(this.pageSize);
    this.packedBytes = this.pageSize * 2;
    this.packed = parts.arena.reserve(this.packedBytes);
    this.evicted = parts.arena.reserve(this.pageSize * 2);
    this.findContext = (this.evicted + this.pageSize * 2 - FIND_CONTEXT_BYTES) as Address;
    this.putContext = (this.findContext - PUT_CONTEXT_BYTES) as Address;
    this.evictedHead = (this.evicted + this.pageSize + HEADER_BYTES) as Address;
  }

  /** A codec, by its number in META, with the dictionary of that number, or 0 for none. */
  codecOf(codec: number, dictionary: number): Codec {
    return this.codecs.of(codec, dictionary, this.#readDictionary);
  }

  /**
   * Returns this if the store is open and this thread has not detached.
   * @throws ZcacheError ERR_STORE_CLOSED
   */
  assertOpen(): this {
    if (!this.isOver && this.words[this.root + Store.CLOSED] === 0) return this;
    throw new ZcacheError("ERR_STORE_CLOSED", "the store has been closed");
  }

  /** Whether to time the operation that begins. */
  isTimed(): boolean {
    return this.#operations++ % TIMED_EVERY === 0;
  }

  /** Counts an event, at once, even if the transaction is rolled back. */
  count(name: CounterName, by = 1): void {
    this.#floats[Count[name]]! += by;
  }

  counter(name: CounterName): number {
    return this.#floats[Count[name]]!;
  }

  /** Word index of a gauge (store.layout.ts) of a kind. */
  gaugeAt(kind: number, what: number): number {
    return this.root + Store.KIND + kind * Store.KIND_WORDS + what;
  }

  /** Bytes of the pages of a kind that are in the remote tier or in transit. */
  remoteBytes(kind: number): number {
    const low = this.words[this.gaugeAt(kind, Store.REMOTE_LOW)]! >>> 0;
    return this.words[this.gaugeAt(kind, Store.REMOTE_HIGH)]! * 2 ** 32 + low;
  }

  /** Whether pages of a kind may move elsewhere: to the file, or to the remote tier. */
  mayLeave(kind: number): boolean {
    return this.backing !== undefined || this.outbox?.accepts(kind) === true;
  }

  /** Whether the order of a kind matters: pages that stay until they are removed have none. */
  isOrdered(kind: number): boolean {
    return kind !== Store.PERSISTENT || this.mayLeave(kind);
  }

  /** Page frames that may still be allocated within the limit. */
  get framesFree(): number {
    return this.words[this.root + Store.LIMIT_FRAMES]! - this.arena.frames.framesUsed;
  }

  /** Page frames above the limit, which stay free. */
  get framesAboveLimit(): number {
    return this.arena.frames.framesUsable - this.words[this.root + Store.LIMIT_FRAMES]!;
  }

  /** Records why a page is not stored; a later record in the same slot replaces it. */
  recordMissReasonLocked(hash: number, reason: number): void {
    const slot = (hash >>> 8) & (Store.MISS_REASONS_MAX - 1);
    const at = this.root + Store.MISS_REASONS + slot * 2;
    put(this.words, at, hash);
    put(this.words, at + 1, reason);
  }

  /**
   * Allocates zeroed memory that outlives the calling thread.
   * @param sizeBytes at most sixteen page frames
   * @returns its word index, or NIL without room
   */
  allocateLocked(sizeBytes: number): WordIndex | Nil {
    const { frames } = this.arena;
    const order = Math.max(0, Math.ceil(Math.log2(sizeBytes / this.pageSize)));
    const frame = order > MAX_ORDER ? NIL : frames.alloc(order, ARENA_OWNER);
    if (frame === NIL) return NIL;
    const at = frames.frameToWord(frame);
    this.words.fill(0, at, at + sizeBytes / 4);
    return at;
  }

  /** The recorded reason why a page is not stored, an index into REASONS; 0 if none is recorded. */
  missReasonLocked(hash: number): number {
    const at = this.root + Store.MISS_REASONS + ((hash >>> 8) & (Store.MISS_REASONS_MAX - 1)) * 2;
    return this.words[at] === hash ? this.words[at + 1]! : 0;
  }

  /**
   * Sets an entry that is new or detached, and adds it to its policy.
   * @param value depends on META's WHERE (page.layout.ts)
   */
  attachLocked(entry: WordIndex, value: number, meta: number, hash: number): void {
    put(this.words, entry + Entry.VALUE, value);
    put(this.words, entry + Entry.META, meta);
    this.#accountLocked(meta, value, 1);
    if (Page.isListed(meta)) this.policies[Page.kindOf(meta)]!.push(entry, hash);
  }

  /** As `attachLocked`, for an entry that the policy still lists. */
  reattachLocked(entry: WordIndex, value: number, meta: number): void {
    put(this.words, entry + Entry.VALUE, value);
    put(this.words, entry + Entry.META, meta);
    this.#accountLocked(meta, value, 1);
  }

  /**
   * Detaches from its entry the object, the place in the file, or the record in the remote tier.
   * The caller has told the policy, attaches something else or removes the entry in the same
   * transaction, and calls `commitLocked`.
   */
  detachLocked(entry: WordIndex): void {
    const meta = this.words[entry + Entry.META]!;
    const value = this.words[entry + Entry.VALUE]!;
    this.#accountLocked(meta, value, -1);
    const where = Page.whereOf(meta);
    if (where === Page.MEMORY) {
      put(this.words, this.root + Store.PENDING_FREE_KIND, Page.kindOf(meta) + 1);
      put(this.words, this.root + Store.PENDING_FREE_HANDLE, value);
    } else if (where === Page.FILE) {
      this.backing!.releaseLocked(value, Page.sizeOf(meta));
    } else if (where === Page.REMOTE) {
      releaseRecordLocked(this, entry);
    }
  }

  /** Before the object of an entry is overwritten, in the same transaction. */
  beginOverwriteLocked(entry: WordIndex): void {
    if (this.options.content === "pages") return;
    this.#accountLocked(this.words[entry + Entry.META]!, this.words[entry + Entry.VALUE]!, -1);
  }

  /** After that. @param meta META of the new page */
  endOverwriteLocked(entry: WordIndex, meta: number): void {
    const { words } = this;
    const before = words[entry + Entry.META]!;
    put(words, entry + Entry.META, meta);
    if (this.options.content !== "pages") {
      this.#accountLocked(meta, words[entry + Entry.VALUE]!, 1);
      return;
    }
    const kind = Page.kindOf(meta);
    const bytes = Page.sizeOf(meta) - Page.sizeOf(before);
    if (bytes !== 0) add(words, this.gaugeAt(kind, Store.BYTES), bytes);
    const raw = isRaw(meta) - isRaw(before);
    if (raw !== 0) add(words, this.gaugeAt(kind, Store.HUGE), raw);
  }

  /** Commits, and then frees the object that was detached. */
  commitLocked(): void {
    this.arena.lock.commit();
    const moved = this.words[this.root + Store.PENDING_RELABEL]!;
    if (moved !== 0) this.#relabelLocked(moved as WordIndex);
    const kind = this.words[this.root + Store.PENDING_FREE_KIND]!;
    if (kind !== 0) this.#freePendingLocked(kind - 1);
  }

  /** Removes a page and its entry, and commits. */
  removeLocked(entry: WordIndex, hash: number, reason: number): void {
    const meta = this.words[entry + Entry.META]!;
    if (Page.isListed(meta)) this.policies[Page.kindOf(meta)]!.remove(entry);
    this.detachLocked(entry);
    this.index.remove(entry);
    this.recordMissReasonLocked(hash, reason);
    this.commitLocked();
  }

  /**
   * Bytes of the header before the data of an object of this size. A raw page fills the pool's
   * largest object, so it has no header, and reclaim by frames skips it.
   */
  headerOf(kind: number, sizeBytes: number): number {
    return sizeBytes + this.headerBytes > this.zpools[kind]!.maxSizeBytes ? 0 : this.headerBytes;
  }

  /**
   * Allocates an object and copies `sizeBytes` bytes from `source` to it. Writes the entry to the
   * header before `source`, if objects have headers.
   * @param spareBytes additional bytes to allocate, if the pool has no free slot of the size
   * @returns its handle, or the pool's error number
   */
  makeObjectLocked(
    kind: number,
    entry: WordIndex,
    source: Address,
    sizeBytes: number,
    spareBytes = 0,
  ): number {
    const zpool = this.zpools[kind]!;
    const header = this.headerOf(kind, sizeBytes);
    // Without spare bytes, the pool decides whether the size is possible at all.
    const most = zpool.maxSizeBytes;
    const room = sizeBytes + header + spareBytes;
    const handle = zpool.malloc(spareBytes !== 0 && room > most ? most : room);
    if (handle < 0) return handle;
    if (header !== 0) this.words[(source - header) / 4] = entry;
    const start = (source - header) as Address;
    const result = zpool.writeShared(handle as Handle, start, sizeBytes + header);
    assert(result === 0, "a new object has room for what it was made for");
    return handle;
  }

  /** As `makeObjectLocked`, for an object that replaces another one: within the limit. */
  remakeObjectLocked(kind: number, entry: WordIndex, source: Address, sizeBytes: number): number {
    const { frames } = this.arena;
    frames.keepFree = this.framesAboveLimit;
    try {
      return this.makeObjectLocked(kind, entry, source, sizeBytes);
    } finally {
      frames.keepFree = 0;
    }
  }

  /**
   * Copies the object of an entry in memory to `target`, and its header, if any, to the bytes
   * before. Under the lock, or as a reader.
   */
  readObject(entry: WordIndex, meta: number, target: Address): void {
    const handle = this.words[entry + Entry.VALUE]! as Handle;
    const zpool = this.zpools[Page.kindOf(meta)]!;
    const header = this.headerOf(Page.kindOf(meta), Page.sizeOf(meta));
    const sizeBytes = Page.sizeOf(meta) + header;
    const result = zpool.readShared(handle, (target - header) as Address, sizeBytes);
    assert(result === 0, "an entry in memory names an object of its size");
  }

  /** The entry of a page, or NIL if the page is not stored or there is no such pool. */
  findLocked(pool: number, key: TmemKey): WordIndex | Nil {
    const entry = this.index.find(pool, key);
    return entry < 0 ? NIL : (entry as WordIndex);
  }

  /**
   * The entry of a page, created if need be, or NIL if no frame is left or there is no such pool.
   */
  insertLocked(pool: number, key: TmemKey): WordIndex | Nil {
    const entry = this.index.insert(pool, key);
    return entry < 0 ? NIL : (entry as WordIndex);
  }

  /** A hash of a page's key: 32 well-mixed bits. */
  hash(pool: number, key: TmemKey): number {
    return hashOf(pool, key);
  }

  #freePendingLocked(kind: number): void {
    const handle = this.words[this.root + Store.PENDING_FREE_HANDLE]! as Handle;
    assert(
      this.zpools[kind]!.free(handle) === 0,
      "an object whose free is pending exists and has no entry",
    );
    put(this.words, this.root + Store.PENDING_FREE_KIND, 0);
    this.arena.lock.commit();
  }

  /** Writes the new place of a moved entry to the header of its object. */
  #relabelLocked(entry: WordIndex): void {
    const meta = this.words[entry + Entry.META]!;
    const kind = Page.kindOf(meta);
    if (this.headerOf(kind, Page.sizeOf(meta)) !== 0) {
      this.words[this.evicted / 4] = entry;
      const handle = this.words[entry + Entry.VALUE]! as Handle;
      this.zpools[kind]!.write(handle, this.evicted, HEADER_BYTES);
    }
    put(this.words, this.root + Store.PENDING_RELABEL, 0);
    this.arena.lock.commit();
  }

  /** Adds the uncompressed size of a value to its gauge, or subtracts it; its object exists. */
  #accountValueLocked(handle: number, kind: number, sizeBytes: number, sign: 1 | -1): void {
    const { words, evictedHead } = this;
    const bytes = Math.min(Value.HEAD_BYTES, sizeBytes);
    this.zpools[kind]!.readShared(handle as Handle, evictedHead, bytes);
    const size = Value.sizeOf(words[evictedHead / 4]!);
    const units = Math.ceil(size / Store.ORIGINAL_UNIT);
    add(words, this.gaugeAt(kind, Store.ORIGINAL), sign * units);
    if (sign === 1) lowerBoundsLocked(this, Value.expiryOf(this.arena.bytes, evictedHead));
  }

  #accountRemoteLocked(kind: number, sizeBytes: number, sign: 1 | -1): void {
    add(this.words, this.gaugeAt(kind, Store.IN_REMOTE), sign);
    const bytes = this.remoteBytes(kind) + sign * sizeBytes;
    put(this.words, this.gaugeAt(kind, Store.REMOTE_LOW), bytes | 0);
    put(this.words, this.gaugeAt(kind, Store.REMOTE_HIGH), Math.floor(bytes / 2 ** 32));
  }

  /** Adds a page to the gauges of its kind, or subtracts it. */
  #accountLocked(meta: number, value: number, sign: 1 | -1): void {
    const kind = Page.kindOf(meta);
    const where = Page.whereOf(meta);
    if (where === Page.REMOTE) {
      this.#accountRemoteLocked(kind, Page.sizeOf(meta), sign);
      return;
    }
    if (where !== Page.MEMORY) {
      const what = where === Page.FILE ? Store.IN_FILE : Store.SAME;
      add(this.words, this.gaugeAt(kind, what), sign);
      return;
    }
    add(this.words, this.gaugeAt(kind, Store.IN_MEMORY), sign);
    if (this.options.content === "values") {
      this.#accountValueLocked(value, kind, Page.sizeOf(meta), sign);
    }
    add(this.words, this.gaugeAt(kind, Store.BYTES), sign * Page.sizeOf(meta));
    if (Page.codecOf(meta) === Page.RAW) add(this.words, this.gaugeAt(kind, Store.HUGE), sign);
  }
}

function isRaw(meta: number): number {
  return Page.codecOf(meta) === Page.RAW ? 1 : 0;
}
