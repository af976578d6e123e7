// The simulation of a store with a remote tier: operations, messages to and from the cluster, and
// failures in an order that the seed chooses; the same seed gives the same run.
//
// A read that takes time may return what the page was at any moment between its begin and its end:
// the model keeps the history of each page.
//
// The second thread may die in any of its operations, after any number of writes to shared memory:
// then nobody knows whether the operation has been done, and what it did is there as a whole or not
// at all.
import assert from "node:assert/strict";
import { AssertionError, ZcacheError } from "../../src/base/errors.ts";
import { Xorshift32 } from "../../src/base/random.ts";
import { ARENA_LOCK, JOURNAL_LIMIT } from "../../src/memory/arena.layout.ts";
import { nodePlatform } from "../../src/node/platform.ts";
import { ShardedStore, statesOf } from "../../src/shard/sharded_store.ts";
import type { StorePlatform } from "../../src/store/platform.ts";
import { RemoteSweep } from "../../src/store/remote_sweep.ts";
import { RemoteTier } from "../../src/store/remote_tier.ts";
import { Repatriation } from "../../src/store/repatriation.ts";
import type { Store } from "../../src/store/store.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { FaultyDevice } from "../doubles/faulty_device.ts";
import {
  NO_REMOTE_FAULTS,
  RemoteCluster,
  RemoteDouble,
  type RemoteFaults,
} from "../doubles/remote.ts";
import { SimulatedThreads } from "../doubles/simulated_threads.ts";
import { fillPage, type PageKind } from "../doubles/store_fixture.ts";

export interface RemoteSimulationOptions {
  readonly seed: number;
  readonly steps: number;
  readonly memoryMax: number;
  readonly shards: number;
  readonly pool: string;
  readonly policy: string;
  readonly reclaim: "objects" | "frames";
  readonly file: "none" | "small" | "large";
  readonly first: "remote" | "file";
  readonly ephemeral: boolean;
  readonly copies: 1 | 2;
  /** Messages get lost, arrive twice, are refused. */
  readonly faults: boolean;
  /** Nodes die, come back, and with two copies are replaced by their replicas. */
  readonly crashes: boolean;
  /** The lease is lost and taken again. */
  readonly leases: boolean;
  /** Threads die in the middle of operations. */
  readonly deaths: boolean;
}

interface Page {
  readonly kind: PageKind;
  readonly seed: number;
}

/** What a page may be; undefined: not stored. More than one after an operation without end. */
type States = readonly (Page | undefined)[];
/** What a page was, one after the other. */
type History = States[];

interface PoolModel {
  readonly id: number;
  readonly persistent: boolean;
  readonly pages: Map<string, History>;
  readonly objects: number;
  readonly indexes: number;
}

const FAULTS: RemoteFaults = {
  loseRequest: 40,
  loseAnswer: 40,
  duplicate: 30,
  damage: 0,
  full: 60,
};
const FILE_BYTES = { none: 0, small: 10 * 65_536, large: 8 << 20 };
const KINDS: readonly PageKind[] = ["same", "text", "text", "noise", "noise", "noise"];
/** Reads under way, at most. */
const READS_MAX = 20;

export class RemoteSimulation {
  readonly cluster: RemoteCluster;
  readonly #options: RemoteSimulationOptions;
  readonly #random: Xorshift32;
  readonly #store: Store;
  /** The same store as two threads have it; the second one may die. */
  readonly #stores: Store[];
  readonly #threads = new SimulatedThreads();
  readonly #platform: StorePlatform;
  /** What the system knows the second thread by, in each shard. */
  #names: readonly number[] = [];
  readonly #remote: RemoteDouble;
  readonly #tier: RemoteTier;
  readonly #sweep: RemoteSweep;
  readonly #repatriation: Repatriation;
  readonly #pools: PoolModel[] = [];
  readonly #page: Uint8Array;
  readonly #expected: Uint8Array;
  readonly #tally: Record<string, number> = {};
  #serial = 0;
  #reads = 0;
  #failure: unknown;
  #isHealthy = false;

