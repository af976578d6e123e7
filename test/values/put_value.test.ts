// Sets by the kernel (values/put_value.as.ts) against the same sets by `storePacked`: the same
// values, counters and structures, word for word, after any sequence of operations.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import fc from "fast-check";
import type { PageFrame } from "../../src/base/brand.ts";
import * as Super from "../../src/memory/arena.layout.ts";
import type { Arena } from "../../src/memory/arena.ts";
import * as Reader from "../../src/memory/reader.layout.ts";
import { nodePlatform } from "../../src/node/platform.ts";
import { POLICY_WORDS } from "../../src/policy/contract.ts";
import * as Policy from "../../src/policy/policy.layout.ts";
import * as Dense from "../../src/pool/dense/dense.layout.ts";
import * as Pool from "../../src/pool/pool.layout.ts";
import { INDEX_AT, POLICIES_AT } from "../../src/store/open.ts";
import type { StoreOptions } from "../../src/store/options.ts";
import * as Root from "../../src/store/store.layout.ts";
import { Store, stateOf } from "../../src/store/store.ts";
import * as Value from "../../src/store/value.layout.ts";
import { ENTRY_WORDS, VALUE } from "../../src/tmem/entry.layout.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { formatValues } from "../../src/values/format.ts";
import { KeyHash } from "../../src/values/key_hash.ts";
import * as Put from "../../src/values/put.layout.ts";
import { SetRequest } from "../../src/values/request.ts";
import { Values } from "../../src/values/values.ts";

const SEEDS = [7, 11] as const;
/** Calls of the kernel that stored their value, in all stores that use it. */
let stored = 0;
/** Calls that left something to `storePacked` or `commitLocked`. */
let left = 0;
/** Calls that stored their value after they had waited for the lock. */
let waited = 0;

/** An owner of the lock that is not the thread that sets, and the number of that thread. */
const OTHER = 2;
/** Of this many calls, one finds that another thread has the lock, and one that a thread reads. */
const MEETS_OTHERS = 6;

class Side {
  readonly store: Store;
  readonly values: Values;
  readonly #usesKernel: boolean;
  nowMs = 1_000_000_000_000;

  constructor(usesKernel: boolean, options: StoreOptions) {
    this.#usesKernel = usesKernel;
    let seed = 1;
    const random = () => (seed = Math.imul(seed, 0x85eb_ca6b) ^ 0x1234_5677);
    const given = { memoryMax: "2MiB", content: "values", policy: "adaptive", ...options } as const;
    this.store = Store.create(given, { ...nodePlatform(), random });
    formatValues(this.store, random, false, SEEDS);
    if (usesKernel) {
      const { kernels } = stateOf(this.store).arena;
      const put = kernels.putValue.bind(kernels);
      const putPacked = kernels.putPacked.bind(kernels);
      const counted = (outcome: number) => {
        if (outcome === 1) stored++;
        else left++;
        return outcome;
      };
      let calls = 0;
      const arena = stateOf(this.store).arena as unknown as { kernels: object };
      arena.kernels = {
        ...kernels,
        putValue: (...args: Parameters<typeof put>) => {
          const meets = ++calls % MEETS_OTHERS;
          if (meets > 1) return counted(put(...args));
          const outcome = this.#besideAnother(meets === 0, () => put(...args));
          assert.equal(outcome, meets === 0 ? 0 : 2);
          return outcome;
        },
        putPacked: (...args: Parameters<typeof putPacked>) => {
          const outcome = counted(putPacked(...args));
          if (outcome === 1) waited++;
          return outcome;
        },
      };
    }
    this.values = new Values(this.store, () => this.nowMs, random);
  }

  /** Writes a value to the scratch. @returns its header, as the kernel takes it */
  packedHeader(): number {
    const { plain } = stateOf(this.store);
    this.values.bytes.fill(7, plain, plain + 500);
    return Value.makeHeader(500, Value.FIXED_BYTES, 0);
  }

