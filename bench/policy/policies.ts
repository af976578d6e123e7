// Hit rates of every eviction policy on synthetic traces, each from one seed, and the cost of a hit
// and of an eviction in time and in journal words.
//
// Caches have a fixed number of pages; how many pages fit into a compressed store is another
// question. Every miss stores the page, as with cleancache or an application's cache. If loads are
// exclusive, as in zswap, no page is hit while it is stored, and sieve and lru behave as fifo.
import { NIL, type WordIndex } from "../../src/base/brand.ts";
import { platformClock } from "../../src/base/clock.ts";
import { Xorshift32 } from "../../src/base/random.ts";
import { MIB } from "../../src/base/units.ts";
import { Zipf } from "../../src/lab/simulate/generate.ts";
import * as Super from "../../src/memory/arena.layout.ts";
import { Arena } from "../../src/memory/arena.ts";
import { JOURNAL_BYTES, journalCommit, journalFormat } from "../../src/memory/journal.ts";
import { type EvictionPolicy, POLICY_WORDS, WHOLE_PAGES } from "../../src/policy/contract.ts";
import { createPolicy, policyNames } from "../../src/policy/registry.ts";

export interface PolicyBenchOptions {
  /** Small traces, in less than a second: only checks that the benchmark works. */
  readonly tiny?: boolean;
  /** Prints a line (default: standard output). */
  readonly print?: (line: string) => void;
}

/** Hits of one policy on one trace with one size of cache. */
export interface HitRow {
  readonly trace: string;
  /** Pages that the cache holds, in percent of the keys. */
  readonly cachePercent: number;
  readonly policy: string;
  /** Hits in percent of the requests, those of the cold start included. */
  readonly hitPercent: number;
}

/** Cost of the calls of one policy, with a journal that is committed after each call. */
export interface CostRow {
  readonly policy: string;
  readonly hitNs: number;
  readonly hitWords: number;
  /** Choosing a victim, evicting it, and listing the page that replaces it. */
  readonly replaceNs: number;
  readonly replaceWords: number;
}

export interface PolicyBench {
  readonly hits: readonly HitRow[];
  readonly costs: readonly CostRow[];
}

interface Scale {
  readonly keys: number;
  readonly requests: number;
  /** Pages of the cache whose calls are timed, and how many calls. */
  readonly timedPages: number;
  readonly timedCalls: number;
}

const FULL: Scale = {
  keys: 200_000,
  requests: 1_000_000,
  timedPages: 100_000,
  timedCalls: 1_000_000,
};
const TINY: Scale = { keys: 2000, requests: 10_000, timedPages: 500, timedCalls: 5000 };
/** Size of all entries. */
const PAGE_BYTES = 4096;
const CACHE_PERCENTS = [5, 10, 25];

/** Makes a trace of keys, for a cache of so many pages. */
type MakeTrace = (scale: Scale, pages: number) => Uint32Array;

function zipfTrace({ keys, requests }: Scale, exponent: number): Uint32Array {
  const zipf = new Zipf(keys, exponent, new Xorshift32(11));
  return Uint32Array.from({ length: requests }, () => zipf.draw());
}

/**
 * Zipf requests with scans: of 100 requests, 30 are for keys that are requested once, or several
 * times in a row, and never again, as in a backup or a build.
 */
function scanTrace({ keys, requests }: Scale, times: number): Uint32Array {
  const zipf = new Zipf(keys, 0.99, new Xorshift32(12));
  const part = keys / 10;
  let once = 0;
  return Uint32Array.from({ length: requests }, (_, at) =>
    at % part < 0.7 * part ? zipf.draw() : keys + Math.floor(once++ / times),
  );
}

/** A loop over 10 % more keys than the cache has pages. */
function loopTrace({ requests }: Scale, pages: number): Uint32Array {
  const length = Math.ceil(pages * 1.1);
  return Uint32Array.from({ length: requests }, (_, at) => at % length);
}

/**
 * Swap: nine of ten requests are for a working set of a tenth of the keys, 80 % of them for a fifth
 * of the set; the set moves on by one key every eight requests. The other requests are for any key.
 */
