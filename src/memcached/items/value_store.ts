// memcached's items in the compressed store that all threads share (front/values).
//
// An item's six words are the meta bytes of its value. A value that is to be put waits in a buffer
// of this thread, because what is found in between takes the room that it is compressed from.
import type { Address } from "../../base/brand.ts";
import { ZcacheError } from "../../base/errors.ts";
import type { Store } from "../../store/store.ts";
import { FLAGS } from "../../store/value.layout.ts";
import type { ScanCursor } from "../../tmem/scan_cursor.ts";
import type { Finder } from "../../values/finder.ts";
import { VALUE_BYTES_MAX } from "../../values/prefix.layout.ts";
import { keyAt, keyBytesAt, readWord } from "../../values/prefix.ts";
import { SetRequest } from "../../values/request.ts";
import { Values } from "../../values/values.ts";
import type { AnswerBuffer, ItemScan, ItemStore, ItemStoreStats } from "./contract.ts";
import { BITS, CAS_HIGH, CAS_LOW, FLUSH_SHIFT, META_WORDS } from "./items.layout.ts";

const KEY_BYTES_MAX = 250;
const BUFFER_BYTES = 16 * 1024;
/** All cas numbers that are given out (shared.ts) are below 2⁴². */
const CAS_OURS_HIGH_MAX = 2 ** 10;
/** An arena that is shorter than so many buffers has no room for one. */
const BUFFER_PARTS_MIN = 256;

/** The cas number of the item whose prefix stands there, as far as a number can say it. */
export function casOfPrefix(values: Values, prefixAt: number): number {
  const low = metaWordAt(values, prefixAt, CAS_LOW) >>> 0;
  const high = metaWordAt(values, prefixAt, CAS_HIGH) >>> 0;
  // One that a client has chosen may be any: it does not say where ours are.
  return high < CAS_OURS_HIGH_MAX ? high * 2 ** 32 + low : 0;
}

/** How many flushes there had been when the item was stored whose prefix stands there. */
export function flushesOfPrefix(values: Values, prefixAt: number): number {
  return metaWordAt(values, prefixAt, BITS) >>> FLUSH_SHIFT;
}

function metaWordAt({ bytes }: Values, prefixAt: number, word: number): number {
  return readWord(bytes, keyAt(bytes, prefixAt) + keyBytesAt(bytes, prefixAt) + word * 4);
}

export class ValueItemStore implements ItemStore {
  readonly valueBytesMax = VALUE_BYTES_MAX;
  readonly meta = new Uint32Array(META_WORDS);
  readonly #metaBytes = new Uint8Array(this.meta.buffer);
  readonly values: Values;
  /** Called with where a value stands that has come in: who makes dictionaries takes samples. */
  sampler: ((at: number, count: number) => void) | undefined;
  readonly #store: Store;
  readonly #key = new Uint8Array(KEY_BYTES_MAX);
  readonly #evicts: boolean;
  readonly #request = new SetRequest();
  #keyBytes = 0;
  #prepared = new Uint8Array(BUFFER_BYTES);
  #preparedBytes = 0;
  /** What `makeBuffer` gave last, and where it stands. */
  #buffer: Uint8Array | undefined;
  #bufferAt = 0;
  /** Finds values for `answerGets`, where there is a buffer for the answers. */
  #finder: Finder | undefined;
  hits = 0;

  /**
   * @param store one that `formatValues` was called for
   * @param evicts whether room is made by dropping items; if not, what has no room is refused
   */
  constructor(store: Store, evicts: boolean, now: () => number, random: () => number) {
    this.#store = store;
    this.#evicts = evicts;
    this.values = new Values(store, now, random);
    this.#request.key = this.#key;
    this.#request.meta = this.#metaBytes;
    this.#request.metaBytes = this.#metaBytes.length;
  }

  get valueBytes(): number {
    return this.values.valueBytes;
  }

