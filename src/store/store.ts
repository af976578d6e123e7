// The store: compressed pages under tmem keys, in one arena, for all threads that attach to it. It
// is the only folder that joins codecs, pools, index, policies and write-back file.
//
//   1. store.ts                       the class that callers use
//   2. open.ts, options.ts, arguments.ts, platform.ts, parts.ts   makes and opens a store
//   3. store.layout.ts, page.layout.ts, value.layout.ts           its words in the arena
//   4. state.ts, transaction.ts       a store as one thread sees it; work under the arena's lock
//   5. store_page.ts, put_request.ts, put_async.ts, admit.ts, overwrite.ts, load_page.ts,
//      load_remote.ts, next_page.ts, remove_pages.ts  stores, loads and removes pages
//   6. evict.ts, expiry.ts, compaction.ts, repack.ts, write_back.ts, maintainer.ts, idle_scan.ts
//                                     reclaims memory, in the foreground and in the background
//   7. read_buffer.ts, versions.ts, eviction_events.ts            hits, changes, evictions
//   8. change_log.ts, dictionaries.ts, codecs.ts, hash.ts         parts for values and persistence
//   9. remote_*.ts, record.ts, repatriation.ts, adopt_page.ts, kept_records.ts
//                                                        pages on other machines
//  10. inspection.ts, sampler.ts, size_histogram.ts, frame_map.ts, statistics.ts, explain.ts,
//      verify.ts, entry_snapshot.ts   looks at a store without using it
//
// Ephemeral pages may be evicted at any time. Persistent pages stay, in memory or in the write-back
// file, until they are flushed.
//
// Concurrency: each thread has its own Store object. Changes are transactions under the arena's
// lock; reads run beside each other. Compression and file I/O are done without the lock.
//
// Limits: one arena, at most 4 GiB (src/shard joins several); 256 tmem pools; pages of 4 … 64 KiB.
import type { BackingShare } from "../backing/contract.ts";
import { type Address, NIL } from "../base/brand.ts";
import { copyBytes } from "../base/bytes.ts";
import type { Errno } from "../base/errno.ts";
import { ZcacheError } from "../base/errors.ts";
import type { Arena, ArenaShare } from "../memory/arena.ts";
import { put } from "../memory/journal.ts";
import type { TmemKey } from "../tmem/key.ts";
import type { TmemPoolInfo } from "../tmem/pools.ts";
import { checkPage, resolvePoolOptions, type TmemPoolOptions } from "./arguments.ts";
import { compactFrames } from "./compaction.ts";
import { Latency } from "./counters.ts";
import { type Explanation, explainLocked } from "./explain.ts";
import { IdleScan, type IdleScanOptions, type IdleScanResult } from "./idle_scan.ts";
import { Inspection } from "./inspection.ts";
import { limitBytes, setLimit } from "./limit.ts";
import { loadPage, loadPageTimed } from "./load_page.ts";
import { loadPageAsync, type Use } from "./load_remote.ts";
import { makeRoomAfterPut, markClosed, serveMaintenance, waitForOthers } from "./maintainer.ts";
import { type DATA, type MISS, nextPage, type ZERO } from "./next_page.ts";
import { attachArena, attachStore, createArena, formatStore, recoverLocked } from "./open.ts";
import { type ResolvedOptions, resolveOptions, type StoreOptions } from "./options.ts";
import type { BackgroundWork, RemoteControl, StorePlatform } from "./platform.ts";
import { putWhenRoom } from "./put_async.ts";
import { enableRemote, isRemote } from "./remote_page.ts";
import { removeObject, removePage, removePool } from "./remove_pages.ts";
import type { StoreState } from "./state.ts";
import { recordSince, type StoreStats, statisticsLocked, uncounted } from "./statistics.ts";
import * as Root from "./store.layout.ts";
import { storePage } from "./store_page.ts";
import { readTransaction, transaction } from "./transaction.ts";
import { verifyLocked } from "./verify.ts";
import { flushAll, maintain, shrink } from "./write_back.ts";

/** The value that `share` returns for another thread. */
export interface StoreShare {
  readonly zcacheStore: number;
  readonly arena: ArenaShare;
  /** @internal */
  readonly options: ResolvedOptions;
  /** @internal */
  readonly device: BackingShare | undefined;
}

/** The state of a store, for src/values, which stores values as pages with a prefix. */
export let stateOf: (store: Store) => StoreState;

export class Store {
  static {
    stateOf = (store) => store.#state;
  }

  readonly pageSize: number;
  /** @internal Looks at the store without using it. */
  readonly inspection: Inspection;
  readonly #state: StoreState;
  readonly #plain: Uint8Array;
  /** This thread's background work on the store: until it closes the store or detaches. */
  background: BackgroundWork | undefined;
  /** The remote tier, in the thread that made the store. */
  remote: RemoteControl | undefined;
  #idleScan: IdleScan | undefined;

