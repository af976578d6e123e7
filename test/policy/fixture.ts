// Entries in an arena, as an index has them, with a policy over them: each entry has a fixed
// identity, and a place that may change.
import assert from "node:assert/strict";
import { NIL, type PageFrame, type WordIndex } from "../../src/base/brand.ts";
import { Xorshift32 } from "../../src/base/random.ts";
import { KIB } from "../../src/base/units.ts";
import * as Super from "../../src/memory/arena.layout.ts";
import { Arena } from "../../src/memory/arena.ts";
import { JOURNAL_BYTES, journalCommit, journalFormat, put } from "../../src/memory/journal.ts";
import {
  type EvictionPolicy,
  POLICY_BITS,
  POLICY_WORDS,
  type PolicySpace,
  WHOLE_PAGES,
} from "../../src/policy/contract.ts";
import { createPolicy } from "../../src/policy/registry.ts";

export const ENTRY_WORDS = 4;
const VALUE = 0;
const META = 1;
const LINKS = 2;
/** More than any test lists, so that there is always a free place to move to. */
const PLACES = 300;
export const OWNER = 7;
export const SPACE: Omit<PolicySpace, "hashOf" | "sizeOf"> = {
  links: LINKS,
  meta: META,
  bit: 28,
  owner: OWNER,
  ghosts: 500,
  heldBytes: () => 10_000,
  ...WHOLE_PAGES,
};

/** A hash of an identity, as mixed as a store's. */
export function hashOf(id: number): number {
  let hash = Math.imul(id + 1, 0x9e3779b1);
  hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca77);
  return hash ^ (hash >>> 13);
}

/** A size of an identity's page. */
export function sizeOf(id: number): number {
  return 100 + 7 * (id % 10);
}

export class PolicyFixture implements Disposable {
  readonly arena: Arena;
  readonly policy: EvictionPolicy;
  /** Where each identity is, listed or taken out. */
  readonly places = new Map<number, WordIndex>();
  readonly listed = new Set<number>();
  /** The most words that one call logged, by the call's name. */
  readonly wordsMax = new Map<string, number>();
  /** Whether a use is also a request; those are not undone. */
  recordsRequests = true;
  readonly #freePlaces: WordIndex[] = [];
  readonly #journal: boolean;
  /** The policy's bits in an entry's META. */
  readonly #mask: number;
  readonly #random = new Xorshift32(5);

  constructor(name: string, { journal = false, space = SPACE } = {}) {
    this.arena = Arena.create({ sizeBytes: 512 * KIB });
    const at = (this.arena.reserve(POLICY_WORDS * 4) / 4) as WordIndex;
    const entries = this.arena.reserve(PLACES * ENTRY_WORDS * 4) / 4;
    // The initial words of an entry must not matter.
    for (let i = 0; i < PLACES * ENTRY_WORDS; i++) {
      this.arena.words[entries + i] = this.#random.next();
    }
    for (let i = PLACES; i-- > 0; ) {
      this.#freePlaces.push((entries + i * ENTRY_WORDS) as WordIndex);
    }
    this.policy = createPolicy(name, this.arena, at, {
      ...space,
      hashOf: (entry) => hashOf(this.arena.words[entry + VALUE]!),
      sizeOf: (entry) => sizeOf(this.arena.words[entry + VALUE]!),
      heldBytes: () => [...this.listed].reduce((bytes, id) => bytes + sizeOf(id), 0),
    });
    this.policy.format();
    this.#mask = ((1 << POLICY_BITS) - 1) << space.bit;
    this.#journal = journal;
    if (journal) journalFormat(this.arena.words, this.arena.reserve(JOURNAL_BYTES) / 4);
  }

  [Symbol.dispose](): void {
    this.arena.close();
  }

  /** Lists an identity that is not listed; it gets a place if it has none. */
  add(id: number): void {
    let at = this.places.get(id);
    if (at === undefined) {
      at = this.#freePlaces.pop()!;
      this.arena.words[at + VALUE] = id;
      this.places.set(id, at);
    }
    const entry = at;
    this.#call("push", entry, () => this.policy.push(entry, hashOf(id)));
    this.listed.add(id);
  }

