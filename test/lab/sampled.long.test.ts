// The estimate of hit rates from a sample of the keys, against exact simulations of all requests.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ArenaCache } from "../../src/lab/simulate/arena_cache.ts";
import { estimates, whyNone } from "../../src/lab/simulate/estimate.ts";
import { type GeneratedTrace, generate } from "../../src/lab/simulate/generate.ts";
import { keyHash } from "../../src/lab/simulate/request.ts";
import { SampledSimulation, type Variant } from "../../src/lab/simulate/sampled.ts";
import { policyNames } from "../../src/policy/registry.ts";
import * as Sample from "../../src/store/request_sample.layout.ts";
import { isSampledBelow } from "../../src/store/request_sample.ts";
import type { SampledRequest } from "../../src/store/sample_reader.ts";

const COST_BYTES = 48;
const NEVER = 0;

function variantsOf(policy: string, budgetBytes: number): Variant[] {
  const limits = [1, 0.25, 0.5, 2, 4];
  const others = policyNames().filter((name) => name !== policy);
  return [
    ...limits.map((limit) => ({ policy, limit, budgetBytes: limit * budgetBytes })),
    ...others.map((name) => ({ policy: name, limit: 1, budgetBytes })),
  ];
}

/** A cache of all keys, and what it did in the part of the trace that counts. */
class Whole {
  readonly cache: ArenaCache;

  constructor({ policy, budgetBytes }: Variant, meanBytes: number) {
    const valuesExpected = Math.ceil(budgetBytes / meanBytes);
    this.cache = new ArenaCache(policy, undefined, { budgetBytes, valuesExpected });
  }

  get hitRate(): number {
    return this.cache.tally.hits / this.cache.tally.requests;
  }

  get byteHitRate(): number {
    return this.cache.tally.hitBytes / this.cache.tally.bytes;
  }
}

interface Compared {
  readonly what: string;
  readonly exact: number;
  readonly low: number;
  readonly high: number;
  readonly estimate: number;
}

/** Runs a trace on whole caches and on a sample; the first variant is the real store. */
function compare(
  trace: Omit<GeneratedTrace, "requests">,
  policy: string,
  budgetBytes: number,
  share: number,
): Compared[] {
  const requests = 400_000;
  const variants = variantsOf(policy, budgetBytes);
  const meanCostBytes = (trace.sizeMin + trace.sizeMax) / 2 + COST_BYTES;
  const wholes = variants.map((variant) => new Whole(variant, meanCostBytes));
  const costs = { perByte: 1, perPage: COST_BYTES };
  const simulation = new SampledSimulation({
    ...{ variants, share, costs, meanCostBytes, hasEvicted: true },
  });
  const real = wholes[0]!.cache;
  const request = { operation: 0, hash: 0, storedBytes: 0, plainBytes: 0, expiresS: NEVER };
  const send = (operation: number, hash: number, bytes: number) => {
    Object.assign(request, { operation, hash, storedBytes: bytes, plainBytes: bytes });
    simulation.take(request);
  };
  let nth = 0;
  const visit = (key: number, sizeBytes: number) => {
    if (++nth === requests / 2) {
      simulation.count();
      for (const { cache } of wholes) cache.forget();
    }
    const { hits } = real.tally;
    for (const { cache } of wholes) cache.request(key, sizeBytes, sizeBytes + COST_BYTES);
    const hash = keyHash(key);
    if (!isSampledBelow(hash, share * 2 ** 32)) return;
    if (real.tally.hits > hits) send(Sample.HIT, hash, sizeBytes);
    else {
      send(Sample.MISS, hash, 0);
      send(Sample.PUT, hash, sizeBytes);
    }
  };
  for (const _ of generate({ ...trace, requests }, visit));
  const totals = { ...real.tally, share, dropped: 0 };
  assert.equal(whyNone(simulation.tallies, totals), undefined);
  const rows = estimates(simulation.tallies, totals).flatMap((row, at) => {
    const { policy: name, limit } = variants[at]!;
    const { hitRate, byteHitRate } = wholes[at]!;
    return [
      { what: `${name} × ${limit}`, exact: hitRate, ...row.hitRate },
      { what: `${name} × ${limit}, bytes`, exact: byteHitRate, ...row.byteHitRate },
    ];
  });
  simulation.close();
  for (const { cache } of wholes) cache.close();
  return rows;
}

