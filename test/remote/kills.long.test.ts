// Servers of a cluster are killed and stopped, one after the other, under a load that knows what it
// has written: no page that the store has accepted is ever missing, old or another one.
//
// ZCACHE_KILLS=1000 makes more rounds, ZCACHE_SEED chooses another run. Both servers of a slot are
// never down at once: a round ends when all servers run again and the replicas have all data. A
// server that comes back is empty, and a replica of the one that took its place.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ZcacheError } from "../../src/base/errors.ts";
import { Xorshift32 } from "../../src/base/random.ts";
import { MIB } from "../../src/base/units.ts";
import { createStore } from "../../src/node/stores.ts";
import { createRemote } from "../../src/remote/remote.ts";
import type { Store } from "../../src/store/store.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import {
  type EngineCluster,
  type EngineServer,
  noServers,
  startCluster,
} from "../doubles/engine_servers.ts";
import { fillPage } from "../doubles/store_fixture.ts";

const KILLS = Number(process.env["ZCACHE_KILLS"] ?? 20);
const SEED = Number(process.env["ZCACHE_SEED"] ?? 1);
/** Rounds between two lines about what was done so far. */
const REPORT_EVERY = 50;
const ROUND_MS = 120_000;
const LANES = 8;
const PAGES_OF_LANE = 160;
/** Pages that a lane reads or writes without a pause. */
const BATCH = 4;
const PAUSE_MS = 30;
/** A page that is not answered for so long is lost; a failover takes a few seconds. */
const ATTEMPTS = 20;
const TIMEOUT_MS = 20_000;

/** What happens to a server in a round. */
const FAULTS = ["kill master", "kill replica", "stop master", "stop replica", "pause"] as const;
type Fault = (typeof FAULTS)[number];

interface Tally {
  puts: number;
  refused: number;
  reads: number;
  retries: number;
  readonly faults: Record<Fault, number>;
}

/** Writes and reads pages of its own, and knows what they must be. */
class Lane {
  /** The version of each page; 0: none. */
  readonly #versions = new Uint32Array(PAGES_OF_LANE);
  readonly #store: Store;
  readonly #pool: number;
  readonly #tally: Tally;
  readonly #random: Xorshift32;
  readonly #nth: number;
  #version = 0;

  constructor(store: Store, pool: number, nth: number, tally: Tally) {
    this.#store = store;
    this.#pool = pool;
    this.#tally = tally;
    this.#random = new Xorshift32(SEED * 1000 + nth + 1);
    this.#nth = nth;
  }

  #keyOf(index: number): TmemKey {
    return new TmemKey().setObject(this.#nth).setIndex(index);
  }

  #seedOf(index: number): number {
    return (this.#versions[index]! * LANES + this.#nth) * PAGES_OF_LANE + index;
  }

  async run(isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      for (let one = 0; one < BATCH; one++) await this.#change(this.#random.below(PAGES_OF_LANE));
      const reads = Array.from({ length: BATCH }, () =>
        this.#check(this.#random.below(PAGES_OF_LANE)),
      );
      await Promise.all(reads);
      await sleep(PAUSE_MS);
    }
  }

  /** Flushes a page, or puts it, as soon as there is room. */
  async #change(index: number): Promise<void> {
    const key = this.#keyOf(index);
    if (this.#random.below(16) === 0) {
      this.#store.flush(this.#pool, key);
      this.#versions[index] = 0;
      return;
    }
    this.#versions[index] = ++this.#version;
    const page = fillPage(new Uint8Array(this.#store.pageSize), "noise", this.#seedOf(index));
    while (this.#store.put(this.#pool, key, page) !== 0) {
      this.#tally.refused++;
      await sleep(PAUSE_MS);
    }
    this.#tally.puts++;
  }

  async #check(index: number): Promise<void> {
    const page = new Uint8Array(this.#store.pageSize);
    const isFound = await this.#read(index, page);
    const what = `page ${index} of lane ${this.#nth}`;
    assert.equal(isFound, this.#versions[index] !== 0, what);
    this.#tally.reads++;
    if (!isFound) return;
    const expected = fillPage(new Uint8Array(page.length), "noise", this.#seedOf(index));
    assert.deepEqual(page, expected, what);
  }

  /** While a node does not answer, a read may fail. */
  async #read(index: number, page: Uint8Array): Promise<boolean> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#store.getAsync(this.#pool, this.#keyOf(index), page);
      } catch (error) {
        const isRemote = error instanceof ZcacheError && error.code === "ERR_REMOTE";
        if (!isRemote || attempt === ATTEMPTS) throw error;
        this.#tally.retries++;
        await sleep(1000);
      }
    }
  }

  async checkAll(): Promise<void> {
    for (let from = 0; from < PAGES_OF_LANE; from += BATCH) {
      const some = Array.from({ length: BATCH }, (_, nth) => this.#check(from + nth));
      await Promise.all(some);
    }
  }
}

