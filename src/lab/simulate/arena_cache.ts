// A simulated cache with one of the policies of stores, in an arena, so that the simulation runs
// the code that stores run. An admission filter may precede it: once the budget is used up, a new
// value enters only if it is worth more than the victim.
import { NIL, type WordIndex } from "../../base/brand.ts";
import { ZcacheError } from "../../base/errors.ts";
import { KIB, MIB } from "../../base/units.ts";
import { ARENA_BYTES_MAX, Arena } from "../../memory/arena.ts";
import { type EvictionPolicy, POLICY_WORDS, WHOLE_PAGES } from "../../policy/contract.ts";
import { GHOSTS_WORDS, Ghosts } from "../../policy/ghosts.ts";
import { createPolicy } from "../../policy/registry.ts";
import { FrequencySketch, SKETCH_WORDS } from "../../policy/sketch.ts";
import { type CacheSpace, SimulatedCache } from "./cache.ts";
import { keyHash } from "./request.ts";

// Words of an entry: its number, the policy's bits, the policy's link.
const VALUE = 0;
const META = 1;
const LINKS = 2;
const ENTRY_WORDS = 4;
/**
 * Entries allocated, as a multiple of the expected number of values: values smaller than the mean
 * are more.
 */
const VALUES_SPARE = 8;

/** An admission filter. */
interface Admission {
  /** Counts a request, hit or miss. */
  recordRequest(hash: number): void;
  /** Whether a new value may replace the victim. */
  admits(hash: number, costBytes: number, victimHash: number, victimBytes: number): boolean;
}

export const ADMISSIONS = ["tinylfu", "tinylfu-size", "twice"] as const;
export type AdmissionName = (typeof ADMISSIONS)[number];

/**
 * tinylfu admits a value with more recent requests than the victim; tinylfu-size compares requests
 * per byte.
 */
class TinyLfuAdmission implements Admission {
  readonly #sketch: FrequencySketch;
  readonly #perByte: boolean;

  constructor(arena: Arena, valuesExpected: number, perByte: boolean) {
    const at = arena.reserve(SKETCH_WORDS * 4) / 4;
    this.#sketch = new FrequencySketch(arena, at, arena.frames.firstFrame + 1, valuesExpected);
    this.#sketch.format();
    this.#perByte = perByte;
  }

  recordRequest(hash: number): void {
    this.#sketch.count(hash);
  }

  admits(hash: number, costBytes: number, victimHash: number, victimBytes: number): boolean {
    const its = this.#sketch.estimate(hash);
    const victims = this.#sketch.estimate(victimHash);
    return this.#perByte ? its * victimBytes > victims * costBytes : its > victims;
  }
}

/** Admits a value at its second request within some time: no value enters for a single request. */
class SecondRequest implements Admission {
  readonly #seen: Ghosts;
  readonly #length: number;

  constructor(arena: Arena, valuesExpected: number) {
    const at = arena.reserve(GHOSTS_WORDS * 4) / 4;
    this.#length = 2 * valuesExpected;
    this.#seen = new Ghosts(arena, at, arena.frames.firstFrame + 1, this.#length);
    this.#seen.format();
  }

  recordRequest(): void {}

  admits(hash: number): boolean {
    if (this.#seen.take(hash, this.#length)) return true;
    this.#seen.remember(hash);
    return false;
  }
}

export class ArenaCache extends SimulatedCache {
  readonly #arena: Arena;
  readonly #words: Int32Array;
  readonly #policy: EvictionPolicy;
  readonly #admission: Admission | undefined;
  readonly #entryOfKey = new Map<number, WordIndex>();
  readonly #keys: number[] = [];
  readonly #costs: number[] = [];
  readonly #free: WordIndex[] = [];

  constructor(policy: string, admission: AdmissionName | undefined, space: CacheSpace) {
    super(space);
    const { valuesExpected } = space;
    const needed = 4 * MIB + valuesExpected * (VALUES_SPARE * ENTRY_WORDS * 4 + 40);
    const sizeBytes = Math.min(ARENA_BYTES_MAX, Math.ceil(needed / (64 * KIB)) * 64 * KIB);
    this.#arena = Arena.create({ sizeBytes });
    this.#words = this.#arena.words;
    const at = (this.#arena.reserve(POLICY_WORDS * 4) / 4) as WordIndex;
    const owner = this.#arena.frames.firstFrame;
    this.#policy = createPolicy(policy, this.#arena, at, {
      ...WHOLE_PAGES,
      links: LINKS,
      meta: META,
      bit: 28,
      owner,
      hashOf: (entry) => keyHash(this.#keys[this.#words[entry + VALUE]!]!),
      sizeOf: (entry) => this.#costs[this.#words[entry + VALUE]!]!,
      heldBytes: () => this.tally.usedBytes,
      ghosts: valuesExpected,
    });
    this.#policy.format();
    this.#admission = admissionOf(admission, this.#arena, valuesExpected);
  }

