// Simulates other caches with the requests that a store has recorded for a sample of its keys
// (store/request_sample.ts). A cache with a share of the keys and the same share of the memory has
// about the hit rate of the whole: a miniature simulation, after C. Waldspurger et al., "Cache
// Modeling and Optimization using Miniature Simulations" (USENIX ATC 2017).
//
// The requests are those that clients make of the real store, and depend on its answers: a client
// stores what it has not found. A simulated cache therefore stores a page
//
//   when a client stores it, or when the real store finds it and the simulated cache does not,
//   because a client that had not found it would have stored it.
//
// A put after a miss of the real store changes nothing where the page is stored already.
import * as Sample from "../../store/request_sample.layout.ts";
import type { SampledPage } from "../../store/request_sampling.ts";
import type { SampledRequest } from "../../store/sample_reader.ts";
import { ArenaCache } from "./arena_cache.ts";
import { keyHash } from "./request.ts";

/** Keys are divided in groups by their hash; how far the groups differ says how sure a sum is. */
export const GROUPS = 32;
const GROUP_SHIFT = 27;
/** Keys whose size and expiry are kept: those of some more requests than caches hold. */
const KEYS_MAX = 400_000;

/** A cache to simulate. */
export interface Variant {
  readonly policy: string;
  /** Its limit as a multiple of the store's. */
  readonly limit: number;
  /** Bytes for pages, of the whole cache, in units of `SampledSetup.costs`. */
  readonly budgetBytes: number;
}

/** What a page costs: `bytes as stored × perByte + perPage`. */
export interface Costs {
  readonly perByte: number;
  readonly perPage: number;
}

export interface SampledSetup {
  /** The first one is as the store is. */
  readonly variants: readonly Variant[];
  /** The share of the keys that is sampled. */
  readonly share: number;
  readonly costs: Costs;
  /** What a page costs on average. */
  readonly meanCostBytes: number;
  /** Whether the store has evicted pages before, which a larger cache may still have. */
  readonly hasEvicted: boolean;
}

/** Hits and their bytes, by group of keys. */
export interface GroupHits {
  readonly hits: Float64Array;
  readonly hitBytes: Float64Array;
}

export interface VariantHits extends GroupHits {
  /**
   * Misses of pages that may have been evicted before the simulation began, of a cache that has
   * not been full since. They may have been hits.
   */
  unknown: number;
}

/** What was counted. */
export interface SampledTallies {
  /** Gets, and bytes of the pages that they were for, by group. */
  readonly requests: Float64Array;
  readonly bytes: Float64Array;
  /** The hits of the real store, in memory. */
  readonly measured: GroupHits;
  /** In the order of the variants. */
  readonly variants: readonly VariantHits[];
  /** Different keys. */
  keys: number;
}

/** A key that was requested or is stored. */
interface Known {
  storedBytes: number;
  plainBytes: number;
  expiresS: number;
  /** Gets that the real store has missed since the last put. */
  misses: number;
  isCounted: boolean;
}

export class SampledSimulation {
  /** Seconds since 1970, to be set before `take`. */
  nowS = 0;
  tallies: SampledTallies;
  readonly #setup: SampledSetup;
  readonly #caches: readonly ArenaCache[];
  readonly #known = new Map<number, Known>();

  /** @throws ZcacheError ERR_OPTION, ERR_ARENA_MEMORY */
  constructor(setup: SampledSetup) {
    this.#setup = setup;
    const caches: ArenaCache[] = [];
    try {
      for (const { policy, budgetBytes } of setup.variants) {
        const ownBytes = Math.max(0, Math.floor(budgetBytes * setup.share));
        const valuesExpected = Math.ceil(ownBytes / Math.max(1, setup.meanCostBytes));
        caches.push(new ArenaCache(policy, undefined, { budgetBytes: ownBytes, valuesExpected }));
      }
    } catch (error) {
      for (const cache of caches) cache.close();
      throw error;
    }
    this.#caches = caches;
    this.tallies = newTallies(caches.length);
  }

