// Every counter of a store against a model that counts by itself. What the model can't see
// directly, such as which page was evicted, follows from the state before and after.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Xorshift32 } from "../../src/base/random.ts";
import { COUNTERS, type CounterName } from "../../src/store/counters.ts";
import type { Store } from "../../src/store/store.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { FaultyDevice, NO_FAULTS } from "../doubles/faulty_device.ts";
import { fillPage, openStore, type PageKind } from "../doubles/store_fixture.ts";

const PAGE = 4096;
const OBJECTS = 4;
const INDEXES = 90;
const KINDS: readonly PageKind[] = ["text", "noise", "same", "sparse", "text"];

interface Side {
  readonly id: number;
  readonly persistent: boolean;
}

class Counted {
  readonly store: Store;
  readonly sides: readonly Side[];
  readonly expected: Record<CounterName, number>;
  /** Pages of ephemeral pools that were accepted under a new key, or taken out by a caller. */
  #ephemeralIn = 0;
  #ephemeralOut = 0;
  /** Pages that left the file because a caller replaced them or took them out. */
  #outOfFile = 0;
  readonly #key = new TmemKey();
  readonly #page = new Uint8Array(PAGE);
  #serial = 0;
  #frozen = false;

  constructor(fileBytes: number) {
    const device = new FaultyDevice(fileBytes, new Xorshift32(3), NO_FAULTS);
    const writeBack = { path: "in memory", max: "1MiB" };
    // Without watermarks, only puts and explicit calls make room.
    const marks = { lowWatermark: 0, highWatermark: 0, recompress: { codec: "zstd" } };
    this.store = openStore(
      { memoryMax: "1MiB", ...marks, ...(fileBytes > 0 ? { writeBack } : {}) },
      { openDevice: () => device },
    );
    this.sides = [false, true].map((persistent) => {
      return { id: this.store.createPool({ persistent }), persistent };
    });
    const none = Object.fromEntries(COUNTERS.map((name) => [name, 0]));
    this.expected = none as Record<CounterName, number>;
  }