  lock(key: Uint8Array, from: number, to: number): void {
    this.#keyBytes = to - from;
    for (let at = from; at < to; at++) this.#key[at - from] = key[at]!;
    this.values.lock(this.#key, this.#keyBytes);
  }

  unlock(): void {
    this.values.unlock();
  }

  find(): boolean {
    return this.values.find(this.#key, this.#keyBytes) && this.#takeMeta();
  }

  look(): boolean {
    return this.values.has(this.#key, this.#keyBytes) && this.#takeMeta();
  }

  /** @returns true, which says that there was something to take */
  #takeMeta(): true {
    const { bytes, metaAt } = this.values;
    for (let i = 0; i < META_WORDS * 4; i++) this.#metaBytes[i] = bytes[metaAt + i]!;
    return true;
  }

  read(target: Uint8Array, at: number): boolean {
    const { values } = this;
    const count = values.valueBytes;
    const isHere = target === this.#buffer;
    const to = isHere ? ((this.#bufferAt + at) as Address) : values.bufferAt;
    try {
      const long = values.read(this.#key, this.#keyBytes, to);
      if (long === null || (long !== undefined && long.length !== count)) return false;
      if (long !== undefined) target.set(long, at);
      else if (!isHere) target.set(values.bytes.subarray(to, to + count), at);
      return true;
    } catch (error) {
      // A value that is damaged or can't be read from the file is not there.
      if (error instanceof ZcacheError) return false;
      throw error;
    }
  }

  /** In the arena, so that values are restored to where they are sent from. */
  makeBuffer(bytes: number): Uint8Array | undefined {
    const { values } = this;
    if (values.bytes.length < BUFFER_PARTS_MIN * bytes) return undefined;
    try {
      this.#bufferAt = this.#store.reserve(bytes);
      this.#finder = values.finder();
    } catch (error) {
      if (error instanceof ZcacheError) return undefined;
      throw error;
    }
    this.#buffer = values.bytes.subarray(this.#bufferAt, this.#bufferAt + bytes);
    return this.#buffer;
  }

  answerGets(
    lines: Uint8Array,
    from: number,
    to: number,
    target: AnswerBuffer,
    now: number,
    flushes: number,
  ): number {
    const finder = this.#finder;
    this.hits = 0;
    if (finder === undefined || target.bytes !== this.#buffer) return 0;
    const out = this.#bufferAt;
    finder.out = out + target.at;
    finder.outEnd = out + target.bytes.length;
    finder.now = now;
    finder.flushes = flushes;
    const used = finder.answerGets(lines, from, to);
    target.at = finder.out - out;
    this.hits = finder.found;
    return used;
  }

  writeMeta(): boolean {
    if (this.values.rewriteMeta(this.#metaBytes)) return true;
    // Evicted since it was found: with the old words it must not come back from a file.
    this.forget();
    return false;
  }

  writeUse(): void {
    this.values.rewriteMeta(this.#metaBytes, false);
  }

  prepare(value: Uint8Array, from: number, to: number): void {
    this.#preparedBytes = to - from;
    if (this.#prepared.length < to - from) this.#prepared = new Uint8Array(to - from);
    else if (this.#prepared.length > BUFFER_BYTES && to - from <= BUFFER_BYTES) {
      // One long value is no reason to hold so much for ever.
      this.#prepared = new Uint8Array(BUFFER_BYTES);
    }
    this.#prepared.set(value.subarray(from, to));
  }

  put(): boolean {
    const size = this.#preparedBytes;
    const { values } = this;
    const request = this.#request;
    request.keyBytes = this.#keyBytes;
    request.value = this.#prepared.subarray(0, size);
    request.valueBytes = size;
    const result = values.set(request);
    if (this.sampler !== undefined && size <= values.bufferBytes)
      this.sampler(values.bufferAt, size);
    return result === 0;
  }

  remove(): void {
    this.values.remove(this.#key, this.#keyBytes);
  }

  forget(): void {
    if (this.values.isKept) this.values.remove(this.#key, this.#keyBytes);
  }

  noteFlush(flushes: number, due: number): void {
    this.values.note([flushes, due, 0, 0]);
  }

  stats(): ItemStoreStats {
    const { ephemeral, persistent, mem_used_total, mem_limit, counters } = this.#store.stats();
    const kind = this.#evicts ? ephemeral : persistent;
    return {
      items: this.values.count,
      logicalBytes: kind.originalBytes,
      usedBytes: mem_used_total,
      limitBytes: mem_limit,
      evictions: counters.evicted_ephemeral_pages,
      more: {
        compr_data_size: kind.compressedBytes,
        pages_in_memory: kind.pagesInMemory,
        pages_in_file: kind.pagesInFile,
        ...counters,
      },
    };
  }

  beginScan(): ItemScan {
    return this.values.beginScan();
  }

  scan(scan: ItemScan, visit: (key: Uint8Array) => void): boolean {
    const { values } = this;
    return values.scan(scan as ScanCursor, (at, keyBytes) => {
      this.#takeMeta();
      visit(values.bytes.slice(at, at + keyBytes));
    });
  }

  noteEvicted(turns: Int32Array, wanted: boolean): boolean {
    const evictions = this.values.evictionListener(turns);
    if (wanted) return evictions.begin();
    evictions.end();
    return false;
  }

  hearEvicted(
    turns: Int32Array,
    visit: (key: Uint8Array, from: number, to: number) => void,
  ): boolean {
    const { values } = this;
    return values.evictionListener(turns).hear((_reason, flagsAt) => {
      const start = flagsAt - FLAGS;
      values.readFields(start);
      this.#takeMeta();
      const at = values.keyStart(start);
      visit(values.bytes, at, at + keyBytesAt(values.bytes, start));
    });
  }

  limit(bytes: number): boolean {
    try {
      this.#store.limit(bytes);
      return true;
    } catch (error) {
      if (error instanceof ZcacheError) return false;
      throw error;
    }
  }
}
