// The limit of a store under memory pressure: the decisions in a model of a control group, and the
// task on real stores.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { GIB, KIB, MIB } from "../../src/base/units.ts";
import { Cache, createStore } from "../../src/index.ts";
import type { AvailableMemory } from "../../src/node/available_memory.ts";
import { followPressure, PressureControl } from "../../src/node/memory_pressure.ts";
import { Scheduler } from "../../src/node/scheduler.ts";
import { openStore } from "../../src/node/stores.ts";
import type { Store } from "../../src/store/store.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { FakeTime } from "../doubles/fake_time.ts";

const STEP_MS = 25;
/** What a store evicts and returns to the system in a step: 400 MiB a second. */
const RETURNED = 10 * MIB;
/** Other processes take at most half of that. */
const TAKEN_MAX = 5 * MIB;

/** A store that is always full, in a control group with other processes. */
class Model {
  readonly groupBytes: number;
  readonly wanted: number;
  readonly control = new PressureControl();
  limit: number;
  used: number;
  free = 0;
  others = 0;
  nowMs = 0;

  constructor(groupBytes: number, wanted: number) {
    this.groupBytes = groupBytes;
    this.wanted = wanted;
    this.limit = wanted;
    this.used = Math.min(wanted, groupBytes * 0.75);
  }

  get availableBytes(): number {
    return this.groupBytes - this.used - this.free - this.others;
  }

  get #memory(): AvailableMemory {
    const { availableBytes, groupBytes: limitBytes } = this;
    return { availableBytes, limitBytes, source: "control group", stalledUs: undefined };
  }

  /** @param take of other processes, in bytes; negative: they give back */
  step(take: number): void {
    this.nowMs += STEP_MS;
    this.others = Math.max(0, this.others + take);
    // What was evicted in the last step is returned in this one; then the store evicts, or grows.
    this.free = 0;
    const evicted = Math.min(RETURNED, Math.max(0, this.used - this.limit));
    this.used -= evicted;
    this.free = evicted;
    if (evicted === 0) this.used = Math.min(this.limit, this.used + RETURNED / 10);
    const { limit, used, free } = this;
    const held = {
      ...{ limitBytes: limit, usedBytes: used, pinnedBytes: 0, freeBytes: free },
      returns: true,
    };
    const next = this.control.decide(this.#memory, held, this.nowMs);
    if (next === undefined) return;
    this.limit = next;
    this.control.took(next, next, held);
  }
}

const phases = fc.array(
  fc.record({
    steps: fc.integer({ min: 1, max: 400 }),
    take: fc.integer({ min: -2 * TAKEN_MAX, max: TAKEN_MAX }),
  }),
  { minLength: 1, maxLength: 12 },
);

test("other processes get what they need, and the store has its limit again afterwards", () => {
  fc.assert(
    fc.property(fc.integer({ min: 512, max: 4096 }), phases, (groupMib, plan) => {
      const group = groupMib * MIB;
      const model = new Model(group, group * 0.7);
      // They never need more than half of the group: a store that keeps an eighth leaves that.
      for (const { steps, take } of plan) {
        for (let nth = 0; nth < steps; nth++) {
          model.step(model.others + take > group / 2 ? 0 : take);
          assert.ok(model.availableBytes >= 0, `${model.availableBytes} bytes are available`);
          assert.ok(model.limit <= model.wanted && model.limit >= model.wanted / 8);
        }
      }
      for (let nth = 0; nth < 20_000 && model.limit < model.wanted; nth++) model.step(-MIB);
      assert.equal(model.limit, model.wanted);
      assert.equal(model.control.wantedBytes, undefined);
    }),
  );
});

test("a limit that the user sets under pressure is the one to return to", () => {
  const model = new Model(GIB, 700 * MIB);
  for (let nth = 0; nth < 100; nth++) model.step(TAKEN_MAX);
  assert.ok(model.limit < 600 * MIB);
  model.limit = 300 * MIB;
  for (let nth = 0; nth < 20_000 && model.others > 0; nth++) model.step(-MIB);
  for (let nth = 0; nth < 1000; nth++) model.step(0);
  assert.equal(model.limit, 300 * MIB);
});

test("what can't leave memory does not count: no limit below it", () => {
  const control = new PressureControl();
  const memory: AvailableMemory = {
    ...{ availableBytes: MIB, limitBytes: GIB, source: "control group", stalledUs: undefined },
  };
  const held = { limitBytes: 800 * MIB, usedBytes: 700 * MIB, freeBytes: 0, returns: true };
  const next = control.decide(memory, { ...held, pinnedBytes: 600 * MIB }, 0)!;
  assert.equal(next, 700 * MIB);
  // Memory that does not return: the store only grows no further.
  const stays = control.decide(memory, { ...held, pinnedBytes: 0, returns: false }, 0)!;
  assert.equal(stays, 700 * MIB);
});

