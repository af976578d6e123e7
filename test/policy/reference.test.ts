// lru, sieve and s3-fifo against a plain form of each over arrays: the same victims and the same
// order after any sequence.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { SECOND_CHANCES } from "../../src/policy/contract.ts";
import { PolicyFixture } from "./fixture.ts";

interface Reference {
  add(id: number): void;
  use(id: number): void;
  remove(id: number): void;
  evict(id: number): void;
  victim(): number | undefined;
  /** Coldest first. */
  walk(): number[];
}

class ReferenceFifo implements Reference {
  /** Oldest first. */
  readonly ids: number[] = [];
  add(id: number): void {
    this.ids.push(id);
  }
  use(_id: number): void {}
  remove(id: number): void {
    if (this.ids.includes(id)) this.ids.splice(this.ids.indexOf(id), 1);
  }
  evict(id: number): void {
    this.remove(id);
  }
  victim(): number | undefined {
    return this.ids[0];
  }
  walk(): number[] {
    return [...this.ids];
  }
}

class ReferenceLru extends ReferenceFifo {
  override use(id: number): void {
    if (!this.ids.includes(id)) return;
    this.remove(id);
    this.add(id);
  }
}

class ReferenceSieve extends ReferenceFifo {
  readonly #visited = new Set<number>();
  /** Index of the hand, which goes on to 0 from the newest. */
  #hand = 0;

  override add(id: number): void {
    this.#visited.delete(id);
    this.ids.push(id);
  }
  override use(id: number): void {
    this.#visited.add(id);
  }
  override remove(id: number): void {
    const index = this.ids.indexOf(id);
    if (index === -1) return;
    this.ids.splice(index, 1);
    if (index < this.#hand) this.#hand--;
    if (this.#hand === this.ids.length) this.#hand = 0;
  }
  override victim(): number | undefined {
    for (let chances = SECOND_CHANCES; chances > 0; chances--) {
      const id = this.ids[this.#hand]!;
      if (!this.#visited.delete(id)) break;
      this.#hand = (this.#hand + 1) % this.ids.length;
    }
    return this.ids[this.#hand];
  }
  override walk(): number[] {
    return [...this.ids.slice(this.#hand), ...this.ids.slice(0, this.#hand)];
  }
}

class ReferenceS3Fifo implements Reference {
  readonly #small: number[] = [];
  readonly #main: number[] = [];
  readonly #uses = new Map<number, number>();
  /** All that ever left by way of the small queue, in this order. */
  readonly #left: (number | undefined)[] = [];

  add(id: number): void {
    this.#uses.set(id, 0);
    const total = this.#small.length + this.#main.length;
    const begin = Math.max(0, this.#left.length - (total - Math.floor(total / 10)));
    const ghost = this.#left.indexOf(id);
    if (ghost === -1 || ghost < begin) {
      this.#small.push(id);
    } else {
      this.#left[ghost] = undefined;
      this.#main.push(id);
    }
  }
  use(id: number): void {
    this.#uses.set(id, Math.min(3, this.#uses.get(id)! + 1));
  }
  remove(id: number): void {
    for (const queue of [this.#small, this.#main]) {
      if (queue.includes(id)) queue.splice(queue.indexOf(id), 1);
    }
  }
  evict(id: number): void {
    if (this.#small.includes(id)) {
      const ghost = this.#left.indexOf(id);
      if (ghost !== -1) this.#left[ghost] = undefined;
      this.#left.push(id);
    }
    this.remove(id);
  }
  victim(): number | undefined {
    for (let chances = SECOND_CHANCES; ; chances--) {
      const tenth = (this.#small.length + this.#main.length) / 10;
      const inSmall = this.#main.length === 0 || this.#small.length >= tenth;
      const queue = inSmall ? this.#small : this.#main;
      const id = queue[0];
      if (id === undefined || chances === 0) return id;
      const uses = this.#uses.get(id)!;
      if (uses < (inSmall ? 2 : 1)) return id;
      queue.shift();
      this.#main.push(id);
      this.#uses.set(id, inSmall ? 0 : uses - 1);
    }
  }
  walk(): number[] {
    return [...this.#small, ...this.#main];
  }
}

const REFERENCES: Readonly<Record<string, () => Reference>> = {
  fifo: () => new ReferenceFifo(),
  lru: () => new ReferenceLru(),
  sieve: () => new ReferenceSieve(),
  "s3-fifo": () => new ReferenceS3Fifo(),
};

const IDS = 24;
const step = fc.record({
  op: fc.constantFrom("get", "get", "get", "remove", "evict", "move", "makeRoom", "useAll"),
  id: fc.nat(IDS - 1),
});
/** Pages at first; more than one search spares, too, with other identities. */
const filling = fc.constantFrom(0, 8, SECOND_CHANCES + 1, SECOND_CHANCES * 2);

for (const [name, make] of Object.entries(REFERENCES)) {
  test(`${name}: the same victims as its plain form`, () => {
    fc.assert(
      fc.property(filling, fc.array(step, { maxLength: 100 }), (filling, steps) => {
        using fixture = new PolicyFixture(name);
        const reference = make();
        const both = (call: "add" | "use" | "remove" | "evict", id: number) => {
          fixture[call](id);
          reference[call](id);
        };
        const evictNext = () => {
          const victim = fixture.victim();
          assert.equal(victim, reference.victim());
          if (victim !== undefined) both("evict", victim);
        };
        for (let id = 0; id < filling; id++) both("add", IDS + id);
        for (const { op, id } of steps) {
          if (op === "get") both(fixture.listed.has(id) ? "use" : "add", id);
          else if (op === "makeRoom") evictNext();
          else if (op === "useAll") for (const one of fixture.listed) both("use", one);
          else if (fixture.listed.has(id)) {
            if (op === "move") fixture.move(id);
            else both(op, id);
          }
          assert.deepEqual(fixture.walk(), reference.walk());
        }
        while (fixture.listed.size > 0) evictNext();
        fixture.check();
      }),
      { numRuns: 150 },
    );
  });

  test(`${name}: the same hits as its plain form on a skewed trace`, () => {
    using fixture = new PolicyFixture(name);
    const reference = make();
    let seed = 1;
    for (let request = 0; request < 6000; request++) {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      const id = Math.floor(200 * (seed / 2 ** 32) ** 3);
      if (fixture.listed.has(id)) {
        fixture.use(id);
        reference.use(id);
        continue;
      }
      if (fixture.listed.size === 50) {
        const victim = fixture.victim()!;
        assert.equal(victim, reference.victim(), `request ${request}`);
        fixture.evict(victim);
        reference.evict(victim);
      }
      fixture.add(id);
      reference.add(id);
    }
    fixture.check();
    assert.deepEqual(fixture.walk(), reference.walk());
  });
}