  /** Calls while another thread has the lock, or reads. */
  #besideAnother<T>(hasLock: boolean, call: () => T): T {
    const { words } = stateOf(this.store);
    const reader = words[Super.READERS_AT]! + (OTHER - 1) * Reader.READER_WORDS + Reader.STATE;
    words[Super.READERS_TOP] = Math.max(words[Super.READERS_TOP]!, OTHER);
    const at = hasLock ? Super.ARENA_LOCK : reader;
    words[at] = hasLock ? OTHER : Reader.READING;
    try {
      return call();
    } finally {
      words[at] = 0;
    }
  }

  set(request: SetRequest): number {
    const { values } = this;
    // The kernel stores nothing under a condition.
    return this.#usesKernel
      ? values.set(request)
      : values.onlyIf(
          () => true,
          () => values.set(request),
        );
  }

  get(key: Uint8Array): Uint8Array | undefined {
    const { values } = this;
    if (!values.find(key, key.length)) return undefined;
    const long = values.read(key, key.length);
    // A part of a value of several pages may have been evicted: then there is no value any more.
    if (long === null) return undefined;
    return long ?? values.bytes.slice(values.bufferAt, values.bufferAt + values.valueBytes);
  }

  /** The entry of a key, and where its object is; the words that all structures hang on. */
  entryOf(key: Uint8Array): readonly number[] {
    const state = stateOf(this.store);
    const hash = new KeyHash(...SEEDS);
    hash.set(key, key.length);
    const entry = state.findLocked(
      this.values.pool,
      new TmemKey().setWords(hash.low, hash.high, 0, 0),
    );
    if (entry < 0) return [];
    const words = [...state.words.subarray(entry, entry + ENTRY_WORDS)];
    const mask = 2 ** Math.ceil(Math.log2(state.words.length)) - 1;
    const version = state.versions!.of(hash.low);
    return [entry, ...words, state.words[words[VALUE]! & mask]!, version];
  }

  /** The words of the root, the index, the policies and the pools, without counters. */
  #words(): number[][] {
    const { words, root, arena } = stateOf(this.store);
    const poolWords = Pool.OWN + Dense.CLASS_TABLE + Dense.GRANULES * Dense.CLASS_WORDS;
    const pools = [0, 1].map((kind) => {
      const frame = words[root + Root.ZPOOLS + kind]! as PageFrame;
      return arena.frames.frameToWord(frame);
    });
    return [
      [...words.subarray(root, root + Root.COUNTERS)],
      [...words.subarray(root + Root.EXPIRES_FROM, root + Root.PARTS)],
      [...words.subarray(root + INDEX_AT, root + POLICIES_AT + Root.KINDS * POLICY_WORDS)],
      ...pools.map((at) => [...words.subarray(at, at + poolWords)]),
      this.#miniatures(),
    ];
  }

  /** The words of the miniatures of adaptive, with what was recorded for them. */
  #miniatures(): number[] {
    const { words, root, arena } = stateOf(this.store);
    const { wordsPerPage } = arena.frames;
    const at = root + POLICIES_AT + Root.EPHEMERAL * POLICY_WORDS + Policy.MINIATURES;
    const directory = words[at]!;
    if (directory === 0) return [];
    return [...words.subarray(directory, directory + wordsPerPage)]
      .filter((block) => block !== 0)
      .flatMap((block) => [...words.subarray(block, block + wordsPerPage)]);
  }

  /** Everything that the store counts, but times. */
  figures(): unknown {
    const {
      latency: _,
      locks: __,
      ...stats
    } = this.store.stats() as unknown as Record<string, unknown>;
    const { zpools } = stateOf(this.store);
    const pools = zpools.map((pool) => {
      const { lock: ___, ...figures } = pool.stats();
      return { ...figures, classes: pool.classStats() };
    });
    return { stats: withoutTimes(stats), pools, words: this.#words() };
  }
}

/** Leaves out what depends on the clock, and on how often a lock was taken. */
function withoutTimes(stats: Record<string, unknown>): unknown {
  const text = JSON.stringify(stats, (name, value: unknown) =>
    /latenc|lock|wait|pools?$|transactions/i.test(name) ? undefined : value,
  );
  return JSON.parse(text);
}

/** What a call of the kernel needs; `putContext` as a word index. */
function contextOf(side: Side) {
  // Chooses the codec, without which the context names no scratch.
  assert.ok(side.values.putter.prepare());
  const { arena, putContext, words } = stateOf(side.store);
  return { arena, words, putContext: putContext / 4, kernels: arena.kernels };
}

function makeValue(seed: number, sizeBytes: number, isNoise: boolean): Uint8Array {
  const value = new Uint8Array(sizeBytes);
  let noise = seed + 1;
  for (let i = 0; i < sizeBytes; i++) {
    noise = (Math.imul(noise, 1664525) + 1013904223) | 0;
    value[i] = isNoise ? noise >>> 24 : (i % 19) * seed + (i >>> 5);
  }
  return value;
}

