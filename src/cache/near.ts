// Decoded values that a thread keeps, so that a value that is read often is decoded once.
import type { Versions } from "../store/versions.ts";

/** A decoded value, and what tells whether it is still valid. */
export interface NearValue {
  readonly value: unknown;
  /** Bytes of the value as it is stored. */
  readonly bytes: number;
  /** The low half of the key's hash, and what `Versions.of` returned before the value was read. */
  readonly hashLow: number;
  /** The versions of the key's shard. */
  readonly versions: Versions;
  readonly version: number;
  /** ms since 1970 until which the value is fresh; Infinity: without an end. */
  readonly freshMs: number;
}

/** Approximate memory of a kept value, beside its bytes. */
const OVERHEAD_BYTES = 150;

/**
 * Two generations, so that a hit costs one Map lookup and no list of uses is maintained. A full
 * young generation becomes the old one; values of the previous old generation that were not read
 * since are dropped.
 */
export class NearCache {
  readonly #generationBytes: number;
  #young = new Map<string, NearValue>();
  #old = new Map<string, NearValue>();
  #youngBytes = 0;

  constructor(bytesMax: number) {
    this.#generationBytes = bytesMax / 2;
  }

  /** @returns the value; undefined if it is not kept, was changed since, or is no longer fresh */
  get(key: string): unknown {
    const young = this.#young.get(key);
    const kept = young ?? this.#old.get(key);
    if (kept === undefined) return undefined;
    if (kept.versions.of(kept.hashLow) !== kept.version) return undefined;
    if (kept.freshMs !== Number.POSITIVE_INFINITY && kept.freshMs <= Date.now()) return undefined;
    if (young === undefined) this.#add(key, kept);
    return kept.value;
  }

  /** Keeps a value, unless it would take more than a quarter of a generation. */
  keep(key: string, kept: NearValue): void {
    if (costOf(key, kept) <= this.#generationBytes / 4) this.#add(key, kept);
  }

  clear(): void {
    this.#young.clear();
    this.#old.clear();
    this.#youngBytes = 0;
  }

  #add(key: string, kept: NearValue): void {
    const cost = costOf(key, kept);
    if (this.#youngBytes + cost > this.#generationBytes) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#youngBytes = 0;
    }
    const before = this.#young.get(key);
    this.#youngBytes += cost - (before === undefined ? 0 : costOf(key, before));
    this.#young.set(key, kept);
  }
}

function costOf(key: string, { bytes }: NearValue): number {
  return bytes + key.length + OVERHEAD_BYTES;
}

/**
 * Freezes a value deeply if that makes it immutable. A Map, a Date or a byte array stays mutable
 * when it is frozen; a value that contains one is left as it is.
 * @returns whether the value is frozen now
 */
export function freeze(value: unknown): boolean {
  const parts = new Set<object>();
  if (!collectPlain(value, parts)) return false;
  for (const part of parts) Object.freeze(part);
  return true;
}

/** Collects all objects of a value. @returns whether all of them are plain objects and arrays */
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
