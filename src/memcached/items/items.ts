// memcached's items over a store of bytes: when they expire, what a cas number is, what add,
// append, incr, touch and their kin do. Every change of one item happens under the lock of its
// key, so that what is read, decided and written is one step for all threads.
import { assert } from "../../base/errors.ts";
import { U64, U64_DIGITS_MAX } from "../../base/u64.ts";
import type { AnswerBuffer, ItemStore } from "./contract.ts";
import { C, type Counters } from "./counters.ts";
import * as Look from "./item_log.ts";
import * as Item from "./items.layout.ts";
import { hasExpired } from "./lifetime.ts";
import { NUMBER_BYTES_MAX, parseSpaced, writeSpaced } from "./number.ts";
import type { ItemsOptions } from "./options.ts";
import type { DeltaRequest, GetRequest, RemoveRequest, StoreRequest } from "./requests.ts";
import * as Mode from "./requests.ts";
import {
  DONE,
  EXISTS,
  NO_MEMORY,
  NOT_FOUND,
  NOT_NUMBER,
  NOT_STORED,
  type Outcome,
  TOO_LARGE,
} from "./requests.ts";
import type { ItemsShared } from "./shared.ts";

/** What an item is counted to take beside its key and value when it is held against the limit. */
const ITEM_OVERHEAD_BYTES = 50;
const FLUSH_KEY = new Uint8Array([0]); // locked by who flushes: a key like any other

export class Items {
  readonly store: ItemStore;
  readonly shared: ItemsShared;
  /** Metadata of the item met last; the store's view. */
  readonly meta: Uint32Array;
  /** Key, value and 50 bytes of an item, at most; may be changed. */
  itemBytesMax: number;
  /** Seconds since 1970; set by `tick` before a batch of commands. */
  now = 0;
  /** Bytes of values that have been stored, since the caller has set it to 0. */
  workBytes = 0;
  /** What `delta` made. */
  readonly number = new U64();
  /** Told of what is done, while somebody watches. */
  log: Look.ItemLog | undefined = undefined;
  readonly counters: Counters;
  readonly #counters: Float64Array;
  readonly #casEnabled: boolean;
  /** An old value with the new one, and digits; grows to the largest value that was extended. */
  #scratch = new Uint8Array(4096);

  constructor({ store, shared, counters, itemBytesMax, casEnabled }: ItemsOptions) {
    assert(store.meta.length >= Item.META_WORDS, "a store keeps all words of the metadata");
    this.store = store;
    this.shared = shared;
    this.meta = store.meta;
    this.counters = counters;
    this.#counters = counters.own;
    this.itemBytesMax = itemBytesMax;
    this.#casEnabled = casEnabled ?? true;
  }

  /** Says what time it is, in milliseconds since 1970, and does a flush that is due. */
  tick(nowMs: number): void {
    this.now = Math.floor(nowMs / 1000) + this.shared.clockShift;
    this.settle();
  }

  /** Whether a value of this length may be stored under a key of that length, in bytes. */
  fits(keyBytes: number, valueBytes: number): boolean {
    return (
      valueBytes <= this.store.valueBytesMax &&
      keyBytes + valueBytes + ITEM_OVERHEAD_BYTES <= this.itemBytesMax
    );
  }

  /** Answers lines that are plain gets, as far as the store can. @returns bytes of those lines */
  answerGets(lines: Uint8Array, from: number, to: number, target: AnswerBuffer): number {
    const { store, now } = this;
    if (this.log !== undefined) return 0;
    const used = store.answerGets(lines, from, to, target, now, this.shared.flushes());
    this.#counters[C.cmd_get]! += store.hits;
    this.#counters[C.get_hits]! += store.hits;
    return used;
  }

  /** Finds an item to be read: `meta`, `store.valueBytes`, and `store.read` give what it is. */
  get(key: Uint8Array, from: number, to: number): boolean {
    const { store } = this;
    store.lock(key, from, to);
    try {
      const found = this.#findAlive(key, from, to);
      if (found) this.#bump();
      this.#counters[C.cmd_get]!++;
      this.#counters[found ? C.get_hits : C.get_misses]!++;
      return found;
    } finally {
      store.unlock();
    }
  }

