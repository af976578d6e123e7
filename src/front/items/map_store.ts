// A store of items that is a Map: what the contract means, written plainly. Uncompressed, of one
// thread, and with an object for each item; for tests, and where nothing else is at hand.
//
// Victims are the least recently used, which a Map's own order gives.
import { assert } from "../../base/errors.ts";
import type { ItemStore, ItemStoreStats } from "./contract.ts";
import { META_WORDS } from "./items.layout.ts";

/** About what Map, strings and arrays take for an item beside its bytes. */
const ENTRY_BYTES = 200;
const SCANNED_AT_ONCE = 64;

interface Entry {
  readonly meta: Uint32Array;
  readonly value: Uint8Array;
}

export interface MapStoreOptions {
  /** Bytes of all keys and values, with 200 for each. */
  readonly memoryMax: number;
  readonly valueBytesMax?: number;
  /** Drop the least recently used where there is no room; otherwise refuse. */
  readonly evicts?: boolean;
}

export class MapStore implements ItemStore {
  readonly valueBytesMax: number;
  readonly meta = new Uint32Array(META_WORDS);
  valueBytes = 0;
  readonly #entries = new Map<string, Entry>();
  readonly #evicts: boolean;
  #memoryMax: number;
  #key = "";
  #locked = false;
  #found: Entry | undefined;
  #prepared = new Uint8Array(0);
  #usedBytes = 0;
  #logicalBytes = 0;
  #evictions = 0;
  #scanned: string[] = [];

  constructor({ memoryMax, valueBytesMax, evicts }: MapStoreOptions) {
    this.#memoryMax = memoryMax;
    this.valueBytesMax = valueBytesMax ?? 128 * 1024 * 1024;
    this.#evicts = evicts ?? true;
  }

  lock(key: Uint8Array, from: number, to: number): void {
    assert(!this.#locked, "one key is locked at a time");
    assert(to > from && to - from <= 250, "a key has 1 to 250 bytes");
    this.#locked = true;
    this.#found = undefined;
    let text = "";
    for (let at = from; at < to; at++) text += String.fromCharCode(key[at]!);
    this.#key = text;
  }

  unlock(): void {
    this.#assertLocked();
    this.#locked = false;
  }

  find(): boolean {
    this.#assertLocked();
    const entry = this.#entries.get(this.#key);
    this.#found = entry;
    if (entry === undefined) return false;
    this.#entries.delete(this.#key);
    this.#entries.set(this.#key, entry);
    this.meta.set(entry.meta);
    this.valueBytes = entry.value.length;
    return true;
  }

  read(target: Uint8Array, at: number): boolean {
    assert(this.#found !== undefined, "what is read was found");
    target.set(this.#found.value, at);
    return true;
  }

  writeMeta(): void {
    this.#assertLocked();
    assert(this.#found !== undefined, "what is written was found");
    this.#found.meta.set(this.meta);
  }

  prepare(value: Uint8Array, from: number, to: number): void {
    assert(to - from <= this.valueBytesMax, "a value is as large as it may be");
    this.#prepared = value.slice(from, to);
  }

  put(): boolean {
    this.#assertLocked();
    this.#drop(this.#key);
    this.#found = undefined;
    const needed = this.#key.length + this.#prepared.length + ENTRY_BYTES;
    if (!this.#makeRoom(needed)) return false;
    this.#entries.set(this.#key, { meta: this.meta.slice(), value: this.#prepared });
    this.#usedBytes += needed;
    this.#logicalBytes += needed - ENTRY_BYTES;
    return true;
  }

  remove(): void {
    this.#assertLocked();
    this.#drop(this.#key);
    this.#found = undefined;
  }

  stats(): ItemStoreStats {
    return {
      items: this.#entries.size,
      logicalBytes: this.#logicalBytes,
      usedBytes: this.#usedBytes,
      limitBytes: this.#memoryMax,
      evictions: this.#evictions,
      more: { store: "map" },
    };
  }

  /** A scan goes over the keys that there were at its beginning; one at a time is known. */
  scan(place: number, visit: (key: Uint8Array) => void): number {
    if (place === 0) this.#scanned = [...this.#entries.keys()];
    const end = Math.min(place + SCANNED_AT_ONCE, this.#scanned.length);
    for (let i = place; i < end; i++) {
      const key = this.#scanned[i]!;
      const entry = this.#entries.get(key);
      if (entry === undefined) continue;
      this.meta.set(entry.meta);
      this.valueBytes = entry.value.length;
      visit(Uint8Array.from(key, (letter) => letter.charCodeAt(0)));
    }
    if (end < this.#scanned.length) return end;
    this.#scanned = [];
    return -1;
  }

  limit(bytes: number): boolean {
    this.#memoryMax = bytes;
    this.#makeRoom(0);
    return true;
  }

  #makeRoom(bytes: number): boolean {
    if (!this.#evicts) return this.#usedBytes + bytes <= this.#memoryMax;
    for (const key of this.#entries.keys()) {
      if (this.#usedBytes + bytes <= this.#memoryMax) break;
      this.#drop(key);
      this.#evictions++;
    }
    return this.#usedBytes + bytes <= this.#memoryMax;
  }

  #drop(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    const bytes = key.length + entry.value.length;
    this.#usedBytes -= bytes + ENTRY_BYTES;
    this.#logicalBytes -= bytes;
  }

  #assertLocked(): void {
    assert(this.#locked, "the key is locked");
  }
}