test("tasks that wait for memory count as a larger reserve", () => {
  const control = new PressureControl();
  const held = {
    ...{ limitBytes: 512 * MIB, usedBytes: 512 * MIB, pinnedBytes: 0, freeBytes: 0 },
    returns: true,
  };
  // Above the reserve of 51 MiB, and below twice that.
  const memory = { availableBytes: 80 * MIB, limitBytes: GIB, source: "machine" } as const;
  assert.equal(control.decide({ ...memory, stalledUs: 0 }, held, 0), undefined);
  assert.equal(control.decide({ ...memory, stalledUs: 1000 }, held, 100), undefined);
  const next = control.decide({ ...memory, stalledUs: 21_000 }, held, 200);
  assert.ok(next !== undefined && next < held.limitBytes);
});

const PAGE = 4096;

/** Fills a store with pages that do not compress. @returns how many it took */
function fill(store: Store, pool: number, pages: number): number {
  const page = new Uint8Array(PAGE);
  let taken = 0;
  for (let nth = 0; nth < pages; nth++) {
    for (let at = 0; at < PAGE; at++) page[at] = (nth * 31 + at * at * 7 + (at >> 3)) & 0xff;
    new DataView(page.buffer).setUint32(0, nth);
    if (store.put(pool, new TmemKey().setObject(1).setIndex(nth), page) === 0) taken++;
  }
  return taken;
}

for (const shards of [1, 3]) {
  test(`a store shrinks, grows back, and counts it: ${shards} shard(s)`, () => {
    const time = new FakeTime();
    const store = openStore({ memoryMax: "24MiB", shards, codec: "none", pressure: "auto" });
    const pool = store.createPool({ persistent: false });
    fill(store, pool, 4000);
    let left = 100 * MIB;
    const lines: string[] = [];
    followPressure(store, store, Scheduler.of(store, undefined, time), {
      available: () => ({
        ...{ availableBytes: left, limitBytes: 128 * MIB, source: "control group" },
        stalledUs: 0,
      }),
      log: (line) => lines.push(line),
    });
    const before = store.limitBytes;
    time.pass(1000);
    assert.equal(store.limitBytes, before);
    left = 10 * MIB;
    time.pass(200);
    assert.ok(store.limitBytes <= before - 8 * MIB, `${store.limitBytes}`);
    // How much one look evicts depends on the speed of the machine.
    const isOver = () => store.stats().mem_used_total > store.stats().mem_limit;
    for (let nth = 0; nth < 10_000 && isOver(); nth++) time.pass(25);
    const { pressure, mem_used_total, mem_limit } = store.stats();
    assert.ok(mem_used_total <= mem_limit);
    assert.ok(pressure.lowered >= 1);
    assert.ok(Math.abs(pressure.wantedBytes - before) <= PAGE * shards);
    assert.equal(pressure.source, "control group");
    assert.match(
      lines[0]!,
      /limit lowered from .* to .*; the control group has 10.0 MiB left of 128 MiB/,
    );
    store.verify();
    left = 100 * MIB;
    time.pass(60_000);
    assert.ok(store.limitBytes >= before - PAGE * shards);
    assert.equal(store.stats().pressure.raised, lines.length - store.stats().pressure.lowered);
    assert.ok(fill(store, pool, 4000) > 3000);
    store.verify();
    store.close();
  });
}

test("persistent pages stay, and the store takes no others", () => {
  const time = new FakeTime();
  const store = openStore({ memoryMax: "16MiB", codec: "none", pressure: "auto" });
  const pool = store.createPool({ persistent: true });
  const taken = fill(store, pool, 2000);
  followPressure(store, store, Scheduler.of(store, undefined, time), {
    available: () => ({
      ...{ availableBytes: 0, limitBytes: 64 * MIB, source: "machine", stalledUs: 0 },
    }),
  });
  time.pass(1000);
  const page = new Uint8Array(PAGE);
  for (let nth = 0; nth < taken; nth++) {
    assert.ok(store.get(pool, new TmemKey().setObject(1).setIndex(nth), page), `page ${nth}`);
  }
  assert.ok(store.limitBytes >= store.stats().mem_used_total);
  store.verify();
  store.close();
});

test("the option is off by default, and refuses other words", () => {
  const store = createStore({ memoryMax: "1MiB" });
  assert.equal(store.stats().pressure.source, "none");
  store.close();
  assert.throws(
    () => createStore({ pressure: "on" as "auto" }),
    /pressure on: must be one of auto, off/,
  );
  const cache = Cache.create({ memoryMax: 512 * KIB * 4, pressure: "auto" });
  cache.set("a", 1);
  assert.equal(cache.get("a"), 1);
  cache.close();
});