  /** Changes when an item expires, and finds it to be read. */
  touch(key: Uint8Array, from: number, to: number, expires: number): boolean {
    const { store } = this;
    store.lock(key, from, to);
    try {
      const found = this.#findAlive(key, from, to);
      this.#counters[C.cmd_touch]!++;
      this.#counters[found ? C.touch_hits : C.touch_misses]!++;
      if (!found) return false;
      this.meta[Item.EXPIRES] = expires;
      this.meta[Item.ACCESSED] = this.now;
      this.meta[Item.BITS]! |= Item.FETCHED;
      return store.writeMeta();
    } finally {
      store.unlock();
    }
  }

  /** Finds an item without a trace of it. */
  peek(key: Uint8Array, from: number, to: number): boolean {
    this.store.lock(key, from, to);
    try {
      return this.#findAlive(key, from, to);
    } finally {
      this.store.unlock();
    }
  }

  /** Finds an item, or makes an empty one, as `mg` asks; the answers are in the request. */
  metaGet(key: Uint8Array, from: number, to: number, request: GetRequest): boolean {
    const { store } = this;
    store.lock(key, from, to);
    try {
      const found = this.#findAlive(key, from, to) || this.#vivify(request);
      const isTouch = found && request.hasExpires;
      if (!request.isCounted) {
        this.#counters[isTouch ? C.cmd_touch : C.cmd_get]!++;
        this.#counters[isTouch ? C.touch_hits : found ? C.get_hits : C.get_misses]!++;
      }
      if (found) this.#answerLocked(request);
      return found;
    } finally {
      store.unlock();
    }
  }