  constructor(options: RemoteSimulationOptions) {
    const { seed, memoryMax, shards, pool, policy, reclaim, file, first } = options;
    this.#options = options;
    this.#random = new Xorshift32(seed * 7919);
    const random = new Xorshift32(seed);
    const devices: FaultyDevice[] = [];
    let now = 0;
    this.#platform = {
      ...nodePlatform(),
      threads: this.#threads,
      openDevice: () => {
        devices.push(new FaultyDevice(FILE_BYTES[file], random, undefined, devices.length));
        return devices.at(-1)!;
      },
      attachDevice: ({ fd }) => devices[fd]!,
      // A millisecond at each look: pauses end.
      clock: { nowNs: () => (now += 1_000_000) },
      random: () => random.next() | 0,
    };
    this.cluster = new RemoteCluster({ seed });
    const { copies, ephemeral } = options;
    this.#remote = new RemoteDouble(this.cluster, { copies, ephemeral, batchMax: 8 });
    const writeBack = file === "none" ? {} : { writeBack: { path: "in memory", max: "4MiB" } };
    this.#store = ShardedStore.create(
      {
        ...{ memoryMax, shards, pool, policy, reclaim, ...writeBack },
        remote: this.#remote,
        remotify: { first, repatriatePages: 200 },
      },
      this.#platform,
    );
    this.#tier = new RemoteTier(statesOf(this.#store), this.#remote);
    this.#sweep = new RemoteSweep(this.#tier);
    this.#repatriation = new Repatriation(this.#tier);
    this.#sweep.allow();
    this.#stores = [this.#store, this.#attach()];
    this.#page = new Uint8Array(this.#store.pageSize);
    this.#expected = new Uint8Array(this.#store.pageSize);
    this.#addPool(false, 40, 30);
    this.#addPool(true, 4, 200);
    this.#addPool(true, 200, 1);
  }

  #attach(): Store {
    const before = this.#threads.last;
    const store = ShardedStore.attach(this.#store.share(), this.#platform);
    const states = statesOf(store);
    this.#names = states.map((_, nth) => before + 1 + nth);
    for (const state of states) {
      state.remoteReader = (name) => this.#tier.read(state, name);
    }
    return store;
  }

  /**
   * Runs an operation, in which the second thread may die.
   * @returns its result; undefined: nobody knows how far it came
   */
  #attempt<T>(store: Store, work: () => T): T | undefined {
    const { deaths } = this.#options;
    const dies = deaths && store === this.#stores[1] && this.#random.below(10) === 0;
    if (!dies) return work();
    const states = statesOf(store);
    const room = states[0]!.words[JOURNAL_LIMIT]!;
    const setRoom = (writes: number) => {
      for (const { words } of states) words[JOURNAL_LIMIT] = writes;
    };
    setRoom(this.#random.below(60));
    try {
      return work();
    } catch (error) {
      if (!(error instanceof AssertionError) || !/journal/.test(error.message)) throw error;
      setRoom(room);
      this.#bury(store);
      return undefined;
    } finally {
      setRoom(room);
    }
  }

  /** The second thread has died, as if with all locks; another one takes its place. */
  #bury(store: Store): void {
    this.#count("died");
    for (const name of this.#names) this.#threads.dead.add(name);
    for (const state of statesOf(store)) {
      state.words[ARENA_LOCK] = state.arena.owner;
      // What it was waiting for never comes to an end in it.
      state.isOver = true;
    }
    if (this.#random.below(2) === 0) this.#store.verify();
    this.#stores[1] = this.#attach();
  }

  /** @returns what happened how often: equal for equal options */
  async run(): Promise<Record<string, number>> {
    await this.#tier.acquire();
    if (this.#options.faults) this.cluster.faults = FAULTS;
    for (let step = 0; step < this.#options.steps; step++) {
      await this.#step();
      if (this.#failure !== undefined) throw this.#failure;
      if (step % 100 === 99) this.#store.verify();
    }
    await this.#heal();
    for (const pool of this.#pools) await this.#checkAll(pool);
    this.#store.verify();
    await this.#empty();
    const tally = { ...this.#tally, ...this.#counters(), ...this.cluster.tally };
    this.#tier.stop();
    for (const store of this.#stores) store.detach();
    return tally;
  }

  /** All nodes work, all messages arrive, nothing is under way. */
  async #heal(): Promise<void> {
    this.cluster.faults = NO_REMOTE_FAULTS;
    for (const [nth] of this.cluster.nodes.entries()) this.cluster.restart(nth);
    if (!this.#tier.hasLease) await this.#tier.acquire();
    await this.#quiet(() => this.#reads === 0 && this.#store.stats().remote!.in_transit === 0);
    this.#isHealthy = true;
  }

  /** Removes all pages: nothing may be left, here or in the cluster. */
  async #empty(): Promise<void> {
    for (const pool of this.#pools) {
      assert.equal(this.#store.destroyPool(pool.id), 0);
      pool.pages.clear();
    }
    await this.#quiet(() => {
      const { in_transit, removals_waiting } = this.#store.stats().remote!;
      return in_transit + removals_waiting === 0 && !this.#sweep.isPending;
    });
    this.#store.verify();
    assert.deepEqual(this.cluster.names, [], "nothing is left in the cluster");
    const { persistent, ephemeral } = this.#store.stats();
    for (const kind of [persistent, ephemeral]) {
      assert.equal(kind.pagesInMemory + kind.pagesInFile + kind.pagesRemote, 0);
      assert.equal(kind.remoteBytes + kind.pool.pages, 0);
    }
  }

  async #quiet(isQuiet: () => boolean): Promise<void> {
    for (let turns = 0; !isQuiet(); turns++) {
      assert.ok(turns < 20_000, "what is under way ends");
      this.#work();
      await this.cluster.settle();
      if (this.#failure !== undefined) throw this.#failure;
    }
    await this.cluster.settle();
  }

  /** What the serving thread does by its timer. */
  #work(): void {
    this.#tier.pump();
    this.#sweep.step();
    this.#repatriation.step();
  }

  #counters(): Record<string, number> {
    const { counters } = this.#store.stats();
    const names = Object.keys(counters).filter((name) => /remote|repatriated/.test(name));
    return Object.fromEntries(names.map((name) => [name, counters[name as keyof typeof counters]]));
  }

  async #step(): Promise<void> {
    const store = this.#stores[this.#random.below(2)]!;
    const pool = this.#pools[this.#random.below(this.#pools.length)]!;
    // Half of all operations are on few pages, so that they meet each other.
    const isHot = this.#random.below(2) === 0;
    const object = this.#random.below(isHot ? 2 : pool.objects);
    const index = this.#random.below(isHot ? Math.min(pool.indexes, 4) : pool.indexes);
    const dice = this.#random.below(100);
    if (dice < 50) this.#put(store, pool, object, index);
    else if (dice < 70) this.#read(store, pool, object, index, dice < 54);
    else if (dice < 78) this.#get(store, pool, object, index);
    else if (dice < 83) this.#flush(store, pool, object, index);
    else if (dice < 84 && this.#random.below(4) === 0) this.#flushObject(store, pool, object);
    else this.#rare(store, dice);
    const isAlive = this.#stores.includes(store);
    if (this.#random.below(60) === 0 && isAlive) await this.#sendOut(store);
    for (let n = this.#random.below(4); n > 0; n--) this.cluster.step();
    if (this.#random.below(4) === 0) this.#work();
    await new Promise<void>((resolve) => setImmediate(resolve));
  }

  #rare(store: Store, dice: number): void {
    const { crashes, leases, copies, memoryMax, shards } = this.#options;
    const node = this.#random.below(this.cluster.nodes.length);
    if (dice < 88) this.#attempt(store, () => store.maintain());
    else if (dice < 90) this.#attempt(store, () => store.shrink(this.#random.below(200)));
    else if (dice < 91) store.tick();
    else if (dice < 93) this.#limit(store, memoryMax, shards);
    else if (dice < 94) this.cluster.evictOne();
    else if (dice < 95 && crashes) this.cluster.crash(node);
    else if (dice < 98 && crashes) this.#recover(node, copies);
    else if (dice < 99 && leases) this.#changeLease();
    else this.#count(store.stats().mem_used_total > 0 ? "stats" : "no stats");
  }

  /** Makes most pages leave memory, hot ones too. */
  async #sendOut(store: Store): Promise<void> {
    for (let round = 0; round < 20; round++) {
      if (this.#attempt(store, () => store.shrink(8)) === undefined) return;
      this.#work();
      for (let n = 0; n < 20; n++) this.cluster.step();
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }

  #limit(store: Store, memoryMax: number, shards: number): void {
    store.limit(memoryMax * (0.75 + this.#random.below(26) / 100) - 65_536 * shards);
  }

  #recover(node: number, copies: number): void {
    if (copies > 1 && this.#random.below(2) === 0) this.cluster.failOver(node);
    else this.cluster.restart(node);
  }

  #changeLease(): void {
    if (this.#tier.hasLease) this.#remote.loseLease();
    else this.#tier.acquire();
    this.#count("lease");
  }

  #put(store: Store, pool: PoolModel, object: number, index: number): void {
    const kind = KINDS[this.#random.below(KINDS.length)]!;
    const page = { kind, seed: ++this.#serial };
    fillPage(this.#page, kind, page.seed);
    const name = `${object}/${index}`;
    const before = this.#lastOf(pool, name);
    const result = this.#attempt(store, () => store.put(pool.id, keyOf(object, index), this.#page));
    if (result === undefined) {
      this.#now(pool, name, ...before, page, undefined);
      return;
    }
    this.#count(result === 0 ? "put" : `put refused ${result}`);
    this.#now(pool, name, result === 0 ? page : undefined);
  }

  /** A synchronous get: of a page that is here, at once. */
  #get(store: Store, pool: PoolModel, object: number, index: number): void {
    const name = `${object}/${index}`;
    const key = keyOf(object, index);
    const isRemote = store.isRemote(pool.id, key);
    try {
      const found = store.get(pool.id, key, this.#page);
      assert.ok(!isRemote, "a get of a remote page says so");
      this.#check(
        pool,
        name,
        found ? this.#page : undefined,
        this.#historyOf(pool, name).length - 1,
      );
    } catch (error) {
      if (!(error instanceof ZcacheError)) throw error;
      assert.equal(error.code, "ERR_REMOTE_PAGE");
      assert.ok(isRemote);
      this.#count("remote");
    }
  }

  /** Begins a read, which ends later. */
  #read(store: Store, pool: PoolModel, object: number, index: number, exclusive: boolean): void {
    if (this.#reads >= READS_MAX) return;
    const name = `${object}/${index}`;
    const begin = this.#historyOf(pool, name).length - 1;
    const page = new Uint8Array(store.pageSize);
    this.#reads++;
    store
      .getAsync(pool.id, keyOf(object, index), page, exclusive)
      .then(
        (found) => {
          this.#count(found ? "read" : "miss");
          // An exclusive get removes what it returns, and nothing newer.
          const from = found && exclusive ? this.#historyOf(pool, name).length - 1 : begin;
          this.#check(pool, name, found ? page : undefined, from);
          if (found && exclusive) this.#now(pool, name, undefined);
        },
        (error) => this.#readFailed(store, pool, error),
      )
      .catch((error) => {
        this.#failure ??= error;
      })
      .finally(() => {
        this.#reads--;
      });
  }

  #readFailed(store: Store, pool: PoolModel, error: unknown): void {
    if (!(error instanceof ZcacheError)) throw error;
    if (!this.#stores.includes(store)) {
      this.#count("read by a dead thread");
      return;
    }
    const { faults, crashes, leases } = this.#options;
    assert.equal(error.code, "ERR_REMOTE", error.message);
    assert.ok(pool.persistent, "an ephemeral page that can't be read is a miss");
    assert.ok(!this.#isHealthy && (faults || crashes || leases), error.message);
    this.#count("read failed");
  }

  #flush(store: Store, pool: PoolModel, object: number, index: number): void {
    const name = `${object}/${index}`;
    const before = this.#lastOf(pool, name);
    const found = this.#attempt(store, () => store.flush(pool.id, keyOf(object, index)));
    if (found === undefined) {
      this.#now(pool, name, ...before, undefined);
      return;
    }
    const isPossible = found
      ? before.some((page) => page !== undefined)
      : before.includes(undefined) || !pool.persistent;
    assert.ok(isPossible, name);
    this.#now(pool, name, undefined);
  }

  #flushObject(store: Store, pool: PoolModel, object: number): void {
    const removed = this.#attempt(store, () => store.flushObject(pool.id, keyOf(object, 0)));
    const names = [...pool.pages.keys()].filter((name) => name.startsWith(`${object}/`));
    if (removed === undefined) {
      for (const name of names) this.#now(pool, name, ...this.#lastOf(pool, name), undefined);
      return;
    }
    const mayBe = names.filter((name) => this.#lastOf(pool, name).some((page) => page));
    const areStored = mayBe.filter((name) => !this.#lastOf(pool, name).includes(undefined));
    if (pool.persistent) {
      const isRight = removed >= areStored.length && removed <= mayBe.length;
      assert.ok(isRight, `all pages of the object: ${removed}`);
    }
    for (const name of mayBe) this.#now(pool, name, undefined);
  }

  /** Compares what was read with what the page was since the read began. */
  #check(pool: PoolModel, name: string, page: Uint8Array | undefined, begin: number): void {
    const history = this.#historyOf(pool, name).slice(begin).flat();
    if (page === undefined) {
      const mayMiss = !pool.persistent || history.includes(undefined);
      assert.ok(mayMiss, `the persistent page ${name} is gone`);
      return;
    }
    const is = history.some((state) => state !== undefined && this.#isSame(page, state));
    assert.ok(is, `page ${name} is another page, or an older one`);
  }

  #isSame(page: Uint8Array, { kind, seed }: Page): boolean {
    fillPage(this.#expected, kind, seed);
    return Buffer.compare(page, this.#expected) === 0;
  }

  #historyOf(pool: PoolModel, name: string): History {
    const known = pool.pages.get(name);
    if (known !== undefined) return known;
    const history: History = [[undefined]];
    pool.pages.set(name, history);
    return history;
  }

  #lastOf(pool: PoolModel, name: string): States {
    return this.#historyOf(pool, name).at(-1)!;
  }

  /** What a page is from now on: one of these. */
  #now(pool: PoolModel, name: string, ...states: States): void {
    this.#historyOf(pool, name).push(states);
  }

  async #checkAll(pool: PoolModel): Promise<void> {
    for (const name of [...pool.pages.keys()]) {
      const [object, index] = name.split("/").map(Number);
      this.#read(this.#store, pool, object!, index!, false);
      if (this.#reads === READS_MAX) await this.#quiet(() => this.#reads === 0);
    }
    await this.#quiet(() => this.#reads === 0);
  }

  #addPool(persistent: boolean, objects: number, indexes: number): void {
    const id = this.#store.createPool({ persistent });
    assert.ok(id > 0);
    this.#pools.push({ id, persistent, pages: new Map(), objects, indexes });
  }

  #count(what: string): void {
    this.#tally[what] = (this.#tally[what] ?? 0) + 1;
  }
}

function keyOf(object: number, index: number): TmemKey {
  return new TmemKey().setObject(object).setIndex(index);
}