function workingSetTrace({ keys, requests }: Scale): Uint32Array {
  const random = new Xorshift32(13);
  const set = Math.floor(keys / 10);
  return Uint32Array.from({ length: requests }, (_, at) => {
    if (random.below(10) === 0) return random.below(keys);
    const isHot = random.below(5) < 4;
    const inSet = isHot ? random.below(set / 5) * 5 : random.below(set);
    // The hot fifth does not depend on the position of the set: the keys divisible by five.
    return (Math.ceil((at >>> 3) / 5) * 5 + inSet) % keys;
  });
}

const TRACES: Readonly<Record<string, MakeTrace>> = {
  "zipf 0.99": (scale) => zipfTrace(scale, 0.99),
  "zipf 0.7": (scale) => zipfTrace(scale, 0.7),
  "zipf 0.99 with scans": (scale) => scanTrace(scale, 1),
  "the same, scanning pairs": (scale) => scanTrace(scale, 2),
  "loop of 1.1 caches": loopTrace,
  "moving working set": workingSetTrace,
};

const VALUE = 0;
const ENTRY_WORDS = 4;

function hashOf(key: number): number {
  const hash = Math.imul(key + 1, 0x9e3779b1);
  return Math.imul(hash ^ (hash >>> 15), 0x85ebca77);
}

/** A cache of `pages` entries in an arena; a table of keys takes the place of the index. */
class Cache {
  readonly words: Int32Array;
  readonly policy: EvictionPolicy;
  readonly entries: WordIndex[] = [];
  readonly #entryOfKey: Int32Array;
  #filled = 0;

  constructor(name: string, pages: number, keys: number, journal = false) {
    const sizeBytes = 4 * MIB + pages * (ENTRY_WORDS + 3) * 4;
    const arena = Arena.create({ sizeBytes });
    this.words = arena.words;
    const at = (arena.reserve(POLICY_WORDS * 4) / 4) as WordIndex;
    const owner = arena.frames.firstFrame;
    this.policy = createPolicy(name, arena, at, {
      links: 2,
      meta: 1,
      bit: 28,
      owner,
      ...WHOLE_PAGES,
      hashOf: (entry) => hashOf(this.words[entry + VALUE]!),
      sizeOf: () => PAGE_BYTES,
      heldBytes: () => this.policy.count * PAGE_BYTES,
      ghosts: pages,
    });
    this.policy.format();
    while (this.entries.length < pages) {
      const block = arena.reserve(arena.pageSize) / 4;
      for (let i = 0; i < arena.frames.wordsPerPage && this.entries.length < pages; i += 4) {
        this.entries.push((block + i) as WordIndex);
      }
    }
    this.#entryOfKey = new Int32Array(keys).fill(NIL);
    if (journal) journalFormat(arena.words, arena.reserve(JOURNAL_BYTES) / 4);
  }

  /** Requests a key, which is in the cache afterwards. @returns whether it was before */
  request(key: number): boolean {
    const { policy } = this;
    const found = this.#entryOfKey[key]!;
    policy.recordRequest(hashOf(key), found === NIL ? 0 : this.words[found + 1]!);
    if (found !== NIL) {
      policy.recordHit(found as WordIndex);
      return true;
    }
    const entry =
      this.#filled < this.entries.length ? this.entries[this.#filled++]! : this.#evict();
    this.words[entry + VALUE] = key;
    this.#entryOfKey[key] = entry;
    policy.push(entry, hashOf(key));
    return false;
  }

  #evict(): WordIndex {
    const victim = this.policy.victim() as WordIndex;
    const key = this.words[victim + VALUE]!;
    this.#entryOfKey[key] = NIL;
    this.policy.evict(victim, hashOf(key));
    return victim;
  }
}

function hitPercent(name: string, trace: Uint32Array, pages: number, keys: number): number {
  const cache = new Cache(name, pages, keys);
  let hits = 0;
  for (let at = 0; at < trace.length; at++) if (cache.request(trace[at]!)) hits++;
  return (100 * hits) / trace.length;
}