  protected constructor(state: StoreState) {
    this.#state = state;
    this.inspection = new Inspection([state]);
    this.pageSize = state.pageSize;
    this.#plain = state.arena.bytes.subarray(state.plain, state.plain + state.pageSize);
    state.arena.lock.onDeath = () => recoverLocked(state);
  }

  /**
   * Creates an empty store in a new arena.
   * @throws ZcacheError ERR_OPTION, ERR_POOL_UNKNOWN, ERR_CODEC_UNKNOWN, ERR_CODEC_UNAVAILABLE,
   *   ERR_ARENA_MEMORY; for the write-back file ERR_IO and ERR_FILE_LOCKED
   */
  static create(options: StoreOptions, platform: StorePlatform): Store {
    const resolved = resolveOptions(options);
    return new Store(formatStore(createArena(resolved, platform), resolved, platform));
  }

  /**
   * Opens a shared store in the calling thread.
   * @throws ZcacheError ERR_STORE_SHARE if `share` is not what `share()` returned, ERR_STORE_CLOSED
   */
  static attach(share: StoreShare, platform: StorePlatform): Store {
    if (typeof share?.zcacheStore !== "number") {
      throw new ZcacheError("ERR_STORE_SHARE", "this is not what a store's share() returned");
    }
    const arena = attachArena(share, platform);
    const { zcacheStore: root, options, device } = share;
    try {
      return new Store(attachStore(arena, root, options, platform, device));
    } catch (error) {
      arena.detach();
      throw error;
    }
  }

  /** Returns a value for `workerData` or `postMessage`, from which another thread attaches. */
  share(): StoreShare {
    const { arena, root, options, backing } = this.#openState();
    return {
      zcacheStore: root,
      arena: arena.share(),
      options,
      device: backing?.device.share(),
    };
  }

  /**
   * Creates a tmem pool, or joins the shared pool of the given UUID.
   * @returns the pool's id; EINVAL if the shared pool is of the other kind, EBUSY while it is being
   *   destroyed, ENOSPC with 256 pools
   */
  createPool(options: TmemPoolOptions = {}): number | Errno {
    const { client, flags, uuid } = resolvePoolOptions(options);
    const { index } = this.#state;
    return this.#transaction(() => index.createPool(client, flags, uuid));
  }

