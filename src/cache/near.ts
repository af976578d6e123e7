// The values that a thread has decoded lately, so that what is read all the time is decoded once.
import type { Versions } from "../store/versions.ts";

/** A value that a thread has decoded. */
interface Kept {
  readonly value: unknown;
  /** What it costs, in bytes. */
  readonly cost: number;
  readonly hash: number;
  readonly version: number;
  readonly freshMs: number;
}

/** What a thread keeps of each beside its bytes, about. */
const OVERHEAD_BYTES = 150;

/**
 * The values that a thread has decoded lately: two generations, so that a hit costs one look into a
 * Map and no order is kept. When the young one is full it becomes the old one, and what was not
 * asked for since is dropped with that.
 */
export class NearCache {
  readonly #half: number;
  readonly #versions: Versions;
  #young = new Map<string, Kept>();
  #old = new Map<string, Kept>();
  #bytes = 0;

  constructor(bytesMax: number, versions: Versions) {
    this.#half = bytesMax / 2;
    this.#versions = versions;
  }

  /** @returns undefined if it is not kept, or not good any more */
  get(key: string, now: () => number): unknown {
    const young = this.#young.get(key);
    const kept = young ?? this.#old.get(key);
    if (kept === undefined) return undefined;
    if (this.#versions.of(kept.hash) !== kept.version) return undefined;
    if (kept.freshMs !== Number.POSITIVE_INFINITY && kept.freshMs <= now()) return undefined;
    if (young === undefined) this.#add(key, kept);
    return kept.value;
  }

  /** @param version what `Versions.of` said before the value was read */
  keep(
    key: string,
    value: unknown,
    bytes: number,
    hash: number,
    version: number,
    freshMs: number,
  ): void {
    const cost = bytes + key.length + OVERHEAD_BYTES;
    if (cost <= this.#half / 4) this.#add(key, { value, cost, hash, version, freshMs });
  }

  #add(key: string, kept: Kept): void {
    if (this.#bytes + kept.cost > this.#half) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#bytes = 0;
    }
    this.#bytes += kept.cost - (this.#young.get(key)?.cost ?? 0);
    this.#young.set(key, kept);
  }

  clear(): void {
    this.#young.clear();
    this.#old.clear();
    this.#bytes = 0;
  }
}

/**
 * Freezes a value and all that it holds, if that makes it unchangeable: a Map, a Date or bytes are
 * changed by their methods all the same.
 * @returns whether it is frozen; if not, nothing of it is
 */
export function freeze(value: unknown): boolean {
  const parts = new Set<object>();
  if (!collectPlain(value, parts)) return false;
  for (const part of parts) Object.freeze(part);
  return true;
}

/** Collects what a value consists of. @returns whether all that is plain objects and arrays */
function collectPlain(value: unknown, parts: Set<object>): boolean {
  if (typeof value === "function") return false;
  if (typeof value !== "object" || value === null || parts.has(value)) return true;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== Array.prototype && prototype !== null) {
    return false;
  }
  parts.add(value);
  return Object.values(value).every((part) => collectPlain(part, parts));
}
