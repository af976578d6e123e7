// Workers that are terminated at chosen points of their work, in the middle of everything that
// threads share: after each death all structures verify, nothing that was acknowledged is lost or
// wrong, nobody waits for the dead, and in the end memory, descriptors and threads are as before.
//
// ZCACHE_STOPS=10000 stops more of them, ZCACHE_STOPS_SEED begins elsewhere.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { Xorshift32 } from "../../src/base/random.ts";
import { Cache, createStore, TmemKey } from "../../src/index.ts";
import { ItemAccess } from "../../src/memcached/items/access.ts";
import { openItems } from "../../src/memcached/items/open.ts";
import { DEFAULT_SETTINGS } from "../../src/memcached/settings.ts";
import { Zram } from "../../src/zram/zram.ts";
import {
  type Fixture,
  KEYS,
  KINDS,
  type Kind,
  makeAcks,
  openAcks,
  SLOTS,
  type StopInput,
  versionOf,
  versionOfValue,
  writePage,
} from "./stop_model.ts";
import { RUNNING, STATE, STOP_WORDS } from "./stop_points.ts";
import { startWatchdog } from "./watchdog.ts";

const MIB = 1 << 20;
const STOPS = Number(process.env["ZCACHE_STOPS"] ?? 200);
const SEED = Number(process.env["ZCACHE_STOPS_SEED"] ?? 1);
/** Stops after which everything is made anew, of the next kinds of pools. */
const STOPS_OF_FIXTURE = 50;
/** Points that a worker passes at most until it stops; few of them are chosen more often. */
const POINTS_MAX = 4_000;
const STEPS = 200;
const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
const URL_OF_WORKER = new URL(`./stop_worker.${EXTENSION}`, import.meta.url);

const POOLS = ["dense", "zsmalloc", "zbud", "z3fold", "zblock"];

/** Everything that the workers use, made by this thread. */
class Crew {
  readonly #random: Xorshift32;
  readonly #store;
  readonly #cache;
  readonly #items;
  readonly #disk;
  readonly #device;
  readonly fixture: Fixture;
  readonly #acks = makeAcks();
  readonly #page: Uint8Array;
  readonly #key = new TmemKey();