  /**
   * Ends one use of a tmem pool. With the last use, its pages are removed in steps, between which
   * other threads go on; meanwhile, operations on the pool are refused.
   * @returns 0, or EINVAL if there is no such pool
   */
  destroyPool(pool: number): 0 | Errno {
    return removePool(this.#openState(), pool);
  }

  /**
   * Stores a page in place of the page that the key had. If the page is refused, the old page is
   * removed too, unless the pool has `keepsOld`.
   * @param page pageSize bytes
   * @returns 0, or ENOSPC (limit, admission, frozen), ENOMEM (no room), EINVAL (no such pool)
   */
  put(pool: number, key: TmemKey, page: Uint8Array): 0 | Errno {
    checkPage(page, this.pageSize);
    this.assertOpen();
    this.#plain.set(page);
    return this.putFrom(pool, key, this.#state.plain);
  }

  /**
   * As `put`; while pages are leaving for the remote tier, a page that has no room waits for it, at
   * most for the tier's `timeoutMs`. Until the promise is settled, the page is not to be changed,
   * and its key may have no page.
   */
  putAsync(pool: number, key: TmemKey, page: Uint8Array): Promise<0 | Errno> {
    return putWhenRoom(this.#openState(), () => this.put(pool, key, page));
  }

  /** As `put`, from an address in memory that this thread has reserved. */
  putFrom(pool: number, key: TmemKey, address: Address): 0 | Errno {
    const state = this.#openState();
    const timed = state.isTimed();
    const begin = timed ? state.platform.clock.nowNs() : 0;
    const result = storePage(state, pool, key, address);
    makeRoomAfterPut(state);
    if (timed) recordSince(state, Latency.PUT, begin);
    return result;
  }

  /**
   * Loads a page.
   * @param target pageSize bytes, written only if the page is stored
   * @param exclusive also removes the page from the store
   * @returns whether the page was stored
   * @throws ZcacheError ERR_CORRUPT, ERR_IO if the write-back file does not return the page
   */
  get(pool: number, key: TmemKey, target: Uint8Array, exclusive = false): boolean {
    checkPage(target, this.pageSize);
    const found = this.getTo(pool, key, this.#state.plain, exclusive);
    if (found) copyBytes(target, this.#plain);
    return found;
  }

  /** As `get`, to an address in memory that this thread has reserved. */
  getTo(pool: number, key: TmemKey, address: Address, exclusive = false): boolean {
    const state = this.#openState();
    const load = state.isTimed() ? loadPageTimed : loadPage;
    return load(state, pool, key, address, exclusive);
  }

  /**
   * As `get`, also of a page in the remote tier: the thread goes on while the page is read.
   * @param to written only if the page is stored; not to be used until the promise is settled
   * @throws ZcacheError as a rejection: as `get`; ERR_REMOTE if a persistent page can't be read
   *   in time
   */
  async getAsync(pool: number, key: TmemKey, to: Uint8Array, exclusive = false): Promise<boolean> {
    checkPage(to, this.pageSize);
    return this.load(pool, key, to, exclusive ? "take" : "get");
  }

  /** @internal As `getAsync`, for a use of the page. */
  load(pool: number, key: TmemKey, target: Uint8Array, use: Use): Promise<boolean> {
    return loadPageAsync(this.#openState(), pool, key, target, use);
  }

  /** Whether a page is in the remote tier alone, so that only `getAsync` returns it. */
  isRemote(pool: number, key: TmemKey): boolean {
    const state = this.#openState();
    return state.outbox !== undefined && this.#readTransaction(() => isRemote(state, pool, key));
  }

  /** Sets which pages may go to the remote tier; those that are there stay. */
  remotify(kinds: { readonly ephemeral?: boolean; readonly persistent?: boolean }): void {
    enableRemote(this.#openState(), kinds.ephemeral, kinds.persistent);
  }

  /**
   * Must be called before this thread writes to its scratch.
   * @throws ZcacheError ERR_STORE_CLOSED
   */
  assertOpen(): void {
    this.#openState();
  }

  /** Whether any thread has closed the store, or this thread has detached. */
  get isClosed(): boolean {
    const { isOver, words, root } = this.#state;
    return isOver || words[root + Root.CLOSED] !== 0;
  }

  /** The owner number by which shared words name the calling thread (memory/owner.ts). */
  get owner(): number {
    return this.#state.arena.owner;
  }

  /** Whether the thread of an owner is attached and may still run. */
  ownerMayRun(owner: number): boolean {
    return this.#state.arena.ownerMayRun(owner);
  }

  /** The shards: the store itself, unless it consists of several. */
  get shards(): readonly Store[] {
    return [this];
  }

  /** The arena, for frontends that keep words of their own in memory that they have reserved. */
  get arena(): Arena {
    return this.#state.arena;
  }

  /**
   * Allocates zeroed memory that threads share and that lives as long as the store.
   * @param sizeBytes at most sixteen page frames
   * @throws ZcacheError ERR_ARENA_FULL
   */
  allocate(sizeBytes: number): Address {
    const state = this.#openState();
    const at = this.#transaction(() => state.allocateLocked(sizeBytes));
    if (at !== NIL) return (at * 4) as Address;
    throw new ZcacheError("ERR_ARENA_FULL", `no ${sizeBytes} bytes left in the arena`, {
      context: { sizeBytes, framesFree: state.arena.frames.framesFree },
    });
  }

  /**
   * Allocates scratch memory that belongs to this thread until it detaches.
   * @throws ZcacheError ERR_ARENA_FULL
   */
  reserve(sizeBytes: number): Address {
    return this.#openState().arena.reserve(sizeBytes);
  }

  /** Whether a page is stored; does not count as a hit. */
  has(pool: number, key: TmemKey): boolean {
    const { index } = this.#openState();
    return this.#readTransaction(() => index.find(pool, key) >= 0);
  }

  /**
   * Removes a page.
   * @returns whether it was stored
   */
  flush(pool: number, key: TmemKey): boolean {
    return removePage(this.#openState(), pool, key);
  }

  /**
   * Removes all pages of the key's object, in steps.
   * @returns how many were stored
   */
  flushObject(pool: number, key: TmemKey): number {
    return removeObject(this.#openState(), pool, key);
  }

  /**
   * Sets the key's index to that of the object's first page at or after it; does not count as a
   * hit.
   * @returns ZERO for a page of zeros, else DATA; MISS if there is no further page
   */
  nextPage(pool: number, key: TmemKey): typeof MISS | typeof ZERO | typeof DATA {
    const state = this.#openState();
    return this.#readTransaction(() => nextPage(state, pool, key));
  }

  /** The kind, pages and objects of a tmem pool; null if there is no such pool. */
  poolInfo(pool: number): TmemPoolInfo | null {
    const { index } = this.#openState();
    return this.#readTransaction(() => index.poolInfo(pool));
  }

  /** Whether a tmem pool is shared by UUID; false if there is no such pool. */
  isShared(pool: number): boolean {
    return this.#openState().index.isShared(pool);
  }

  /**
   * Freezes or unfreezes the store. While it is frozen, a put only removes the old page, so that
   * nothing new and nothing outdated is stored.
   */
  freeze(frozen: boolean): void {
    const { root } = this.#openState();
    this.#transaction(() => put(this.#state.words, root + Root.FROZEN, frozen ? 1 : 0));
  }

  /** Advances by one tick the store's clock, which measures how long pages are idle. */
  tick(): void {
    const { root, words } = this.#openState();
    this.#transaction(() => put(words, root + Root.TICK, (words[root + Root.TICK]! + 1) | 0));
  }

  /**
   * Runs one bounded step of each kind of maintenance: compaction, reclaim, write-back, cleaning.
   * @returns whether there may be more to do now
   */
  maintain(): boolean {
    return maintain(this.#openState());
  }

  /**
   * Runs the next step of a scan over all entries, which recompresses idle pages, writes them back,
   * or removes expired values, as `options` say.
   */
  scanIdle(options: IdleScanOptions): IdleScanResult {
    this.#idleScan ??= new IdleScan(this.#openState());
    this.#state.readBuffer.flush();
    return this.#idleScan.run(options);
  }

  /**
   * Evicts pages, coldest first: writes them back or drops them.
   * @returns how many left memory; fewer than `pages` if no other page may be evicted
   */
  shrink(pages: number): number {
    return shrink(this.#openState(), pages);
  }

  /**
   * Compacts the pools that have gaps and can move objects, frame by frame.
   * @param frames page frames to free, at about
   * @returns page frames freed; always 0 with dense pools
   */
  compact(frames: number): number {
    return compactFrames(this.#openState(), frames);
  }

  /**
   * Sets the limit on memory in use: up to 64 times the size that the store was created with, and
   * at most 4 GiB less 64 KiB for each shard. If more is in use, the store shrinks step by step, as
   * pages are put or `maintain` is called.
   * @param bytes 0 for `memoryMax`
   * @throws ZcacheError ERR_OPTION
   */
  limit(bytes: number): void {
    setLimit(this.#openState(), bytes, this.options.memoryMax);
  }

  /** The limit on memory in use, in bytes, as `limit` has set it. */
  get limitBytes(): number {
    return limitBytes(this.#openState());
  }

  /** The most that `limit` accepts, in bytes. */
  get limitMax(): number {
    return this.#openState().arena.frames.framesMax * this.pageSize;
  }

  /** Maintains the store until it is closed, for a worker thread that does nothing else. */
  serve(): void {
    serveMaintenance([this.#openState()]);
    this.detach();
  }

  /**
   * Runs `work`, and then restores counters, latencies and miss reasons to what they were before:
   * neither `work` nor other use of the store meanwhile leaves a trace in them.
   */
  uncounted<T>(work: () => Promise<T>): Promise<T> {
    return uncounted(this.#openState(), work);
  }

  /** Adds the hits and counts in this thread's read buffer to the store. */
  flushReadBuffer(): void {
    this.#openState().readBuffer.flush();
  }

  /** Statistics, consistent with each other: they are read in one transaction. */
  stats(): StoreStats {
    const state = this.#openState();
    state.readBuffer.flush();
    return this.#transaction(() => statisticsLocked(state));
  }

  /** @internal The options of the store, with all defaults filled in. */
  get options(): ResolvedOptions {
    return this.#state.options;
  }

  /** Says where a page is stored, or why it is not. */
  explain(pool: number, key: TmemKey): Explanation {
    const state = this.#openState();
    state.readBuffer.flush();
    return this.#transaction(() => explainLocked(state, pool, key));
  }

  /**
   * Checks all invariants; holds the lock meanwhile.
   * @throws AssertionError naming what does not hold
   */
  verify(): void {
    const state = this.#openState();
    this.#transaction(() => verifyLocked(state));
  }

  /** Ends this thread's use of the store; other threads go on. */
  detach(): void {
    if (this.#state.isOver) return;
    this.background?.stop();
    this.#state.isOver = true;
    this.#state.readBuffer.flush();
    this.#state.arena.detach();
  }

  /**
   * Closes the store for all threads: writes pending segments and closes the write-back file. The
   * memory goes back to the system once no thread is attached any more (docs/memory.md).
   * @param beforeDetach called after the last change, while this thread can still take the arena's
   *   lock: to write what must be written last
   */
  close(beforeDetach?: () => void): void {
    if (this.#state.isOver) return;
    this.background?.stop();
    const state = this.#state;
    markClosed(state);
    try {
      waitForOthers(state);
      flushAll(state);
      beforeDetach?.();
    } finally {
      state.isOver = true;
      state.backing?.device.close();
      state.arena.close();
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #openState(): StoreState {
    return this.#state.assertOpen();
  }

  #readTransaction<T>(work: () => T): T {
    return readTransaction(this.#openState(), work);
  }

  #transaction<T>(work: () => T): T {
    return transaction(this.#openState(), work);
  }
}
