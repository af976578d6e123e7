// memcached's items as one thread sees them: which items count, what a change gives them, flushes.
// What commands do to items stands beside this, a function for each: get.ts, set.ts, delta.ts and
// delete.ts. Every change of an item happens under the lock of its key, so that reading, deciding
// and writing are one step for all threads.
import { U64 } from "../../base/u64.ts";
import { sampleFlush } from "../../values/meta_expiry.ts";
import { type AnswerBuffer, ItemAccess } from "./access.ts";
import { C, type Counters } from "./counters.ts";
import * as Look from "./item_log.ts";
import * as Item from "./items.layout.ts";
import { hasExpired } from "./lifetime.ts";
import type { SetFacts } from "./plain_sets.ts";
import { DONE, NO_MEMORY, type Outcome } from "./requests.ts";
import type { ItemShards } from "./shards.ts";
import type { ItemsShared } from "./shared.ts";

/** What an item is counted to take beside its key and value when it is held against the limit. */
const ITEM_OVERHEAD_BYTES = 50;
/** Units of work that a command takes beside the bytes of values and replies (engine.ts). */
export const COMMAND_UNITS = 128;
/** The key that is locked for a flush; it may also be the key of an item. */
const FLUSH_KEY = new Uint8Array([0]);

export interface ItemsOptions {
  readonly shards: ItemShards;
  readonly shared: ItemsShared;
  readonly counters: Counters;
  /** Key, value and 50 bytes of an item, at most. */
  readonly itemBytesMax: number;
  /** Without cas numbers all of them are 0, and none can be compared with. */
  readonly casEnabled?: boolean;
}

export class Items extends ItemAccess {
  readonly shared: ItemsShared;
  readonly counters: Counters;
  /** This thread's counters. */
  readonly counts: Float64Array;
  /** Key, value and 50 bytes of an item, at most; may be changed. */
  itemBytesMax: number;
  /** Bytes of values that were stored, since the caller has set it to 0. */
  workBytes = 0;
  /** Whether a set has been counted, and its outcome is not known: an error may have ended it. */
  isSetOpen = false;
  /** The result of `deltaItem`. */
  readonly number = new U64();
  /** Told of what commands do, while a client watches. */
  log: Look.ItemLog | undefined = undefined;
  readonly #casEnabled: boolean;
  readonly #setFacts: SetFacts;
  #scratch = new Uint8Array(4096);

  constructor(options: ItemsOptions) {
    const { shards, shared, counters, itemBytesMax, casEnabled } = options;
    super(shards);
    this.shared = shared;
    this.counters = counters;
    this.counts = counters.own;
    this.itemBytesMax = itemBytesMax;
    this.#casEnabled = casEnabled ?? true;
    this.#setFacts = { items: this, casEnabled: this.#casEnabled };
  }

  /** Sets the time, in milliseconds since 1970, and does a flush that is due. */
  tick(nowMs: number): void {
    this.now = Math.floor(nowMs / 1000) + this.shared.clockShift;
    this.settle();
  }

  /** Whether a value of this length may be stored under a key of that length, in bytes. */
  fits(keyBytes: number, valueBytes: number): boolean {
    return (
      valueBytes <= this.valueBytesMax &&
      keyBytes + valueBytes + ITEM_OVERHEAD_BYTES <= this.itemBytesMax
    );
  }

  /** Answers lines that are plain gets, as far as the kernel can. @returns bytes of those lines */
  answerGets(lines: Uint8Array, from: number, to: number, target: AnswerBuffer): number {
    // Watchers are told of each get.
    if (this.log !== undefined) return 0;
    const used = this.answerLines(lines, from, to, target, this.shared.flushes());
    this.counts[C.cmd_get]! += this.hits;
    this.counts[C.get_hits]! += this.hits;
    return used;
  }

  /** Does lines that are plain sets, as far as the kernel can. @returns bytes of those lines */
  storeLines(lines: Uint8Array, from: number, to: number, target: AnswerBuffer): number {
    // Watchers are told of each set.
    if (this.log !== undefined) return 0;
    const used = this.putLines(lines, from, to, target, this.#setFacts);
    if (used === 0) return 0;
    const { sets, valueBytes } = this.plainSets!;
    this.counts[C.cmd_set]! += sets;
    this.counts[C.total_items]! += sets;
    this.workBytes += valueBytes + (sets - 1) * COMMAND_UNITS;
    return used;
  }

  /** Flushes at `due`, in seconds since 1970; at once if that is not in the future. */
  flush(due: number): void {
    this.counts[C.cmd_flush]!++;
    this.#flush(due, () => true);
  }

  /** Does a delayed flush that is due. */
  settle(): void {
    const isDue = () => this.shared.isFlushDue(this.now);
    if (isDue()) this.#flush(this.now, isDue);
  }

  /** One thread at a time; another may have done what is wanted meanwhile. */
  #flush(due: number, isWanted: () => boolean): void {
    const { shared, now } = this;
    this.lock(FLUSH_KEY, 0, FLUSH_KEY.length);
    try {
      if (!isWanted()) return;
      // Kept for the next process before it is done: the next process knows the number of items
      // that are stored afterwards.
      if (due > now) this.#keepFlush(shared.flushes(), due);
      else this.#keepFlush(shared.flushesNext(), 0);
      shared.flush(due, now);
      if (due <= now) sampleFlush(this.shards.values[0]!);
    } finally {
      this.unlock();
    }
  }

