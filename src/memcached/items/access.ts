// One thread's access to memcached's items: the key that is locked, the words beside its value, and
// the value. An item is a value of src/values; its meta bytes are the six words of items.layout.ts.
// When an item is gone and what a cas number is, items.ts decides.
//
// Concurrency: a key is used between `lock` and `unlock`, by one thread at a time, which locks no
// other key meanwhile. `read` may also be called after `unlock`, until the next `lock`.
// Nothing is allocated for an operation but views of a value that is put. The value is copied once,
// or twice where that is faster (`#alignedView`).
import type { Address } from "../../base/brand.ts";
import { ZcacheError } from "../../base/errors.ts";
import type { Sampler } from "../../cache/engine.ts";
import { shardOfHash } from "../../shard/route.ts";
import { type RemoteArrivals, RemoteWait } from "../../store/remote_arrivals.ts";
import { FLAGS } from "../../store/value.layout.ts";
import type { Finder } from "../../values/finder.ts";
import { sampleDeletion, useMetaExpiry } from "../../values/meta_expiry.ts";
import { VALUE_BYTES_MAX } from "../../values/prefix.layout.ts";
import { keyBytesAt } from "../../values/prefix.ts";
import { useRemote, wantValue } from "../../values/remote_values.ts";
import { SetRequest } from "../../values/request.ts";
import type { Values } from "../../values/values.ts";
import { KEY_BYTES_MAX } from "../protocol/text.ts";
import { EXPIRES, META_WORDS } from "./items.layout.ts";
import { PlainSets, type SetFacts } from "./plain_sets.ts";
import { ShardedGets } from "./sharded_gets.ts";
import { type ItemEvictions, ItemScan, type ItemShards } from "./shards.ts";

/** Whether an item can't be read now, because it is on another machine, and no answer has come. */
export function isRemoteError({ code }: ZcacheError): boolean {
  return code === "ERR_REMOTE_PAGE" || code === "ERR_REMOTE";
}

/** A buffer of replies, filled up to `at`. */
export interface AnswerBuffer {
  readonly bytes: Uint8Array;
  at: number;
}

/**
 * An arena that is shorter than so many reply buffers has no room for one, nor has a store with
 * less memory than so many receive buffers.
 */
const BUFFER_PARTS_MIN = 256;

/** Shorter values are copied as fast at any address. */
const ALIGNED_BYTES_MIN = 64;
const ALIGNED_BYTES = 16 * 1024;

export class ItemAccess {
  readonly shards: ItemShards;
  /** Longer values are refused, in bytes. */
  readonly valueBytesMax = VALUE_BYTES_MAX;
  /** The words of the item that was found; `put` and `writeMeta` store what is in them. */
  readonly meta = new Uint32Array(META_WORDS);
  /** Seconds since 1970. */
  now = 0;
  /** Items that the last `answerLines` has found. */
  hits = 0;
  /** Whether items may be on other machines. */
  readonly hasRemote: boolean;
  readonly #arrivals: RemoteArrivals | undefined;
  readonly #isSharded: boolean;
  /** The first shard, which buffers of the thread lie in. */
  readonly #home: Values;
  /** The shard of the key that was locked last, and what samples its values. */
  #values: Values;
  #sampler: Sampler | undefined;
  readonly #metaBytes = new Uint8Array(this.meta.buffer);
  readonly #key = new Uint8Array(KEY_BYTES_MAX);
  #keyBytes = 0;
  readonly #request = new SetRequest();
  #aligned = new Uint8Array(ALIGNED_BYTES);
  /** The buffer that `makeBuffer` has made, and its address. */
  #buffer: Uint8Array | undefined;
  #bufferAt = 0;
  /** Finds items for `answerLines`; undefined without a buffer for the answers. */
  #finder: Finder | undefined;
  /** The buffer that `makeInput` has made, and its address. */
  #input: Uint8Array | undefined;
  #inputAt = 0;
  /** Stores items for `putLines`; undefined where no kernel can, or without such a buffer. */
  protected plainSets: PlainSets | undefined;

