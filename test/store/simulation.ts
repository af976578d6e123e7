// The parts of the simulation of a store: actors, scheduler, model, and a file that fails.
import assert from "node:assert/strict";
import type { PageFrame } from "../../src/base/brand.ts";
import { AssertionError, ZcacheError } from "../../src/base/errors.ts";
import { Xorshift32 } from "../../src/base/random.ts";
import { ARENA_LOCK, JOURNAL_LIMIT } from "../../src/memory/arena.layout.ts";
import { nodePlatform } from "../../src/node/platform.ts";
import { GENERATION, lockOf } from "../../src/pool/pool.layout.ts";
import { ShardedStore, statesOf } from "../../src/shard/sharded_store.ts";
import type { StorePlatform } from "../../src/store/platform.ts";
import { KINDS as KINDS_OF_POOLS, ZPOOLS } from "../../src/store/store.layout.ts";
import type { Store, StoreShare } from "../../src/store/store.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { type Faults, FaultyDevice, NO_FAULTS } from "../doubles/faulty_device.ts";
import { SimulatedThreads } from "../doubles/simulated_threads.ts";
import { fillPage, type PageKind } from "../doubles/store_fixture.ts";

export interface SimulationOptions {
  readonly seed: number;
  readonly steps: number;
  readonly memoryMax: number;
  readonly shards: number;
  readonly ephemeralPool: string;
  readonly persistentPool: string;
  readonly policy: string;
  readonly reclaim: "objects" | "frames";
  readonly codec: string;
  readonly recompress: { readonly codec: string };
  /** The write-back file: none, one that is soon full, or one that holds everything. */
  readonly file: "none" | "small" | "large";
  /** Whether reads and writes of the file fail now and then. */
  readonly faults: boolean;
  /** Whether actors die inside their operations. */
  readonly deaths: boolean;
}

interface Page {
  readonly kind: PageKind;
  readonly seed: number;
}

/** One tmem pool and what was put into it. */
interface PoolModel {
  readonly id: number;
  readonly persistent: boolean;
  readonly pages: Map<string, Page>;
  readonly objects: number;
  readonly indexes: number;
}

const ACTORS = 3;
/** Bytes of the write-back file: soon full, or room for everything. */
const FILE_BYTES = { none: 0, small: 10 * 65_536, large: 8 << 20 };
const FAULTS: Faults = { writeErrorEvery: 8, readErrorEvery: 20, wrongByteEvery: 25 };
/** Of the journal: journal.ts. */
const JOURNAL_ROOM = 4095;
/** How many actors may wait for the file at once, one inside the other. */
const DEPTH_MAX = 2;
const KINDS: readonly PageKind[] = ["same", "text", "text", "sparse", "noise"];

interface Actor {
  store: Store;
  /** What the system knows it by: a name for each shard's memory that it has attached to. */
  names: readonly number[];
  /** What its locks name it by, in each shard. */
  owners: readonly number[];
}

export class Simulation {
  readonly #options: SimulationOptions;
  readonly #random: Xorshift32;
  readonly #threads = new SimulatedThreads();
  readonly #platform: StorePlatform;
  /** The write-back file of each shard. */
  readonly #devices: FaultyDevice[] = [];
  readonly #root: Store;
  /** The memory of each shard. */
  readonly #memories: readonly Int32Array[];
  readonly #actors: Actor[] = [];
  readonly #pools: PoolModel[] = [];
  readonly #key = new TmemKey();
  readonly #page: Uint8Array;
  readonly #expected: Uint8Array;
  readonly #tally: Record<string, number> = {};
  #serial = 0;
  #depth = 0;
  #isSettling = false;
  readonly #busy = new Set<string>();