/** Does something to a server of a cluster that works, and undoes it. */
async function disturb(cluster: EngineCluster, fault: Fault, random: Xorshift32): Promise<void> {
  const masters = await cluster.resynchronized();
  const master = masters[random.below(masters.length)]!;
  await sleep(random.below(50));
  switch (fault) {
    case "kill master":
      await cluster.failover(master);
      return master.restart();
    case "kill replica":
      return (await cluster.replicaOf(master)).restart();
    case "stop master": {
      const isReplaced = await cluster.pauseMaster(master);
      return resumeAfter(master, isReplaced());
    }
    case "stop replica":
      return stopFor(await cluster.replicaOf(master), 1500);
    case "pause":
      return stopFor(master, 100 + random.below(500));
  }
}

function stopFor(server: EngineServer, ms: number): Promise<void> {
  server.pause();
  return resumeAfter(server, sleep(ms));
}

async function resumeAfter(server: EngineServer, wait: Promise<unknown>): Promise<void> {
  try {
    await wait;
  } finally {
    server.resume();
  }
}

const options = { skip: noServers, timeout: KILLS * ROUND_MS };

test(`${KILLS} kills and pauses: no page is lost`, options, async (t) => {
  const cluster = await startCluster({ masters: 3, replicas: 1 });
  const { nodes } = cluster;
  const more = { prefix: "zcache-kills", copies: 2, timeoutMs: TIMEOUT_MS, leaseMs: 600_000 };
  const store = createStore({ memoryMax: 2 * MIB, remote: createRemote({ nodes, ...more }) });
  const faults = { "kill master": 0, "kill replica": 0, "stop master": 0 };
  const tally: Tally = {
    ...{ puts: 0, refused: 0, reads: 0, retries: 0 },
    faults: { ...faults, "stop replica": 0, pause: 0 },
  };
  try {
    await store.remote!.ready;
    const pool = store.createPool({ persistent: true });
    const lanes = Array.from({ length: LANES }, (_, nth) => new Lane(store, pool, nth, tally));
    const random = new Xorshift32(SEED);
    for (let round = 1; round <= KILLS; round++) {
      const fault = FAULTS[random.below(FAULTS.length)]!;
      let isOver = false;
      const load = Promise.all(lanes.map((lane) => lane.run(() => isOver)));
      const disturbed = disturb(cluster, fault, random).then(() => cluster.resynchronized());
      // What fails first ends the round.
      await Promise.race([Promise.all([disturbed, load]), disturbed]);
      isOver = true;
      await load;
      for (const lane of lanes) await lane.checkAll();
      tally.faults[fault]++;
      if (round % REPORT_EVERY === 0) console.log(`${round}: ${JSON.stringify(tally)}`);
    }
    const { counters } = store.stats();
    const fromCluster = counters.remote_pers_pages_succ_get;
    t.diagnostic(JSON.stringify({ ...tally, fromCluster }));
    assert.ok(fromCluster > KILLS * PAGES_OF_LANE);
    assert.equal(store.remote!.figures().problem, undefined);
    store.verify();
    for (let lane = 0; lane < LANES; lane++) {
      store.flushObject(pool, new TmemKey().setObject(lane).setIndex(0));
    }
    assert.ok(await store.remote!.empty());
  } finally {
    store.close();
    await cluster.end();
  }
});