  override close(): void {
    this.#arena.close();
  }

  protected override access(key: number, costBytes: number): boolean {
    const isHit = this.lookUp(key);
    if (isHit) this.resize(key, costBytes);
    else this.#store(key, costBytes);
    return isHit;
  }

  /**
   * Requests a value, as `request`, but stores nothing and counts nothing.
   * @returns whether it is stored
   */
  lookUp(key: number): boolean {
    const hash = keyHash(key);
    const entry = this.#entryOfKey.get(key);
    this.#policy.recordRequest(hash, entry === undefined ? 0 : this.#words[entry + META]!);
    this.#admission?.recordRequest(hash);
    if (entry === undefined) return false;
    this.#policy.recordHit(entry);
    return true;
  }

  /** Stores a value; one that is stored already is replaced, and new to the policy again. */
  put(key: number, costBytes: number): void {
    this.remove(key);
    this.#store(key, costBytes);
  }

  /** Stores a value if it is not stored; otherwise it has this size now. */
  fill(key: number, costBytes: number): void {
    if (this.#entryOfKey.has(key)) this.resize(key, costBytes);
    else this.#store(key, costBytes);
  }

  /** Removes a value, if it is stored. */
  remove(key: number): void {
    const entry = this.#entryOfKey.get(key);
    if (entry === undefined) return;
    this.#policy.remove(entry);
    this.#leave(key, entry);
  }

  /** Changes the size of a stored value. */
  resize(key: number, costBytes: number): void {
    this.#resize(this.#entryOfKey.get(key)!, costBytes);
  }

  #store(key: number, costBytes: number): void {
    const hash = keyHash(key);
    if (costBytes > this.budgetBytes) this.tally.tooLarge++;
    else if (this.#makeRoom(hash, costBytes)) this.#enter(key, hash, costBytes);
    else this.tally.refused++;
  }

  /**
   * Evicts values until there is room.
   * @returns false if the victims are worth more
   */
  #makeRoom(hash: number, costBytes: number): boolean {
    while (this.tally.usedBytes + costBytes > this.budgetBytes) {
      const victim = this.#policy.victim();
      if (victim === NIL) return false;
      const slot = this.#words[victim + VALUE]!;
      const victimHash = keyHash(this.#keys[slot]!);
      const admission = this.#admission;
      if (admission?.admits(hash, costBytes, victimHash, this.#costs[slot]!) === false) {
        return false;
      }
      this.#evict(victim);
    }
    return true;
  }

  #enter(key: number, hash: number, costBytes: number): void {
    const entry = this.#free.pop() ?? this.#newEntries();
    const slot = this.#words[entry + VALUE]!;
    this.#keys[slot] = key;
    this.#costs[slot] = costBytes;
    this.#entryOfKey.set(key, entry);
    this.#policy.push(entry, hash);
    this.entered(costBytes);
  }

  #evict(victim: WordIndex): void {
    const key = this.#keys[this.#words[victim + VALUE]!]!;
    this.#policy.evict(victim, keyHash(key));
    this.#leave(key, victim);
    this.tally.evictions++;
  }

  #leave(key: number, entry: WordIndex): void {
    this.#entryOfKey.delete(key);
    this.#free.push(entry);
    this.left(this.#costs[this.#words[entry + VALUE]!]!);
  }

  #resize(entry: WordIndex, costBytes: number): void {
    const slot = this.#words[entry + VALUE]!;
    const before = this.#costs[slot]!;
    if (costBytes === before) return;
    this.#costs[slot] = costBytes;
    this.left(before);
    this.entered(costBytes);
    while (this.tally.usedBytes > this.budgetBytes) {
      const victim = this.#policy.victim();
      if (victim === NIL) return;
      this.#evict(victim);
    }
  }

  /**
   * Allocates a frame for more entries.
   * @returns one of them; the others are free
   */
  #newEntries(): WordIndex {
    const { frames } = this.#arena;
    const frame = frames.alloc(0, frames.firstFrame + 2);
    if (frame === NIL) {
      const message =
        "too many values for the simulator: the trace begins with values far larger than the rest";
      throw new ZcacheError("ERR_ARENA_FULL", message);
    }
    const first = frames.frameToWord(frame);
    for (let at = frames.wordsPerPage - ENTRY_WORDS; at >= 0; at -= ENTRY_WORDS) {
      this.#words[first + at + VALUE] = this.#keys.length;
      this.#keys.push(0);
      this.#costs.push(0);
      this.#free.push((first + at) as WordIndex);
    }
    return this.#free.pop()!;
  }
}

function admissionOf(
  name: AdmissionName | undefined,
  arena: Arena,
  valuesExpected: number,
): Admission | undefined {
  if (name === undefined) return undefined;
  if (name === "twice") return new SecondRequest(arena, valuesExpected);
  return new TinyLfuAdmission(arena, valuesExpected, name === "tinylfu-size");
}
