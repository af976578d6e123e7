// The store: compressed pages under tmem keys, in one arena, for all threads that attach to it.
//
// Ephemeral pages may go at any time, to make room or without a reason that is told; persistent
// ones stay until they are flushed, in memory or in the write-back file. This is the only part that
// knows the order of the steps: store_page.ts, load_page.ts, evict.ts, write_back.ts.
import type { BackingShare } from "../backing/contract.ts";
import { type Address, NIL, type WordIndex } from "../base/brand.ts";
import { copyBytes } from "../base/bytes.ts";
import { EBUSY, type Errno } from "../base/errno.ts";
import { ZcacheError } from "../base/errors.ts";
import { Arena, type ArenaShare } from "../memory/arena.ts";
import { put } from "../memory/journal.ts";
import * as Entry from "../tmem/entry.layout.ts";
import type { TmemKey } from "../tmem/key.ts";
import type { TmemPoolInfo } from "../tmem/pools.ts";
import { checkPage, limitFrames, resolvePoolOptions, type TmemPoolOptions } from "./arguments.ts";
import { Latency, Reason } from "./counters.ts";
import { evictColdestLocked } from "./evict.ts";
import { type Explanation, explainLocked } from "./explain.ts";
import { IdleScan, type IdleScanOptions, type IdleScanResult } from "./idle_scan.ts";
import { Inspection } from "./inspection.ts";
import { loadPage } from "./load_page.ts";
import { makeRoomAfterPut, serveMaintenance, waitForOthers } from "./maintainer.ts";
import { attachStore, formatStore, recoverLocked } from "./open.ts";
import { type ResolvedOptions, resolveOptions, type StoreOptions } from "./options.ts";
import * as Page from "./page.layout.ts";
import type { BackgroundWork, StorePlatform } from "./platform.ts";
import { removePages } from "./remove_pages.ts";
import type { StoreState } from "./state.ts";
import { recordSince, type StoreStats, statisticsLocked } from "./statistics.ts";
import * as Root from "./store.layout.ts";
import { storePage } from "./store_page.ts";
import { readTransaction, transaction } from "./transaction.ts";
import { verifyLocked } from "./verify.ts";
import { isHead } from "./versions.ts";
import { flushAll, flushStep, maintain } from "./write_back.ts";

/** What travels to another thread. */
export interface StoreShare {
  readonly zcacheStore: number;
  readonly arena: ArenaShare;
  readonly options: ResolvedOptions;
  readonly device: BackingShare | undefined;
}

// What `peek` says of a page.
export const MISS = 0;
export const ZERO = 1;
export const DATA = 2;

/** The state of a store, for the folder above, whose values are pages with a prefix (values/). */
export let stateOf: (store: Store) => StoreState;

export class Store {
  static {
    stateOf = (store) => store.#state;
  }

  readonly pageSize: number;
  /** What is to be seen of it by who only looks. */
  readonly inspection: Inspection;
  readonly #state: StoreState;
  readonly #plain: Uint8Array;
  /** What works on it beside its callers, until this thread closes it or detaches. */
  background: BackgroundWork | undefined;
  #idleScan: IdleScan | undefined;

  private constructor(state: StoreState) {
    this.#state = state;
    this.inspection = new Inspection(state);
    this.pageSize = state.pageSize;
    this.#plain = state.arena.bytes.subarray(state.plain, state.plain + state.pageSize);
    state.arena.lock.onDeath = () => recoverLocked(state);
  }

  /**
   * Makes an empty store, with an arena of its own.
   * @throws ZcacheError ERR_OPTION, ERR_POOL_UNKNOWN, ERR_CODEC_UNKNOWN, ERR_CODEC_UNAVAILABLE,
   *   ERR_ARENA_MEMORY; of the write-back file ERR_IO and ERR_FILE_LOCKED
   */
  static create(options: StoreOptions, platform: StorePlatform): Store {
    const resolved = resolveOptions(options);
    const { memoryMax: sizeBytes, pageSize } = resolved;
    const arena = Arena.create({ sizeBytes, pageSize }, platform.threads);
    return new Store(formatStore(arena, resolved, platform));
  }