  /** Stores the value of the request under a key, on the request's conditions. */
  put(key: Uint8Array, from: number, to: number, request: StoreRequest): Outcome {
    const { value, valueFrom, valueTo } = request;
    let bytes = valueTo - valueFrom;
    this.#counters[C.cmd_set]!++;
    this.workBytes += bytes;
    if (!this.fits(to - from, bytes)) return this.tooLarge(key, from, to, request);
    const extends_ = request.mode === Mode.APPEND || request.mode === Mode.PREPEND;
    if (!extends_) this.store.prepare(value, valueFrom, valueTo);
    this.store.lock(key, from, to);
    try {
      // Whatever a plain set finds, it replaces.
      const isPlain = request.mode === Mode.SET && !request.hasCas;
      const found = this.#findAlive(key, from, to, isPlain);
      if (extends_ && found) bytes += this.store.valueBytes;
      let outcome = this.#mayStore(found, request);
      if (outcome === DONE && extends_) {
        if (!this.#extend(to - from, request)) outcome = NOT_STORED;
      }
      if (outcome === DONE) outcome = this.#putLocked(request);
      this.log?.stored(key, from, to, outcome, request, bytes);
      return outcome;
    } finally {
      this.store.unlock();
    }
  }

  /** What is under the key goes, so that nobody takes it for the value that was too large. */
  tooLarge(
    key: Uint8Array,
    from: number,
    to: number,
    request: Look.StoreFacts = Look.PLAIN_SET,
    removes = true,
  ): Outcome {
    this.#counters[C.store_too_large]!++;
    this.store.lock(key, from, to);
    try {
      this.log?.stored(key, from, to, TOO_LARGE, request, 0);
      if (removes) this.store.remove();
    } finally {
      this.store.unlock();
    }
    return TOO_LARGE;
  }

  /** Adds to or subtracts from a number in decimal; the result is in `number`. */
  delta(key: Uint8Array, from: number, to: number, request: DeltaRequest): Outcome {
    const { store } = this;
    store.lock(key, from, to);
    try {
      if (this.#findAlive(key, from, to)) return this.#deltaLocked(request);
      if (!request.vivify) {
        this.#counters[request.increment ? C.incr_misses : C.decr_misses]!++;
        return NOT_FOUND;
      }
      request.created = true;
      this.number.set(request.initial.high, request.initial.low);
      this.#newMeta(0, request.expiresIfMade, request.keyBinary);
      return this.#putNumber(0, request);
    } finally {
      store.unlock();
    }
  }

  /** Takes an item away, or marks it stale. */
  remove(key: Uint8Array, from: number, to: number, request: RemoveRequest): Outcome {
    const { store } = this;
    store.lock(key, from, to);
    try {
      if (!this.#findAlive(key, from, to)) {
        store.forget();
        this.#counters[C.delete_misses]!++;
        return NOT_FOUND;
      }
      if (request.hasCas && !this.#hasCas(request.cas)) {
        this.#counters[C.delete_misses]!++;
        return EXISTS;
      }
      if (request.invalidate || request.emptied) return this.#invalidate(request);
      if (this.log !== undefined) this.log.removed(key, from, to, request.byMeta, store.valueBytes);
      store.remove();
      this.#counters[C.delete_hits]!++;
      return DONE;
    } finally {
      store.unlock();
    }
  }

  /** @param due when, in seconds since 1970; what is not to come is now */
  flush(due: number): void {
    this.#counters[C.cmd_flush]!++;
    this.#flush(due, () => true);
  }

  /** Does the flush that was put off until now. */
  settle(): void {
    const isDue = () => this.shared.isFlushDue(this.now);
    if (isDue()) this.#flush(this.now, isDue);
  }

  /** One thread at a time; another may have done what was wanted. */
  #flush(due: number, isWanted: () => boolean): void {
    const { shared, store, now } = this;
    store.lock(FLUSH_KEY, 0, FLUSH_KEY.length);
    try {
      if (!isWanted()) return;
      // Before it is done: what is stored afterwards has a number that the next process knows.
      if (due > now) store.noteFlush(shared.flushes(), due);
      else store.noteFlush(shared.flushesNext(), 0);
      shared.flush(due, now);
    } finally {
      store.unlock();
    }
  }

  /** Whether the item met last is one that still counts. */
  isAlive(): boolean {
    return (
      this.meta[Item.BITS]! >>> Item.FLUSH_SHIFT === this.shared.flushes() &&
      !hasExpired(this.meta[Item.EXPIRES]!, this.now)
    );
  }

  #findAlive(key: Uint8Array, from: number, to: number, isLook = false): boolean {
    const { log, store } = this;
    if (!(isLook ? store.look() : store.find())) {
      log?.fetched(key, from, to, Look.MISSED, 0);
      return false;
    }
    const bits = this.meta[Item.BITS]!;
    const flushed = bits >>> Item.FLUSH_SHIFT !== this.shared.flushes();
    if (!flushed && !hasExpired(this.meta[Item.EXPIRES]!, this.now)) {
      log?.fetched(key, from, to, Look.FOUND, store.valueBytes);
      return true;
    }
    log?.fetched(key, from, to, flushed ? Look.FLUSHED : Look.EXPIRED, 0);
    if (!isLook) this.#counters[flushed ? C.get_flushed : C.get_expired]!++;
    if (!flushed && (bits & Item.FETCHED) === 0) this.#counters[C.expired_unfetched]!++;
    this.#counters[C.reclaimed]!++;
    this.store.remove();
    return false;
  }