  constructor(shards: ItemShards) {
    this.shards = shards;
    this.#arrivals = useRemote(shards.values);
    for (const values of shards.values) useMetaExpiry(values, EXPIRES);
    this.hasRemote = this.#arrivals !== undefined;
    this.#isSharded = shards.values.length > 1;
    this.#home = shards.values[0]!;
    this.#values = this.#home;
    this.#sampler = shards.samplers[0];
    this.#request.key = this.#key;
    this.#request.meta = this.#metaBytes;
    this.#request.metaBytes = this.#metaBytes.length;
  }

  /** Bytes of the value that was found. */
  get valueBytes(): number {
    return this.#values.valueBytes;
  }

  /** Locks a key of 1 … 250 bytes, and waits while another thread has it locked. */
  lock(key: Uint8Array, from: number, to: number): void {
    this.#keyBytes = to - from;
    for (let at = from; at < to; at++) this.#key[at - from] = key[at]!;
    if (this.#isSharded) this.#lockInShard();
    else this.#values.lock(this.#key, this.#keyBytes);
  }

  #lockInShard(): void {
    const { hash, values } = this.shards;
    hash.set(this.#key, this.#keyBytes);
    this.#use(shardOfHash(hash.low, hash.high, values.length));
    hash.isKnown = true;
    this.#values.lock(this.#key, this.#keyBytes);
  }

  /** Lets all that follows be done in a shard. */
  #use(shard: number): void {
    const { values, samplers } = this.shards;
    this.#values = values[shard]!;
    this.#sampler = samplers[shard];
  }

  unlock(): void {
    this.#values.unlock();
  }

  /** Finds the item of the locked key, which counts as a use of it. */
  find(): boolean {
    return this.#values.find(this.#key, this.#keyBytes) && this.#readMeta();
  }

  /** `find` for `meta` and `valueBytes` only: it counts as no use, and `read` can't follow. */
  look(): boolean {
    return this.#values.has(this.#key, this.#keyBytes) && this.#readMeta();
  }