  close(): void {
    for (const cache of this.#caches) cache.close();
  }

  /** Stores a page that the real store has at the beginning; the coldest comes first. */
  preload({ hash, storedBytes, plainBytes, expiresS }: SampledPage): void {
    this.#keep(hash, { storedBytes, plainBytes, expiresS, misses: 0, isCounted: false });
    for (const cache of this.#caches) cache.put(hash, this.#costOf(storedBytes));
  }

  /** Begins to count anew; the caches stay as they are. */
  count(): void {
    this.tallies = newTallies(this.#caches.length);
    for (const known of this.#known.values()) known.isCounted = false;
  }

  take(request: SampledRequest): void {
    const { operation, hash, expiresS } = request;
    const known = this.#known.get(hash);
    if (known !== undefined && isPast(known.expiresS, this.nowS)) this.#remove(hash, known);
    switch (operation) {
      case Sample.HIT:
      case Sample.OUTSIDE:
        // Expired values that the store finds are misses for its clients.
        if (isPast(expiresS, this.nowS)) this.#miss(hash, known);
        else this.#find(request, known, operation === Sample.HIT);
        break;
      case Sample.MISS:
        this.#miss(hash, known);
        break;
      case Sample.PUT:
        this.#put(request, known);
        break;
      case Sample.RENEW:
        if (known !== undefined) known.expiresS = expiresS;
        break;
      case Sample.REMOVE:
        this.#remove(hash, known);
        break;
      case Sample.CLEAR:
        for (const [key, one] of this.#known) this.#remove(key, one);
        break;
    }
  }

  #find(
    { hash, storedBytes, plainBytes, expiresS }: SampledRequest,
    before: Known | undefined,
    isHit: boolean,
  ): void {
    const known = before ?? this.#keep(hash, newKnown());
    known.misses = 0;
    if (storedBytes !== 0 || plainBytes !== 0) known.storedBytes = storedBytes;
    if (plainBytes !== 0) {
      known.plainBytes = plainBytes;
      known.expiresS = expiresS;
    } else if (known.plainBytes === 0) known.plainBytes = storedBytes;
    const group = this.#countGet(hash, known);
    if (isHit) countHit(this.tallies.measured, group, known);
    const costBytes = this.#costOf(known.storedBytes);
    for (let nth = 0; nth < this.#caches.length; nth++) {
      const cache = this.#caches[nth]!;
      const tally = this.tallies.variants[nth]!;
      if (cache.lookUp(hash)) countHit(tally, group, known);
      else {
        if (!isHit && before === undefined && this.#mayHaveHad(nth)) tally.unknown++;
        cache.put(hash, costBytes);
      }
    }
  }

  #miss(hash: number, before: Known | undefined): void {
    const known = before ?? this.#keep(hash, newKnown());
    known.misses++;
    const group = this.#countGet(hash, known);
    for (let nth = 0; nth < this.#caches.length; nth++) {
      const tally = this.tallies.variants[nth]!;
      if (this.#caches[nth]!.lookUp(hash)) countHit(tally, group, known);
      else if (before === undefined && this.#mayHaveHad(nth)) tally.unknown++;
    }
  }

  /** Whether a cache might have a page that was not requested since the beginning. */
  #mayHaveHad(nth: number): boolean {
    const { variants, hasEvicted } = this.#setup;
    return hasEvicted && variants[nth]!.limit > 1 && this.#caches[nth]!.tally.evictions === 0;
  }

  #put(request: SampledRequest, before: Known | undefined): void {
    const { hash, storedBytes, plainBytes, expiresS } = request;
    const known = before ?? this.#keep(hash, newKnown());
    // The size of what was missed is known only now.
    if (known.plainBytes === 0 && known.isCounted) {
      this.tallies.bytes[groupOf(hash)]! += known.misses * plainBytes;
    }
    const isFill = known.misses > 0;
    Object.assign(known, { storedBytes, plainBytes, expiresS, misses: 0 });
    const costBytes = this.#costOf(storedBytes);
    for (const cache of this.#caches) {
      if (isFill) cache.fill(hash, costBytes);
      else cache.put(hash, costBytes);
    }
  }

  #remove(hash: number, known: Known | undefined): void {
    if (known !== undefined) known.expiresS = 0;
    for (const cache of this.#caches) cache.remove(hash);
  }

  #countGet(hash: number, known: Known): number {
    const { tallies } = this;
    const group = groupOf(hash);
    tallies.requests[group]!++;
    tallies.bytes[group]! += known.plainBytes;
    if (!known.isCounted) {
      known.isCounted = true;
      tallies.keys++;
    }
    return group;
  }

  #keep(hash: number, known: Known): Known {
    if (this.#known.size >= KEYS_MAX) this.#known.delete(this.#known.keys().next().value!);
    this.#known.set(hash, known);
    return known;
  }

  #costOf(storedBytes: number): number {
    const { perByte, perPage } = this.#setup.costs;
    return Math.ceil(storedBytes * perByte + perPage);
  }
}

function newKnown(): Known {
  return { storedBytes: 0, plainBytes: 0, expiresS: 0, misses: 0, isCounted: false };
}

function newTallies(variants: number): SampledTallies {
  const groupHits = () => ({
    hits: new Float64Array(GROUPS),
    hitBytes: new Float64Array(GROUPS),
  });
  return {
    requests: new Float64Array(GROUPS),
    bytes: new Float64Array(GROUPS),
    measured: groupHits(),
    variants: Array.from({ length: variants }, () => ({ ...groupHits(), unknown: 0 })),
    keys: 0,
  };
}

function countHit(tally: GroupHits, group: number, { plainBytes }: Known): void {
  tally.hits[group]!++;
  tally.hitBytes[group]! += plainBytes;
}

/** The hash that chooses keys for the sample must not choose the group too, so it is mixed. */
function groupOf(hash: number): number {
  return keyHash(hash) >>> GROUP_SHIFT;
}

function isPast(expiresS: number, nowS: number): boolean {
  return expiresS !== 0 && expiresS <= nowS;
}