  constructor(options: SimulationOptions) {
    const { seed, steps, file, faults, deaths, ...store } = options;
    this.#options = options;
    this.#random = new Xorshift32(seed * 7919);
    const random = new Xorshift32(seed);
    let now = 0;
    this.#platform = {
      ...nodePlatform(),
      openDevice: () => this.#addDevice(FILE_BYTES[file], seed),
      attachDevice: ({ fd }) => this.#devices[fd]!,
      threads: this.#threads,
      clock: { nowNs: () => (now += 1000) },
      random: () => random.next() | 0,
    };
    const writeBack = file === "none" ? {} : { writeBack: { path: "in memory", max: "4MiB" } };
    this.#root = ShardedStore.create({ ...store, ...writeBack }, this.#platform);
    if (faults) this.#setFaults(FAULTS);
    this.#memories = sharesOf(this.#root).map(
      ({ arena }) => new Int32Array(arena.zcacheArena.buffer),
    );
    for (let n = 0; n < ACTORS * (DEPTH_MAX + 1); n++) this.#actors.push(this.#newActor());
    this.#page = new Uint8Array(this.#root.pageSize);
    this.#expected = new Uint8Array(this.#root.pageSize);
    this.#addPool(false, 40, 40);
    this.#addPool(true, 4, 25);
    this.#addPool(false, 300, 1);
  }

  /** @returns what happened how often: equal for equal options */
  run(): Record<string, number> {
    for (let step = 0; step < this.#options.steps; step++) {
      this.#step();
      if (step % 100 === 99) this.#root.verify();
    }
    this.#setFaults(NO_FAULTS);
    for (const pool of this.#pools) this.#checkAll(pool);
    this.#root.verify();
    for (const pool of this.#pools) {
      assert.equal(this.#root.destroyPool(pool.id), 0);
      pool.pages.clear();
    }
    this.#root.verify();
    const { persistent, ephemeral } = this.#root.stats();
    for (const { pagesInMemory, samePages, pagesInFile, pool } of [persistent, ephemeral]) {
      assert.deepEqual([pagesInMemory, samePages, pagesInFile, pool.pages], [0, 0, 0, 0]);
    }
    for (const { store } of this.#actors) store.detach();
    this.#root.close();
    return this.#tally;
  }

  /** While an actor waits for the file, others go on. */
  #meanwhile(): void {
    if (this.#depth >= DEPTH_MAX || this.#isSettling) return;
    const rooms = this.#memories.map((words) => words[JOURNAL_LIMIT]!);
    this.#setJournalRoom(JOURNAL_ROOM);
    this.#depth++;
    for (let n = this.#random.below(3); n > 0; n--) this.#step();
    this.#depth--;
    for (const [nth, words] of this.#memories.entries()) words[JOURNAL_LIMIT] = rooms[nth]!;
  }

  /** Words that the journals of all shards take; a thread dies where one has no room. */
  #setJournalRoom(words: number): void {
    for (const memory of this.#memories) memory[JOURNAL_LIMIT] = words;
  }

  #addDevice(bytes: number, seed: number): FaultyDevice {
    const nth = this.#devices.length;
    const device = new FaultyDevice(bytes, new Xorshift32((seed ^ 0x5555) + nth), NO_FAULTS, nth);
    device.meanwhile = () => this.#meanwhile();
    this.#devices.push(device);
    return device;
  }

  #setFaults(faults: Faults): void {
    for (const device of this.#devices) device.faults = faults;
  }

  #step(): void {
    // An actor that waits for the file runs nothing else; the others may run.
    const actor = this.#actors[this.#depth * ACTORS + this.#random.below(ACTORS)]!;
    const pool = this.#pools[this.#random.below(this.#pools.length)]!;
    const object = this.#random.below(pool.objects);
    const index = this.#random.below(pool.indexes);
    const dice = this.#random.below(100);
    // The order of two simultaneous operations on one page is undefined.
    const busy = `${pool.id}/${object}`;
    if (this.#busy.has(busy)) return;
    this.#busy.add(busy);
    try {
      this.#operate(actor, pool, object, index, dice);
    } finally {
      this.#busy.delete(busy);
    }
  }

  #operate(actor: Actor, pool: PoolModel, object: number, index: number, dice: number): void {
    if (dice < 48) this.#put(actor, pool, object, index);
    else if (dice < 78) this.#get(actor, pool, object, index, dice < 52);
    else if (dice < 86) this.#flush(actor, pool, object, index);
    else if (dice < 87) this.#flushObject(actor, pool, object);
    else this.#rare(actor, dice);
  }

  #rare(actor: Actor, dice: number): void {
    const { store } = actor;
    if (dice < 93) this.#attempt(actor, "maintain", () => store.maintain());
    else if (dice < 95) this.#attempt(actor, "shrink", () => store.shrink(this.#random.below(20)));
    else if (dice < 97) this.#attempt(actor, "tick", () => store.tick());
    else if (dice < 98) {
      const isHigh = this.#random.below(3) === 0;
      const factor = isHigh
        ? 1 + this.#random.below(200) / 100
        : 0.7 + this.#random.below(31) / 100;
      const limit = this.#options.memoryMax * factor;
      this.#attempt(actor, "limit", () => store.limit(limit - 65_536));
    } else if (dice < 99) this.#scanIdle(actor);
    else this.#count(store.stats().mem_used_total > 0 ? "stats" : "no stats");
  }

  #scanIdle(actor: Actor): void {
    const recompress = { idleTicks: this.#random.below(2), only: "normal" as const };
    const writeBack = { idleTicks: 2 };
    const what = { entries: 40, recompress, ...(this.#random.below(4) === 0 ? { writeBack } : {}) };
    const scanned = this.#attempt(actor, "scanIdle", () => actor.store.scanIdle(what));
    if (scanned !== undefined && scanned.recompressed > 0) this.#count("recompressed");
  }

  #put(actor: Actor, pool: PoolModel, object: number, index: number): void {
    const name = `${object}/${index}`;
    const before = pool.pages.get(name);
    const kind = KINDS[this.#random.below(KINDS.length)]!;
    const page = { kind, seed: ++this.#serial };
    const key = new TmemKey().setObject(object).setIndex(index);
    fillPage(this.#page, kind, page.seed);
    const result = this.#attempt(actor, "put", () => actor.store.put(pool.id, key, this.#page));
    if (result === undefined) this.#settle(pool, name, [before, page]);
    else if (result === 0) pool.pages.set(name, page);
    else pool.pages.delete(name);
    if (result !== undefined && result !== 0) this.#count(`put refused ${result}`);
  }

  #get(actor: Actor, pool: PoolModel, object: number, index: number, exclusive: boolean): void {
    const name = `${object}/${index}`;
    const before = pool.pages.get(name);
    const key = new TmemKey().setObject(object).setIndex(index);
    const page = new Uint8Array(this.#root.pageSize);
    const found = this.#attempt(actor, "get", () => actor.store.get(pool.id, key, page, exclusive));
    if (found === undefined) this.#settle(pool, name, [before]);
    else if (found) {
      this.#same(page, pool.pages.get(name), name);
      if (exclusive) pool.pages.delete(name);
    } else this.#absent(pool, name);
  }

  #flush(actor: Actor, pool: PoolModel, object: number, index: number): void {
    const name = `${object}/${index}`;
    const before = pool.pages.get(name);
    const key = this.#key.setObject(object).setIndex(index);
    const found = this.#attempt(actor, "flush", () => actor.store.flush(pool.id, key));
    if (found === undefined) {
      this.#settle(pool, name, [before]);
      return;
    }
    if (!found) this.#absent(pool, name);
    pool.pages.delete(name);
  }

  #flushObject(actor: Actor, pool: PoolModel, object: number): void {
    const key = new TmemKey().setObject(object).setIndex(0);
    const removed = this.#attempt(actor, "flushObject", () =>
      actor.store.flushObject(pool.id, key),
    );
    const names = [...pool.pages.keys()].filter((name) => name.startsWith(`${object}/`));
    if (removed === undefined) {
      for (const name of names) this.#settle(pool, name, [pool.pages.get(name)]);
      return;
    }
    if (pool.persistent) assert.equal(removed, names.length, "all pages of the object");
    for (const name of names) pool.pages.delete(name);
  }

  /**
   * Runs an operation of an actor, which may die in it or meet a failing file.
   * @returns what it gave, or undefined if nobody knows how far it came
   */
  #attempt<T>(actor: Actor, what: string, work: () => T): T | undefined {
    this.#count(what);
    const dies = this.#options.deaths && this.#depth === 0 && this.#random.below(40) === 0;
    if (dies) this.#setJournalRoom(this.#random.below(50));
    try {
      return work();
    } catch (error) {
      if (error instanceof ZcacheError) {
        this.#count(error.code);
        return undefined;
      }
      if (!dies || !(error instanceof AssertionError) || !/journal/.test(error.message))
        throw error;
      this.#setJournalRoom(JOURNAL_ROOM);
      this.#bury(actor);
      return undefined;
    } finally {
      if (dies) this.#setJournalRoom(JOURNAL_ROOM);
    }
  }

  /** An actor has died with the lock in its hands: the next one finds that out. */
  #bury(actor: Actor): void {
    this.#count("died");
    for (const name of actor.names) this.#threads.dead.add(name);
    // As if it had died with the locks of all shards in its hands: more than it could hold.
    for (const [nth, { zcacheStore: root }] of sharesOf(this.#root).entries()) {
      const words = this.#memories[nth]!;
      const owner = actor.owners[nth]!;
      words[ARENA_LOCK] = owner;
      for (const zpool of words.subarray(root + ZPOOLS, root + ZPOOLS + KINDS_OF_POOLS)) {
        const at = this.#root.arena.frames.frameToWord(zpool as PageFrame);
        words[lockOf(words[at + GENERATION]!)] = owner;
      }
    }
    const at = this.#actors.indexOf(actor);
    // Sometimes an attaching thread, which has no repair of the store yet, finds the death.
    if (this.#random.next() % 2 === 0) this.#root.verify();
    this.#actors[at] = this.#newActor();
  }

  #newActor(): Actor {
    const before = this.#threads.last;
    const store = ShardedStore.attach(this.#root.share(), this.#platform);
    const owners = statesOf(store).map(({ arena }) => arena.owner);
    return { store, names: owners.map((_, nth) => before + 1 + nth), owners };
  }

  /** Finds out what is stored after an operation that did not end: one of these, or nothing. */
  #settle(pool: PoolModel, name: string, allowed: readonly (Page | undefined)[]): void {
    const [object, index] = name.split("/").map(Number);
    const key = this.#key.setObject(object!).setIndex(index!);
    let found = false;
    const faults = this.#devices[0]?.faults ?? NO_FAULTS;
    // The file must not fail here, and no other actor may run.
    this.#setFaults(NO_FAULTS);
    this.#isSettling = true;
    try {
      found = this.#root.get(pool.id, key, this.#page);
    } finally {
      this.#setFaults(faults);
      this.#isSettling = false;
    }
    const is = allowed.find((page) => page !== undefined && this.#isSame(this.#page, page));
    assert.ok(!found || is, `after an operation that did not end ${name} is another page`);
    if (found) pool.pages.set(name, is!);
    else pool.pages.delete(name);
  }

  #absent(pool: PoolModel, name: string): void {
    assert.ok(!pool.persistent || !pool.pages.has(name), `the persistent page ${name} is gone`);
    pool.pages.delete(name);
  }

  #same(page: Uint8Array, expected: Page | undefined, name: string): void {
    assert.ok(expected, `page ${name} is there, and was flushed or never stored`);
    assert.ok(this.#isSame(page, expected), `page ${name} is another page`);
  }

  #isSame(page: Uint8Array, { kind, seed }: Page): boolean {
    fillPage(this.#expected, kind, seed);
    return Buffer.compare(page, this.#expected) === 0;
  }

  #checkAll(pool: PoolModel): void {
    for (const name of [...pool.pages.keys()]) {
      const [object, index] = name.split("/").map(Number);
      this.#get(this.#actors[0]!, pool, object!, index!, false);
    }
  }

  #addPool(persistent: boolean, objects: number, indexes: number): void {
    const id = this.#root.createPool({ persistent });
    assert.ok(id > 0);
    this.#pools.push({ id, persistent, pages: new Map(), objects, indexes });
  }

  #count(what: string): void {
    this.#tally[what] = (this.#tally[what] ?? 0) + 1;
  }
}

/** The share of each shard of a store. */
function sharesOf(store: Store): readonly StoreShare[] {
  const share = store.share() as StoreShare & { readonly shards?: readonly StoreShare[] };
  return [share, ...(share.shards ?? [])];
}