function measureHits(scale: Scale, names: readonly string[]): HitRow[] {
  const rows: HitRow[] = [];
  for (const [trace, make] of Object.entries(TRACES)) {
    for (const cachePercent of CACHE_PERCENTS) {
      const pages = Math.floor((scale.keys * cachePercent) / 100);
      const keys = make(scale, pages);
      const keysMax = keys.reduce((max, key) => Math.max(max, key), 0) + 1;
      for (const policy of names) {
        const hits = hitPercent(policy, keys, pages, keysMax);
        rows.push({ trace, cachePercent, policy, hitPercent: hits });
      }
    }
  }
  return rows;
}

/** Words logged since the last commit; commits. */
function commit(words: Int32Array): number {
  const logged = words[Super.JOURNAL_NEXT]! - 1;
  journalCommit(words);
  return logged;
}

function measureCost(name: string, { timedPages, timedCalls }: Scale): CostRow {
  const keys = timedPages + timedCalls * 2;
  const cache = new Cache(name, timedPages, keys, true);
  const { words, policy } = cache;
  let key = 0;
  while (key < timedPages) {
    cache.request(key++);
    journalCommit(words);
  }
  // Hits by a Zipf distribution over scattered entries, with replacements in between that clear
  // bits again, as in a store at work.
  const random = new Xorshift32(21);
  const zipf = new Zipf(timedPages, 0.99, random);
  const step = Math.floor(timedPages * 0.618) | 1;
  const drawn = Uint32Array.from({ length: timedCalls }, () => (zipf.draw() * step) % timedPages);
  const batch = 1000;
  let hitNs = 0;
  let hitWords = 0;
  let replaceNs = 0;
  let replaceWords = 0;
  for (let from = 0; from < timedCalls; from += batch) {
    const before = platformClock.nowNs();
    for (let at = from; at < from + batch; at++) {
      policy.recordHit(cache.entries[drawn[at]!]!);
      hitWords += commit(words);
    }
    const between = platformClock.nowNs();
    for (let at = from; at < from + batch / 5; at++) {
      const victim = policy.victim() as WordIndex;
      policy.evict(victim, hashOf(words[victim + VALUE]!));
      words[victim + VALUE] = key;
      policy.push(victim, hashOf(key++));
      replaceWords += commit(words);
    }
    hitNs += between - before;
    replaceNs += platformClock.nowNs() - between;
  }
  return {
    policy: name,
    hitNs: hitNs / timedCalls,
    hitWords: hitWords / timedCalls,
    replaceNs: (5 * replaceNs) / timedCalls,
    replaceWords: (5 * replaceWords) / timedCalls,
  };
}

function report({ hits, costs }: PolicyBench, print: (line: string) => void): void {
  const names = costs.map(({ policy }) => policy);
  const heads = names.map((name) => name.padStart(9)).join("");
  print(`\nhits, % of the requests        cache, % of keys${heads}`);
  for (let at = 0; at < hits.length; at += names.length) {
    const { trace, cachePercent } = hits[at]!;
    const cells = hits.slice(at, at + names.length).map((row) => row.hitPercent.toFixed(2));
    const figures = cells.map((cell) => cell.padStart(9)).join("");
    print(`${trace.padEnd(31)}${String(cachePercent).padStart(16)}${figures}`);
  }
  print(`\nwith a journal                                 ${heads}`);
  const lines: readonly (readonly [string, (row: CostRow) => number])[] = [
    ["a hit, ns", (row) => row.hitNs],
    ["a hit, words logged", (row) => row.hitWords],
    ["evict one, list one, ns", (row) => row.replaceNs],
    ["evict one, list one, words logged", (row) => row.replaceWords],
  ];
  for (const [what, of] of lines) {
    print(what.padEnd(47) + costs.map((row) => of(row).toFixed(2).padStart(9)).join(""));
  }
}

/** Measures every policy and prints two tables. @returns the rows of both */
export function benchPolicies(options: PolicyBenchOptions = {}): PolicyBench {
  const { tiny = false, print = console.log } = options;
  const scale = tiny ? TINY : FULL;
  const names = policyNames();
  const hits = measureHits(scale, names);
  const costs = names.map((name) => measureCost(name, scale));
  const result = { hits, costs };
  report(result, print);
  return result;
}