  use(id: number): void {
    const entry = this.places.get(id)!;
    if (this.recordsRequests)
      this.policy.recordRequest(hashOf(id), this.arena.words[entry + META]!);
    this.#call("recordHit", entry, () => this.policy.recordHit(entry));
  }

  remove(id: number): void {
    const entry = this.places.get(id)!;
    this.#call("remove", entry, () => this.policy.remove(entry));
    this.listed.delete(id);
  }

  evict(id: number): void {
    const entry = this.places.get(id)!;
    this.#call("evict", entry, () => this.policy.evict(entry, hashOf(id)));
    this.listed.delete(id);
  }

  /** Copies an entry to a free place and spoils the old one. */
  move(id: number): void {
    const { words } = this.arena;
    const from = this.places.get(id)!;
    const to = this.#freePlaces.shift()!;
    for (let i = 0; i < ENTRY_WORDS; i++) put(words, to + i, words[from + i]!);
    if (this.#journal) journalCommit(words);
    this.#call("relocate", to, () => this.policy.relocate(from, to));
    for (let i = 0; i < ENTRY_WORDS; i++) put(words, from + i, this.#random.next());
    this.#freePlaces.push(from);
    this.places.set(id, to);
  }

  /** @returns the identity of the policy's victim, or undefined */
  victim(): number | undefined {
    const entry = this.policy.victim();
    if (entry === NIL) return undefined;
    const id = this.arena.words[entry + VALUE]!;
    assert.equal(this.places.get(id), entry, "a victim is an entry");
    return id;
  }

  /** The identities in the order of the walk, coldest first. */
  walk(): number[] {
    const ids: number[] = [];
    for (let entry = this.policy.next(NIL); entry !== NIL; entry = this.policy.next(entry)) {
      ids.push(this.arena.words[entry + VALUE]!);
      assert.ok(ids.length <= this.listed.size, "the walk ends");
    }
    return ids;
  }

  /** Everything that must hold after each step. */
  check(): void {
    const visited: number[] = [];
    this.policy.verify((entry) => visited.push(this.arena.words[entry + VALUE]!));
    const expected = [...this.listed].sort((a, b) => a - b);
    assert.deepEqual(
      visited.sort((a, b) => a - b),
      expected,
    );
    assert.deepEqual(
      this.walk().sort((a, b) => a - b),
      expected,
    );
    assert.equal(this.policy.count, this.listed.size);
  }

  /**
   * All words of the arena but the journal's count and log, and the estimates of adaptive, which
   * are not logged.
   */
  image(): Int32Array {
    const { words, frames } = this.arena;
    const copy = words.slice();
    for (let frame = frames.firstFrame; frame < frames.framesTotal; frame++) {
      if (this.policy.name !== "adaptive" || !frames.isHeadOf(frame as PageFrame, OWNER)) continue;
      const at = frames.frameToWord(frame as PageFrame);
      copy.fill(0, at, at + frames.wordsPerPage);
    }
    const log = copy[Super.JOURNAL_AT]!;
    if (this.#journal) copy.fill(0, log, log + JOURNAL_BYTES / 4);
    copy[Super.JOURNAL_NEXT] = 0;
    return copy;
  }

  /** Runs one call: it leaves the bits that are not the policy's, and its words are counted. */
  #call(name: string, entry: WordIndex, run: () => void): void {
    const { words } = this.arena;
    const others = words[entry + META]! & ~this.#mask;
    const value = words[entry + VALUE];
    const logged = words[Super.JOURNAL_NEXT]!;
    run();
    const count = words[Super.JOURNAL_NEXT]! - logged;
    this.wordsMax.set(name, Math.max(count, this.wordsMax.get(name) ?? 0));
    assert.equal(words[entry + META]! & ~this.#mask, others, "other bits are left alone");
    assert.equal(words[entry + VALUE], value, "other words are left alone");
  }
}
