// The memory of a closed store goes back to the system when the last thread has left it, not
// before, and not without being closed: random sequences of threads that attach, use, leave and
// close a store and die, beside a plain model. What the system does to the memory is played.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { MIB } from "../../src/base/units.ts";
import { nodePlatform } from "../../src/node/platform.ts";
import { ShardedStore } from "../../src/shard/sharded_store.ts";
import type { StorePlatform } from "../../src/store/platform.ts";
import type { Store } from "../../src/store/store.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { Zram } from "../../src/zram/zram.ts";
import { SimulatedThreads } from "../doubles/simulated_threads.ts";
import { fillPage } from "../doubles/store_fixture.ts";

const THREADS_MAX = 4;
const PAGES = 12;
const SHARDS = 3;

/** A platform whose system overwrites returned memory with zeros. */
class Played {
  readonly threads = new SimulatedThreads();
  /** How often the memory of each arena was returned. */
  readonly released = new Map<SharedArrayBuffer, number>();
  readonly platform: StorePlatform = {
    ...nodePlatform(),
    threads: this.threads,
    // So that an arena is not larger than what is used of it, and is overwritten soon.
    reservesFreely: false,
    releaseArena: (bytes, keptBytes, populatedBytes) => {
      assert.ok(populatedBytes > 0 && populatedBytes <= bytes.length);
      const memory = bytes.buffer as SharedArrayBuffer;
      this.released.set(memory, (this.released.get(memory) ?? 0) + 1);
      bytes.fill(0, keptBytes);
    },
  };
}

interface Attached {
  readonly store: Store;
  /** The names of the thread: one for each shard. */
  readonly names: readonly number[];
  state: "attached" | "left" | "dead";
}

class Model {
  readonly played = new Played();
  readonly all: Attached[] = [];
  readonly pool: number;
  readonly pages = new Map<number, number>();
  isClosed = false;
  readonly #share: ReturnType<Store["share"]>;
  #seed = 0;