  /**
   * Opens, in the calling thread, a store that another thread shared.
   * @throws ZcacheError ERR_STORE_SHARE for anything else, ERR_STORE_CLOSED
   */
  static attach(share: StoreShare, platform: StorePlatform): Store {
    if (typeof share?.zcacheStore !== "number") {
      throw new ZcacheError("ERR_STORE_SHARE", "this is not what a store's share() returned");
    }
    const arena = Arena.attach(share.arena, platform.threads);
    const { zcacheStore: root, options, device } = share;
    try {
      return new Store(attachStore(arena, root, options, platform, device));
    } catch (error) {
      arena.detach();
      throw error;
    }
  }

  /** A value for `workerData` or `postMessage`, from which another thread attaches. */
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
   * Makes a tmem pool, or joins the shared one of that UUID.
   * @returns its id; EINVAL if the shared pool is of the other kind, EBUSY while it is being
   *   destroyed, ENOSPC with 256 pools
   */
  createPool(options: TmemPoolOptions = {}): number | Errno {
    const { client, flags, uuid } = resolvePoolOptions(options);
    const { index } = this.#state;
    return this.#transaction(() => index.createPool(client, flags, uuid));
  }

  /**
   * Ends one use of a tmem pool, and with the last one removes its pages: in steps, between which
   * others go on. Who uses it meanwhile is refused.
   * @returns 0, or EINVAL if there is no such pool
   */
  destroyPool(pool: number): 0 | Errno {
    const state = this.#openState();
    const left = this.#transaction(() => state.index.destroyPool(pool));
    // Dying already: another thread removes the pages, or died doing so.
    if (left !== 0 && left !== EBUSY) return left < 0 ? (left as Errno) : 0;
    removePages(state, Reason.POOL_DESTROYED, (visit) => state.index.destroyStep(pool, 1, visit));
    return 0;
  }