  constructor(nth: number, folder: string, random: Xorshift32) {
    this.#random = random;
    const pool = POOLS[nth % POOLS.length]!;
    const reclaim = nth % 2 === 0 ? "objects" : "frames";
    const file = (name: string) => ({ path: join(folder, `${name}${nth}`), max: 16 * MIB });
    const recompress = { codec: "deflate" };
    this.#store = createStore({
      ...{ memoryMax: 3 * MIB, pool, reclaim, recompress, writeBack: file("store") },
    });
    const persistent = this.#store.createPool({ persistent: true });
    const ephemeral = this.#store.createPool();
    const persist = nth % 3 === 0 ? { persist: { path: join(folder, `cache${nth}.p`) } } : {};
    this.#cache = Cache.create<string, unknown>({
      ...{ memoryMax: 6 * MIB, dictionary: false, writeBack: file("cache"), ...persist },
    });
    const shards = nth % 2 === 0 ? 1 : 3;
    this.#items = openItems({ ...DEFAULT_SETTINGS, memoryMax: 6 * MIB, shards, dictionary: false });
    this.#disk = createStore({ memoryMax: 6 * MIB, pool, writeBack: file("disk") });
    this.#device = Zram.create(this.#disk, 4 * MIB);
    this.#page = new Uint8Array(this.#store.pageSize);
    this.fixture = {
      store: this.#store.share(),
      pools: { persistent, ephemeral },
      cache: this.#cache.share(),
      items: this.#items.share(),
      turns: Array.from({ length: shards }, () => new SharedArrayBuffer(194 * 4)),
      disk: this.#disk.share(),
      device: this.#device.share(),
    };
  }

  input(kind: Kind, slot: number, control: SharedArrayBuffer, stopAt: number): StopInput {
    const seed = this.#random.next() | 1;
    const { fixture } = this;
    return { fixture, kind, slot, seed, stopAt, steps: STEPS, control, acks: this.#acks };
  }

  /** Uses all parts, as a surviving thread does. */
  use(): void {
    const page = this.#page;
    writePage(page, 9999, 1);
    this.#key.setObject(50).setIndex(this.#random.next() % 8);
    this.#store.put(this.fixture.pools.persistent, this.#key, page);
    this.#store.maintain();
    this.#cache.set("survivor", "x".repeat(100));
    assert.equal(this.#cache.get("survivor"), "x".repeat(100));
    this.#cache.set("survivor's long", "y".repeat(20_000));
    this.#cache.flush();
    assert.equal(this.#device.write(3 * MIB, page), 0);
    this.#device.read(3 * MIB, page);
    assert.equal(versionOf(page, 9999), 1);
    const key = Buffer.from("survivor");
    const items = new ItemAccess(this.#items.shards);
    items.lock(key, 0, key.length);
    items.put(key, 0, key.length);
    items.unlock();
  }

  verify(): void {
    this.#store.verify();
    this.#cache.store.verify();
    this.#items.shards.group.verify();
    this.#disk.verify();
  }

  /** Checks that everything that a dead worker has stored is there. */
  check(kind: Kind, slot: number): void {
    const acks = openAcks(this.#acks, slot, kind);
    for (let n = 0; n < KEYS; n++) {
      const found = this.#find(kind, slot, n);
      const allowed = acks.allowed(n);
      // Values and items may be evicted.
      const mayGo = kind === "cache" || kind === "items";
      assert.ok(
        allowed.includes(found) || (found === 0 && mayGo),
        `${kind} ${slot}/${n}: found version ${found}, expected one of ${allowed.join(", ")}`,
      );
      acks.settle(n, found);
    }
  }

  /** Removes everything, and checks that nothing is left. */
  end(): void {
    this.#cache.clear();
    assert.equal(this.#cache.size, 0);
    assert.equal(this.#cache.store.poolInfo(this.#cache.shards[0]!.pool)?.pages, 0);
    for (const { arena } of [this.#store, this.#cache.store, this.#disk]) {
      arena.reapThreads();
      assert.equal(threadsOf(arena.words), 1, "the dead have left no thread number taken");
    }
    this.verify();
    this.#cache.close();
    this.#items.close();
    this.#store.close();
    this.#disk.close();
  }

  #find(kind: Kind, slot: number, n: number): number {
    const page = this.#page;
    const id = slot * 1000 + n;
    if (kind === "pages") {
      const key = this.#key.setObject(slot).setIndex(n);
      const isThere = this.#store.get(this.fixture.pools.persistent, key, page);
      return isThere ? versionOf(page, id) : 0;
    }
    if (kind === "device") {
      this.#device.read((slot * KEYS + n) * page.length, page);
      return page.every((byte) => byte === 0) ? 0 : versionOf(page, id);
    }
    if (kind === "cache") {
      const value = this.#cache.get(`${slot}/${n}`);
      return value === undefined ? 0 : versionOfValue(value, slot, n);
    }
    const key = Buffer.from(`${slot}/${n}`);
    const items = new ItemAccess(this.#items.shards);
    items.lock(key, 0, key.length);
    try {
      if (!items.find()) return 0;
      const value = Buffer.alloc(items.valueBytes);
      if (!items.read(value, 0)) return 0;
      const version = versionOfValue(JSON.parse(value.toString()), slot, n);
      return items.meta[0] === version ? version : -1;
    } finally {
      items.unlock();
    }
  }
}

/** Thread numbers that are taken (memory/arena.layout.ts). */
function threadsOf(words: Int32Array): number {
  return words.subarray(32, 32 + 192).filter((name) => name !== 0).length;
}

/** Lets a worker work until it stops at a point. */
async function stopOne(crew: Crew, slot: number, random: Xorshift32): Promise<Kind> {
  const control = new SharedArrayBuffer(STOP_WORDS * 4);
  const kind = KINDS[random.next() % KINDS.length]!;
  // Of each order of magnitude as many: also while it attaches.
  const stopAt = Math.ceil(POINTS_MAX ** ((1 + (random.next() % 1000)) / 1000));
  const input = crew.input(kind, slot, control, stopAt);
  await runWorker(input);
  return kind;
}

/** Runs a worker until it has ended. @throws unexpected errors of the worker */
async function runWorker(input: StopInput): Promise<void> {
  const worker = new Worker(URL_OF_WORKER, { workerData: input });
  // `once` rejects when the worker emits an error.
  await once(worker, "exit");
  assert.notEqual(
    Atomics.load(new Int32Array(input.control), STATE),
    RUNNING,
    "it has ended itself",
  );
}

/** Stops a worker in each slot, then checks all parts. */
async function stopRound(crew: Crew, random: Xorshift32): Promise<void> {
  const slots = Array.from({ length: SLOTS }, (_, slot) => stopOne(crew, slot, random));
  const kinds = await Promise.all(slots);
  // The death is found by this thread, or by one that attaches.
  const first = random.next() % 4;
  if (first === 0) crew.verify();
  if (first === 1) await attachOnly(crew, 0, kinds[0]!);
  crew.use();
  for (const [slot, kind] of kinds.entries()) crew.check(kind, slot);
  crew.verify();
}

/** A worker that attaches, and ends without having done anything. */
async function attachOnly(crew: Crew, slot: number, kind: Kind): Promise<void> {
  const control = new SharedArrayBuffer(STOP_WORDS * 4);
  const input = { ...crew.input(kind, slot, control, Number.MAX_SAFE_INTEGER), steps: 0 };
  await runWorker(input);
}

const skip = process.platform === "linux" ? false : "only Linux tells which threads are dead";

test(`${STOPS} stopped threads harm no other thread`, { skip }, async () => {
  const folder = mkdtempSync(join(tmpdir(), "zcache-stops-"));
  const dog = startWatchdog("stops.test.ts");
  const descriptors = () => readdirSync("/proc/self/fd").length;
  // The first rounds open descriptors that the JavaScript engine keeps.
  let before = 0;
  try {
    for (let done = 0, nth = 0; done < STOPS; done += STOPS_OF_FIXTURE, nth++) {
      const stops = Math.min(STOPS_OF_FIXTURE, STOPS - done);
      const crew = new Crew(nth, folder, new Xorshift32(SEED * 1000 + nth));
      const random = new Xorshift32(SEED * 1000 + nth + 1);
      for (let round = 0; round < stops; round += SLOTS) {
        await stopRound(crew, random);
        dog.progress();
      }
      crew.end();
      if (nth === 0) before = descriptors();
    }
    assert.ok(descriptors() <= before + 4, `${before} descriptors before, ${descriptors()} after`);
  } finally {
    await dog.end();
    rmSync(folder, { recursive: true, force: true });
  }
});
