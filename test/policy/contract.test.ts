// The contract of every eviction policy, whatever its order: any sequence of calls against a set of
// listed entries, and complete rollbacks.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { NIL, type WordIndex } from "../../src/base/brand.ts";
import { AssertionError, ZcacheError } from "../../src/base/errors.ts";
import { KIB } from "../../src/base/units.ts";
import { Arena } from "../../src/memory/arena.ts";
import { journalCommit, journalRollBack } from "../../src/memory/journal.ts";
import { POLICY_WORDS, SECOND_CHANCES } from "../../src/policy/contract.ts";
import { createPolicy, DEFAULT_POLICY, policyNames } from "../../src/policy/registry.ts";
import { hashOf, OWNER, PolicyFixture, SPACE, sizeOf } from "./fixture.ts";

/** Few, so that most steps find what they are about. */
const IDS = 7;
const step = fc.record({
  op: fc.constantFrom("add", "add", "use", "use", "remove", "evict", "move", "replace", "makeRoom"),
  id: fc.nat(IDS - 1),
});
const steps = fc.array(step, { maxLength: 80 });
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** What the contract says a call may log. */
const WORDS_MAX: Readonly<Record<string, number>> = {
  push: 7,
  recordHit: 6,
  remove: 6,
  evict: 7,
  relocate: 3,
};

function take(fixture: PolicyFixture, { op, id }: Step): void {
  const known = fixture.places.has(id);
  if (op === "add" && !fixture.listed.has(id)) fixture.add(id);
  // Includes removed entries: a page on its way to the backing store may be hit, flushed and moved.
  else if (op === "use" && known) fixture.use(id);
  else if (op === "remove" && known) fixture.remove(id);
  else if (op === "evict" && known) fixture.evict(id);
  else if (op === "move" && known) fixture.move(id);
  else if (op === "replace" && fixture.listed.has(id)) {
    fixture.remove(id);
    fixture.add(id);
  } else if (op === "makeRoom") {
    const victim = fixture.victim();
    assert.equal(victim === undefined, fixture.listed.size === 0, "a victim, if any is listed");
    if (victim === undefined) return;
    assert.ok(fixture.listed.has(victim), "the victim is listed");
    fixture.check();
    fixture.evict(victim);
  }
}