  /**
   * Stores a page; what was there under the key is replaced, or gone if this is refused (unless the
   * pool `keepsOld`).
   * @param page pageSize bytes
   * @returns 0, or ENOSPC (limit, admission, frozen), ENOMEM (no room), EINVAL (no such pool)
   */
  put(pool: number, key: TmemKey, page: Uint8Array): 0 | Errno {
    checkPage(page, this.pageSize);
    this.assertOpen();
    this.#plain.set(page);
    return this.putFrom(pool, key, this.#state.plain);
  }

  /** As `put`, from an address in the arena that this thread has reserved. */
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
   * Restores a page.
   * @param target pageSize bytes, written only if the page is there
   * @param exclusive takes the page out of the store
   * @returns whether it is there
   * @throws ZcacheError ERR_CORRUPT, ERR_IO: the write-back file did not give it back
   */
  get(pool: number, key: TmemKey, target: Uint8Array, exclusive = false): boolean {
    checkPage(target, this.pageSize);
    const found = this.getTo(pool, key, this.#state.plain, exclusive);
    if (found) copyBytes(target, this.#plain);
    return found;
  }

  /** As `get`, to an address in the arena that this thread has reserved. */
  getTo(pool: number, key: TmemKey, address: Address, exclusive = false): boolean {
    const state = this.#openState();
    const timed = state.isTimed();
    if (!timed) return loadPage(state, pool, key, address, exclusive);
    const begin = state.platform.clock.nowNs();
    const loads = state.counter("loads_from_file");
    const found = loadPage(state, pool, key, address, exclusive);
    const loaded = state.counter("loads_from_file") !== loads;
    recordSince(state, found ? (loaded ? Latency.LOAD : Latency.GET) : Latency.MISS, begin);
    return found;
  }

  /** To be called before this thread's scratch is written. @throws ZcacheError ERR_STORE_CLOSED */
  assertOpen(): void {
    this.#openState();
  }

  /** Whether any thread has closed the store, or this thread has detached. */
  get isClosed(): boolean {
    const { isOver, words, root } = this.#state;
    return isOver || words[root + Root.CLOSED] !== 0;
  }

  /** What shared words name the calling thread by (memory/owner.ts). */
  get owner(): number {
    return this.#state.arena.owner;
  }

  /** Whether an owner is attached and its thread may still run. */
  ownerMayRun(owner: number): boolean {
    return this.#state.arena.ownerMayRun(owner);
  }

  /** The memory it works in, for a door that keeps words of its own in what it has reserved. */
  get arena(): Arena {
    return this.#state.arena;
  }

  /**
   * Zeroed memory in the arena that belongs to the store, until the store ends: for what threads
   * share. @param sizeBytes sixteen page frames at most  @throws ZcacheError ERR_ARENA_FULL
   */
  allocate(sizeBytes: number): Address {
    const state = this.#openState();
    const at = this.#transaction(() => state.allocateLocked(sizeBytes));
    if (at !== NIL) return (at * 4) as Address;
    throw new ZcacheError("ERR_ARENA_FULL", `no ${sizeBytes} bytes left in the arena`, {
      context: { sizeBytes, framesFree: state.arena.frames.framesFree },
    });
  }

  /** Scratch in the arena that belongs to this thread until it detaches. */
  reserve(sizeBytes: number): Address {
    return this.#openState().arena.reserve(sizeBytes);
  }

  /** Whether a page is stored; does not count as a use. */
  has(pool: number, key: TmemKey): boolean {
    const { index } = this.#openState();
    return this.#readTransaction(() => index.find(pool, key) >= 0);
  }

  /** Takes a page out. @returns whether it was there */
  flush(pool: number, key: TmemKey): boolean {
    const state = this.#openState();
    state.changes?.makeRoom(0);
    return this.#transaction(() => {
      state.count("flushes");
      if (state.condition !== undefined && isHead(key) && !state.condition()) return false;
      state.changes?.removeLocked(pool, key);
      state.versions?.changedLocked(key);
      const entry = state.index.find(pool, key);
      if (entry < 0) return false;
      state.count("flushes_found");
      state.removeLocked(entry as WordIndex, state.hash(pool, key), Reason.FLUSHED);
      return true;
    });
  }

  /** Takes all pages of the key's object out, in steps. @returns how many there were */
  flushObject(pool: number, key: TmemKey): number {
    const state = this.#openState();
    const { index, changes, versions } = state;
    const logLocked = () => {
      changes?.removeObjectLocked(pool, key);
      versions?.objectChangedLocked(key);
    };
    const step = (visit: (entry: WordIndex) => void) => index.removeObject(pool, key, 1, visit);
    const removed = removePages(state, Reason.OBJECT_FLUSHED, step, logLocked);
    this.#transaction(() => {
      state.count("object_flushes");
      if (removed > 0) state.count("object_flushes_found");
    });
    return removed;
  }

  /**
   * Sets the key to the object's first page from the key's index on; does not count as a use.
   * @returns ZERO for a page that holds nothing but zeros, else DATA; MISS if there is none
   */
  nextPage(pool: number, key: TmemKey): typeof MISS | typeof ZERO | typeof DATA {
    const { index, words } = this.#openState();
    return this.#readTransaction(() => {
      const entry = index.nextPage(pool, key);
      if (entry < 0) return MISS;
      const meta = words[entry + Entry.META]!;
      if (Page.whereOf(meta) !== Page.SAME_FILLED) return DATA;
      return (words[entry + Entry.VALUE]! | Page.highOf(words, entry, meta)) === 0 ? ZERO : DATA;
    });
  }

  /** What is known of a tmem pool: pages, objects, kind; null if there is none. */
  poolInfo(pool: number): TmemPoolInfo | null {
    const { index } = this.#openState();
    return this.#readTransaction(() => index.poolInfo(pool));
  }

  /** Whether a tmem pool is one that all share who name its UUID; false if there is none. */
  isShared(pool: number): boolean {
    return this.#openState().index.isShared(pool);
  }

  /** While frozen, a put is a flush: nothing comes in and nothing that is in grows old. */
  freeze(frozen: boolean): void {
    const { root } = this.#openState();
    this.#transaction(() => put(this.#state.words, root + Root.FROZEN, frozen ? 1 : 0));
  }

  /** Lets the store's clock, by which pages age, go on by one. */
  tick(): void {
    const { root, words } = this.#openState();
    this.#transaction(() => put(words, root + Root.TICK, (words[root + Root.TICK]! + 1) | 0));
  }

  /**
   * Work that is nobody's: reclaim, write-back, cleaning. In bounded steps.
   * @returns whether there is more to do at once
   */
  maintain(): boolean {
    return maintain(this.#openState());
  }

  /**
   * Walks on through what is stored, a bounded step, and does what is asked for about pages that
   * lie idle: recompresses them, writes them back, removes values that have expired.
   */
  scanIdle(options: IdleScanOptions): IdleScanResult {
    this.#idleScan ??= new IdleScan(this.#openState());
    this.#state.readBuffer.flush();
    return this.#idleScan.run(options);
  }

  /**
   * Lets pages go, coldest first: written back, or dropped.
   * @returns how many have left memory; fewer if the rest may not go
   */
  shrink(pages: number): number {
    const state = this.#openState();
    state.readBuffer.flush();
    let gone = 0;
    while (gone < pages) {
      if (this.#transaction(() => evictColdestLocked(state))) gone++;
      // Where too much waits to be written, writing it makes room.
      else if (!flushStep(state)) break;
    }
    return gone;
  }

  /**
   * Moves pages together, in pools that leave gaps and can move: frame by frame.
   * @returns page frames that came free, at most about `frames`; always 0 with dense pools
   */
  compact(frames: number): number {
    let freed = 0;
    for (const zpool of this.#openState().zpools) {
      for (let step = 1; step > 0 && freed < frames; freed += step) {
        step = this.#transaction(() => zpool.compact(1));
      }
    }
    return freed;
  }

  /**
   * Sets how much memory may be in use, everything counted: up to what the store was made with.
   * What is above goes step by step, as pages come in or `maintain` is called. 0 is `memoryMax`.
   * @throws ZcacheError ERR_OPTION
   */
  limit(bytes: number): void {
    const { arena, root, words } = this.#openState();
    const frames = limitFrames(bytes, this.options.memoryMax, this.pageSize, arena.frames);
    this.#transaction(() => put(words, root + Root.LIMIT_FRAMES, frames));
  }

  /**
   * Does all such work from now on, so that those who put don't have to: for a worker thread that
   * does nothing else. Returns when the store is closed.
   */
  serve(): void {
    serveMaintenance(this.#openState());
    this.detach();
  }

  /**
   * Lets something be done, by any threads, of which no trace stays in counters, latencies and
   * what is remembered of pages that went; nor of what others do to the store meanwhile.
   */
  async uncounted<T>(work: () => Promise<T>): Promise<T> {
    const { words, root } = this.#openState();
    const [from, to] = [root + Root.COUNTERS, root + Root.STRIPES];
    const before = this.#transaction(() => words.slice(from, to));
    try {
      return await work();
    } finally {
      this.#transaction(() => words.set(before, from));
    }
  }

  /** Tells what this thread has counted and not told yet. */
  flushReadBuffer(): void {
    this.#openState().readBuffer.flush();
  }

  /** One consistent picture. */
  stats(): StoreStats {
    const state = this.#openState();
    state.readBuffer.flush();
    return this.#transaction(() => statisticsLocked(state));
  }

  /** How it was made, all options filled in. */
  get options(): ResolvedOptions {
    return this.#state.options;
  }

  /** Where a page is, or why it is not there. */
  explain(pool: number, key: TmemKey): Explanation {
    const state = this.#openState();
    state.readBuffer.flush();
    return this.#transaction(() => explainLocked(state, pool, key));
  }

  /** Checks everything. @throws AssertionError naming what does not hold */
  verify(): void {
    const state = this.#openState();
    this.#transaction(() => verifyLocked(state));
  }

  /** Ends this thread's use; the store lives on in others. */
  detach(): void {
    if (this.#state.isOver) return;
    this.background?.stop();
    this.#state.isOver = true;
    this.#state.readBuffer.flush();
    this.#state.arena.detach();
  }

  /**
   * Ends the store for all threads: what waits goes to the file, and the file is closed.
   * @param beforeDetach called when nothing changes any more and this thread can still take the
   *   arena's lock: to write what has to be written last
   */
  close(beforeDetach?: () => void): void {
    if (this.#state.isOver) return;
    this.background?.stop();
    const state = this.#state;
    Atomics.store(state.words, state.root + Root.CLOSED, 1);
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