const TRACES = [
  { policy: "tinylfu", exponent: 0.99, keys: 60_000, sizeMin: 1000, sizeMax: 1000, seed: 1 },
  { policy: "s3-fifo", exponent: 0.8, keys: 60_000, sizeMin: 200, sizeMax: 2000, seed: 2 },
  { policy: "lru", exponent: 1.1, keys: 100_000, sizeMin: 1000, sizeMax: 1000, seed: 3 },
];

for (const { policy, ...made } of TRACES) {
  test(`Zipf ${made.exponent}, ${policy}: the exact hit rates are in the intervals`, () => {
    const rows = compare({ shape: "zipf", ...made }, policy, 8 * 2 ** 20, 1 / 8);
    for (const { what, exact, low, high } of rows) {
      assert.ok(exact >= low - 1e-9 && exact <= high + 1e-9, `${what}: ${exact} in ${low}…${high}`);
      assert.ok(high - low < 0.2, `${what}: ${low}…${high} says something`);
    }
  });
}

// What follows simulates a cache of everything with few keys, whose hits are known.

const BASE: readonly Variant[] = [{ policy: "lru", limit: 1, budgetBytes: 10_000 }];

/** A simulation of one cache with room for ten values of 952 bytes, or of more. */
function simulate(variants = BASE, hasEvicted = true) {
  const costs = { perByte: 1, perPage: COST_BYTES };
  const simulation = new SampledSimulation({
    ...{ variants, share: 1, costs, meanCostBytes: 1000, hasEvicted },
  });
  return {
    simulation,
    send: (operation: number, key: number, more: Partial<SampledRequest> = {}) => {
      const isStored = operation === Sample.PUT || operation === Sample.HIT;
      const bytes = isStored ? 952 : 0;
      const sizes = { storedBytes: bytes, plainBytes: bytes, expiresS: NEVER };
      simulation.take({ operation, hash: keyHash(key), ...sizes, ...more });
    },
    /** Requests, hits of the real store and hits of each cache. */
    counts: () => {
      const { requests, measured, variants: all } = simulation.tallies;
      const sum = (parts: Float64Array) => parts.reduce((whole, part) => whole + part, 0);
      return [sum(requests), sum(measured.hits), ...all.map(({ hits }) => sum(hits))];
    },
  };
}

test("removed values are gone, and so are expired ones and all after a flush", () => {
  const { simulation, send, counts } = simulate();
  simulation.nowS = 1000;
  for (const key of [1, 2, 3, 4]) send(Sample.PUT, key);
  send(Sample.PUT, 5, { expiresS: 1010 });
  send(Sample.PUT, 6, { expiresS: 1010 });
  send(Sample.RENEW, 6, { expiresS: 1030 });
  // The real store has evicted all of them; the simulated cache has not.
  for (const key of [1, 2, 3, 4, 5, 6]) send(Sample.MISS, key);
  assert.deepEqual(counts(), [6, 0, 6]);
  send(Sample.REMOVE, 1);
  simulation.nowS = 1020;
  simulation.count();
  for (const key of [1, 2, 3, 4, 5, 6]) send(Sample.MISS, key);
  assert.deepEqual(counts(), [6, 0, 4], "1 was removed, and 5 has expired");
  send(Sample.CLEAR, 0);
  simulation.count();
  for (const key of [1, 2, 3, 4, 5, 6]) send(Sample.MISS, key);
  assert.deepEqual(counts(), [6, 0, 0]);
  simulation.count();
  // A value that the store finds although it has expired is a miss for its client.
  send(Sample.HIT, 7, { expiresS: 1015 });
  send(Sample.MISS, 7);
  assert.deepEqual(counts(), [2, 0, 0]);
  simulation.close();
});