  #keepFlush(flushes: number, due: number): void {
    this.note([flushes, due, 0, 0]);
  }

  /** Whether the item whose words are in `meta` still counts. */
  isAlive(): boolean {
    return (
      this.meta[Item.BITS]! >>> Item.FLUSH_SHIFT === this.shared.flushes() &&
      !hasExpired(this.meta[Item.EXPIRES]!, this.now)
    );
  }

  /**
   * Finds the item of the locked key, which stands at [from, to); one that is gone is removed.
   * @param isLook only to learn whether there is one; see `look`
   */
  findAlive(key: Uint8Array, from: number, to: number, isLook = false): boolean {
    const { log, counts } = this;
    if (!(isLook ? this.look() : this.find())) {
      log?.fetched(key, from, to, Look.MISSED, 0);
      return false;
    }
    const bits = this.meta[Item.BITS]!;
    const flushed = bits >>> Item.FLUSH_SHIFT !== this.shared.flushes();
    if (!flushed && !hasExpired(this.meta[Item.EXPIRES]!, this.now)) {
      log?.fetched(key, from, to, Look.FOUND, this.valueBytes);
      return true;
    }
    log?.fetched(key, from, to, flushed ? Look.FLUSHED : Look.EXPIRED, 0);
    if (!isLook) counts[flushed ? C.get_flushed : C.get_expired]!++;
    if (!flushed && (bits & Item.FETCHED) === 0) counts[C.expired_unfetched]!++;
    counts[C.reclaimed]!++;
    this.remove();
    return false;
  }

  /** Records a use of the item; at most once a minute, as memcached does, because it is a write. */
  bump(bits: typeof Item.FETCHED | 0 = Item.FETCHED): void {
    const { meta } = this;
    const isRecorded = (meta[Item.BITS]! & bits) === bits;
    if (isRecorded && this.now - meta[Item.ACCESSED]! < Item.BUMP_S) return;
    meta[Item.ACCESSED] = this.now;
    meta[Item.BITS]! |= bits;
    this.writeUse();
  }

  hasCas(cas: U64): boolean {
    return cas.equals(this.meta[Item.CAS_HIGH]!, this.meta[Item.CAS_LOW]!);
  }

  /** Whether a cas number that a client has sent is lower than the item's. */
  isOlder(cas: U64): boolean {
    return !cas.isZero && cas.compare(this.meta[Item.CAS_HIGH]!, this.meta[Item.CAS_LOW]!) < 0;
  }

  /** Fills `meta` for a new item; `setCas` is to follow. */
  newMeta(clientFlags: number, expires: number, keyBinary: boolean): void {
    const { meta } = this;
    meta[Item.CLIENT_FLAGS] = clientFlags;
    meta[Item.EXPIRES] = expires;
    meta[Item.ACCESSED] = this.now;
    meta[Item.BITS] =
      (this.shared.flushes() << Item.FLUSH_SHIFT) | (keyBinary ? Item.KEY_BINARY : 0);
  }

  /** Puts the cas number that a changed item gets into `meta`. */
  setCas(request: { readonly hasNewCas: boolean; readonly newCas: U64 }): void {
    const { meta, shared } = this;
    if (!this.#casEnabled) {
      meta[Item.CAS_LOW] = meta[Item.CAS_HIGH] = 0;
      return;
    }
    if (request.hasNewCas) {
      meta[Item.CAS_LOW] = request.newCas.low;
      meta[Item.CAS_HIGH] = request.newCas.high;
      return;
    }
    shared.nextCas();
    meta[Item.CAS_LOW] = shared.casLow;
    meta[Item.CAS_HIGH] = shared.casHigh;
  }

  /** `put`, counted. @returns NO_MEMORY where there is no room; then the old item is gone too */
  putCounted(value: Uint8Array, from: number, to: number): Outcome {
    if (!this.put(value, from, to)) {
      this.counts[C.store_no_memory]!++;
      return NO_MEMORY;
    }
    this.counts[C.total_items]!++;
    return DONE;
  }

  /** `putCounted` of an empty value. */
  putEmpty(): Outcome {
    return this.putCounted(this.#scratch, 0, 0);
  }

  /** Bytes for a value that is made of others; grows to the largest that was needed. */
  scratchOf(bytes: number): Uint8Array {
    if (this.#scratch.length < bytes) this.#scratch = new Uint8Array(bytes * 2);
    return this.#scratch;
  }
}
