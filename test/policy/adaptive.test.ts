// The adaptive policy: it comes close to the best policy on generated traces of different kinds,
// its miniatures stay whole, and a thread that dies while it updates them damages nothing.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { WordIndex } from "../../src/base/brand.ts";
import { Xorshift32 } from "../../src/base/random.ts";
import { MIB } from "../../src/base/units.ts";
import { Zipf } from "../../src/lab/simulate/generate.ts";
import { Simulation } from "../../src/lab/simulate/simulation.ts";
import { Arena } from "../../src/memory/arena.ts";
import { Adaptive } from "../../src/policy/adaptive.ts";
import { POLICY_WORDS } from "../../src/policy/contract.ts";
import { EXPERTS, FIRST_EXPERT_SIZES, USES_MAX } from "../../src/policy/expert_order.ts";
import * as Mini from "../../src/policy/miniatures.layout.ts";
import { MINIATURES_WORDS, Miniatures } from "../../src/policy/miniatures.ts";
import * as Policy from "../../src/policy/policy.layout.ts";
import { FrequencySketch, SKETCH_WORDS } from "../../src/policy/sketch.ts";
import { hashOf, OWNER, PolicyFixture, SPACE } from "./fixture.ts";

const VALUE_BYTES = 4096;
const OVERHEAD = 48;
const POLICIES = ["s3-fifo", "tinylfu", "sieve", "lru", "w-tinylfu", "w-tinylfu-adaptive"];

/** Hits of each policy in percent, with room for so many values of one size. */
function hitsOf(keys: Iterable<number>, values: number, kinds: string[]): Map<string, number> {
  const budgetsBytes = [values * (VALUE_BYTES + OVERHEAD)];
  const options = { kinds, budgetsBytes, overheadBytes: OVERHEAD, ratio: 1, warmup: 0 };
  const simulation = new Simulation(options);
  for (const key of keys) simulation.request(key, VALUE_BYTES);
  return new Map(simulation.result().map((row) => [row.policy, (100 * row.hits) / row.requests]));
}

function* zipfOf(keys: number, exponent: number, requests: number, moves = 0): Generator<number> {
  const zipf = new Zipf(keys, exponent, new Xorshift32(3));
  for (let nth = 0; nth < requests; nth++) yield zipf.draw() + Math.floor(nth * moves);
}

function* loopOf(keys: number, requests: number, from = 0): Generator<number> {
  for (let nth = 0; nth < requests; nth++) yield from + (nth % keys);
}

function* scansIn(keys: number, requests: number): Generator<number> {
  let nth = 0;
  for (const key of zipfOf(keys, 0.9, requests)) {
    yield key;
    if (++nth % 4000 === 0) yield* loopOf(1500, 1500, 1_000_000 + nth);
  }
}

/** Keys requested a second and a third time soon after the first, and never again. */
function* recentOf(requests: number): Generator<number> {
  const random = new Xorshift32(4);
  for (let nth = 0; nth < requests; nth++) {
    yield Math.floor(nth / 3) - Math.min(random.below(900), random.below(900));
  }
}

/** The most points that the best of POLICIES may be ahead; fixed policies lose up to 75. */
const TRACES: readonly (readonly [string, () => Iterable<number>, number, number])[] = [
  ["skewed requests", () => zipfOf(20_000, 0.8, 60_000), 1000, 2],
  ["a popularity that moves", () => zipfOf(10_000, 0.9, 60_000, 0.03), 1000, 3],
  ["a loop that does not fit", () => loopOf(1300, 40_000), 1000, 6],
  ["skewed requests with scans", () => scansIn(8000, 60_000), 800, 3],
  ["recent keys", () => recentOf(60_000), 600, 5],
];

for (const [name, keys, values, pointsMax] of TRACES) {
  test(`${name}: within ${pointsMax} points of the best policy`, () => {
    const hits = hitsOf(keys(), values, ["adaptive", ...POLICIES]);
    const best = Math.max(...POLICIES.map((policy) => hits.get(policy)!));
    const shown = [...hits].map(([policy, hit]) => `${policy} ${hit.toFixed(2)}`).join(", ");
    assert.ok(hits.get("adaptive")! >= best - pointsMax, shown);
  });
}

test("traffic that changes its kind is followed there and back", () => {
  function* phases(): Generator<number> {
    for (let round = 0; round < 2; round++) {
      yield* loopOf(1300, 30_000);
      for (const key of recentOf(30_000)) yield 100_000 * (1 + round) + key;
    }
  }
  const hits = hitsOf(phases(), 800, ["adaptive", ...POLICIES]);
  const best = Math.max(...POLICIES.map((policy) => hits.get(policy)!));
  // No fixed policy is good at both.
  assert.ok(hits.get("adaptive")! > best, [...hits].join("; "));
});

function makeMiniatures(pages: number): { arena: Arena; minis: Miniatures; at: number } {
  const arena = Arena.create({ sizeBytes: 2 * MIB });
  const owner = arena.frames.firstFrame;
  const sketch = new FrequencySketch(arena, arena.reserve(SKETCH_WORDS * 4) / 4, owner, pages);
  sketch.format();
  const at = arena.reserve(MINIATURES_WORDS * 4) / 4;
  const minis = new Miniatures(arena, at, owner, pages, sketch);
  minis.format();
  return { arena, minis, at };
}

function store(minis: Miniatures, id: number, sizeBytes: number): void {
  minis.record(hashOf(id), sizeBytes);
  minis.update();
}

