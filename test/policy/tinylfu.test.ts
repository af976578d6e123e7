// The sketch and tinylfu: frequently requested pages stay, pages requested once do not evict them,
// and of equals the larger is evicted.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Xorshift32 } from "../../src/base/random.ts";
import { MIB } from "../../src/base/units.ts";
import { Arena } from "../../src/memory/arena.ts";
import { FrequencySketch, SKETCH_WORDS } from "../../src/policy/sketch.ts";
import { hashOf, PolicyFixture, SPACE, sizeOf } from "./fixture.ts";

const OWNER = 5;

function makeSketch(arena: Arena, pages: number): FrequencySketch {
  const sketch = new FrequencySketch(arena, arena.reserve(SKETCH_WORDS * 4) / 4, OWNER, pages);
  sketch.format();
  return sketch;
}

for (const pages of [500, 5000, 100_000]) {
  test(`a sketch for ${pages} pages: never too low, seldom too high`, () => {
    using arena = Arena.create({ sizeBytes: 4 * MIB });
    const sketch = makeSketch(arena, pages);
    const random = new Xorshift32(3);
    const counts = new Map<number, number>();
    // Fewer requests than cause a halving.
    for (let nth = 0; nth < 3 * pages; nth++) {
      const id = Math.floor(pages * (random.next() / 2 ** 32) ** 2);
      counts.set(id, (counts.get(id) ?? 0) + 1);
      sketch.count(hashOf(id));
    }
    let over = 0;
    for (const [id, count] of counts) {
      const estimate = sketch.estimate(hashOf(id));
      assert.ok(estimate >= Math.min(15, count), `${id}: ${estimate} for ${count}`);
      if (estimate > Math.min(15, count)) over++;
    }
    assert.ok(over < 0.2 * counts.size, `${over} of ${counts.size} too high`);
    const strangers = Array.from({ length: 1000 }, (_, n) => sketch.estimate(hashOf(pages + n)));
    assert.ok(strangers.filter((count) => count > 1).length < 100, "strangers are not known");
    assert.ok(sketch.framesHeld <= Math.ceil(pages / 512) + 1, `${sketch.framesHeld} frames`);
    sketch.destroy();
    assert.equal(sketch.framesHeld, 0);
  });
}

test("a sketch forgets by halves, in all threads alike", () => {
  using arena = Arena.create({ sizeBytes: MIB });
  const at = arena.reserve(SKETCH_WORDS * 4) / 4;
  const sketch = new FrequencySketch(arena, at, OWNER, 512);
  sketch.format();
  using other = Arena.attach(arena.share());
  const same = new FrequencySketch(other, at, OWNER, 512);
  for (let times = 0; times < 20; times++) sketch.count(hashOf(1));
  assert.equal(same.estimate(hashOf(1)), 15);
  const seen = new Set<number>();
  for (let nth = 0; nth < 60_000; nth++) {
    same.count(hashOf(1000 + nth));
    seen.add(sketch.estimate(hashOf(1)));
  }
  for (const count of [15, 7, 3]) assert.ok(seen.has(count), `${count} among ${[...seen]}`);
  assert.ok(sketch.estimate(hashOf(1)) < 15);
});

/** Asks for an identity as a cache does; evicts until no more than `most` are listed. */
function request(fixture: PolicyFixture, id: number, most: number): boolean {
  if (fixture.listed.has(id)) {
    fixture.use(id);
    return true;
  }
  fixture.policy.recordRequest(hashOf(id), 0);
  while (fixture.listed.size >= most) {
    const victim = fixture.victim()!;
    fixture.evict(victim);
    fixture.places.delete(victim);
  }
  fixture.add(id);
  return false;
}

test("a scan does not evict frequently requested pages", () => {
  using fixture = new PolicyFixture("tinylfu");
  for (let times = 0; times < 8; times++) for (let id = 0; id < 40; id++) request(fixture, id, 60);
  for (let id = 1000; id < 1230; id++) request(fixture, id, 60);
  const stayed = [...fixture.listed].filter((id) => id < 40).length;
  assert.ok(stayed >= 36, `${stayed} of 40`);
  fixture.check();
});

test("of equally requested pages, the small ones stay", () => {
  const random = new Xorshift32(9);
  using fixture = new PolicyFixture("tinylfu");
  for (let nth = 0; nth < 100; nth++) request(fixture, random.below(100), 60);
  for (let nth = 0; nth < 1000; nth++) {
    const id = random.below(100);
    if (fixture.listed.has(id)) fixture.use(id);
    else {
      fixture.policy.recordRequest(hashOf(id), 0);
      const victim = fixture.victim()!;
      fixture.evict(victim);
      fixture.add(id);
    }
  }
  const mean = (ids: number[]) => ids.reduce((sum, id) => sum + sizeOf(id), 0) / ids.length;
  const all = mean(Array.from({ length: 100 }, (_, id) => id));
  assert.ok(mean([...fixture.listed]) < all - 3, `${mean([...fixture.listed])} of ${all} bytes`);
  fixture.check();
});

test("a store that has just filled up soon has a main queue", () => {
  using fixture = new PolicyFixture("tinylfu", { space: { ...SPACE, ghosts: 300 } });
  for (let id = 0; id < 290; id++) fixture.add(id);
  const before = fixture.walk()[0];
  for (let nth = 0; nth < 6; nth++) fixture.evict(fixture.victim()!);
  // Half have moved on: the iteration begins with the window, whose oldest entry is a later one
  // now.
  assert.ok(fixture.walk()[0]! > before! + 140, `${fixture.walk()[0]}`);
  fixture.check();
});
