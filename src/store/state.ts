// A store as one thread sees it: the parts that a page passes on its way, and the steps that more
// than one of the journeys takes. Methods that end in `Locked` are called under the arena's lock.
//
// What a page holds is given up in two transactions: in the first its entry lets go of it, in the
// second it is freed. A free may move other objects into the hole, which can't be undone byte by
// byte: so what is to be freed is noted (PENDING_FREE_KIND), and a free that died is done again.
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
import { ReadBuffer } from "./read_buffer.ts";
import * as Store from "./store.layout.ts";
import * as Value from "./value.layout.ts";
import { Versions } from "./versions.ts";

/** The entry that an object belongs to, before its data, where reclaim goes by frames. */
export const HEADER_BYTES = 4;

/** One operation of so many is timed: a clock costs as much as a list step. */
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
  readonly pageSize: number;
  /** Bytes before the data of an object: where reclaim goes by frames, the entry it belongs to. */
  readonly headerBytes: number;
  /** By kind, the largest size that is stored compressed; what is larger is stored raw. */
  readonly packedMax: readonly number[];
  /** Scratch of this thread: a page; a header and a page; the same once more, for evictions. */
  readonly plain: Address;
  readonly packed: Address;
  readonly evicted: Address;
  /** The same for the head of a value, while an eviction is at work. */
  readonly evictedHead: Address;
  /** The key of a page that is being evicted. */
  readonly victimKey = new TmemKey();
  /** What a search has found in the file, for when the lock is given up (load_page.ts). */
  foundMeta = 0;
  foundValue = 0;
  /** And of a same-filled page the high half of its pattern. */
  foundHigh = 0;
  /** Whether this thread has ended its use. */
  isOver = false;
  /** Whether the object of the page that came in last has, or had, other pages. */
  hasOthers = false;
  /** A place of the file that gave back other bytes once (load_page.ts). */
  doubtedPlace: number = NIL;
  /** The time in ms since 1970, as the front has it, by which values expire. */
  nowMs: (() => number) | undefined;
  readonly expirySearch = new ExpirySearch();
  /** By kind, the version of the store at which compaction has last freed nothing. */
  readonly compactedInVain = new Int32Array(Store.KINDS).fill(-0x4000_0000);
  /** Where changes are kept for a later process, if they are. */
  changes: ChangeLog | undefined;
  /** In a store of values: which have been set or removed since somebody looked. */
  readonly versions: Versions | undefined;
  /**
   * While it is set, a value is stored or removed only if this says so, under the arena's lock
   * (values.ts).
   */
  condition: (() => boolean) | undefined;
  /** What this thread has to say of what it read. */
  readonly readBuffer: ReadBuffer;
  readonly #floats: Float64Array;
  /** Finds a dictionary in the arena, where it stays. */
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
    this.packed = parts.arena.reserve(this.pageSize * 2);
    this.evicted = parts.arena.reserve(this.pageSize * 2);
    this.evictedHead = (this.evicted + this.pageSize + HEADER_BYTES) as Address;
  }

  /** A codec, by META's number, with a dictionary, by its number, or none. */
  codecOf(codec: number, dictionary: number): Codec {
    return this.codecs.of(codec, dictionary, this.#readDictionary);
  }

  /** This, as long as the store is open and this thread uses it. @throws ZcacheError */
  assertOpen(): this {
    if (!this.isOver && this.words[this.root + Store.CLOSED] === 0) return this;
    throw new ZcacheError("ERR_STORE_CLOSED", "the store has been closed");
  }

  /** Whether the operation that begins is one of those that are timed. */
  isTimed(): boolean {
    return this.#operations++ % TIMED_EVERY === 0;
  }

  /** Counts an event: at once, also if the transaction is undone. */
  count(name: CounterName, by = 1): void {
    this.#floats[Count[name]]! += by;
  }

  counter(name: CounterName): number {
    return this.#floats[Count[name]]!;
  }

  /** The word that says how much there is of something (store.layout.ts) of a kind. */
  gaugeAt(kind: number, what: number): number {
    return this.root + Store.KIND + kind * Store.KIND_WORDS + what;
  }

  /** Frames that may still be taken. */
  get framesFree(): number {
    return this.words[this.root + Store.LIMIT_FRAMES]! - this.arena.frames.framesUsed;
  }

  /** Frames that stay free whatever comes: those above the limit. */
  get framesAboveLimit(): number {
    const { framesTotal, firstFrame } = this.arena.frames;
    return framesTotal - firstFrame - this.words[this.root + Store.LIMIT_FRAMES]!;
  }

  /** Remembers why a page is not there; the next of the same place in the table overwrites it. */
  recordMissReasonLocked(hash: number, reason: number): void {
    const slot = (hash >>> 8) & (Store.MISS_REASONS_MAX - 1);
    const at = this.root + Store.MISS_REASONS + slot * 2;
    put(this.words, at, hash);
    put(this.words, at + 1, reason);
  }

  /**
   * Takes zeroed memory that belongs to the store: whichever thread takes it may end or die.
   * @param sizeBytes sixteen page frames at most
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

  /** Why a page is not there, if that is remembered: a place in REASONS. */
  missReasonLocked(hash: number): number {
    const at = this.root + Store.MISS_REASONS + ((hash >>> 8) & (Store.MISS_REASONS_MAX - 1)) * 2;
    return this.words[at] === hash ? this.words[at + 1]! : 0;
  }

  /**
   * Gives an entry what it stands for, and lists it. Before, it was new or let go.
   * @param value as META's WHERE says (page.layout.ts)
   */
  attachLocked(entry: WordIndex, value: number, meta: number, hash: number): void {
    put(this.words, entry + Entry.VALUE, value);
    put(this.words, entry + Entry.META, meta);
    this.#accountLocked(meta, value, 1);
    if (Page.isListed(meta)) this.policies[Page.kindOf(meta)]!.push(entry, hash);
  }

  /** As `attachLocked`, for another object of the same page: the policy lists the entry already. */
  reattachLocked(entry: WordIndex, value: number, meta: number): void {
    put(this.words, entry + Entry.VALUE, value);
    put(this.words, entry + Entry.META, meta);
    this.#accountLocked(meta, value, 1);
  }

  /**
   * Lets go of what an entry stands for; it must be filled or removed in the same transaction, and
   * `freePendingLocked` be called after its commit. The policy has been told before.
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
    }
  }

  /**
   * Takes a page in memory out of what there is of its kind: its object is to be written over, and
   * the entry then filled, in the same transaction.
   */
  unaccountLocked(entry: WordIndex): void {
    this.#accountLocked(this.words[entry + Entry.META]!, this.words[entry + Entry.VALUE]!, -1);
  }

  /** Commits, and does what can't be undone and had to wait for that: frees what was let go. */
  commitLocked(): void {
    this.arena.lock.commit();
    const moved = this.words[this.root + Store.PENDING_RELABEL]!;
    if (moved !== 0) this.#relabelLocked(moved as WordIndex);
    const kind = this.words[this.root + Store.PENDING_FREE_KIND]!;
    if (kind !== 0) this.#freePendingLocked(kind - 1);
  }

  /** Takes a page out, with its entry, and commits. */
  removeLocked(entry: WordIndex, hash: number, reason: number): void {
    const meta = this.words[entry + Entry.META]!;
    if (Page.isListed(meta)) this.policies[Page.kindOf(meta)]!.remove(entry);
    this.detachLocked(entry);
    this.index.remove(entry);
    this.recordMissReasonLocked(hash, reason);
    this.commitLocked();
  }

  /**
   * Bytes before the data of an object of this size. A page stored raw fills the largest object
   * that a pool has: no header stands before it, and reclaim by frames passes over it.
   */
  headerOf(kind: number, sizeBytes: number): number {
    return sizeBytes + this.headerBytes > this.zpools[kind]!.maxSizeBytes ? 0 : this.headerBytes;
  }

  /**
   * Makes an object with what stands at `source`, and the entry in the room for a header before it.
   * @param spareBytes how much more room it gets: where no slot of its size is to be had
   * @returns its handle, or why not, as the pool says
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
    // Without spare bytes the pool says whether the size can be at all.
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

  /** As `makeObjectLocked`, for an object that another one is exchanged for: within the limit. */
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
   * As `makeObjectLocked`, into the object that the entry has, if that has the room. Until the
   * commit, `evicted` holds what is overwritten. @returns whether it has
   */
  overwriteObjectLocked(
    kind: number,
    entry: WordIndex,
    source: Address,
    sizeBytes: number,
  ): boolean {
    const header = this.headerOf(kind, sizeBytes);
    if (header !== 0) this.words[(source - header) / 4] = entry;
    const start = (source - header) as Address;
    const handle = this.words[entry + Entry.VALUE]! as Handle;
    return this.zpools[kind]!.overwrite(handle, start, sizeBytes + header, this.evicted) === 0;
  }

  /**
   * Reads what an entry in memory holds to `target`; the header, if any, to before it. Under the
   * lock, or as a reader.
   */
  readObject(entry: WordIndex, meta: number, target: Address): void {
    const handle = this.words[entry + Entry.VALUE]! as Handle;
    const zpool = this.zpools[Page.kindOf(meta)]!;
    const header = this.headerOf(Page.kindOf(meta), Page.sizeOf(meta));
    const sizeBytes = Page.sizeOf(meta) + header;
    const result = zpool.readShared(handle, (target - header) as Address, sizeBytes);
    assert(result === 0, "an entry in memory names an object of its size");
  }

  /** The entry of a page, or NIL: it is not there, or its pool is not. */
  findLocked(pool: number, key: TmemKey): WordIndex | Nil {
    const entry = this.index.find(pool, key);
    return entry < 0 ? NIL : (entry as WordIndex);
  }

  /** The entry of a page, which is made if need be, or NIL: no frame is left, or no such pool. */
  insertLocked(pool: number, key: TmemKey): WordIndex | Nil {
    const entry = this.index.insert(pool, key);
    return entry < 0 ? NIL : (entry as WordIndex);
  }

  /** 32 well-mixed bits of a page's key. */
  hash(pool: number, key: TmemKey): number {
    return hashOf(pool, key);
  }

  #freePendingLocked(kind: number): void {
    const handle = this.words[this.root + Store.PENDING_FREE_HANDLE]! as Handle;
    assert(this.zpools[kind]!.free(handle) === 0, "what is to be freed is there and nobody's");
    put(this.words, this.root + Store.PENDING_FREE_KIND, 0);
    this.arena.lock.commit();
  }

  /** Tells an object where the entry lies now that it belongs to. */
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

  /** Adds what a value is as it came in; its object is there. */
  #accountValueLocked(handle: number, kind: number, sizeBytes: number, sign: 1 | -1): void {
    const { words, evictedHead } = this;
    const bytes = Math.min(Value.HEAD_BYTES, sizeBytes);
    this.zpools[kind]!.readShared(handle as Handle, evictedHead, bytes);
    const size = Value.sizeOf(words[evictedHead / 4]!);
    const units = Math.ceil(size / Store.ORIGINAL_UNIT);
    add(words, this.gaugeAt(kind, Store.ORIGINAL), sign * units);
    if (sign === 1) lowerBoundsLocked(this, Value.expiryOf(this.arena.bytes, evictedHead));
  }

  /** Adds a page to what there is of its kind, or takes it away. */
  #accountLocked(meta: number, value: number, sign: 1 | -1): void {
    const kind = Page.kindOf(meta);
    const where = Page.whereOf(meta);
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