for (const name of policyNames()) {
  test(`${name}: any sequence lists each entry once, and victims are entries`, () => {
    fc.assert(
      fc.property(steps, (steps) => {
        using fixture = new PolicyFixture(name);
        for (const one of steps) {
          take(fixture, one);
          fixture.check();
        }
        for (let left = fixture.listed.size; left > 0; left--) fixture.evict(fixture.victim()!);
        fixture.check();
        assert.equal(fixture.victim(), undefined);
        assert.equal(fixture.policy.next(NIL), NIL);
      }),
      { numRuns: 60 },
    );
  });

  test(`${name}: a transaction that is rolled back leaves every word as it was`, () => {
    fc.assert(
      fc.property(steps, steps, (before, undone) => {
        using fixture = new PolicyFixture(name, { journal: true });
        const { arena } = fixture;
        for (let id = 0; id < 4; id++) fixture.add(id);
        journalCommit(arena.words);
        for (const one of before) {
          take(fixture, one);
          journalCommit(arena.words);
        }
        const image = fixture.image();
        const order = fixture.walk();
        fixture.recordsRequests = false;
        const listed = [...fixture.listed];
        for (const one of undone.slice(0, 20).filter(({ op }) => op !== "move")) take(fixture, one);
        journalRollBack(arena.words, arena.kernels);
        // New identities keep a place and a name: the fixture's concern, not the policy's.
        for (const [id, at] of fixture.places) image[at] = id;
        assert.deepEqual(fixture.image(), image);
        fixture.listed.clear();
        for (const id of listed) fixture.listed.add(id);
        fixture.check();
        assert.deepEqual(fixture.walk(), order);
      }),
      { numRuns: 100 },
    );
  });

  test(`${name}: a removed page can be moved, hit and flushed without effect`, () => {
    using fixture = new PolicyFixture(name);
    for (let id = 0; id < 4; id++) fixture.add(id);
    fixture.remove(2);
    const order = fixture.walk();
    for (let times = 0; times < 2; times++) {
      fixture.move(2);
      fixture.use(2);
      fixture.remove(2);
      fixture.evict(2);
      fixture.check();
      assert.deepEqual(fixture.walk(), order);
    }
    fixture.add(2);
    fixture.check();
  });

  test(`${name}: a move that is rolled back leaves every word as it was`, () => {
    using fixture = new PolicyFixture(name, { journal: true });
    const { arena, policy } = fixture;
    for (let id = 0; id < 3; id++) fixture.add(id);
    // sieve's hand is at a victim, and moves with it.
    const from = fixture.places.get(fixture.victim()!)!;
    const to = (from + 200 * 4) as WordIndex;
    for (let i = 0; i < 4; i++) arena.words[to + i] = arena.words[from + i]!;
    journalCommit(arena.words);
    const image = fixture.image();
    policy.relocate(from, to);
    assert.notDeepEqual(fixture.image(), image);
    journalRollBack(arena.words, arena.kernels);
    assert.deepEqual(fixture.image(), image);
    fixture.check();
  });

  test(`${name}: no call logs more words than the contract says`, () => {
    fc.assert(
      fc.property(steps, (steps) => {
        using fixture = new PolicyFixture(name, { journal: true });
        for (const one of steps) {
          take(fixture, one);
          journalCommit(fixture.arena.words);
        }
        for (const [call, words] of fixture.wordsMax) {
          assert.ok(words <= WORDS_MAX[call]!, `${call}: ${words} words`);
        }
      }),
      { numRuns: 40 },
    );
  });

  test(`${name}: moving entries changes no order`, () => {
    fc.assert(
      fc.property(steps, fc.array(fc.nat(IDS - 1), { maxLength: 20 }), (steps, moves) => {
        using still = new PolicyFixture(name);
        using moved = new PolicyFixture(name);
        for (const fixture of [still, moved]) for (const one of steps) take(fixture, one);
        for (const id of moves) if (moved.places.has(id)) moved.move(id);
        assert.deepEqual(moved.walk(), still.walk());
        for (let left = still.listed.size; left > 0; left--) {
          const victim = still.victim()!;
          assert.equal(moved.victim(), victim);
          still.evict(victim);
          moved.evict(victim);
        }
      }),
      { numRuns: 40 },
    );
  });

  test(`${name}: a search for a victim ends even if all pages were used`, () => {
    using fixture = new PolicyFixture(name, { journal: true });
    for (let id = 0; id < 250; id++) fixture.add(id);
    for (let times = 0; times < 3; times++) {
      for (let id = 0; id < 250; id++) {
        fixture.use(id);
        journalCommit(fixture.arena.words);
      }
    }
    const before = fixture.arena.words.slice();
    assert.ok(fixture.listed.has(fixture.victim()!));
    const undone = journalRollBack(fixture.arena.words, fixture.arena.kernels);
    assert.ok(undone <= 11 * SECOND_CHANCES, `${undone} words`);
    assert.equal(fixture.arena.words.length, before.length);
    fixture.check();
  });

  test(`${name}: another thread's object sees the same order`, () => {
    using fixture = new PolicyFixture(name);
    for (let id = 0; id < 12; id++) fixture.add(id);
    for (const id of [3, 3, 0, 7]) fixture.use(id);
    using other = Arena.attach(fixture.arena.share());
    // The first block that the arena handed out.
    const at = (fixture.arena.frames.firstFrame * fixture.arena.frames.wordsPerPage) as WordIndex;
    const policy = createPolicy(name, other, at, {
      ...SPACE,
      hashOf: (entry) => hashOf(other.words[entry]!),
      sizeOf: (entry) => sizeOf(other.words[entry]!),
    });
    policy.verify();
    assert.equal(policy.count, 12);
    const walk: number[] = [];
    for (let entry = policy.next(NIL); entry !== NIL; entry = policy.next(entry)) {
      walk.push(other.words[entry]!);
    }
    assert.deepEqual(walk, fixture.walk());
    const victim = policy.victim() as WordIndex;
    assert.ok([...fixture.places.values()].includes(victim), "a victim is an entry");
    policy.evict(victim, 0);
    assert.equal(fixture.policy.count, 11);
    fixture.policy.verify();
  });

  test(`${name}: verify finds a broken link and a wrong count`, () => {
    using fixture = new PolicyFixture(name);
    const { words } = fixture.arena;
    for (let id = 0; id < 5; id++) fixture.add(id);
    fixture.check();
    for (let id = 0; id < 5; id++) {
      for (const word of [SPACE.links, SPACE.links + 1]) {
        const at = fixture.places.get(id)! + word;
        const right = words[at]!;
        words[at] = fixture.places.get((id + 2) % 5)! + SPACE.links;
        if (words[at] === right) words[at] = -1;
        assert.throws(() => fixture.policy.verify(), AssertionError);
        words[at] = right;
      }
    }
    const countAt = fixture.arena.frames.firstFrame * fixture.arena.frames.wordsPerPage + 2;
    words[countAt]!++;
    assert.throws(() => fixture.policy.verify(), AssertionError);
    words[countAt]!--;
    fixture.check();
  });

  test(`${name}: frees its frames`, () => {
    using fixture = new PolicyFixture(name);
    const { frames } = fixture.arena;
    const owned = () => {
      let count = 0;
      for (let frame = frames.firstFrame; frame < frames.framesTotal; frame++) {
        if (frames.isHeadOf(frame, OWNER)) count++;
      }
      return count;
    };
    assert.equal(fixture.policy.framesHeld, owned());
    fixture.policy.destroy();
    fixture.policy.destroy();
    assert.equal(owned(), 0);
    assert.equal(fixture.policy.framesHeld, 0);
    frames.verify();
  });
}

test("the default is the first name; an unknown name is refused", () => {
  assert.equal(policyNames()[0], DEFAULT_POLICY);
  using arena = Arena.create({ sizeBytes: 128 * KIB });
  const at = (arena.reserve(POLICY_WORDS * 4) / 4) as WordIndex;
  for (const name of ["mru", "", "toString", "LRU"]) {
    assert.throws(
      () => createPolicy(name, arena, at, { ...SPACE, hashOf, sizeOf }),
      (error) =>
        error instanceof ZcacheError &&
        error.code === "ERR_OPTION" &&
        policyNames().every((known) => error.message.includes(known)),
    );
  }
  assert.throws(
    () => createPolicy("lru", arena, at, { ...SPACE, hashOf, sizeOf, bit: 30 }),
    AssertionError,
  );
});

for (const bit of [0, 13, 29]) {
  test(`the policy's bits may begin at bit ${bit}`, () => {
    for (const name of policyNames()) {
      using fixture = new PolicyFixture(name, { space: { ...SPACE, bit } });
      for (let id = 0; id < 20; id++) fixture.add(id);
      for (let id = 0; id < 20; id += 2) for (let times = 0; times < 5; times++) fixture.use(id);
      for (let left = 8; left > 0; left--) {
        const victim = fixture.victim()!;
        if (name !== "fifo") assert.equal(victim % 2, 1, `${name}: a page that was not used`);
        fixture.evict(victim);
        fixture.check();
      }
    }
  });
}