test("a hit of the real store that a simulated cache misses is stored there", () => {
  const { simulation, send, counts } = simulate();
  for (let round = 0; round < 2; round++) for (let key = 0; key < 5; key++) send(Sample.HIT, key);
  assert.deepEqual(counts(), [10, 10, 5]);
  // Pages outside of memory are no hits of the real store, but known to it.
  for (let round = 0; round < 2; round++) send(Sample.OUTSIDE, 9, { storedBytes: 952 });
  assert.deepEqual(counts(), [12, 10, 6]);
  simulation.close();
});

test("a put after a miss does not renew a value that a simulated cache has", () => {
  const { simulation, send, counts } = simulate();
  for (let key = 0; key < 10; key++) send(Sample.PUT, key);
  send(Sample.MISS, 0);
  for (let key = 1; key < 10; key++) send(Sample.MISS, key);
  // It fills the real store; the cache has it as the oldest value still.
  send(Sample.PUT, 0);
  simulation.count();
  send(Sample.PUT, 10);
  send(Sample.MISS, 0);
  assert.deepEqual(counts(), [1, 0, 0]);
  send(Sample.MISS, 1);
  assert.deepEqual(counts(), [2, 0, 1]);
  simulation.close();
});

test("values stored before the beginning are preloaded, the coldest first", () => {
  const { simulation, send, counts } = simulate();
  for (let key = 0; key < 12; key++) {
    const sizes = { storedBytes: 952, plainBytes: 952, expiresS: NEVER };
    simulation.preload({ hash: keyHash(key), ...sizes, idle: 12 - key });
  }
  for (let key = 0; key < 12; key++) send(Sample.HIT, key);
  // The cache has room for ten; the first two go, and each that comes in puts out the next.
  assert.deepEqual(counts().slice(0, 2), [12, 12]);
  assert.equal(counts()[2], 0);
  for (let key = 2; key < 12; key++) send(Sample.HIT, key);
  assert.deepEqual(counts(), [22, 22, 10]);
  simulation.close();
});

test("what a larger cache may have had before the beginning widens its interval", () => {
  const variants = [...BASE, { policy: "lru", limit: 4, budgetBytes: 40_000 }];
  const { simulation, send } = simulate(variants);
  for (let key = 0; key < 20; key++) {
    send(Sample.MISS, key);
    send(Sample.PUT, key);
  }
  assert.deepEqual(
    simulation.tallies.variants.map(({ unknown }) => unknown),
    [0, 20],
  );
  const totals = { requests: 20, hits: 0, share: 1, dropped: 0 };
  const [base, larger] = estimates(simulation.tallies, totals);
  assert.deepEqual(base!.hitRate, { estimate: 0, low: 0, high: 0 });
  assert.deepEqual(larger!.hitRate, { estimate: 0, low: 0, high: 1 });
  // Once it has evicted, it is as full as it would always have been.
  for (let key = 20; key < 60; key++) {
    send(Sample.MISS, key);
    send(Sample.PUT, key);
  }
  assert.equal(simulation.tallies.variants[1]!.unknown, 41);
  simulation.close();
  // Nothing was evicted before, so a first request is a miss for every cache.
  const fresh = simulate(variants, false);
  fresh.send(Sample.MISS, 1);
  assert.equal(fresh.simulation.tallies.variants[1]!.unknown, 0);
  fresh.simulation.close();
});

test("too few requests, too few keys and too many dropped requests give no figure", () => {
  const { simulation, send } = simulate();
  const totals = { requests: 5000, hits: 0, share: 1, dropped: 0 };
  const why = (dropped = 0) => whyNone(simulation.tallies, { ...totals, dropped });
  for (let nth = 0; nth < 999; nth++) send(Sample.MISS, nth % 100);
  assert.match(why()!, /^only 999 requests were sampled; at least 1000 are needed$/);
  send(Sample.MISS, 0);
  assert.match(why()!, /^only 100 keys were sampled; at least 200 are needed$/);
  for (let key = 100; key < 200; key++) send(Sample.MISS, key);
  assert.equal(why(), undefined);
  assert.equal(why(100), undefined);
  assert.match(why(200)!, /^15 % of the sampled requests came too fast to be recorded$/);
  simulation.close();
});
