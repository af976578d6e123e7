// Runs one trace on many simulated caches in one pass: each kind with each budget. Memory is what
// the caches hold, so a trace may have any length. Only belady, which knows the future, needs the
// whole trace, which is then kept, up to a limit.
import { ZcacheError } from "../../base/errors.ts";
import { policyNames } from "../../policy/registry.ts";
import { ADMISSIONS, type AdmissionName, ArenaCache } from "./arena_cache.ts";
import type { CacheSpace, SimulatedCache, Tally } from "./cache.ts";
import { WTinyLfu } from "./w_tinylfu.ts";
import { Belady, Gdsf, nextUses } from "./weighed.ts";

/** Requests from which the mean size of values is estimated before the caches are created. */
const JUDGED = 10_000;
/** Requests kept for belady, at most: 16 bytes each, and 8 for the next use. */
export const KEPT_MAX = 20_000_000;
export const BELADY = "belady";

/** All kinds of cache by name; those that a store offers come first. */
export function kindNames(): string[] {
  const plain = policyNames().filter((policy) => policy !== "tinylfu" && policy !== "adaptive");
  const combined = ADMISSIONS.flatMap((admission) =>
    plain.map((policy) => `${admission}+${policy}`),
  );
  return [...policyNames(), ...combined, "w-tinylfu", "w-tinylfu-adaptive", "gdsf", BELADY];
}

/** The default kinds: every policy, and the most promising others. */
export function kindsByDefault(): string[] {
  return [...policyNames(), "tinylfu+lru", "tinylfu+sieve", "w-tinylfu-adaptive", "gdsf"];
}

/** @throws ZcacheError ERR_OPTION listing the names */
export function checkKind(name: string): void {
  if (kindNames().includes(name)) return;
  const known = kindNames().join(", ");
  throw new ZcacheError("ERR_OPTION", `no policy is called "${name}"; available: ${known}`);
}

export interface SimulationOptions {
  /** Names of kinds. */
  readonly kinds: readonly string[];
  readonly budgetsBytes: readonly number[];
  /** Bytes that a value costs besides its content: key, entry, handle. */
  readonly overheadBytes: number;
  /** The compression ratio of stored values, 1 or more. */
  readonly ratio: number;
  /** Requests at the start that are not counted: an empty cache says little about a full one. */
  readonly warmup: number;
}

export interface SimulationRow extends Tally {
  readonly policy: string;
  readonly budgetBytes: number;
}

export class Simulation {
  readonly #options: SimulationOptions;
  readonly #keepAll: boolean;
  #caches: { readonly policy: string; readonly cache: SimulatedCache }[] = [];
  #keys: number[] = [];
  #sizes: number[] = [];
  #isJudging = true;
  #given = 0;
  requests = 0;

  constructor(options: SimulationOptions) {
    this.#options = options;
    this.#keepAll = options.kinds.includes(BELADY);
    for (const kind of options.kinds) checkKind(kind);
  }

  /** @throws ZcacheError ERR_OPTION if belady is requested and the trace is too long */
  request(key: number, sizeBytes: number): void {
    this.requests++;
    if (!this.#isJudging) this.#give(key, sizeBytes);
    if (this.#isJudging || this.#keepAll) this.#keep(key, sizeBytes);
  }

  /**
   * Ends the trace.
   * @returns a row for each budget and kind, in the order of the options
   */
  result(): SimulationRow[] {
    if (this.#isJudging) this.#begin();
    const next = this.#keepAll ? nextUses(this.#keys) : new Float64Array();
    const rows = this.#caches.map(({ policy, cache }) => {
      if (cache instanceof Belady) {
        cache.foresee(next);
        this.#keys.forEach((key, nth) => {
          cache.request(key, this.#sizes[nth]!, this.#costOf(this.#sizes[nth]!));
          if (nth + 1 === this.#options.warmup) cache.forget();
        });
      }
      return { policy, budgetBytes: cache.budgetBytes, ...cache.tally };
    });
    this.close();
    return rows;
  }

  /** Frees all memory; also after a failure. */
  close(): void {
    for (const { cache } of this.#caches) cache.close();
    this.#caches = [];
    this.#keys = [];
    this.#sizes = [];
  }

  #keep(key: number, sizeBytes: number): void {
    if (this.#keys.length === KEPT_MAX) {
      const message = `belady keeps at most ${KEPT_MAX} requests; leave belady out`;
      throw new ZcacheError("ERR_OPTION", message);
    }
    this.#keys.push(key);
    this.#sizes.push(sizeBytes);
    if (this.#isJudging && this.#keys.length === JUDGED) this.#begin();
  }

  #costOf(sizeBytes: number): number {
    return Math.ceil(sizeBytes / this.#options.ratio) + this.#options.overheadBytes;
  }

  #give(key: number, sizeBytes: number): void {
    const costBytes = this.#costOf(sizeBytes);
    for (const { cache } of this.#caches) {
      if (!(cache instanceof Belady)) cache.request(key, sizeBytes, costBytes);
    }
    if (++this.#given === this.#options.warmup) this.#forget();
  }

  #forget(): void {
    for (const { cache } of this.#caches) if (!(cache instanceof Belady)) cache.forget();
  }

  /** Creates the caches, sized for the values seen so far, and passes these to them. */
  #begin(): void {
    this.#isJudging = false;
    const { budgetsBytes, kinds } = this.#options;
    const sum = this.#sizes.reduce((bytes, size) => bytes + this.#costOf(size), 0);
    const meanBytes = Math.max(1, sum / Math.max(1, this.#sizes.length));
    for (const budgetBytes of budgetsBytes) {
      const valuesExpected = Math.ceil(budgetBytes / meanBytes);
      for (const policy of kinds) {
        const cache = makeCache(policy, { budgetBytes, valuesExpected });
        this.#caches.push({ policy, cache });
      }
    }
    this.#keys.forEach((key, nth) => {
      this.#give(key, this.#sizes[nth]!);
    });
    if (this.#keepAll) return;
    this.#keys = [];
    this.#sizes = [];
  }
}

function makeCache(kind: string, space: CacheSpace): SimulatedCache {
  if (kind === BELADY) return new Belady(space);
  if (kind === "gdsf") return new Gdsf(space);
  if (kind === "w-tinylfu" || kind === "w-tinylfu-adaptive") {
    return new WTinyLfu(space, kind !== "w-tinylfu");
  }
  const [first, second] = kind.split("+") as [string, string | undefined];
  return second === undefined
    ? new ArenaCache(first, undefined, space)
    : new ArenaCache(second, first as AdmissionName, space);
}