  /** Notes a use. At most once a minute for each item, as memcached, because it writes. */
  #bump(bits: typeof Item.FETCHED | 0 = Item.FETCHED): void {
    const { meta } = this;
    const isNoted = (meta[Item.BITS]! & bits) === bits;
    if (isNoted && this.now - meta[Item.ACCESSED]! < Item.BUMP_S) return;
    meta[Item.ACCESSED] = this.now;
    meta[Item.BITS]! |= bits;
    this.store.writeUse();
  }

  #hasCas(cas: U64): boolean {
    return cas.equals(this.meta[Item.CAS_HIGH]!, this.meta[Item.CAS_LOW]!);
  }

  #newMeta(clientFlags: number, expires: number, keyBinary: boolean): void {
    const { meta } = this;
    meta[Item.CLIENT_FLAGS] = clientFlags;
    meta[Item.EXPIRES] = expires;
    meta[Item.ACCESSED] = this.now;
    meta[Item.BITS] =
      (this.shared.flushes() << Item.FLUSH_SHIFT) | (keyBinary ? Item.KEY_BINARY : 0);
  }

  #setCas(request: { readonly hasNewCas: boolean; readonly newCas: U64 }): void {
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

  /** Puts what is prepared. @returns NO_MEMORY where there is no room; then the item is gone */
  #putPrepared(): Outcome {
    if (!this.store.put()) {
      this.#counters[C.store_no_memory]!++;
      return NO_MEMORY;
    }
    this.#counters[C.total_items]!++;
    return DONE;
  }

  #vivify(request: GetRequest): boolean {
    if (!request.vivify) return false;
    this.store.prepare(this.#scratch, 0, 0);
    this.#newMeta(0, request.vivifyExpires, request.keyBinary);
    this.#setCas(request);
    if (this.#putPrepared() !== DONE || !this.store.find()) return false;
    request.created = true;
    return true;
  }

  /** Reads what was before, then does what the request asks of an item that is there. */
  #answerLocked(request: GetRequest): void {
    const { meta } = this;
    const bits = meta[Item.BITS]!;
    request.wasFetched = (bits & Item.FETCHED) !== 0;
    request.accessedBefore = meta[Item.ACCESSED]!;
    request.expiresBefore = meta[Item.EXPIRES]!;
    const isTouched = request.hasExpires && !(request.created && request.vivifyLast);
    const expiresAfter = isTouched ? request.expires : request.expiresBefore;
    const compared = request.touchFirst ? expiresAfter : request.expiresBefore;
    const recache = request.hasRecache && compared !== 0 && compared < request.recacheBefore;
    const stale = (bits & Item.STALE) !== 0;
    request.won = request.created || ((bits & Item.TOKEN_SENT) === 0 && (stale || recache));
    meta[Item.EXPIRES] = expiresAfter;
    if (!request.noBump) {
      meta[Item.ACCESSED] = this.now;
      meta[Item.BITS]! |= Item.FETCHED;
    }
    if (request.won) meta[Item.BITS]! |= Item.TOKEN_SENT;
    const used = meta[Item.BITS] !== bits || meta[Item.ACCESSED] !== request.accessedBefore;
    if (request.won || expiresAfter !== request.expiresBefore) this.store.writeMeta();
    else if (used) this.store.writeUse();
    // The answer tells of a token that was sent before; a winner is told that it has won.
    meta[Item.BITS] = request.won ? meta[Item.BITS]! & ~Item.TOKEN_SENT : meta[Item.BITS]!;
  }

  /** Whether the request's conditions hold; `meta` tells of the item that was there. */
  #mayStore(found: boolean, request: StoreRequest): Outcome {
    const { mode } = request;
    if (!found) {
      if (request.hasCas && (mode === Mode.SET || mode === Mode.REPLACE)) {
        this.#counters[C.cas_misses]!++;
        return NOT_FOUND;
      }
      if (mode === Mode.SET || mode === Mode.ADD) return DONE;
      return mode !== Mode.REPLACE && request.vivify ? DONE : NOT_STORED;
    }
    if (mode === Mode.ADD) {
      this.#bump(0);
      return NOT_STORED;
    }
    const isAdded = mode === Mode.APPEND || mode === Mode.PREPEND;
    if (!request.hasCas || (isAdded && request.cas.isZero)) return DONE;
    const { cas, invalidate } = request;
    if (this.#hasCas(cas) || (invalidate && !isAdded && this.#isOlder(cas))) {
      this.#counters[C.cas_hits]!++;
      return DONE;
    }
    this.#counters[C.cas_badval]!++;
    return EXISTS;
  }

  #isOlder(cas: U64): boolean {
    return !cas.isZero && cas.compare(this.meta[Item.CAS_HIGH]!, this.meta[Item.CAS_LOW]!) < 0;
  }

  /** Makes the new value of the old one and what is added to it, and prepares it. */
  #extend(keyBytes: number, request: StoreRequest): boolean {
    const { store } = this;
    const { value, valueFrom: from, valueTo: to } = request;
    if (!store.find()) {
      // There was none, and one may be made.
      request.expires = request.vivifyExpires;
      store.prepare(value, from, to);
      return true;
    }
    const oldBytes = store.valueBytes;
    const bytes = oldBytes + to - from;
    if (!this.fits(keyBytes, bytes)) return false;
    this.workBytes += oldBytes + bytes;
    const scratch = this.#scratchOf(bytes);
    const atOld = request.mode === Mode.APPEND ? 0 : to - from;
    if (!store.read(scratch, atOld)) return false;
    scratch.set(value.subarray(from, to), request.mode === Mode.APPEND ? oldBytes : 0);
    store.prepare(scratch, 0, bytes);
    request.clientFlags = this.meta[Item.CLIENT_FLAGS]!;
    request.expires = this.meta[Item.EXPIRES]!;
    return true;
  }

  #putLocked(request: StoreRequest): Outcome {
    const { meta } = this;
    const late =
      request.invalidate && request.hasCas && this.#isOlder(request.cas) && this.store.find();
    const kept = late ? (meta[Item.BITS]! & Item.TOKEN_SENT) | Item.STALE : 0;
    const expires = late ? meta[Item.EXPIRES]! : request.expires;
    this.#newMeta(request.clientFlags, expires, request.keyBinary);
    meta[Item.BITS]! |= kept;
    this.#setCas(request);
    return this.#putPrepared();
  }

  #invalidate(request: RemoveRequest): Outcome {
    const { meta, store } = this;
    if (request.hasExpires) meta[Item.EXPIRES] = request.expires;
    // The next client that asks may win.
    if (request.invalidate) meta[Item.BITS] = (meta[Item.BITS]! | Item.STALE) & ~Item.TOKEN_SENT;
    this.#setCas(request);
    if (!request.emptied) return store.writeMeta() ? DONE : NOT_FOUND;
    meta[Item.CLIENT_FLAGS] = 0;
    store.prepare(this.#scratch, 0, 0);
    return this.#putPrepared();
  }

  #deltaLocked(request: DeltaRequest): Outcome {
    const { store, number } = this;
    const oldBytes = store.valueBytes;
    if (oldBytes === 0) return NOT_NUMBER;
    if (request.hasCas && !this.#hasCas(request.cas)) return EXISTS;
    if (oldBytes > NUMBER_BYTES_MAX) return NOT_NUMBER;
    const scratch = this.#scratchOf(NUMBER_BYTES_MAX + U64_DIGITS_MAX);
    if (!store.read(scratch, 0) || !parseSpaced(scratch, oldBytes, number)) return NOT_NUMBER;
    const { high, low } = request.delta;
    if (request.increment) number.add(high, low);
    else number.subtract(high, low);
    this.#counters[request.increment ? C.incr_hits : C.decr_hits]!++;
    request.expiresBefore = this.meta[Item.EXPIRES]!;
    if (request.hasExpires) this.meta[Item.EXPIRES] = request.expires;
    this.meta[Item.ACCESSED] = this.now;
    return this.#putNumber(oldBytes, request);
  }

  /** Stores `number`. */
  #putNumber(bytesMin: number, request: DeltaRequest): Outcome {
    const scratch = this.#scratchOf(NUMBER_BYTES_MAX + U64_DIGITS_MAX);
    const count = writeSpaced(scratch, this.number, bytesMin);
    // As memcached: a number that has become longer is an item that nobody has read.
    if (count > bytesMin) this.meta[Item.BITS]! &= ~Item.FETCHED;
    this.store.prepare(scratch, 0, count);
    this.#setCas(request);
    return this.#putPrepared();
  }

  #scratchOf(bytes: number): Uint8Array {
    if (this.#scratch.length < bytes) this.#scratch = new Uint8Array(bytes * 2);
    return this.#scratch;
  }
}