const sizes = fc.oneof(
  { arbitrary: fc.integer({ min: 0, max: 1500 }), weight: 6 },
  { arbitrary: fc.integer({ min: 0, max: 4100 }), weight: 2 },
  fc.constantFrom(0, 1, 2, 64, 4070, 9000),
);
const operation = fc.record({
  what: fc.constantFrom(
    "set",
    "set",
    "set",
    "set",
    "set",
    "fill",
    "flood",
    "even",
    "even",
    "get",
    "read",
    "delete",
    "tick",
    "empty",
  ),
  key: fc.nat(400),
  size: sizes,
  isNoise: fc.boolean(),
  ttl: fc.constantFrom(Infinity, Infinity, Infinity, 3000),
});

function same(options: StoreOptions) {
  return fc.property(fc.array(operation, { maxLength: 80 }), (operations) => {
    const sides = [true, false].map((usesKernel) => new Side(usesKernel, options));
    const both = <T>(work: (side: Side) => T, what: string): T => {
      const [quick, slow] = sides.map(work);
      assert.deepEqual(quick, slow, what);
      return quick!;
    };
    const touched = new Set<string>();
    const nameOf = (key: number) => Buffer.from(`key:${key}`);
    let seed = 0;
    const set = (key: number, size: number, isNoise: boolean, ttl: number) => {
      const name = nameOf(key);
      touched.add(name.toString());
      const value = makeValue(++seed, size, isNoise);
      const meta = Buffer.from([seed, key]);
      const fields = { key: name, keyBytes: name.length, meta, metaBytes: 2, valueBytes: size };
      both(
        (side) =>
          side.set(
            Object.assign(new SetRequest(), { ...fields, value, expiresMs: side.nowMs + ttl }),
          ),
        "a set",
      );
    };
    for (const { what, key, size, isNoise, ttl } of operations) {
      const name = nameOf(key);
      if (what === "set") set(key, size, isNoise, ttl);
      else if (what === "fill") {
        for (let nth = 0; nth < 150; nth++) set(key + nth, (size + nth * 13) % 2500, isNoise, ttl);
      } else if (what === "flood") {
        // More than a store of 1 MiB has room for.
        for (let nth = 0; nth < 400; nth++) set(key + nth, 1100 + ((nth * 7) % 900), true, ttl);
      } else if (what === "even") {
        // Whole classes of the pool fill up and become empty.
        for (let nth = 0; nth < 150; nth++) set(nth, 1 + (size % 1300), true, ttl);
      } else if (what === "read") {
        // Some keys more often than others, and some that are not there.
        for (let nth = 0; nth < 300; nth++) {
          const other = nameOf(key + ((nth * nth) % 150));
          both((side) => side.get(other), "a get");
        }
      } else if (what === "get") both((side) => side.get(name), "a get");
      else if (what === "delete") both((side) => side.values.delete(name, name.length), "a delete");
      else if (what === "tick") for (const side of sides) side.store.tick();
      else
        for (let nth = 0; nth < 100; nth++) {
          const other = nameOf(key + nth);
          both((side) => side.values.delete(other, other.length), "a delete");
        }
      both((side) => side.entryOf(name), "an entry");
    }
    for (const name of touched) {
      const key = Buffer.from(name);
      both((side) => side.entryOf(key), `the entry of ${name}`);
      both((side) => side.get(key), `the value of ${name}`);
    }
    both((side) => side.figures(), "figures");
    for (const side of sides) side.store.verify();
    for (const side of sides) side.store.close();
  });
}

const OPTIONS: readonly StoreOptions[] = [
  {},
  { memoryMax: "1MiB" },
  { pageSize: 16384 },
  { policy: "tinylfu" },
  { policy: "tinylfu", memoryMax: "1MiB" },
];
for (const options of OPTIONS) {
  test(`kernel and engine store alike: ${JSON.stringify(options)}`, () => {
    stored = 0;
    left = 0;
    waited = 0;
    fc.assert(same(options), { numRuns: 60 });
    assert.ok(stored > 2000, `only ${stored} values were stored by the kernel`);
    assert.ok(left > 100, `only ${left} sets were left to the engine`);
    assert.ok(waited > 500, `only ${waited} sets of the kernel waited for the lock`);
  });
}