  constructor(shards: number) {
    this.#add(() =>
      ShardedStore.create({ memoryMax: shards * MIB, shards, codec: "lz4" }, this.played.platform),
    );
    const { store } = this.all[0]!;
    this.pool = store.createPool({ persistent: true });
    this.#share = store.share();
  }

  #add(open: () => Store): void {
    const { threads } = this.played;
    const before = threads.last;
    const store = open();
    const names = Array.from({ length: threads.last - before }, (_, nth) => before + 1 + nth);
    this.all.push({ store, names, state: "attached" });
  }

  attach(): void {
    if (this.attached.length === THREADS_MAX) return;
    const attach = () => ShardedStore.attach(this.#share, this.played.platform);
    if (!this.isClosed) this.#add(attach);
    else assert.throws(attach, { code: "ERR_ARENA_CLOSED" });
  }

  get attached(): readonly Attached[] {
    return this.all.filter(({ state }) => state === "attached");
  }

  use(nth: number): void {
    const { store, state } = this.all[nth % this.all.length]!;
    if (state === "dead") return;
    const page = new Uint8Array(store.pageSize);
    const index = nth % PAGES;
    const key = new TmemKey().setObject(1).setIndex(index * 257);
    if (this.isClosed || state === "left") {
      for (const use of [
        () => store.put(this.pool, key, page),
        () => store.get(this.pool, key, page),
        () => store.flush(this.pool, key),
        () => store.stats(),
        () => store.maintain(),
        () => store.share(),
      ]) {
        assert.throws(use, { code: "ERR_STORE_CLOSED" });
      }
      assert.ok(store.isClosed);
      return;
    }
    const before = this.pages.get(index);
    assert.equal(store.get(this.pool, key, page), before !== undefined);
    if (before !== undefined) {
      assert.deepEqual(page, fillPage(new Uint8Array(page.length), "text", before));
    }
    this.pages.set(index, ++this.#seed);
    assert.equal(store.put(this.pool, key, fillPage(page, "text", this.#seed)), 0);
    store.verify();
  }

  end(one: Attached, how: "detach" | "close" | "die"): void {
    if (one.state === "dead") return;
    if (how === "die") {
      // The death of the last thread leaves nobody who could return the memory.
      if (one.state === "left" || this.attached.length === 1) return;
      for (const name of one.names) this.played.threads.dead.add(name);
      one.state = "dead";
      return;
    }
    // Closing or detaching again does nothing.
    if (how === "close" && one.state === "attached") this.isClosed = true;
    one.store[how]();
    one.state = "left";
  }

  check(): void {
    const { released } = this.played;
    const { shards } = this.all[0]!.store;
    const isReturned = this.isClosed && this.attached.length === 0;
    assert.equal(released.size, isReturned ? shards.length : 0);
    assert.ok([...released.values()].every((times) => times === 1));
  }
}

const step = fc.record({
  how: fc.oneof(
    { weight: 4, arbitrary: fc.constant("use" as const) },
    { weight: 3, arbitrary: fc.constant("attach" as const) },
    { weight: 2, arbitrary: fc.constant("detach" as const) },
    { weight: 1, arbitrary: fc.constantFrom("close" as const, "die" as const) },
  ),
  nth: fc.nat(1000),
});

for (const shards of [1, SHARDS]) {
  test(`threads attach, leave, close and die in any order: ${shards} shard(s)`, () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 5, maxLength: 30 }), (steps) => {
        const model = new Model(shards);
        for (const { how, nth } of steps) {
          if (how === "use") model.use(nth);
          else if (how === "attach") model.attach();
          else model.end(model.all[nth % model.all.length]!, how);
          model.check();
        }
        model.attach();
        for (const one of model.attached) {
          model.end(one, "close");
          model.check();
        }
        assert.ok(model.isClosed);
      }),
      { numRuns: 60 },
    );
  });
}

test("a thread that comes too late leaves no number, and returns the memory as the last", () => {
  const { platform, released } = new Played();
  const first = ShardedStore.create({ memoryMax: MIB }, platform);
  const share = first.share();
  // The first access after a thread has claimed its number: the store is closed before it.
  const add = Atomics.add;
  Atomics.add = ((...args: Parameters<typeof add>) => {
    Atomics.add = add;
    first.close();
    assert.equal(released.size, 0, "a thread is attaching");
    return add(...args);
  }) as typeof add;
  try {
    assert.throws(() => ShardedStore.attach(share, platform), { code: "ERR_ARENA_CLOSED" });
  } finally {
    Atomics.add = add;
  }
  assert.deepEqual([...released.values()], [1]);
  assert.throws(() => ShardedStore.attach(share, platform), { code: "ERR_ARENA_CLOSED" });
});

test("giveBack off keeps the memory of a closed store", () => {
  const { platform, released } = new Played();
  ShardedStore.create({ memoryMax: 2 * MIB, shards: 2, giveBack: "off" }, platform).close();
  assert.equal(released.size, 0);
  ShardedStore.create({ memoryMax: 2 * MIB, shards: 2 }, platform).close();
  assert.equal(released.size, 2);
});

test("a device whose store is closed says so, also if its words are gone", () => {
  const { platform, released } = new Played();
  const store = ShardedStore.create({ memoryMax: 2 * MIB }, platform);
  const device = Zram.create(store, MIB);
  const page = new Uint8Array(device.pageSize).fill(1);
  assert.equal(device.write(0, page), 0);
  store.close();
  assert.equal(released.size, 1);
  for (const use of [
    () => device.read(0, page),
    () => device.write(0, page),
    () => device.sizeBytes,
    () => device.mmStat(),
    () => device.discard(0, device.pageSize),
    () => device.share(),
  ]) {
    assert.throws(use, { code: "ERR_STORE_CLOSED" });
  }
});