/** A request for a page that is stored then. */
function ask(minis: Miniatures, id: number, sizeBytes: number): void {
  minis.record(hashOf(id), 0);
  store(minis, id, sizeBytes);
}

const request = fc.record({ id: fc.nat(4000), size: fc.integer({ min: 1, max: 60_000 }) });

test("any requests leave the miniatures whole, with few slots and with sizes that change", () => {
  fc.assert(
    fc.property(
      fc.array(request, { maxLength: 300 }),
      fc.integer({ min: 1, max: 40 }),
      fc.integer({ min: 1000, max: 10_000_000 }),
      (requests, repeats, bytes) => {
        const { arena, minis } = makeMiniatures(500);
        for (let round = 0; round < repeats; round++) {
          if (round === 1) minis.setBudget(bytes);
          for (const { id, size } of requests) {
            ask(minis, id + round * 97, size);
          }
          minis.verify();
        }
        assert.ok(minis.expert >= 0 && minis.expert < EXPERTS.length);
        arena.close();
      },
    ),
    { numRuns: 15 },
  );
});

test("more pages than slots halve the sample", () => {
  const { arena, minis } = makeMiniatures(500);
  for (let id = 0; id < 20_000; id++) {
    ask(minis, id, 100);
  }
  minis.verify();
  assert.ok(minis.get(Mini.SHIFT) > 3, `${minis.get(Mini.SHIFT)}`);
  arena.close();
});

test("a thread that dies while it updates the miniatures empties them", () => {
  const { arena, minis } = makeMiniatures(500);
  for (let id = 0; id < 500; id++) {
    ask(minis, id, 100);
  }
  minis.expert = 2;
  // Halfway through: some words are as they were, others are not.
  minis.set(Mini.BUSY, 1);
  const random = new Xorshift32(8);
  for (let slot = 0; slot < 300; slot++) minis.setWord(slot, Mini.LINKS, random.next());
  ask(minis, 1, 100);
  minis.verify();
  assert.equal(minis.expert, 2, "the policy still follows its expert");
  for (let id = 0; id < 500; id++) {
    ask(minis, id, 100);
  }
  minis.verify();
  arena.close();
});

test("pages of different sizes begin with the expert for them", () => {
  const { arena, minis } = makeMiniatures(500);
  for (let id = 0; id < 200; id++) store(minis, id, 1000);
  assert.equal(minis.sizesDiffer, false);
  for (let id = 0; id < 400; id++) store(minis, id, 500 + (id % 8) * 500);
  assert.equal(minis.sizesDiffer, true);
  assert.ok(EXPERTS[FIRST_EXPERT_SIZES]!.samples > 1);
  arena.close();
});

test("every expert keeps a fixture in order", () => {
  for (let expert = 0; expert < EXPERTS.length; expert++) {
    using fixture = new PolicyFixture("adaptive");
    const { arena } = fixture;
    // The policy's words are the first block that the arena handed out.
    const at = arena.frames.firstFrame * arena.frames.wordsPerPage;
    const sketch = new FrequencySketch(arena, at + Policy.SKETCH, OWNER, SPACE.ghosts);
    const minis = new Miniatures(arena, at + Policy.MINIATURES, OWNER, SPACE.ghosts, sketch);
    const random = new Xorshift32(expert + 1);
    for (let nth = 0; nth < 3000; nth++) {
      minis.expert = expert;
      const id = Math.floor(200 * (random.next() / 2 ** 32) ** 2);
      if (fixture.listed.has(id)) fixture.use(id);
      else {
        while (fixture.listed.size >= 60) {
          const victim = fixture.victim()!;
          fixture.evict(victim);
        }
        fixture.add(id);
      }
      if (nth % 100 === 0) fixture.check();
    }
    assert.ok(arena.words[at + Policy.QUEUE + 2]! > 0, "the window holds entries");
    fixture.check();
  }
});

test("values of different sizes: ahead of tinylfu, which samples fewer pages", () => {
  const options = {
    kinds: ["adaptive", "tinylfu"],
    budgetsBytes: [800 * 2048],
    overheadBytes: OVERHEAD,
    ratio: 1,
    warmup: 60_000,
  };
  const simulation = new Simulation(options);
  for (const key of zipfOf(8000, 0.99, 150_000)) {
    simulation.request(key, 256 + ((hashOf(key) >>> 0) % 7936));
  }
  const [adaptive, tinylfu] = simulation.result();
  const gain = (100 * (adaptive!.hits - tinylfu!.hits)) / adaptive!.requests;
  assert.ok(gain > 0.5, `${gain.toFixed(2)} points`);
});

test("only hits that add to the uses of an entry are counted", () => {
  const arena = Arena.create({ sizeBytes: 2 * MIB });
  const at = (arena.reserve(POLICY_WORDS * 4) / 4) as WordIndex;
  const entry = (arena.reserve(64) / 4) as WordIndex;
  const owner = arena.frames.firstFrame;
  const space = { ...SPACE, owner, hashOf: () => hashOf(1), sizeOf: () => 100 };
  const policy = new Adaptive(arena, at, space);
  policy.format();
  policy.push(entry, hashOf(1));
  for (let hit = 0; hit < 10; hit++) {
    policy.recordRequest(hashOf(1), arena.words[entry + SPACE.meta]!);
    policy.recordHit(entry);
  }
  const sketch = new FrequencySketch(arena, at + Policy.SKETCH, owner, SPACE.ghosts);
  assert.equal(sketch.estimate(hashOf(1)), USES_MAX);
  arena.close();
});