test("a value in the write-back file is replaced by the engine", () => {
  const folder = mkdtempSync(join(tmpdir(), "zcache-"));
  try {
    const figures = [true, false].map((usesKernel) => {
      const path = join(folder, String(usesKernel));
      const side = new Side(usesKernel, { writeBack: { path, ephemeral: true } });
      const key = Buffer.from("key");
      const fields = { key, keyBytes: key.length, meta: key, metaBytes: 1 };
      const set = (value: Uint8Array) =>
        side.set(Object.assign(new SetRequest(), { ...fields, value, valueBytes: value.length }));
      for (let nth = 0; nth < 40; nth++) {
        const other = Buffer.from(`other:${nth}`);
        const value = makeValue(nth, 900, true);
        const sizes = { keyBytes: other.length, metaBytes: 0, valueBytes: value.length };
        side.set(Object.assign(new SetRequest(), { ...sizes, key: other, value }));
      }
      side.store.tick();
      side.store.tick();
      set(makeValue(1, 900, true));
      set(makeValue(2, 900, true));
      side.store.scanIdle({ entries: 64, writeBack: { idleTicks: 0 } });
      for (let nth = 0; nth < 40; nth++) {
        const other = Buffer.from(`more:${nth}`);
        const value = makeValue(nth, 900, true);
        const sizes = { keyBytes: other.length, metaBytes: 0, valueBytes: value.length };
        side.set(Object.assign(new SetRequest(), { ...sizes, key: other, value }));
      }
      assert.equal(side.store.stats().counters.written_back_pages, 41);
      const value = makeValue(3, 700, true);
      set(value);
      assert.deepEqual(side.get(key), value);
      side.store.verify();
      const words = [side.entryOf(key), side.store.stats().counters];
      side.store.close();
      return words;
    });
    assert.deepEqual(figures[0], figures[1]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** A thread that sets a word to 0 a little later, and wakes those that wait for it. */
function releaseLater({ memory }: Arena, at: number): Worker {
  const release = `
    const { workerData } = require("node:worker_threads");
    const words = new Int32Array(workerData.memory.buffer);
    Atomics.wait(words, workerData.at, words[workerData.at], 50);
    Atomics.store(words, workerData.at, 0);
    Atomics.notify(words, workerData.at);`;
  return new Worker(release, { eval: true, workerData: { memory, at } });
}

test("the kernel stores nothing while a thread reads", async () => {
  const side = new Side(false, {});
  const { arena, words } = contextOf(side);
  const reader = words[Super.READERS_AT]! + (OTHER - 1) * Reader.READER_WORDS + Reader.STATE;
  words[Super.READERS_TOP] = Math.max(words[Super.READERS_TOP]!, OTHER);
  // Its thread exists, or else nobody would wait for it.
  Atomics.store(words, Super.THREADS + OTHER - 1, words[Super.THREADS + arena.thread - 1]!);
  for (const [nth, isRead] of [false, true, true].entries()) {
    const key = Buffer.from([nth]);
    const fields = { key, keyBytes: 1, meta: key, metaBytes: 0, valueBytes: 500 };
    if (isRead) Atomics.store(words, reader, Reader.READING);
    const other = isRead ? releaseLater(arena, reader) : undefined;
    const value = new Uint8Array(500).fill(7);
    assert.equal(side.values.set(Object.assign(new SetRequest(), { ...fields, value })), 0);
    assert.equal(Atomics.load(words, reader), 0);
    if (other !== undefined) await once(other, "exit");
  }
  Atomics.store(words, Super.THREADS + OTHER - 1, 0);
  side.store.verify();
  side.store.close();
});

test("the kernel spins for the lock, and its caller counts that", async () => {
  const side = new Side(false, {});
  // Values like that of the kernel, so that the pool has a page for it.
  for (let nth = 0; nth < 40; nth++) {
    const key = Buffer.from([nth]);
    const fields = { key, keyBytes: 1, meta: key, metaBytes: 0, valueBytes: 500 };
    side.set(Object.assign(new SetRequest(), { ...fields, value: new Uint8Array(500).fill(7) }));
  }
  const { arena, putContext, words, kernels } = contextOf(side);
  const set = (turns: number) => {
    words[putContext + Put.TURNS] = turns;
    const header = side.packedHeader();
    return kernels.putValue(putContext * 4, 1, 2, header);
  };
  const contended = () => side.store.stats().locks.exclusive.contended;
  const before = contended();
  Atomics.store(words, Super.ARENA_LOCK, OTHER);
  assert.equal(set(10), 0);
  // The other thread releases the lock while this one spins.
  const other = releaseLater(arena, Super.ARENA_LOCK);
  assert.equal(set(2 ** 31 - 1), 1);
  await once(other, "exit");
  assert.equal(Atomics.load(words, Super.ARENA_LOCK), 0);
  assert.equal(contended(), before);
  side.values.putter.complete(1);
  assert.equal(contended(), before + 1);
  side.values.putter.complete(1);
  assert.equal(contended(), before + 1);
  side.store.verify();
  side.store.close();
});