  /** @returns true: there are words to be read */
  #readMeta(): true {
    const { bytes, metaAt } = this.#values;
    for (let i = 0; i < META_WORDS * 4; i++) this.#metaBytes[i] = bytes[metaAt + i]!;
    return true;
  }

  /**
   * Copies the value that was found to `target[at]`.
   * @returns false if it can't be read, and is to be taken for a miss: it is damaged, or was lost
   *   while it was fetched from a file
   * @throws ZcacheError ERR_REMOTE_PAGE, ERR_REMOTE (values/remote_values.ts)
   */
  read(target: Uint8Array, at: number): boolean {
    const values = this.#values;
    const count = values.valueBytes;
    const isInArena = target === this.#buffer && values === this.#home;
    // Aligned as the target is; see `#alignedView`. The prefix of a value leaves room for this.
    const to = isInArena ? this.#bufferAt + at : values.bufferAt + ((target.byteOffset + at) % 8);
    try {
      const chunked = values.read(this.#key, this.#keyBytes, to as Address);
      if (chunked === null || (chunked !== undefined && chunked.length !== count)) return false;
      if (chunked !== undefined) target.set(chunked, at);
      else if (!isInArena) target.set(values.bytes.subarray(to, to + count), at);
      return true;
    } catch (error) {
      if (error instanceof ZcacheError && !isRemoteError(error)) return false;
      throw error;
    }
  }

  /** A wait for the records that the request that is being executed has met. */
  newWait(): RemoteWait {
    return new RemoteWait(this.#arrivals!);
  }

  /** Notes that a request is going to ask for an item, so that its record is read with others. */
  announce(key: Uint8Array, from: number, to: number): void {
    this.lock(key, from, to);
    try {
      wantValue(this.#values, this.#key, this.#keyBytes);
    } finally {
      this.unlock();
    }
  }

  /**
   * Makes a buffer in the arena, to which values are restored without a copy. Each thread makes
   * one at most.
   * @returns undefined if there is no room for it
   */
  makeBuffer(bytes: number): Uint8Array | undefined {
    const values = this.#home;
    if (values.bytes.length < BUFFER_PARTS_MIN * bytes) return undefined;
    try {
      this.#bufferAt = values.store.reserve(bytes);
      this.#finder = this.#makeFinder(bytes);
    } catch (error) {
      if (error instanceof ZcacheError) return undefined;
      throw error;
    }
    this.#buffer = values.bytes.subarray(this.#bufferAt, this.#bufferAt + bytes);
    return this.#buffer;
  }

  /**
   * Makes a buffer in the arena, from which values are stored without a copy. Each thread makes one
   * at most.
   * @returns undefined where that is not possible, or of no use
   */
  makeInput(bytes: number): Uint8Array | undefined {
    const values = this.#home;
    if (this.#isSharded || values.store.limitBytes < BUFFER_PARTS_MIN * bytes) return undefined;
    const sets = PlainSets.of(values);
    if (sets === undefined) return undefined;
    try {
      this.#inputAt = values.store.reserve(bytes);
    } catch (error) {
      if (error instanceof ZcacheError) return undefined;
      throw error;
    }
    this.plainSets = sets;
    this.#input = values.bytes.subarray(this.#inputAt, this.#inputAt + bytes);
    return this.#input;
  }

  /**
   * Does plain sets by a kernel: the lines at [from, to), as far as it can. `plainSets` tells what
   * was stored.
   * @param lines in the buffer of `makeInput`, else none is done
   * @param target takes the replies, if its bytes are those of `makeBuffer`
   * @returns bytes of the lines that were done
   */
  protected putLines(
    lines: Uint8Array,
    from: number,
    to: number,
    target: AnswerBuffer,
    facts: SetFacts,
  ): number {
    const sets = this.plainSets;
    if (sets === undefined || lines !== this.#input || target.bytes !== this.#buffer) return 0;
    const [input, output] = [this.#inputAt, this.#bufferAt];
    sets.from = input + from;
    sets.to = input + to;
    sets.out = output + target.at;
    sets.outEnd = output + target.bytes.length;
    sets.store(facts, this.#sampler);
    target.at = sets.out - output;
    return sets.from - input - from;
  }

  /** @param replyBytes of the buffer for the answers */
  #makeFinder(replyBytes: number): Finder | undefined {
    const { values } = this.shards;
    const first = this.#home.finder();
    if (values.length === 1 || first === undefined) return first;
    const finders = values.map((one) => one.finder()).filter((finder) => finder !== undefined);
    if (finders.length < values.length) return undefined;
    new ShardedGets(values, finders, first, replyBytes);
    return first;
  }

  /**
   * Answers plain gets of ordinary items by a kernel, without a lock: the lines at [from, to), as
   * far as it can.
   * @param target takes the answers, if its bytes are those of `makeBuffer`
   * @param flushes the number of flushes that an item that counts has in BITS
   * @returns bytes of the lines that were answered
   */
  answerLines(
    lines: Uint8Array,
    from: number,
    to: number,
    target: AnswerBuffer,
    flushes: number,
  ): number {
    const finder = this.#finder;
    this.hits = 0;
    if (finder === undefined || target.bytes !== this.#buffer) return 0;
    const out = this.#bufferAt;
    finder.out = out + target.at;
    finder.outEnd = out + target.bytes.length;
    finder.now = this.now;
    finder.flushes = flushes;
    const used = finder.answerGets(lines, from, to);
    target.at = finder.out - out;
    this.hits = finder.found;
    return used;
  }

  /**
   * Stores `meta` with the item that was found, whose value stays.
   * @returns whether it is there: an item in a file is loaded for this, and there may be no room
   */
  writeMeta(): boolean {
    if (this.#values.rewriteMeta(this.#metaBytes)) return true;
    // Evicted since it was found: with the old words it must not come back from a file.
    this.forget();
    return false;
  }

  /** `writeMeta` where only the time of the last use has changed: the next process may miss it. */
  writeUse(): void {
    this.#values.rewriteMeta(this.#metaBytes, false);
  }

  /**
   * Stores a value and `meta` in place of the item of the locked key.
   * @param value holds the value at [from, to)
   * @returns whether there was room; if not, the old item is gone too
   */
  put(value: Uint8Array, from: number, to: number): boolean {
    const values = this.#values;
    const request = this.#request;
    const count = to - from;
    request.keyBytes = this.#keyBytes;
    request.value = this.#alignedView(value, from, to);
    request.valueBytes = count;
    const result = values.set(request);
    // A value that fits into the value buffer is still there.
    if (count <= values.bufferBytes) this.#sampler?.(values.bufferAt, count);
    return result === 0;
  }

  /**
   * A view of a value that begins at a multiple of 8 bytes, or is short. V8 copies to shared memory
   * byte by byte unless source and target are aligned alike: for 1,000 bytes that takes 340 ns, and
   * 150 ns with a copy to an aligned buffer beforehand.
   */
  #alignedView(value: Uint8Array, from: number, to: number): Uint8Array {
    const view = value.subarray(from, to);
    const count = view.length;
    if (count < ALIGNED_BYTES_MIN || view.byteOffset % 8 === 0) return view;
    // `Values` copies within the arena by a kernel.
    if (value === this.#input) return view;
    if (this.#aligned.length < count) this.#aligned = new Uint8Array(count);
    else if (this.#aligned.length > ALIGNED_BYTES && count <= ALIGNED_BYTES) {
      // One long value is no reason to keep so much memory.
      this.#aligned = new Uint8Array(ALIGNED_BYTES);
    }
    this.#aligned.set(view);
    return this.#aligned.subarray(0, count);
  }

  /** Removes the item of the locked key. */
  remove(): void {
    this.#values.remove(this.#key, this.#keyBytes);
  }

  /**
   * To be called where `find` found nothing and the client is told so: an item that was evicted,
   * and is still in a file that the next process begins with, does not come back from there, nor
   * one on a machine that has not answered, nor one in a larger cache that is simulated.
   */
  forget(): void {
    if (this.#values.isKept || this.hasRemote) this.#values.remove(this.#key, this.#keyBytes);
    else sampleDeletion(this.#values);
  }

  /** Keeps four words for the next process. */
  note(words: readonly number[]): void {
    for (const values of this.shards.values) values.note(words);
  }

  /** A scan of all items, at its beginning. */
  beginScan(): ItemScan {
    return new ItemScan();
  }

  /**
   * Continues a scan of all items, without a lock.
   * @param visit is given a copy of the key; `meta` and `valueBytes` are the item's
   * @returns whether the scan is over
   */
  scan(scan: ItemScan, visit: (key: Uint8Array) => void): boolean {
    this.#use(scan.shard);
    const values = this.#values;
    const isOver = values.scan(scan.cursor, (at, keyBytes) => {
      this.#readMeta();
      visit(values.bytes.slice(at, at + keyBytes));
    });
    return isOver && scan.next(this.shards.values.length);
  }

  /**
   * Visits the items that were evicted since a thread last did so. Their shard is locked meanwhile.
   * @param visit is given the key at [from, to), valid for the call; `meta` and `valueBytes` are
   *   the item's
   * @returns false if there were more than the store remembers
   */
  visitEvicted(
    { listeners }: ItemEvictions,
    visit: (key: Uint8Array, from: number, to: number) => void,
  ): boolean {
    let isWhole = true;
    for (const [shard, listener] of listeners.entries()) {
      this.#use(shard);
      const values = this.#values;
      const heard = listener.hear((_reason, flagsAt) => {
        const start = flagsAt - FLAGS;
        values.readFields(start);
        this.#readMeta();
        const at = values.keyStart(start);
        visit(values.bytes, at, at + keyBytesAt(values.bytes, start));
      });
      if (!heard) isWhole = false;
    }
    return isWhole;
  }
}
