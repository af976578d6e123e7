// A store with a remote tier over a cluster on loopback, and what its benchmarks share.
import { randomFillSync } from "node:crypto";
import { MIB } from "../../src/base/units.ts";
import { createStore } from "../../src/node/stores.ts";
import { createRemote } from "../../src/remote/remote.ts";
import type { Store } from "../../src/store/store.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { type EngineCluster, startCluster } from "../../test/doubles/engine_servers.ts";

const PAGE = 4096;
/** So many bytes of a page do not compress: its record has 2,000 bytes, with header and key. */
const NOISE_BYTES = 1950;
const TEMPLATES = 256;
/** Puts between two turns of the event loop. */
const BATCH = 64;
const NAP_MS = 1;
/** Reads that make a page one that is used often. */
const USES = 4;

export interface TierOptions {
  readonly memoryMib: number;
}

/** A store of which most pages are on the cluster. */
export class BenchedTier {
  readonly store: Store;
  readonly pool: number;
  readonly #key = new TmemKey();
  readonly #pages: Uint8Array[];
  /** Wakes the puts that wait for a slot. */
  #wake: () => void = () => {};
  #next = 0;

  private constructor(cluster: EngineCluster, { memoryMib }: TierOptions) {
    const remote = createRemote({ nodes: cluster.nodes, prefix: "bench", timeoutMs: 60_000 });
    const put = remote.put.bind(remote);
    remote.put = async (records) => {
      const results = await put(records);
      setImmediate(() => this.#wake());
      return results;
    };
    this.store = createStore({ memoryMax: memoryMib * MIB, remote });
    this.pool = this.store.createPool({ persistent: true });
    this.#pages = Array.from({ length: TEMPLATES }, () => {
      const page = new Uint8Array(PAGE);
      randomFillSync(page, 0, NOISE_BYTES);
      return page;
    });
  }

  static async open(cluster: EngineCluster, options: TierOptions): Promise<BenchedTier> {
    const tier = new BenchedTier(cluster, options);
    await tier.store.remote!.ready;
    return tier;
  }

  keyOf(nth: number): TmemKey {
    return this.#key.setObject(1).setIndex(nth);
  }

  /** Pages that have been put so far. */
  get pages(): number {
    return this.#next;
  }

  get sent(): number {
    return this.store.stats().counters.pers_pages_remoted;
  }

  /** Puts new pages, as fast as there is room for them. */
  async put(count: number): Promise<void> {
    for (let nth = 0; nth < count; nth++) {
      const page = this.#pages[this.#next % TEMPLATES]!;
      new DataView(page.buffer).setUint32(0, this.#next);
      while (this.store.put(this.pool, this.keyOf(this.#next), page) !== 0) await this.#slot();
      this.#next++;
      if (nth % BATCH === BATCH - 1) await new Promise((done) => setImmediate(done));
    }
  }

  /** Reads pages a few times, so that they stay in memory. */
  async use(pages: readonly number[]): Promise<void> {
    const target = new Uint8Array(PAGE);
    for (let round = 0; round < USES; round++) for (const nth of pages) await this.get(nth, target);
  }

  /** Waits until some pages have arrived. */
  async #slot(): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, NAP_MS);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async arrived(): Promise<void> {
    while (this.store.stats().remote!.in_transit > 0) await this.#slot();
  }

  /** Numbers of pages on the cluster, the newest last. */
  away(count: number): number[] {
    const found: number[] = [];
    for (let nth = 0; nth < this.#next && found.length < count; nth++) {
      if (this.store.isRemote(this.pool, this.keyOf(nth))) found.push(nth);
    }
    return found;
  }

  /** Reads a page, and checks that it is the right one. */
  async get(nth: number, target: Uint8Array): Promise<void> {
    const isFound = await this.store.getAsync(this.pool, this.keyOf(nth), target);
    if (isFound && new DataView(target.buffer).getUint32(0) === nth) return;
    throw new Error(`page ${nth} is missing or wrong`);
  }

  close(): void {
    this.store.close();
  }
}

export function benchCluster(): Promise<EngineCluster> {
  return startCluster({ masters: 3, options: ["--maxmemory-policy", "noeviction"] });
}

/** Wall time and this process' processor time of some work. */
export async function measured(
  work: () => Promise<number>,
): Promise<{ readonly perSecond: number; readonly cpuUs: number }> {
  const cpu = process.cpuUsage();
  const begin = performance.now();
  const count = await work();
  const ms = performance.now() - begin;
  const { user, system } = process.cpuUsage(cpu);
  return { perSecond: (count / ms) * 1000, cpuUs: (user + system) / count };
}