  #at(object: number, index: number): TmemKey {
    return this.#key.setObject(object).setIndex(index);
  }

  #where(side: Side, object: number, index: number): string {
    const found = this.store.explain(side.id, this.#at(object, index));
    return found.stored ? found.where : "nowhere";
  }

  /** What becomes of a page that a caller replaces or takes out. */
  #leaves(side: Side, where: string): void {
    if (where === "nowhere") return;
    if (where === "file") this.#outOfFile++;
    if (!side.persistent) this.#ephemeralOut++;
  }

  put(side: Side, object: number, index: number, kind: PageKind): void {
    const { expected, store } = this;
    const seed = ++this.#serial;
    fillPage(this.#page, kind, seed);
    const result = store.put(side.id, this.#at(object, index), this.#page);
    expected.puts++;
    if (kind !== "same") {
      expected.compressed_pages++;
      expected.compressed_bytes_in += PAGE;
    }
    const after = store.explain(side.id, this.#at(object, index));
    assert.equal(after.stored, result === 0);
    if (this.#frozen) expected.put_to_flush++;
    if (!after.stored) {
      if (/limit/.test(after.reason)) expected.pool_limit_hit++;
      if (/no room/.test(after.reason)) expected.reject_alloc_fail++;
      if (/limit|no room/.test(after.reason)) expected.reject_reclaim_fail++;
    } else if (after.codec === "none" && after.where === "memory") expected.huge_pages_since++;
    // The model can't see whether the old page was evicted first; the sum of the counters tells.
    if (result === 0 && !side.persistent) this.#ephemeralIn++;
  }

  get(side: Side, object: number, index: number, exclusive: boolean): void {
    const where = this.#where(side, object, index);
    const found = this.store.get(side.id, this.#at(object, index), this.#page, exclusive);
    assert.equal(found, where !== "nowhere");
    this.expected.gets++;
    if (!found) this.expected.misses++;
    else this.expected.hits++;
    if (!found || !exclusive) return;
    this.expected.exclusive_gets++;
    this.#leaves(side, where);
  }

  flush(side: Side, object: number, index: number): void {
    const where = this.#where(side, object, index);
    assert.equal(this.store.flush(side.id, this.#at(object, index)), where !== "nowhere");
    this.expected.flushes++;
    if (where !== "nowhere") this.expected.flushes_found++;
    this.#leaves(side, where);
  }

  flushObject(side: Side, object: number): void {
    let present = 0;
    for (let index = 0; index < INDEXES; index++) {
      const where = this.#where(side, object, index);
      if (where !== "nowhere") present++;
      this.#leaves(side, where);
    }
    assert.equal(this.store.flushObject(side.id, this.#at(object, 0)), present);
    this.expected.object_flushes++;
    if (present > 0) this.expected.object_flushes_found++;
  }

  freeze(): void {
    this.#frozen = !this.#frozen;
    this.store.freeze(this.#frozen);
  }

  /** Compares everything that is known for certain. */
  check(): void {
    const { expected, store } = this;
    const { counters, ephemeral, persistent } = store.stats();
    const exact: readonly CounterName[] = [
      "puts",
      "gets",
      "hits",
      "misses",
      "exclusive_gets",
      "flushes",
      "flushes_found",
      "object_flushes",
      "object_flushes_found",
      "put_to_flush",
      "pool_limit_hit",
      "reject_alloc_fail",
      "reject_reclaim_fail",
      "compressed_pages",
      "compressed_bytes_in",
      "huge_pages_since",
      "reject_compress_poor",
      "mean_compress_poor",
      "reject_page_count",
      "decompress_fail",
      "lost_pages",
      "expired",
    ];
    for (const name of exact) assert.equal(counters[name], expected[name], name);
    const present = (kind: typeof ephemeral) =>
      kind.pagesInMemory + kind.samePages + kind.pagesInFile;
    const [one, two] = this.sides.map((side) => store.poolInfo(side.id)!.pages);
    assert.deepEqual([present(ephemeral), present(persistent)], [one, two]);
    const { compressed_bytes_in, compressed_bytes_out } = counters;
    assert.ok(compressed_bytes_out <= compressed_bytes_in);
    assert.ok(counters.read_back_pages <= counters.loads_from_file);
    assert.ok(counters.promoted_pages <= counters.read_back_pages);
  }

  /** What follows from what is there, where nothing was replaced and nothing refused. */
  checkFlow(): void {
    const { counters, ephemeral, persistent } = this.store.stats();
    const gone = counters.evicted_ephemeral_pages + counters.dropped_from_file;
    const there = ephemeral.pagesInMemory + ephemeral.samePages + ephemeral.pagesInFile;
    assert.equal(this.#ephemeralIn - this.#ephemeralOut - gone, there, "ephemeral pages");
    const inFile = ephemeral.pagesInFile + persistent.pagesInFile;
    const left = counters.promoted_pages + this.#outOfFile + counters.dropped_from_file;
    assert.equal(counters.written_back_pages - left, inFile, "pages in the file");
    const eaten = counters.persistent_ate_ephemeral + counters.ephemeral_ate_tail;
    assert.ok(eaten >= counters.evicted_ephemeral_pages, "only puts make room");
    assert.ok(eaten <= counters.evicted_ephemeral_pages + counters.written_back_pages);
  }
}

const step = fc.tuple(fc.nat(99), fc.nat(OBJECTS - 1), fc.nat(INDEXES - 1));

for (const [name, fileBytes] of [
  ["none", 0],
  ["soon full", 8 * 65_536],
  ["large", 64 * 65_536],
] as const) {
  test(`counters, write-back file: ${name}`, () => {
    const steps = fc.array(step, { minLength: 300, maxLength: 900 });
    const property = fc.property(steps, (some) => {
      const counted = new Counted(fileBytes);
      for (const [what, object, index] of some) {
        const side = counted.sides[what % 2]!;
        if (what < 60) counted.put(side, object, index, KINDS[what % 5]!);
        else if (what < 80) counted.get(side, object, index, what < 64);
        else if (what < 92) counted.flush(side, object, index);
        else if (what < 94) counted.flushObject(side, object);
        else if (what < 96) counted.freeze();
        else counted.store.maintain();
      }
      counted.check();
      counted.store.verify();
      counted.store.close();
    });
    fc.assert(property, { numRuns: 4, seed: 11 });
  });

  test(`the flow of pages through a store adds up, write-back file: ${name}`, () => {
    const counted = new Counted(fileBytes);
    const random = new Xorshift32(fileBytes + 1);
    // Every key once, so that nothing is replaced, and it is known where each page went.
    for (let nth = 0; nth < OBJECTS * INDEXES * 2; nth++) {
      const side = counted.sides[nth % 2]!;
      const key = nth >>> 1;
      const [object, index] = [key % OBJECTS, Math.floor(key / OBJECTS)];
      counted.put(side, object, index, side.persistent && nth % 3 > 0 ? "same" : "noise");
      const other = counted.sides[random.below(2)]!;
      const dice = random.below(10);
      if (dice < 3) counted.get(other, random.below(OBJECTS), random.below(INDEXES), dice === 0);
      else if (dice < 5) counted.flush(other, random.below(OBJECTS), random.below(INDEXES));
      if (nth % 50 === 49) counted.checkFlow();
    }
    counted.check();
    counted.checkFlow();
    const { persistent_ate_ephemeral: eaten } = counted.store.stats().counters;
    assert.ok(eaten > 10, `${eaten} ephemeral pages made room for persistent ones`);
    counted.store.verify();
    counted.store.close();
  });
}
